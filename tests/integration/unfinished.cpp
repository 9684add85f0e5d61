// SPDX-License-Identifier: MIT
// Regions that are open when the dump is made: they last until then, and say so.
#include "support/trace.hpp"

#include <sys/syscall.h>

#include <atomic>
#include <coroutine>
#include <thread>

namespace {
using namespace std::chrono_literals;
expectations expect;
}  // namespace

TEST_CASE("Open regions are slices up to the dump, nested, and marked unfinished") {
  const running_recorder recorder;
  TRACE_REGION("outer", "n", 1);
  expect(R"({"ph":"X","cat":"default","name":"outer","args":{"n":1,"unfinished":true}})");
  TRACE_REGION("inner");
  expect(R"({"ph":"X","cat":"default","name":"inner","args":{"unfinished":true}})");
  {
    TRACE_REGION("finished");
    expect(R"({"ph":"X","cat":"default","name":"finished"})");
  }
  TRACE_REGION_VAR(variable, "variable", "text", "of the region");
  expect(R"({"ph":"X","cat":"default","name":"variable",)"
         R"("args":{"text":"of the region","set":2.5,"unfinished":true}})");
  variable.set("set", 2.5);
  TRACE_INSTANT("last");
  expect(R"({"ph":"i","cat":"default","name":"last","s":"t"})");
  const trace converted = convert_now();
  expect.check(converted);
  const trace_event outer = converted.one("outer"), inner = converted.one("inner"), open = converted.one("variable");
  CHECK(outer.end_ns > inner.end_ns);
  CHECK(inner.end_ns > open.end_ns);
  CHECK(open.end_ns >= converted.one("last").start_ns);
  CHECK(outer.end_ns - open.end_ns <= 2);
}

TEST_CASE("A region that ends after a dump is whole in the next one") {
  const running_recorder recorder;
  {
    TRACE_REGION("region");
    CHECK(convert_now().json() ==
          std::vector<std::string>{R"({"ph":"X","cat":"default","name":"region","args":{"unfinished":true}})"});
  }
  CHECK(convert_now().json() == std::vector<std::string>{R"({"ph":"X","cat":"default","name":"region"})"});
}

TEST_CASE("An open region is in every window, however long ago it began") {
  const running_recorder recorder;
  TRACE_REGION("long");
  const auto end = std::chrono::steady_clock::now() + 30ms;
  while (std::chrono::steady_clock::now() < end) {
  }
  const trace converted = convert_now({.last = 1ms});
  CHECK(converted.one("long").length_ns() > 30'000'000 - 1000);
}

TEST_CASE("Open regions of other threads are there too, each on its thread") {
  const running_recorder recorder;
  std::atomic<uint64_t> tid{0};
  std::atomic<bool> done{false};
  std::thread thread([&] {
    TRACE_REGION("waiting", "for", "the test");
    tid = static_cast<uint64_t>(syscall(SYS_gettid));
    while (!done) std::this_thread::sleep_for(1ms);
  });
  while (tid == 0) std::this_thread::sleep_for(1ms);
  const trace converted = convert_now();
  done = true;
  thread.join();
  CHECK(converted.one("waiting").tid == tid);
  CHECK(converted.one("waiting").json ==
        R"({"ph":"X","cat":"default","name":"waiting","args":{"for":"the test","unfinished":true}})");
}

namespace {

/// Suspends within a region, so that whoever resumes ends it.
struct task {
  struct promise_type {
    task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

task suspend_within_a_region() {
  TRACE_REGION("carried", "n", 7);
  co_await std::suspend_always{};
}

}  // namespace

TEST_CASE("A region that ends on another thread is an asynchronous slice that says where it began") {
  const running_recorder recorder;
  const uint64_t here = static_cast<uint64_t>(syscall(SYS_gettid));
  uint64_t there = 0;
  const task carried = suspend_within_a_region();
  CHECK(convert_now().one("carried").json ==
        R"({"ph":"X","cat":"default","name":"carried","args":{"n":7,"unfinished":true}})");
  std::thread([&] {
    there = static_cast<uint64_t>(syscall(SYS_gettid));
    carried.handle.resume();
  }).join();
  carried.handle.destroy();
  const trace converted = convert_now();
  INFO(converted.text);
  REQUIRE(converted.events.size() == 2);
  const trace_event begin = converted.events[0], end = converted.events[1];
  CHECK(begin.phase == 'b');
  CHECK(end.phase == 'e');
  CHECK(begin.start_ns < end.start_ns);
  CHECK(begin.json.find("\"n\":7") != std::string::npos);
  CHECK(begin.json.find("\"begun on tid\":" + std::to_string(here)) != std::string::npos);
  CHECK(begin.tid == there);
}

TEST_CASE("Regions that end out of order keep their times") {
  const running_recorder recorder;
  const auto pause = [] {
    const auto end = std::chrono::steady_clock::now() + 2ms;
    while (std::chrono::steady_clock::now() < end) {
    }
  };
  TRACE_REGION_VAR(first, "first");
  pause();
  TRACE_REGION_VAR(second, "second");
  pause();
  first.end();
  pause();
  second.end();
  const trace converted = convert_now();
  INFO(converted.text);
  const trace_event one = converted.one("first");  // the one of them that has a track of its own has two events
  const std::vector<trace_event> other = converted.all("second");
  REQUIRE(other.size() == 2);
  CHECK(one.length_ns() >= 4'000'000 - 1000);
  CHECK(other[0].phase == 'b');
  CHECK(other[1].phase == 'e');
  CHECK(other[0].start_ns >= one.start_ns + 2'000'000 - 1000);
  CHECK(other[1].start_ns >= one.end_ns + 2'000'000 - 1000);
}
