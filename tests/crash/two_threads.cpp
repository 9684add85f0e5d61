// SPDX-License-Identifier: MIT
// Threads that crash at the same time leave one whole dump, of the one that was first, and the process dies of its
// signal.
#include "support/crash_child.hpp"

#include <sys/syscall.h>

#include <atomic>
#include <thread>
#include <vector>

namespace {

namespace image = contrail::detail;

std::atomic<int> ready{0};
std::atomic<bool> dumping{false};
std::atomic<bool> slow{false};

}  // namespace

extern "C" ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (descriptor > 2) {
    dumping = true;
    if (slow.exchange(false)) usleep(200'000);
  }
  return syscall(SYS_write, descriptor, bytes, size);
}

namespace {

constexpr int signals[] = {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS, SIGSEGV, SIGSYS, SIGSEGV};

void crash_together(int count) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([i, count] {
      TRACE_REGION("crashes together", "n", i);
      ++ready;
      while (ready != count) sched_yield();
      if (signals[i] == SIGSEGV) store_to(nullptr);
      std::raise(signals[i]);
    });
  }
  for (auto& thread : threads) thread.join();
}

CHILD(crash_at_once) {
  record_and_watch();
  crash_together(static_cast<int>(child_argument()));
}

CHILD(crash_at_once_with_an_earlier_handler) {
  std::signal(SIGSEGV, [](int signal) {
    usleep(50'000);
    std::signal(signal, SIG_DFL);
  });
  record_and_watch();
  crash_together(static_cast<int>(child_argument()));
}

CHILD(terminates_twice) {
  record_and_watch();
  const auto run = [] {
    ++ready;
    while (ready != 2) sched_yield();
    throw 1;
  };
  std::thread one(run), other(run);
  one.join();
}

CHILD(crashes_while_another_crash_is_dumped) {
  record_and_watch();
  slow = true;
  std::thread first([] {
    TRACE_REGION("first");
    std::raise(SIGFPE);
  });
  while (!dumping) sched_yield();
  store_to(nullptr);
}

CHILD(crashes_behind_one_that_never_dies) {
  std::signal(SIGFPE, [](int) {
    for (;;) pause();
  });
  record_and_watch({.watchdog = contrail::duration(100'000'000)});
  std::thread first([] { std::raise(SIGFPE); });
  while (!dumping) sched_yield();
  store_to(nullptr);
}

CHILD(crashes_behind_one_that_is_gone) {
  std::signal(SIGFPE, [](int) { syscall(SYS_exit, 0); });  // of the thread alone
  record_and_watch();
  std::thread first([] { std::raise(SIGFPE); });
  first.detach();
  while (!dumping) sched_yield();
  store_to(nullptr);
}

}  // namespace

TEST_CASE("of threads that crash at once the first is dumped, and all of them are in the dump") {
  for (int round = 0; round < 10; ++round) {
    for (const int count : {2, 8}) {
      for (const char* name : {"crash_at_once", "crash_at_once_with_an_earlier_handler"}) {
        const crash_outcome left = run_child(name, count);
        const auto dump = left.dump();
        INFO(name << " " << left.said);
        CHECK(dump.super.dump_sequence == 1);
        if (name == std::string("crash_at_once")) CHECK(left.signal == static_cast<int>(dump.super.crash.signal));
        else CHECK(left.signal != 0);
        CHECK(dump.open_names().size() == static_cast<size_t>(count));
      }
    }
  }
}

TEST_CASE("two threads that terminate at once leave one dump") {
  const crash_outcome left = run_child("terminates_twice");
  CHECK(left.signal == SIGABRT);
  const auto dump = left.dump();
  CHECK(dump.super.crash.cause == image::crash_cause::terminate);
  CHECK(dump.super.dump_sequence == 1);
}

TEST_CASE("a thread that crashes while the crash of another one is dumped waits for that") {
  const crash_outcome left = run_child("crashes_while_another_crash_is_dumped");
  CHECK(left.signal == SIGFPE);
  const auto dump = left.dump();
  CHECK(dump.super.crash.signal == SIGFPE);
  CHECK(dump.open_names() == std::vector<std::string>{"first"});
}

TEST_CASE("a thread that crashes behind one that does not die does not wait for ever") {
  for (const char* name : {"crashes_behind_one_that_never_dies", "crashes_behind_one_that_is_gone"}) {
    INFO(name);
    const crash_outcome left = run_child(name);
    CHECK(left.signal == SIGSEGV);
    CHECK(left.dump().super.crash.signal == SIGSEGV);
  }
}
