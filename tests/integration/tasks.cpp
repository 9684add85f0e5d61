// SPDX-License-Identifier: MIT
// Tasks and asynchronous spans: from a thread to another one, into dumps while they are open, and into the trace.
#include "contrail/reader.hpp"
#include "support/trace.hpp"

#include <coroutine>
#include <map>
#include <optional>
#include <set>
#include <thread>

namespace {

using contrail::event;
using contrail::event_form;
using contrail::task;
using contrail::task_scope;

/// A dump of now and what is in it.
struct found_events {
  std::string bytes = dump_bytes();
  contrail::reader all{bytes.data(), bytes.size()};

  std::vector<event> named(std::string_view name) const {
    std::vector<event> found;
    for (const event& e : all) {
      if (e.name() == name) found.push_back(e);
    }
    return found;
  }
  event one(std::string_view name) const {
    INFO(name);
    REQUIRE(named(name).size() == 1);
    return named(name).front();
  }
};

/// The value of `"key":` in an event's text, up to the next comma or brace.
std::string argument(const trace_event& event, const std::string& key) {
  const size_t at = event.json.find("\"" + key + "\":");
  if (at == std::string::npos) return "";
  const size_t from = at + key.size() + 3;
  return event.json.substr(from, event.json.find_first_of(",}", from) - from);
}

std::string hex(uint64_t id) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(id));
  return text;
}

struct hopping {
  struct promise_type {
    hopping get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

hopping work_on_threads(task owned) {
  for (const char* name : {"step 1", "step 2", "step 3"}) {
    co_await std::suspend_always{};
    task_scope scope(owned);
    TRACE_INSTANT("step", "name", name);
    TRACE_REGION("work");
  }
  owned.end();
}

}  // namespace

TEST_CASE("a coroutine that owns a task takes it over threads, and it is one record") {
  running_recorder recorder;
  TRACE_TASK(order, "order");
  const std::string name = "\"order " + hex(order.context().id) + "\"";
  const hopping work = work_on_threads(std::move(order));
  uint64_t last_tid = 0;
  for (int i = 0; i < 3; ++i) {
    std::thread([&] {
      last_tid = static_cast<uint64_t>(gettid());
      work.handle.resume();
      TRACE_REGION("after");
    }).join();
  }
  CHECK(work.handle.done());
  work.handle.destroy();
  const found_events events;
  const event e = events.one("order");
  CHECK(e.form() == event_form::span);
  CHECK(e.thread().tid == last_tid);
  const trace found = convert_now();
  REQUIRE(found.all("work").size() == 3);
  for (const trace_event& one : found.all("work")) CHECK(argument(one, "task") == name);
  REQUIRE(found.all("after").size() == 3);
  for (const trace_event& one : found.all("after")) CHECK(argument(one, "task") == "");
}

TEST_CASE("a scope that is destroyed on another thread leaves that one's current task as it was") {
  running_recorder recorder;
  TRACE_TASK(first, "first");
  TRACE_TASK(second, "second");
  TRACE_TASK(third, "third");
  task_scope around(first);
  std::optional<task_scope> stray(std::in_place, second);
  std::thread([&] {
    task_scope own(third);
    stray.reset();
    TRACE_REGION("there");
  }).join();
  {
    TRACE_REGION("here");
  }
  std::thread([&] {
    task_scope own(third);
    stray.emplace(first);
  }).join();
  stray.reset();
  {
    TRACE_REGION("still here");
  }
  const trace found = convert_now();
  CHECK(argument(found.one("there"), "task") == "\"third " + hex(third.context().id) + "\"");
  for (const char* name : {"here", "still here"}) {
    CHECK(argument(found.one(name), "task") == "\"second " + hex(second.context().id) + "\"");
  }
}

TEST_CASE("a task that ends on another thread is one record there, with its arguments and who began it") {
  running_recorder recorder;
  TRACE_TASK(order, "order", "id", 7, "what", "tea");
  const uint64_t id = order.context().id;
  REQUIRE(id != 0);
  uint64_t other_tid = 0;
  std::thread([&, moved = std::move(order)]() mutable {
    other_tid = static_cast<uint64_t>(gettid());
    moved.end();
    moved.end();  // harmless
  }).join();
  CHECK_FALSE(order);
  const found_events found;
  const event e = found.one("order");
  CHECK(e.form() == event_form::span);
  CHECK(e.kind() == contrail::event_kind::task);
  CHECK(e.thread().tid == other_tid);
  CHECK(e.begin_tid() == static_cast<uint32_t>(gettid()));
  CHECK(e.span().id == id);
  CHECK(e.duration_ns() > 0);
  CHECK(e.fields().find("id")->value().as_int() == 7);
  CHECK(e.fields().find("what")->value().text == "tea");
}

TEST_CASE("a task that is assigned another one ends, and only the target has the other") {
  running_recorder recorder;
  TRACE_TASK(target, "first");
  TRACE_TASK(source, "second");
  target = std::move(source);
  CHECK_FALSE(source);
  source.end();
  CHECK(target);
  const found_events found;
  CHECK(found.one("first").form() == event_form::span);
  CHECK(found.one("second").form() == event_form::open_span);
}

TEST_CASE("tasks and spans that are open are in every dump, and once more when they have ended") {
  running_recorder recorder;
  TRACE_TASK(order, "order", "n", 1);
  TRACE_ASYNC(span, "span", "n", 2);
  {
    const found_events found;
    for (const char* name : {"order", "span"}) {
      const event e = found.one(name);
      CHECK(e.form() == event_form::open_span);
      CHECK(e.fields().size() == 1);
      CHECK(e.end_ticks() >= e.start_ticks());
    }
    CHECK(found.one("span").span().own == 0);  // of no trace
  }
  order.end();
  const found_events found;
  CHECK(found.one("order").form() == event_form::span);
  CHECK(found.one("span").form() == event_form::open_span);
}

TEST_CASE("an open task is shown though no thread has recorded anything") {
  running_recorder recorder;
  std::optional<task> open;
  std::thread([&] {  // not on a thread that recorded in another test
    TRACE_TASK(order, "order");
    open = std::move(order);
  }).join();
  unsigned begun = 0;
  for (const std::string& line : convert_now().json()) {
    begun += line.find("\"ph\":\"b\"") != std::string::npos && line.find("\"order\"") != std::string::npos;
  }
  CHECK(begun == 1);
}

TEST_CASE("a task's parent is the current task, or the one that is given, here or in another process") {
  running_recorder recorder;
  TRACE_TASK(root, "root");
  std::optional<task_scope> scope(root);
  TRACE_TASK(child, "child");
  TRACE_ASYNC(span, "span");
  scope.reset();
  TRACE_TASK(unrelated, "unrelated");
  TRACE_TASK_OF(given, child, "given");
  const auto remote =
      contrail::task_context::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  TRACE_TASK_OF(joined, remote, "joined");
  TRACE_TASK_OF(of_none, contrail::task_context{}, "of none");

  const found_events found;
  const auto what = [&](const char* name) { return found.one(name).span(); };
  const contrail::event_span a = what("root"), b = what("child"), c = what("given");
  CHECK(a.parent == 0);
  CHECK(a.from == 0);
  CHECK(b.parent == a.id);
  CHECK(b.from == a.own);
  CHECK(c.parent == b.id);
  CHECK(c.from == b.own);
  CHECK(what("span").parent == a.id);
  CHECK(what("unrelated").parent == 0);
  for (const contrail::event_span& one : {b, c}) {
    CHECK(one.trace_high == a.trace_high);
    CHECK(one.trace_low == a.trace_low);
  }
  CHECK(what("unrelated").trace_low != a.trace_low);
  const contrail::event_span d = what("joined");
  CHECK(d.parent == 0);
  CHECK(d.trace_high == 0x0af7651916cd43dd);
  CHECK(d.trace_low == 0x8448eb211c80319c);
  CHECK(d.from == 0xb7ad6b7169203331);
  CHECK(what("of none").from == 0);
  std::set<uint64_t> spans;
  for (const char* name : {"root", "child", "given", "joined", "unrelated", "of none"}) spans.insert(what(name).own);
  CHECK(spans.size() == 6);
  // What it sends to others is what it recorded.
  CHECK(joined.context().span == d.own);
  CHECK(joined.context().trace_low == d.trace_low);
}

TEST_CASE("regions, instants and log lines say which task was current when they began") {
  running_recorder recorder;
  TRACE_TASK(outer, "outer");
  TRACE_TASK(inner, "inner");
  { TRACE_REGION("of none"); }
  {
    task_scope in_outer(outer);
    TRACE_REGION("of outer");
    TRACE_LOG("line of outer");
    {
      task_scope in_inner(inner.context());
      TRACE_INSTANT("of inner");
      task_scope in_nothing{contrail::task_context{}};  // changes nothing
      TRACE_REGION("also of inner", "n", 1);
    }
    TRACE_INSTANT("of outer again");
  }
  TRACE_INSTANT("of none again");
  const std::string outer_name = "\"outer " + hex(outer.context().id) + "\"";
  const std::string inner_name = "\"inner " + hex(inner.context().id) + "\"";
  const trace found = convert_now();
  for (const char* name : {"of none", "of none again"}) CHECK(argument(found.one(name), "task") == "");
  for (const char* name : {"of outer", "line of outer", "of outer again"}) {
    CHECK(argument(found.one(name), "task") == outer_name);
  }
  for (const char* name : {"of inner", "also of inner"}) CHECK(argument(found.one(name), "task") == inner_name);
  CHECK(argument(found.one("also of inner"), "n") == "1");
}

TEST_CASE("the current task is known after all chunks in which it became current were overwritten") {
  running_recorder recorder({.memory = 1 << 20});
  TRACE_TASK(order, "order");
  task_scope scope(order);
  for (int i = 0; i < 300'000; ++i) {
    TRACE_REGION("step");
  }
  REQUIRE(flight_recorder::status().window_ns > 0);
  const trace found = convert_now();
  const std::vector<trace_event> steps = found.all("step");
  REQUIRE(steps.size() > 1000);
  REQUIRE(steps.size() < 300'000);
  const std::string name = "\"order " + hex(order.context().id) + "\"";
  size_t known = 0;
  for (const trace_event& step : steps) known += argument(step, "task") == name;
  CHECK(known >= steps.size() - 1);  // the first may have begun before its chunk did
}

TEST_CASE("an entry is free again when its task has ended, and ids are never used again") {
  running_recorder recorder({.memory = 1 << 20});
  std::set<uint64_t> ids;
  for (int i = 0; i < 5000; ++i) {
    TRACE_TASK(one, "one");
    ids.insert(one.context().id);
  }
  CHECK(ids.size() == 5000);
  CHECK(flight_recorder::status().dropped == 0);
}

TEST_CASE("more open tasks than there are entries are counted, and do nothing") {
  running_recorder recorder({.memory = 1 << 20});
  std::vector<task> open;
  for (int i = 0; i < 100; ++i) {
    TRACE_TASK(one, "one");
    open.push_back(std::move(one));
  }
  size_t recorded = 0;
  for (const task& one : open) recorded += bool(one);
  const uint64_t dropped = dump_now().dropped(contrail::detail::drop_reason::no_span);
  CHECK(recorded > 16);
  CHECK(dropped == 100 - recorded);
  CHECK(found_events().named("one").size() == recorded);
}

TEST_CASE("a task that outlives its recording is counted in the next one, and takes part in nothing") {
  std::optional<task> old, older;
  {
    running_recorder recorder({.memory = 1 << 20});
    TRACE_TASK(one, "old");
    old = std::move(one);
    TRACE_TASK(two, "older");
    older = std::move(two);
  }
  { older.reset(); }  // while nothing records
  running_recorder recorder({.memory = 2 << 20});
  TRACE_TASK_OF(child, *old, "child");
  old.reset();
  const found_events found;
  CHECK(found.named("old").empty());
  CHECK(found.named("older").empty());
  CHECK(found.one("child").form() == event_form::open_span);
  CHECK(dump_now().dropped(contrail::detail::drop_reason::misnested) == 1);
}

TEST_CASE("a scope that ends while nothing records is over in the next recording, and one that begins then is none") {
  std::optional<task> outer;
  std::optional<task_scope> scope;
  {
    running_recorder recorder({.memory = 1 << 20});
    TRACE_TASK(one, "outer");
    outer = std::move(one);
    scope.emplace(*outer);
  }
  SECTION("it ends") {
    scope.reset();
    outer.reset();
    running_recorder recorder({.memory = 1 << 20});  // in the same image
    { TRACE_REGION("after"); }
    TRACE_TASK(root, "root");
    const found_events found;
    CHECK(found.one("root").span().parent == 0);
    CHECK(argument(convert_now().one("after"), "task") == "");
  }
  SECTION("another begins") {
    std::optional<task_scope> inner(std::in_place, *outer);
    running_recorder recorder({.memory = 1 << 20});
    inner.reset();
    TRACE_TASK(child, "child");
    CHECK(found_events().one("child").span().parent == outer->context().id);
    scope.reset();
  }
}

TEST_CASE("a filter leaves tasks out") {
  running_recorder recorder({.memory = 1 << 20, .filter = {.names = "-order"}});
  TRACE_TASK(order, "order");
  TRACE_TASK(other, "other");
  CHECK_FALSE(order);
  CHECK(other);
  CHECK_FALSE(order.context());
  task_scope scope(order);
  const found_events found;
  CHECK(found.named("order").empty());
}

TEST_CASE("while nothing records, tasks are empty") {
  TRACE_TASK(order, "order", "n", 1);
  task_scope scope(order);
  CHECK_FALSE(order);
  char text[contrail::traceparent_bytes + 1];
  CHECK_FALSE(order.context().write_traceparent(text));
}

TEST_CASE("threads that begin, hand over and end tasks beside dumps lose none and show each once") {
  running_recorder recorder({.memory = 16 << 20});
  constexpr int threads = 4, each = 3000;
  std::atomic<int> left{threads};
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      task before;
      for (int i = 0; i < each; ++i) {
        TRACE_TASK_OF(one, before, "one", "n", t * each + i);
        task_scope scope(one);
        TRACE_INSTANT("in one");
        before = std::move(one);  // ends the one before
      }
      --left;
    });
  }
  while (left != 0) {
    const found_events found;
    std::map<uint64_t, int> times;
    for (const event& e : found.named("one")) {
      REQUIRE(e.fields().size() == 1);
      ++times[e.span().id];
      if (e.span().parent != 0) REQUIRE(e.span().from != 0);
    }
    for (const auto& [id, count] : times) REQUIRE(count == 1);
  }
  for (std::thread& worker : workers) worker.join();
  const found_events found;
  std::set<int64_t> numbers;
  for (const event& e : found.named("one")) {
    CHECK(e.form() == event_form::span);
    numbers.insert(e.fields()[0].value().as_int());
  }
  CHECK(numbers.size() == threads * each);
  CHECK(flight_recorder::status().dropped == 0);
}
