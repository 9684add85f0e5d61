// SPDX-License-Identifier: MIT
#include "contrail/detail/threads.hpp"

#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>
#include <vector>

namespace {

using namespace contrail::detail;

void trace(uint64_t n) { TRACE_INSTANT("instant", "n", n); }

uint64_t resident_pages() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident;
}

std::string name_of_thread(const dump_reader::dump& dump, uint64_t tid) {
  for (const auto& slot : dump.slots) {
    if (slot.tid == tid) return slot.name;
  }
  return "(no slot)";
}

/// Threads that wait until all of them have done something.
template <class Work>
void with_threads(unsigned count, Work&& work, void (*meanwhile)(std::vector<uint32_t>&)) {
  std::vector<std::thread> threads;
  std::vector<uint32_t> tids(count);
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      tids[i] = current_tid();
      work(i);
      ++ready;
      while (!go) usleep(1000);
    });
  }
  while (ready != count) usleep(1000);
  meanwhile(tids);
  go = true;
  for (std::thread& thread : threads) thread.join();
}

std::atomic<uint64_t> handled{0};
void on_signal(int) {
  const errno_keeper keep;
  errno = 77;
  TRACE_REGION("handler", "n", handled.load());
  TRACE_INSTANT("handler instant");
  ++handled;
  if (errno != 77) handled = 1'000'000;
}

}  // namespace

TEST_CASE("threads that come and go reuse slots, and memory does not grow") {
  running_recorder recorder({.memory = 1 << 20});
  const auto run = [](uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; i += 4) {
      std::thread threads[4];
      for (uint64_t t = 0; t < 4; ++t) {
        threads[t] = std::thread([i, t] {
          for (int k = 0; k < 20; ++k) trace(i + t);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
  };
  std::atomic<bool> done{false};
  std::string failure;
  std::thread dumper([&] {
    while (!done && failure.empty()) {
      std::string bytes;
      if (flight_recorder::dump(bytes)) failure = "dump failed";
      try {
        dump_reader::check_chains(dump_reader::read(bytes));
      } catch (const std::runtime_error& error) {
        failure = error.what();
      }
    }
  });
  run(0, 400);
  const uint64_t before = resident_pages();
  run(400, 1600);
  done = true;
  dumper.join();
  CHECK(failure == "");
  if (!CONTRAIL_TESTS_SANITIZED) CHECK(resident_pages() < before + 2000);  // its own memory grows
  CHECK(flight_recorder::status().dropped == 0);
  CHECK(flight_recorder::status().threads <= 8);
  const auto records = dump_now().records("instant");
  REQUIRE_FALSE(records.empty());
  CHECK(records.back().payload.at(0) >= 1996);
}

TEST_CASE("more live threads than there are slots lose only what is counted") {
  running_recorder recorder({.memory = 1 << 20});
  trace(0);
  const uint64_t others = dump_now().slots.size();
  with_threads(
      30, [](unsigned i) { for (int k = 0; k < 10; ++k) trace(100 + i); },
      [](std::vector<uint32_t>&) {
        const auto dump = dump_now();
        CHECK(dump.slots.size() == 8);
        CHECK(dump.records("instant").size() + dump.dropped(drop_reason::no_slot) == 301);
        CHECK(dump.dropped() == dump.dropped(drop_reason::no_slot));
        CHECK(flight_recorder::status().dropped == dump.dropped());
      });
  CHECK(others <= 8);
  usleep(5000);
  std::thread([] { trace(1000); }).join();  // now there is room
  CHECK(dump_now().records("instant").back().payload.at(0) == 1000);
}

TEST_CASE("threads are named by TRACE_THREAD_NAME, else as the system names them") {
  running_recorder recorder({.memory = 6 << 20});
  with_threads(
      4,
      [](unsigned i) {
        if (i == 0) TRACE_THREAD_NAME("named by the macro");
        if (i == 1) pthread_setname_np(pthread_self(), "by pthread");
        if (i == 2) {
          TRACE_THREAD_NAME(std::string("a name of far more than 31 characters"));
        }
        trace(i);
        if (i == 3) pthread_setname_np(pthread_self(), "named later");
      },
      [](std::vector<uint32_t>& tids) {
        const auto dump = dump_now();
        CHECK(name_of_thread(dump, tids[0]) == "named by the macro");
        CHECK(name_of_thread(dump, tids[1]) == "by pthread");
        CHECK(name_of_thread(dump, tids[2]) == "a name of far more than 31 char");
        CHECK(name_of_thread(dump, tids[3]) == "named later");
      });
  // What a thread that has ended was called stands in its chunks.
  bool found = false;
  for (const auto& chunk : dump_now().chunks) found |= chunk.thread_name == "named by the macro";
  CHECK(found);
}

TEST_CASE("a storm of signals whose handler traces loses and reorders nothing") {
  running_recorder recorder({.memory = 32 << 20});
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  handled = 0;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t i = 0; i < 100'000; ++i) {
      while (handled < i / 1000) sched_yield();  // sanitizers deliver signals late
      TRACE_REGION("region", "n", i);
      trace(i);
    }
    done = true;
    while (done) usleep(100);
  });
  const pthread_t target = writer.native_handle();
  while (!done) pthread_kill(target, SIGUSR1);
  done = false;
  writer.join();
  const auto dump = dump_now();
  CHECK(dump_reader::check_chains(dump) == 0);
  CHECK(dump.dropped() == 0);
  for (const char* name : {"region", "instant"}) {
    const auto records = dump.records(name);
    REQUIRE(records.size() == 100'000);
    bool in_order = true;
    for (uint64_t i = 0; i < records.size(); ++i) in_order &= records[i].payload.at(0) == i;
    CHECK(in_order);
  }
  CHECK(handled >= 99);
  CHECK(handled < 1'000'000);
  CHECK(dump.records("handler").size() == handled);
  CHECK(dump.records("handler instant").size() == handled);
}

TEST_CASE("a handler on an alternate stack records what its thread was in the middle of") {
  running_recorder recorder({.memory = 7 << 20});
  std::vector<char> memory(1 << 16);
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  handled = 0;
  {
    TRACE_REGION("outer");
    std::raise(SIGUSR1);
    trace(1);
    std::raise(SIGUSR1);
  }
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, nullptr);
  const auto dump = dump_now();
  CHECK(dump.records("handler").size() == 2);
  CHECK(dump.records("outer").size() == 1);
  CHECK(dump.records("instant").size() == 1);
}

TEST_CASE("every cold path keeps errno") {
  errno = 55;
  trace(0);
  CHECK(errno == 55);
  running_recorder recorder({.memory = 8 << 20});
  std::thread([] {
    errno = 56;
    trace(1);  // attaches and binds
    CHECK(errno == 56);
    TRACE_THREAD_NAME("name");
    CHECK(errno == 56);
    for (uint64_t i = 0; i < 20'000; ++i) trace(i);  // rolls chunks
    CHECK(errno == 56);
    usleep(5000);
    errno = 57;
    trace(2);  // another epoch
    { TRACE_REGION_VAR(r, "region", "text", std::string(1000, 'x')); }
    CHECK(errno == 57);
    std::string bytes;
    bytes.reserve(16 << 20);
    errno = 58;
    flight_recorder::status();
    CHECK(errno == 58);
  }).join();
}
