// SPDX-License-Identifier: MIT
// Every macro, in every place where one may stand, with the event that the converter makes of it.
#include "support/trace.hpp"

#include <coroutine>

namespace {
expectations expect;
}

// Everything before the first TRACE_CATEGORY is in the category "default".

struct uncategorised {
  int n;
};
TRACE_EVENT_TYPE(uncategorised, n);

namespace shop {
TRACE_CATEGORY("shop");

enum class payment : uint8_t { cash, card };

struct order {
  int number;
  double price;
  payment paid_by;
};
TRACE_EVENT_TYPE(order, number, price, paid_by);

struct delivery {
  order what;
  const char* to;
};
TRACE_EVENT_TYPE(delivery, what, to);

struct till {
  void open() { TRACE_FUNCTION("drawer", 1); }
  static void close() { TRACE_FUNCTION(); }
  template <class T>
  void add(T price) {
    TRACE_FUNCTION("price", price);
  }
  void operator()() const { TRACE_FUNCTION(); }
};

void free_function() { TRACE_FUNCTION(); }

namespace storage {
// No category of its own: that of the enclosing namespace.
void fetch() { TRACE_INSTANT("fetch"); }
}  // namespace storage

namespace delivery_service {
TRACE_CATEGORY("shop.delivery");
void send() { TRACE_INSTANT("send"); }
namespace inner {
void pack() { TRACE_INSTANT("pack"); }
}  // namespace inner
}  // namespace delivery_service

void after_the_inner_namespace() { TRACE_INSTANT("still shop"); }

}  // namespace shop

namespace {

template <class T>
T square(T value) {
  TRACE_REGION("square", "value", value);
  return value * value;
}

constexpr int twice(int n) {
  TRACE_REGION("twice", "n", n);
  TRACE_INSTANT("doubling");
  TRACE_COUNTER("doubled", n);
  TRACE_LOG("{} twice", n);
  return 2 * n;
}
static_assert(twice(21) == 42);

inline int inline_function() {
  TRACE_REGION("in an inline function");
  return 1;
}

/// Starts at once; stops where it suspends, until resumed.
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

task coroutine(int n) {
  {
    TRACE_REGION("before it suspends", "n", n);
  }
  co_await std::suspend_always{};
  TRACE_INSTANT("resumed", "n", n + 1);
}

}  // namespace

TEST_CASE("Regions show their name, category and arguments") {
  const running_recorder recorder;
  {
    TRACE_REGION("plain");
    expect(R"({"ph":"X","cat":"default","name":"plain"})");
  }
  {
    TRACE_SCOPE("synonym", "n", 1, "text", "two");
    expect(R"({"ph":"X","cat":"default","name":"synonym","args":{"n":1,"text":"two"}})");
  }
  {
    TRACE_REGION("with an object", shop::order{7, 2.5, shop::payment::card});
    expect(R"({"ph":"X","cat":"default","name":"with an object","args":{"number":7,"price":2.5,"paid_by":"card"}})");
  }
  {
    TRACE_REGION("split "
                 "literal", R"(raw "key")", 1);
    expect(R"({"ph":"X","cat":"default","name":"split literal","args":{"raw \"key\"":1}})");
  }
  {
    TRACE_REGION("grün\n\"x\", y", "käse", 1);
    expect(R"({"ph":"X","cat":"default","name":"gr\u00fcn\n\"x\", y","args":{"k\u00e4se":1}})");
  }
  expect.check(convert_now());
}

TEST_CASE("A region variable takes values later, and ends when told or with its scope") {
  const running_recorder recorder;
  {
    TRACE_REGION_VAR(request, "request", "path", "/x");
    expect(R"({"ph":"X","cat":"default","name":"request",)"
           R"("args":{"path":"/x","status":200,"cached":true,"why":"hit"}})");
    request.set("status", 200);
    request.set("cached", true);
    request.set("why", "hit");
    request.end();
    request.end();  // once is enough
    TRACE_INSTANT("after the end");
    expect(R"({"ph":"i","cat":"default","name":"after the end","s":"t"})");
  }
  {
    TRACE_REGION_VAR(bare, "bare");
    expect(R"({"ph":"X","cat":"default","name":"bare"})");
  }
  const trace converted = convert_now();
  expect.check(converted);
  CHECK(converted.one("request").end_ns <= converted.one("after the end").start_ns);
}

TEST_CASE("Functions show their class and their namespaces") {
  const running_recorder recorder;
  shop::free_function();
  expect(R"({"ph":"X","cat":"shop","name":"shop::free_function"})");
  shop::till().open();
  expect(R"({"ph":"X","cat":"shop","name":"shop::till::open","args":{"drawer":1}})");
  shop::till::close();
  expect(R"({"ph":"X","cat":"shop","name":"shop::till::close"})");
  shop::till().add(1.5);
#ifdef __clang__
  expect(R"({"ph":"X","cat":"shop","name":"shop::till::add","args":{"price":1.5}})");
#else
  expect(R"({"ph":"X","cat":"shop","name":"shop::till::add<double>","args":{"price":1.5}})");
#endif
  shop::till()();
  expect("{\"ph\":\"X\",\"cat\":\"shop\",\"name\":\"shop::till::operator()\"}");
  expect.check(convert_now());
}

TEST_CASE("Instants, counters and log lines show what they carry") {
  const running_recorder recorder;
  TRACE_INSTANT("bare instant");
  expect(R"({"ph":"i","cat":"default","name":"bare instant","s":"t"})");
  TRACE_INSTANT("instant", "letter", 'x', "no", false);
  expect(R"({"ph":"i","cat":"default","name":"instant","s":"t","args":{"letter":"x","no":false}})");
  TRACE_INSTANT("instant with an object", shop::order{1, 0.25, shop::payment::cash});
  expect(R"({"ph":"i","cat":"default","name":"instant with an object","s":"t",)"
         R"("args":{"number":1,"price":0.25,"paid_by":"cash"}})");
  TRACE_COUNTER("queue", 7);
  expect(R"({"ph":"C","cat":"default","name":"queue","args":{"value":7}})");
  TRACE_COUNTER("queue", -8);
  expect(R"({"ph":"C","cat":"default","name":"queue","args":{"value":-8}})");
  TRACE_COUNTER("load", 0.5);
  expect(R"({"ph":"C","cat":"default","name":"load","args":{"value":0.5}})");
  TRACE_LOG("plain line");
  expect(R"({"ph":"i","cat":"default","name":"plain line","s":"t","args":{"message":"plain line"}})");
  TRACE_LOG("{1:>4}|{0:x}|{{}}", 255, "ab");
  expect(R"({"ph":"i","cat":"default","name":"  ab|ff|{}","s":"t","args":{"message":"  ab|ff|{}"}})");
  TRACE_LOG("sold {} for {}", 2, 1.0);
  expect(R"({"ph":"i","cat":"default","name":"sold 2 for 1","s":"t","args":{"message":"sold 2 for 1"}})");
  expect.check(convert_now());
}

TEST_CASE("Objects of registered types show their members under the type's name and category") {
  const running_recorder recorder;
  TRACE_EMIT(shop::order{1, 9.5, shop::payment::cash});
  expect(R"({"ph":"i","cat":"shop","name":"shop::order","s":"t","args":{"number":1,"price":9.5,"paid_by":"cash"}})");
  const shop::delivery nested{{2, 1.5, shop::payment::card}, "home"};
  TRACE_EMIT(nested);
  expect(R"({"ph":"i","cat":"shop","name":"shop::delivery","s":"t",)"
         R"("args":{"what.number":2,"what.price":1.5,"what.paid_by":"card","to":"home"}})");
  TRACE_EMIT(uncategorised{3});
  expect(R"({"ph":"i","cat":"default","name":"uncategorised","s":"t","args":{"n":3}})");
  expect.check(convert_now());
}

TEST_CASE("A category holds for its namespace and those inside, until they name their own") {
  const running_recorder recorder;
  shop::storage::fetch();
  expect(R"({"ph":"i","cat":"shop","name":"fetch","s":"t"})");
  shop::delivery_service::send();
  expect(R"({"ph":"i","cat":"shop.delivery","name":"send","s":"t"})");
  shop::delivery_service::inner::pack();
  expect(R"({"ph":"i","cat":"shop.delivery","name":"pack","s":"t"})");
  shop::after_the_inner_namespace();
  expect(R"({"ph":"i","cat":"shop","name":"still shop","s":"t"})");
  expect.check(convert_now());
}

TEST_CASE("Macros work on one line, in templates, lambdas, coroutines, constexpr and inline functions") {
  const running_recorder recorder;
  {
    TRACE_REGION("first on the line"); TRACE_REGION("second on the line");  // NOLINT
    expect(R"({"ph":"X","cat":"default","name":"first on the line"})");
    expect(R"({"ph":"X","cat":"default","name":"second on the line"})");
  }
  square(3);
  expect(R"({"ph":"X","cat":"default","name":"square","args":{"value":3}})");
  square(0.5);
  expect(R"({"ph":"X","cat":"default","name":"square","args":{"value":0.5}})");
  [](auto n) { TRACE_REGION("in a lambda", "n", n); }(uint8_t{4});
  expect(R"({"ph":"X","cat":"default","name":"in a lambda","args":{"n":4}})");
  int counted = 0;
  const auto count = [&] { return ++counted; };
  TRACE_INSTANT("evaluated once", "n", count());
  expect(R"({"ph":"i","cat":"default","name":"evaluated once","s":"t","args":{"n":1}})");
  CHECK(counted == 1);
  volatile int five = 5;
  CHECK(twice(five) == 10);
  expect(R"({"ph":"X","cat":"default","name":"twice","args":{"n":5}})");
  expect(R"({"ph":"i","cat":"default","name":"doubling","s":"t"})");
  expect(R"({"ph":"C","cat":"default","name":"doubled","args":{"value":5}})");
  expect(R"({"ph":"i","cat":"default","name":"5 twice","s":"t","args":{"message":"5 twice"}})");
  inline_function();
  expect(R"({"ph":"X","cat":"default","name":"in an inline function"})");
  const task running = coroutine(1);
  expect(R"({"ph":"X","cat":"default","name":"before it suspends","args":{"n":1}})");
  TRACE_INSTANT("between");
  expect(R"({"ph":"i","cat":"default","name":"between","s":"t"})");
  running.handle.resume();
  expect(R"({"ph":"i","cat":"default","name":"resumed","s":"t","args":{"n":2}})");
  running.handle.destroy();
  expect.check(convert_now());
}

TEST_CASE("Macros may stand where a single statement may") {
  const running_recorder recorder;
  if (flight_recorder::status().state == contrail::recorder_state::recording) TRACE_INSTANT("then");
  else TRACE_INSTANT("otherwise");
  expect(R"({"ph":"i","cat":"default","name":"then","s":"t"})");
  for (int i = 0; i < 2; ++i) TRACE_COUNTER("loop", i);
  expect(R"({"ph":"C","cat":"default","name":"loop","args":{"value":0}})");
  expect(R"({"ph":"C","cat":"default","name":"loop","args":{"value":1}})");
  expect.check(convert_now());
}

TEST_CASE("The long names record as the short ones do") {
  const running_recorder recorder;
  [] {
    CONTRAIL_REGION("region", "n", 1);
    expect(R"({"ph":"X","cat":"default","name":"region","args":{"n":1}})");
    CONTRAIL_SCOPE("scope");
    expect(R"({"ph":"X","cat":"default","name":"scope"})");
    CONTRAIL_REGION_VAR(variable, "variable");
    expect(R"({"ph":"X","cat":"default","name":"variable","args":{"n":2}})");
    variable.set("n", 2);
    CONTRAIL_INSTANT("instant");
    expect(R"({"ph":"i","cat":"default","name":"instant","s":"t"})");
    CONTRAIL_COUNTER("counter", 1);
    expect(R"({"ph":"C","cat":"default","name":"counter","args":{"value":1}})");
    CONTRAIL_EMIT(uncategorised{4});
    expect(R"({"ph":"i","cat":"default","name":"uncategorised","s":"t","args":{"n":4}})");
    CONTRAIL_LOG("log");
    expect(R"({"ph":"i","cat":"default","name":"log","s":"t","args":{"message":"log"}})");
  }();
  expect.check(convert_now());
}

TEST_CASE("Regions nest as their scopes do, and take as long as they took") {
  using namespace std::chrono_literals;
  const running_recorder recorder;
  const auto pause = [](std::chrono::microseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
    }
  };
  const auto now = [] { return std::chrono::steady_clock::now(); };
  std::chrono::nanoseconds inner_took{};
  const auto before = now();
  {
    TRACE_REGION("outer");
    pause(2ms);
    const auto began = now();
    {
      TRACE_REGION("inner");
      pause(3ms);
    }
    inner_took = now() - began;
    TRACE_REGION("second");
    pause(1ms);
  }
  const std::chrono::nanoseconds took = now() - before;
  const trace converted = convert_now();
  const trace_event outer = converted.one("outer"), inner = converted.one("inner"), second = converted.one("second");
  CHECK(outer.start_ns == 0);
  CHECK(outer.start_ns < inner.start_ns);
  CHECK(inner.end_ns < second.start_ns);
  CHECK(second.end_ns < outer.end_ns);
  // No longer than the test's own clock says around them, no shorter than the pauses within, whatever preempts it; the
  // trace's clock and the test's may differ by a thousandth.
  const auto at_most = [](std::chrono::nanoseconds time) { return time.count() + time.count() / 1000 + 1000; };
  const auto at_least = [](std::chrono::nanoseconds time) { return time.count() - time.count() / 1000 - 1000; };
  CHECK(outer.length_ns() <= at_most(took));
  CHECK(outer.length_ns() >= at_least(6ms));
  CHECK(inner.length_ns() <= at_most(inner_took));
  CHECK(inner.length_ns() >= at_least(3ms));
  CHECK(inner.start_ns >= at_least(2ms));
  CHECK(second.start_ns >= at_least(5ms));
  CHECK(second.length_ns() >= at_least(1ms));
}
