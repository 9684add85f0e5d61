// SPDX-License-Identifier: MIT
#include "contrail/macros.hpp"

#include "support/recorder.hpp"

#include <coroutine>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

namespace {

int evaluated = 0;
int evaluate() { return ++evaluated; }

/// A coroutine that stops once, with a region open.
struct task {
  struct promise_type {
    task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

task stopping(uint64_t n) {
  TRACE_REGION_VAR(r, "coroutine", "n", n);
  { TRACE_REGION("before the stop"); }
  co_await std::suspend_always{};
  { TRACE_REGION("after the stop"); }
  r.set("resumed", true);
}

void throw_through_regions(int depth) {
  TRACE_REGION("left by an exception", "depth", depth);
  if (depth == 0) throw std::runtime_error("thrown");
  throw_through_regions(depth - 1);
}

struct counted {
  counted() { TRACE_FUNCTION(); }
  int method(int n) const {
    TRACE_FUNCTION("n", n);
    return n;
  }
};

/// A region that outlives the scope that began it.
struct held {
  contrail::region region;
  held() : region(contrail::detail::begin_region_var(CONTRAIL_DETAIL_SITE("held"), "held")) {}
};

}  // namespace

TEST_CASE("arguments are evaluated once, and only once, whether or not anything records") {
  evaluated = 0;
  { TRACE_REGION("off", "n", evaluate()); }
  CHECK(evaluated <= 1);
  running_recorder recorder;
  evaluated = 0;
  { TRACE_REGION("region", "n", evaluate()); }
  CHECK(evaluated == 1);
  TRACE_INSTANT("instant", "n", evaluate());
  CHECK(evaluated == 2);
  TRACE_COUNTER("counter", evaluate());
  CHECK(evaluated == 3);
  TRACE_LOG("{}", evaluate());
  CHECK(evaluated == 4);
}

TEST_CASE("an exception ends the regions that it leaves") {
  running_recorder recorder;
  CHECK_THROWS(throw_through_regions(9));
  { TRACE_REGION("afterwards"); }
  const auto dump = dump_now();
  CHECK(dump.records("left by an exception").size() == 10);
  CHECK(dump.records("afterwards").size() == 1);
  CHECK(dump.open_names().empty());
  CHECK(dump.dropped() == 0);
}

TEST_CASE("a coroutine may be resumed on another thread, and end its region there") {
  running_recorder recorder;
  for (uint64_t i = 0; i < 100; ++i) {
    task one = stopping(2 * i), other = stopping(2 * i + 1);
    one.handle.resume();
    std::thread([&] { other.handle.resume(); }).join();
    one.handle.destroy();
    other.handle.destroy();
  }
  const auto dump = dump_now();
  const auto found = dump.records("coroutine");
  REQUIRE(found.size() == 200);
  for (const auto& r : found) {
    CHECK((r.kind == dump_reader::record::async_region) == (r.payload.at(0) % 2 == 1));
  }
  CHECK(dump.records("before the stop").size() == 200);
  CHECK(dump.records("after the stop").size() == 200);
  CHECK(dump.dropped() == 0);
  CHECK(dump.open_names().empty());
}

TEST_CASE("regions on the heap may end in any order") {
  running_recorder recorder;
  std::unique_ptr<held> regions[20];
  for (auto& each : regions) each = std::make_unique<held>();
  for (size_t i = 0; i < 20; ++i) regions[i * 7 % 20].reset();
  const auto dump = dump_now();
  CHECK(dump.records("held").size() == 20);
  CHECK(dump.dropped() == 0);
  CHECK(dump.open_names().empty());
}

TEST_CASE("functions are named with their class") {
  running_recorder recorder;
  counted().method(3);
  const auto dump = dump_now();
  bool constructor = false, method = false;
  for (const auto& entry : dump.bindings) {
    constructor |= entry.second.name.find("counted::counted") != std::string::npos;
    method |= entry.second.name.find("counted::method") != std::string::npos;
  }
  CHECK(constructor);
  CHECK(method);
}

TEST_CASE("fields set until the region is full are kept, those beyond are left out") {
  running_recorder recorder;
  {
    TRACE_REGION_VAR(r, "full", "first", uint64_t{1});
    for (int i = 0; i < 50; ++i) r.set("key", uint64_t{2});
    r.set("text", std::string(500, 'x'));
    r.end();
    r.set("late", 3);  // ended: ignored
    r.end();
  }
  const auto records = dump_now().records("full");
  REQUIRE(records.size() == 1);
  CHECK(records[0].payload.size() <= 20);
  CHECK(records[0].payload.size() > 15);
  CHECK(records[0].payload[0] == 1);
}
