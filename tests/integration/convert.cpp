// SPDX-License-Identifier: MIT
// Every macro and every type of argument, with the JSON that the converter makes of it beside it.
#include "support/converted.hpp"

#include <pthread.h>

#include <array>
#include <string_view>
#include <thread>

namespace shop {

TRACE_CATEGORY("shop");

enum class state { open = 1, closed = 2 };
struct price {
  int euros;
  int cents;
};
struct order {
  uint32_t number;
  price total;
  state now;
};
TRACE_EVENT_TYPE(price, euros, cents);
TRACE_EVENT_TYPE(order, number, total, now);

struct clerk {
  void serve() { TRACE_FUNCTION("n", 1); }
};

}  // namespace shop

namespace {

using namespace std::chrono_literals;

enum plain_enum { first_value, second_value };

const void* const address = reinterpret_cast<const void*>(uintptr_t{0x1234});

template <class T>
void templated(T value) {
  TRACE_REGION("in a template", "value", value);
}

constexpr int square(int x) {
  TRACE_REGION("in a constexpr function");
  return x * x;
}
static_assert(square(3) == 9);

}  // namespace

TEST_CASE("regions are slices with their arguments") {
  running_recorder recorder;
  { TRACE_REGION("plain"); }
  { TRACE_SCOPE("synonym"); }
  { TRACE_REGION("with arguments", "i", -5, "u", 7U, "text", "some text"); }
  { TRACE_REGION("with an object", shop::price{3, 50}); }
  shop::clerk().serve();
  {
    TRACE_REGION_VAR(r, "known later", "early", 1);
    r.set("status", "done");
    r.set("code", 200);
  }
  { TRACE_REGION("two on"); TRACE_REGION("one line"); }
  [] { TRACE_REGION("in a lambda"); }();
  templated(5);
  templated(2.5);
  square(4);

  const converted json;
  CHECK(json.one("plain") == R"({"ph":"X","cat":"default","name":"plain"})");
  CHECK(json.one("synonym") == R"({"ph":"X","cat":"default","name":"synonym"})");
  CHECK(json.one("with arguments") ==
        R"({"ph":"X","cat":"default","name":"with arguments","args":{"i":-5,"u":7,"text":"some text"}})");
  CHECK(json.one("with an object") ==
        R"({"ph":"X","cat":"default","name":"with an object","args":{"euros":3,"cents":50}})");
  CHECK(json.one("shop::clerk::serve") == R"({"ph":"X","cat":"shop","name":"shop::clerk::serve","args":{"n":1}})");
  CHECK(json.one("known later") ==
        R"({"ph":"X","cat":"default","name":"known later","args":{"early":1,"status":"done","code":200}})");
  CHECK(json.named("two on").size() == 1);
  CHECK(json.named("one line").size() == 1);
  CHECK(json.named("in a lambda").size() == 1);
  CHECK(json.named("in a template").size() == 2);
  CHECK(json.named("in a constexpr function").size() == 1);
}

TEST_CASE("instants, counters, logs and typed events") {
  running_recorder recorder;
  TRACE_INSTANT("happened");
  TRACE_INSTANT("happened with", "n", 3);
  TRACE_COUNTER("level", 42);
  TRACE_COUNTER("part", 0.25);
  TRACE_LOG("{} plus {} is {}", 1, 2.0, "three");
  TRACE_LOG("padded {:>5}|{:05d}|{:x}", "ab", 42, 255);
  TRACE_EMIT(shop::price{1, 2});
  TRACE_EMIT(shop::order{7, {3, 4}, shop::state::closed});

  const converted json;
  CHECK(json.one("happened") == R"({"ph":"i","cat":"default","name":"happened","s":"t"})");
  CHECK(json.one("happened with") == R"({"ph":"i","cat":"default","name":"happened with","s":"t","args":{"n":3}})");
  CHECK(json.one("level") == R"({"ph":"C","cat":"default","name":"level","args":{"value":42}})");
  CHECK(json.one("part") == R"({"ph":"C","cat":"default","name":"part","args":{"value":0.25}})");
  CHECK(json.one("1 plus 2 is three") ==
        R"({"ph":"i","cat":"default","name":"1 plus 2 is three","s":"t","args":{"message":"1 plus 2 is three"}})");
  CHECK(json.named("padded    ab|00042|ff").size() == 1);
  CHECK(json.one("shop::price") == R"({"ph":"i","cat":"shop","name":"shop::price","s":"t","args":{"euros":1,"cents":2}})");
  CHECK(json.one("shop::order") == R"({"ph":"i","cat":"shop","name":"shop::order","s":"t","args":)"
                                   R"({"number":7,"total.euros":3,"total.cents":4,"now":"closed"}})");
}

TEST_CASE("arguments of every type") {
  running_recorder recorder;
  const int numbers[3] = {1, -2, 3};
  const std::array<double, 2> doubles{0.5, 1.5};
  const std::string string = "string";
  TRACE_INSTANT("integers", "c", static_cast<signed char>(-1), "uc", static_cast<unsigned char>(255), "s",
                static_cast<short>(-300), "us", static_cast<unsigned short>(60000), "i", -70000, "u", 4000000000U, "l",
                -5000000000L, "ul", 9007199254740993UL);
  TRACE_INSTANT("floating", "f", 0.1F, "d", 0.1, "ld", 1.25L, "nan", __builtin_nan(""), "inf", -__builtin_inf());
  TRACE_INSTANT("others", "bool", true, "char", 'x', "pointer", address, "null", nullptr, "enum", shop::state::open,
                "plain enum", second_value, "unknown enum", static_cast<shop::state>(77));
  TRACE_INSTANT("texts", "literal", "literal", "string", string, "view", std::string_view("view").substr(1), "empty", "",
                "quotes", "a\"b\\c\n", "null", static_cast<const char*>(nullptr), "utf8", "\xc3\xa9");
  TRACE_INSTANT("arrays", "numbers", numbers, "doubles", doubles);
  TRACE_INSTANT("durations", "ms", 1500us, "s", 2s, "ns", 7ns);
  TRACE_INSTANT("nested", "order", shop::order{1, {2, 3}, shop::state::open});
  { TRACE_REGION("cut", "text", std::string(300, 'y')); }

  const converted json;
  const auto args = [&](const char* name) {
    const std::string line = json.one(name);
    const size_t at = line.find("\"args\":{");
    return line.substr(at + 8, line.size() - at - 10);
  };
  CHECK(args("integers") == R"("c":-1,"uc":255,"s":-300,"us":60000,"i":-70000,"u":4000000000,"l":-5000000000,)"
                            R"("ul":"9007199254740993")");
  CHECK(args("floating") == R"("f":0.1,"d":0.1,"ld":1.25,"nan":"NaN","inf":"-Infinity")");
  CHECK(args("others") == R"("bool":true,"char":"x","pointer":"0x1234","null":"0x0","enum":"open",)"
                          R"("plain enum":"second_value","unknown enum":77)");
  CHECK(args("texts") == R"("literal":"literal","string":"string","view":"iew","empty":"",)"
                         R"x("quotes":"a\"b\\c\n","null":"(null)","utf8":"\u00e9")x");
  CHECK(args("arrays") == R"("numbers":[1,-2,3],"doubles":[0.5,1.5])");
  CHECK(args("durations") == R"("ms":"1.5 ms","s":"2 s","ns":"7 ns")");
  CHECK(args("nested") == R"("order.number":1,"order.total.euros":2,"order.total.cents":3,"order.now":"open")");
  const std::string cut = args("cut");
  CHECK(cut.find("yyyy\\u2026\"") != std::string::npos);
  CHECK(cut.size() > 150);
  CHECK(cut.size() < 180);
}

TEST_CASE("nested regions nest, and their times are the clock's") {
  running_recorder recorder;
  const auto begin = std::chrono::steady_clock::now();
  {
    TRACE_REGION("outer");
    std::this_thread::sleep_for(2ms);
    {
      TRACE_REGION("inner");
      std::this_thread::sleep_for(20ms);
    }
    std::this_thread::sleep_for(1ms);
  }
  const double taken = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
  const converted json;
  const double outer = json.number("outer", "ts"), outer_end = outer + json.number("outer", "dur");
  const double inner = json.number("inner", "ts"), inner_end = inner + json.number("inner", "dur");
  CHECK(outer + 2000 <= inner);
  CHECK(inner + 20000 <= inner_end);
  CHECK(inner_end + 1000 <= outer_end);
  CHECK(outer_end - outer <= taken * 1.01 + 10);
}

TEST_CASE("regions that are open at the dump are shown unfinished, with the arguments they have") {
  running_recorder recorder;
  TRACE_REGION("still open", "n", 5);
  TRACE_REGION_VAR(r, "open variable");
  r.set("so far", true);
  { TRACE_REGION("finished"); }
  const converted json;
  CHECK(json.one("still open") ==
        R"({"ph":"X","cat":"default","name":"still open","args":{"n":5,"unfinished":true}})");
  CHECK(json.one("open variable") ==
        R"({"ph":"X","cat":"default","name":"open variable","args":{"so far":true,"unfinished":true}})");
  CHECK(json.one("finished") == R"({"ph":"X","cat":"default","name":"finished"})");
  CHECK(json.number("still open", "ts") <= json.number("finished", "ts"));
}

TEST_CASE("a region that another thread ends is an asynchronous slice") {
  running_recorder recorder;
  TRACE_REGION_VAR(r, "travelling");
  std::thread([&] { r.end(); }).join();
  const auto found = converted().named("travelling");
  REQUIRE(found.size() == 2);
  CHECK(found[0].find("\"ph\":\"b\"") != std::string::npos);
  CHECK(found[0].find("\"begun on tid\":" + std::to_string(gettid())) != std::string::npos);
  CHECK(found[1].find("\"ph\":\"e\"") != std::string::npos);
}

TEST_CASE("threads carry their names, and the converter's own window works") {
  running_recorder recorder;
  std::thread([] {
    TRACE_THREAD_NAME("named");
    TRACE_INSTANT("early");
  }).join();
  std::this_thread::sleep_for(1s);
  TRACE_INSTANT("late", "n", 1);
  temporary_folder folder;
  const std::string long_dump = folder / "long", short_dump = folder / "short";
  REQUIRE_FALSE(flight_recorder::dump(long_dump.c_str()));
  REQUIRE_FALSE(flight_recorder::dump(short_dump.c_str(), {.last = 800ms}));
  const converted all(long_dump);
  bool is_named = false;
  for (const std::string& line : all.lines()) {
    is_named |= line.find("\"thread_name\"") != std::string::npos && line.find("\"named\"") != std::string::npos;
  }
  CHECK(is_named);
  CHECK(all.named("early").size() == 1);
  CHECK(all.named("late").size() == 1);
  for (const converted& some : {converted(long_dump, "--last 800ms"), converted(short_dump)}) {
    CHECK(some.named("early").empty());
    CHECK(some.named("late").size() == 1);
  }
  CHECK(converted(long_dump, "--no-args").one("late").find("args") == std::string::npos);
}
