// SPDX-License-Identifier: MIT
// Threads that come and go in great numbers, that are too many, that the C library knows nothing of, or that have
// hardly a stack. Nothing of what they record is altered, out of order or there twice; what is missing is counted.
#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using contrail::detail::drop_reason;

uint64_t checksum(uint64_t thread, uint64_t n) {
  const uint64_t x = (thread << 32 ^ n) * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

void trace(uint64_t thread, uint64_t n) { TRACE_INSTANT("churn", "thread", thread, "n", n, "check", checksum(thread, n)); }

/// What a dump holds of each thread. Throws at the first record that is altered, out of order or there twice.
std::map<uint64_t, std::vector<uint64_t>> traced(const dump_reader::dump& dump) {
  dump_reader::check_chains(dump);
  std::map<uint64_t, std::vector<uint64_t>> found;
  for (const auto& record : dump.records("churn")) {
    dump_reader::require(record.payload.size() == 3, "a record was altered");
    const uint64_t thread = record.payload[0], n = record.payload[1];
    dump_reader::require(record.payload[2] == checksum(thread, n), "a record was altered");
    std::vector<uint64_t>& numbers = found[thread];
    dump_reader::require(numbers.empty() || numbers.back() + 1 == n,
                         "a record is missing, there twice or out of order");
    numbers.push_back(n);
  }
  return found;
}

/// Pages of this process in memory, and its open descriptors.
uint64_t resident_pages() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident;
}

pthread_attr_t* small_stack() {
  static pthread_attr_t attributes = [] {
    pthread_attr_t made;
    pthread_attr_init(&made);
    // Sanitizers put a lot of their own on a stack.
    pthread_attr_setstacksize(&made, CONTRAIL_TESTS_SANITIZED ? size_t{1} << 20 : static_cast<size_t>(PTHREAD_STACK_MIN));
    return made;
  }();
  return &attributes;
}

}  // namespace

TEST_CASE("ten thousand threads that come and go during dumps leave their records whole, and no more memory in use") {
  running_recorder recorder({.memory = 1 << 20});
  constexpr uint64_t each = 20;
  std::atomic<bool> done{false};
  std::string failure;
  uint64_t dumps = 0, seen = 0;
  std::thread dumper([&] {
    while (!done && failure.empty()) {
      try {
        std::string bytes;
        if (flight_recorder::dump(bytes)) throw std::runtime_error("a dump failed");
        seen += traced(dump_reader::read(bytes)).size();
        ++dumps;
      } catch (const std::runtime_error& error) {
        failure = error.what();
      }
    }
  });
  const auto run = [](uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; i += 5) {
      std::thread threads[5];
      for (uint64_t t = 0; t < 5; ++t) {
        threads[t] = std::thread([i, t] {
          for (uint64_t n = 0; n < each; ++n) trace(i + t, n);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
  };
  const uint64_t count = CONTRAIL_TESTS_SANITIZED ? 2'000 : 10'000;
  run(0, count / 5);
  const uint64_t before = resident_pages();
  run(count / 5, count - count / 5);
  done = true;
  dumper.join();
  CHECK(failure == "");
  CHECK(dumps > 2);
  // The dumper's own copies come and go with it; the recorder's memory is the same from its first round on.
  if (!CONTRAIL_TESTS_SANITIZED) CHECK(resident_pages() < before + (4 << 20) / 4096);
  const auto dump = dump_now();
  CHECK(dump.dropped() == 0);
  CHECK(flight_recorder::status().threads <= 8);
  // At rest every chain is whole: a thread is there with all records but the first ones, or not at all.
  const auto found = traced(dump);
  REQUIRE_FALSE(found.empty());
  for (const auto& [thread, numbers] : found) CHECK(numbers.back() == each - 1);
  CHECK(found.rbegin()->first == count - 1);
  WARN(dumps << " dumps, " << seen << " threads seen in them");
}

TEST_CASE("of five thousand live threads those with a place are recorded whole, and what the others lose is counted") {
  const uint64_t count = CONTRAIL_TESTS_SANITIZED ? 500 : 5'000;
  running_recorder recorder({.memory = 32 << 20});
  constexpr uint64_t each = 50;
  static std::atomic<uint64_t> written;
  static std::mutex gate;
  written = 0;
  gate.lock();
  std::vector<pthread_t> threads;
  const auto body = [](void* argument) -> void* {
    const uint64_t thread = reinterpret_cast<uint64_t>(argument);
    for (uint64_t n = 0; n < each; ++n) trace(thread, n);
    ++written;
    const std::lock_guard<std::mutex> wait(gate);
    return nullptr;
  };
  for (uint64_t i = 0; i < count; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, small_stack(), body, reinterpret_cast<void*>(i)) != 0) break;
    threads.push_back(thread);
  }
  while (written != threads.size()) usleep(1000);
  const auto dump = dump_now();
  const uint64_t status_dropped = flight_recorder::status().dropped, attached = flight_recorder::status().threads;
  gate.unlock();
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  if (threads.size() < count) {
    WARN("skipped: this system allows only " << threads.size() << " threads");
    return;
  }
  uint64_t records = 0;
  // A thread may find a place late, when an earlier one was looked for in vain; then its first records were dropped.
  std::map<uint64_t, uint64_t> of_thread;
  for (const auto& record : dump.records("churn")) {
    REQUIRE(record.payload.at(2) == checksum(record.payload[0], record.payload[1]));
    ++of_thread[record.payload[0]];
    ++records;
  }
  CHECK(dump_reader::check_chains(dump) == 0);
  CHECK(records + dump.dropped(drop_reason::no_slot) == count * each);
  CHECK(dump.dropped() == dump.dropped(drop_reason::no_slot));
  CHECK(status_dropped == dump.dropped());
  if (count == 5'000) CHECK(attached == 256);
  CHECK(of_thread.size() == dump.slots.size());
  for (const auto& [thread, found] : of_thread) CHECK(found == each);
}

TEST_CASE("a thread with the smallest stack records, changes chunks and dumps") {
  running_recorder recorder({.memory = 2 << 20});
  static contrail::error failed;
  failed = {};
  const auto body = [](void*) -> void* {
    trace(1, 0);
    TRACE_REGION("first", "n", 1);
    TRACE_LOG("{} and {}", 1, "text");
    for (int i = 0; i < 5000; ++i) {
      TRACE_REGION("rolls chunks", "text", "text");
    }
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    failed = flight_recorder::dump(null);
    close(null);
    return nullptr;
  };
  pthread_t thread;
  REQUIRE(pthread_create(&thread, small_stack(), body, nullptr) == 0);
  pthread_join(thread, nullptr);
  CHECK_FALSE(failed);
  const auto dump = dump_now();
  CHECK(dump.records("rolls chunks").size() == 5000);
  CHECK(dump.records("first").size() == 1);
}

// ---- threads that the C library does not know --------------------------------------------------------------------

#if defined(__x86_64__) && !CONTRAIL_TESTS_SANITIZED
namespace {

constexpr int thread_flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
constexpr size_t stack_bytes = 256 << 10;

std::atomic<uint64_t> raw_done{0};

/// What a raw thread runs, with nothing of the C library but what the recorder itself calls.
int raw_body(void* argument) {
  const uint64_t thread = reinterpret_cast<uint64_t>(argument);
  for (uint64_t n = 0; n < 2000; ++n) trace(thread, n);
  ++raw_done;
  syscall(SYS_exit, 0);
  return 0;
}

int find_tls(dl_phdr_info* object, size_t, void* found) {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    if (object->dlpi_phdr[i].p_type != PT_TLS) continue;
    *static_cast<std::pair<const char*, ElfW(Phdr)>*>(found) = {
        reinterpret_cast<const char*>(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr), object->dlpi_phdr[i]};
    return 1;
  }
  return 1;  // the executable comes first
}

/// Thread-local storage for a raw thread, as x86-64 lays it out: a copy of this thread's, but for the executable's own
/// variables, which get their initial values.
void* make_tls(std::vector<char>& memory) {
  constexpr size_t below = 16 << 10, above = 2048;
  memory.resize(below + above + 4096);
  char* const pointer =
      reinterpret_cast<char*>((reinterpret_cast<uint64_t>(memory.data()) + below + 4095) & ~uint64_t{4095});
  char* own = nullptr;
  asm("movq %%fs:0, %0" : "=r"(own));
  // Whatever lies below the static storage need not be mapped.
  std::pair<const char*, ElfW(Phdr)> tls{};
  dl_iterate_phdr(find_tls, &tls);
  const uint64_t align = tls.second.p_align == 0 ? 1 : tls.second.p_align;
  const uint64_t size = (tls.second.p_memsz + align - 1) & ~(align - 1);
  const size_t others = 512;  // of libraries, such as errno
  memcpy(pointer - size - others, own - size - others, size + others);
  memset(pointer - size, 0, size);
  memcpy(pointer - size, tls.first, tls.second.p_filesz);
  memcpy(pointer, own, above);
  const uint64_t own_address = reinterpret_cast<uint64_t>(pointer);
  memcpy(pointer, &own_address, sizeof own_address);  // the pointer to itself
  memcpy(pointer + 16, &pointer, sizeof pointer);
  return pointer;
}

pid_t start_raw_thread(std::vector<char>& stack, int (*body)(void*), uint64_t number, void* tls) {
  stack.resize(stack_bytes);
  char* const top =
      reinterpret_cast<char*>(reinterpret_cast<uint64_t>(stack.data() + stack.size()) & ~uint64_t{63});
  return clone(body, top, thread_flags | (tls != nullptr ? CLONE_SETTLS : 0), reinterpret_cast<void*>(number), nullptr,
               tls, nullptr);
}

/// Until the system has no such thread, whose stack is then free.
void wait_for_end(pid_t tid) {
  while (syscall(SYS_tgkill, getpid(), tid, 0) == 0) sched_yield();
}

}  // namespace

TEST_CASE("raw threads with thread-local storage of their own record as any other, and their places are free again") {
  running_recorder recorder({.memory = 4 << 20});
  trace(0, 0);
  raw_done = 0;
  for (uint64_t round = 0; round < 50; ++round) {
    std::vector<char> stacks[4], tls[4];
    pid_t tids[4];
    for (uint64_t t = 0; t < 4; ++t) {
      tids[t] = start_raw_thread(stacks[t], raw_body, 1 + 4 * round + t, make_tls(tls[t]));
      REQUIRE(tids[t] > 0);
    }
    for (const pid_t tid : tids) wait_for_end(tid);
  }
  CHECK(raw_done == 200);
  const auto dump = dump_now();
  CHECK(dump.dropped() == 0);
  CHECK(flight_recorder::status().threads <= 32);
  const auto found = traced(dump);
  CHECK(found.rbegin()->first == 200);
  CHECK(found.rbegin()->second.back() == 1999);
}

TEST_CASE("a raw thread that shares the storage of one that waits for it records as that one") {
  running_recorder recorder({.memory = 3 << 20});
  trace(7, 0);
  raw_done = 0;
  std::vector<char> stack;
  const auto body = [](void* argument) -> int {
    for (uint64_t n = 1; n < 100; ++n) trace(reinterpret_cast<uint64_t>(argument), n);
    raw_done = 1;
    syscall(SYS_exit, 0);
    return 0;
  };
  const pid_t tid = start_raw_thread(stack, body, 7, nullptr);
  REQUIRE(tid > 0);
  while (raw_done == 0) asm volatile("pause");
  wait_for_end(tid);
  trace(7, 100);
  const auto dump = dump_now();
  CHECK(dump.dropped() == 0);
  const auto found = traced(dump);
  REQUIRE(found.size() == 1);
  CHECK(found.begin()->second.size() == 101);
  for (const auto& chunk : dump.chunks) CHECK(chunk.tid == static_cast<uint64_t>(getpid()));
}
#endif

TEST_CASE("without address space start says so, and works when there is some") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // they have reserved more than any limit
  const int status = status_of_child([] {
    const rlimit little{512 << 20, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &little) != 0) return 1;
    const contrail::error failed = flight_recorder::start({.memory = 1 << 30});
    if (failed.code() != contrail::error_code::out_of_memory) return 2;
    if (std::string(failed.message()).find("options.memory") == std::string::npos) return 3;
    trace(1, 0);
    if (flight_recorder::status().state != contrail::recorder_state::off) return 4;
    if (flight_recorder::start({.memory = 1 << 20})) return 5;
    // As a child with a tighter limit does: no more threads, no more memory, and it still records and dumps.
    const rlimit none{1 << 20, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &none) != 0) return 6;
    for (uint64_t n = 0; n < 100'000; ++n) trace(1, n);
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const contrail::error dumped = flight_recorder::dump(null);
    if (dumped || flight_recorder::status().dropped != 0) return 7;
    if (flight_recorder::stop() || !flight_recorder::start({.memory = 2 << 20})) return 8;
    return flight_recorder::start({.memory = 1 << 20}) ? 9 : 0;  // in the memory that it has
  });
  CHECK(status == 0);
}
