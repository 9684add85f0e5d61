// SPDX-License-Identifier: MIT
// A process for tests/python/test_snapshot.py and test_core.py to look at from outside: `target MODE [argument]`. It
// prints "ready" when there is something to see, and ends when its standard input does.
#include "contrail/contrail.hpp"
#include "contrail/session.hpp"
#include "contrail/trigger.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using contrail::flight_recorder;

namespace {

constexpr unsigned writers = 4;

void start(const contrail::options& wanted = {.memory = 4 << 20}) {
  if (const contrail::error failed = flight_recorder::start(wanted)) {
    std::puts(failed.message());
    std::exit(1);
  }
}

void ready() {
  std::puts("ready");
  std::fflush(stdout);
}

void wait_for_the_end() {
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
}

uint64_t checksum(uint64_t thread, uint64_t sequence) {
  const uint64_t x = (thread << 56 ^ sequence) * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

/// One record, whose number in its lane is `sequence`.
void write_record(uint64_t thread, uint64_t sequence) {
  const uint64_t check = checksum(thread, sequence);
  if (sequence % 3 == 0) {
    TRACE_INSTANT("numbered", "thread", thread, "sequence", sequence, "check", check);
  } else if (sequence % 3 == 1) {
    TRACE_REGION("numbered region", "thread", thread, "sequence", sequence, "check", check);
  } else {
    // The text varies the record's length, so that chunks end in every way.
    TRACE_INSTANT("numbered text", "thread", thread, "sequence", sequence, "check", check, "text",
                  std::string_view("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", sequence % 41));
  }
}

/// Threads that write as fast as they can. How far each has come stands in the file `path`, which the test reads.
int numbered(const char* path) {
  const int file = open(path, O_RDWR);
  if (file < 0) return 1;
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) return 1;
  auto* const written = static_cast<std::atomic<uint64_t>*>(shared);
  start();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < writers; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t sequence = 0; !stop; ++sequence) {
        write_record(t, sequence);
        written[t].store(sequence + 1, std::memory_order_release);
      }
    });
  }
  for (uint64_t t = 0; t < writers; ++t) {
    while (written[t] < 1000) std::this_thread::yield();
  }
  ready();
  wait_for_the_end();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  return 0;
}

/// A record of a call site that nothing was recorded at before: of a hundred, the one that `site` says.
void write_fresh_record(uint64_t site, uint64_t sequence) {
  const uint64_t thread = 0, check = checksum(thread, sequence);
#define FRESH(number)                                                                                    \
  case number:                                                                                           \
    TRACE_INSTANT("fresh " #number, "thread", thread, "sequence", sequence, "check", check);             \
    break;
#define TEN_FRESH(tens)                                                                                  \
  FRESH(tens##0) FRESH(tens##1) FRESH(tens##2) FRESH(tens##3) FRESH(tens##4)                             \
  FRESH(tens##5) FRESH(tens##6) FRESH(tens##7) FRESH(tens##8) FRESH(tens##9)
  switch (site + 100) {
    TEN_FRESH(10) TEN_FRESH(11) TEN_FRESH(12) TEN_FRESH(13) TEN_FRESH(14)
    TEN_FRESH(15) TEN_FRESH(16) TEN_FRESH(17) TEN_FRESH(18) TEN_FRESH(19)
    default: write_record(thread, sequence);
  }
#undef TEN_FRESH
#undef FRESH
}

/// Goes on only when told. A task and a region are open all the time; a byte n > 0 on standard input ends both, writes
/// n - 1 records, one of them at a fresh call site, and begins others; 0 sets a field of the open region. Each is
/// answered.
int steps() {
  start({.memory = 1 << 20});
  ready();
  uint64_t sequence = 0, fresh = 0;
  for (char answer = 0;; answer = 1) {
    const uint64_t thread = 0, check = checksum(thread, sequence);
    TRACE_REGION_VAR(region, "step", "thread", thread, "sequence", sequence, "check", check);
    TRACE_TASK(task, "task", "thread", thread, "sequence", sequence + 1, "check", checksum(thread, sequence + 1));
    if (answer != 0 && write(1, &answer, 1) != 1) return 1;
    unsigned char wanted = 0;
    for (;;) {
      if (read(0, &wanted, 1) != 1) return 0;
      if (wanted != 0) break;
      region.set("extra", checksum(writers, sequence));
      if (write(1, "", 1) != 1) return 1;
    }
    region.end();
    task.end();
    sequence += 2;
    for (unsigned i = 1; i < wanted; ++i) {
      if (i == 1) {
        write_fresh_record(fresh++, sequence++);
      } else if (i % 2 == 0) {  // so many that entries are used again and again
        TRACE_TASK(numbered, "numbered task", "thread", thread, "sequence", sequence, "check", checksum(0, sequence));
        ++sequence;
      } else {
        write_record(0, sequence++);
      }
    }
  }
}

/// Two threads that wait for each other for ever.
int deadlock() {
  start();
  static std::mutex a, b;
  static std::atomic<int> holding{0}, waiting{0};
  const auto work = [](std::mutex& first, std::mutex& second, const char* wanted) {
    const std::lock_guard<std::mutex> hold(first);
    ++holding;
    while (holding < 2) std::this_thread::yield();
    TRACE_REGION_VAR(region, "wait for a lock", "wanted", wanted);
    region.set("turn", 7);
    ++waiting;
    const std::lock_guard<std::mutex> never(second);
  };
  std::thread([&] {
    TRACE_THREAD_NAME("named by the macro");
    work(a, b, "b");
  }).detach();
  std::thread([&] {
    { TRACE_REGION("before the name"); }
    pthread_setname_np(pthread_self(), "named later");
    work(b, a, "a");
  }).detach();
  while (waiting < 2) std::this_thread::yield();
  ready();
  wait_for_the_end();
  _exit(0);
}

/// What runs beside a recorder: a session into the file `path`, a trigger, and tasks that nobody ends.
int services(const char* path) {
  start();
  static contrail::session session;
  static contrail::trigger watchdog({.path = path});
  if (session.start({.file = path}) || watchdog.stall(contrail::duration(3'600'000'000'000)) || watchdog.start()) return 1;
  static std::atomic<int> waiting{0};
  TRACE_TASK(order, "order", "number", 7);
  const contrail::task_scope scope(order);
  TRACE_ASYNC(request, "request", "url", "/a");
  { TRACE_TASK(ended, "ended"); }
  std::thread([parent = order.context()] {
    TRACE_THREAD_NAME("worker");
    TRACE_TASK_OF(part, parent, "part of it");
    const contrail::task_scope within(part);
    TRACE_REGION("waits");
    ++waiting;
    for (;;) pause();
  }).detach();
  while (waiting < 1) std::this_thread::yield();
  ready();
  wait_for_the_end();
  _exit(0);
}

/// Recordings one after the other, each in memory of its own.
int restart() {
  for (const uint64_t megabytes : {6, 4, 2}) {
    flight_recorder::stop();
    start({.memory = megabytes << 20});
    TRACE_INSTANT("mark", "megabytes", megabytes);
  }
  ready();
  wait_for_the_end();
  return 0;
}

/// A child that only inherits the recorder's memory.
int forked() {
  start();
  const pid_t child = fork();
  if (child == 0) {
    std::printf("%d\n", static_cast<int>(getpid()));
    ready();
    wait_for_the_end();
    _exit(0);
  }
  wait_for_the_end();
  return 0;
}

template <class Options>
bool set_file(Options& wanted, const char* path) {
  if constexpr (requires { wanted.file; }) {
    wanted.file = path;
    return true;
  }
  return path == nullptr;
}

/// A recorder in a file.
int in_file(const char* path) {
  contrail::options wanted{.memory = 4 << 20};
  if (!set_file(wanted, path)) return 77;
  start(wanted);
  TRACE_REGION("still open", "number", 42);
  for (uint64_t i = 0; i < 1000; ++i) write_record(0, i);
  ready();
  wait_for_the_end();
  return 0;
}

/// Records and crashes.
int crash() {
  start();
  TRACE_REGION("while it crashed", "number", 42);
  for (uint64_t i = 0; i < 5000; ++i) write_record(0, i);
  ready();
  wait_for_the_end();
  abort();
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view mode = count > 1 ? arguments[1] : "";
  const char* const argument = count > 2 ? arguments[2] : "";
  if (mode == "numbered") return numbered(argument);
  if (mode == "steps") return steps();
  if (mode == "deadlock") return deadlock();
  if (mode == "services") return services(argument);
  if (mode == "restart") return restart();
  if (mode == "forked") return forked();
  if (mode == "file") return in_file(argument);
  if (mode == "crash") return crash();
  if (mode == "none") {
    ready();
    wait_for_the_end();
    return 0;
  }
  return 2;
}
