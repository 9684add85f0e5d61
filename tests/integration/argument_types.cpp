// SPDX-License-Identifier: MIT
// Every type of argument, with the JSON that its value becomes.
#include "support/trace.hpp"

#include <array>
#include <limits>
#include <string_view>

namespace {

using namespace std::chrono_literals;

expectations expect;

/// The event of an instant "x" with these arguments.
std::string with(const std::string& arguments) {
  return R"({"ph":"i","cat":"default","name":"x","s":"t","args":{)" + arguments + "}}";
}

enum class color : uint8_t { red, green, blue };
enum plain_enum : int { minus = -3, zero = 0, many = 64 };
enum class bits : unsigned { read = 1, write = 2, execute = 1U << 30 };
enum class wide : int64_t { far_away = INT64_MAX };

}  // namespace

namespace geometry {
struct point {
  int x, y;
};
TRACE_EVENT_TYPE(point, x, y);
struct line {
  std::array<point, 2> ends;
  std::string name;
};
TRACE_EVENT_TYPE(line, ends, name);
}  // namespace geometry

TEST_CASE("Integers of all sizes, up to their limits") {
  const running_recorder recorder;
  TRACE_INSTANT("x", "i8", std::numeric_limits<int8_t>::min(), "u8", std::numeric_limits<uint8_t>::max());
  expect(with(R"("i8":-128,"u8":255)"));
  TRACE_INSTANT("x", "i16", std::numeric_limits<int16_t>::min(), "u16", std::numeric_limits<uint16_t>::max());
  expect(with(R"("i16":-32768,"u16":65535)"));
  TRACE_INSTANT("x", "i32", std::numeric_limits<int32_t>::min(), "u32", std::numeric_limits<uint32_t>::max());
  expect(with(R"("i32":-2147483648,"u32":4294967295)"));
  TRACE_INSTANT("x", "i64", std::numeric_limits<int64_t>::min(), "u64", std::numeric_limits<uint64_t>::max());
  expect(with(R"("i64":"-9223372036854775808","u64":"18446744073709551615")"));
  TRACE_INSTANT("x", "long", -1L, "long long", -2LL, "ulong", 3UL, "ull", 4ULL, "size", sizeof(int));
  expect(with(R"("long":-1,"long long":-2,"ulong":3,"ull":4,"size":4)"));
  TRACE_INSTANT("x", "exact", int64_t{1} << 53, "beyond", (int64_t{1} << 53) + 1, "below", -(int64_t{1} << 53) - 1);
  expect(with(R"("exact":9007199254740992,"beyond":"9007199254740993","below":"-9007199254740993")"));
  __extension__ const __int128 huge = static_cast<__int128>(std::numeric_limits<int64_t>::min()) * 4;
  TRACE_INSTANT("x", "i128", huge);
  expect(with(R"("i128":"-36893488147419103232")"));
  expect.check(convert_now());
}

TEST_CASE("Floating point numbers, with what JSON has no number for as text") {
  const running_recorder recorder;
  TRACE_INSTANT("x", "float", 0.5F, "double", 0.1, "long double", 1.25L, "whole", 2.0);
  expect(with(R"("float":0.5,"double":0.1,"long double":1.25,"whole":2.0)"));
  TRACE_INSTANT("x", "nan", std::numeric_limits<double>::quiet_NaN(), "inf", std::numeric_limits<float>::infinity(),
                "minus", -std::numeric_limits<double>::infinity());
  expect(with(R"("nan":"NaN","inf":"Infinity","minus":"-Infinity")"));
  TRACE_INSTANT("x", "small", std::numeric_limits<double>::denorm_min(), "large", std::numeric_limits<double>::max());
  expect(with(R"("small":5e-324,"large":1.7976931348623157e+308)"));
  expect.check(convert_now());
}

TEST_CASE("Truth values and characters") {
  const running_recorder recorder;
  TRACE_INSTANT("x", "yes", true, "no", false, "char", 'a', "quote", '"', "u8", u8'z');
  expect(with(R"("yes":true,"no":false,"char":"a","quote":"\"","u8":"z")"));
  TRACE_INSTANT("x", "wide", L'ä', "u16", u'€', "u32", U'\U0001F600');
  expect(with(R"("wide":"\u00e4","u16":"\u20ac","u32":"\ud83d\ude00")"));
  expect.check(convert_now());
}

TEST_CASE("Enumerations by name where one can be had, else by number") {
  const running_recorder recorder;
  TRACE_INSTANT("x", "class", color::green, "plain", minus, "many", many, "flag", bits::execute);
  expect(with(R"("class":"green","plain":"minus","many":"many","flag":"execute")"));
  TRACE_INSTANT("x", "none", static_cast<color>(9), "both", static_cast<bits>(3), "far", wide::far_away);
  expect(with(R"("none":9,"both":3,"far":"9223372036854775807")"));
  expect.check(convert_now());
}

TEST_CASE("Pointers as hexadecimal addresses") {
  const running_recorder recorder;
  int* const at = reinterpret_cast<int*>(0x1234abcd);
  TRACE_INSTANT("x", "int", at, "const", static_cast<const void*>(at), "null", nullptr);
  expect(with(R"("int":"0x1234abcd","const":"0x1234abcd","null":"0x0")"));
  expect.check(convert_now());
}

TEST_CASE("Texts by content") {
  const running_recorder recorder;
  std::string owned = "owned";
  const char* const changing = owned.c_str();
  char buffer[8] = "buf";
  TRACE_INSTANT("x", "literal", "text", "pointer", changing, "string", owned);
  owned = "other";  // the record has its own copy
  expect(with(R"("literal":"text","pointer":"owned","string":"owned")"));
  TRACE_INSTANT("x", "view", std::string_view("viewed!").substr(0, 6), "array", buffer, "temporary", owned + "s");
  expect(with(R"("view":"viewed","array":"buf","temporary":"others")"));
  const char* const nowhere = nullptr;
  TRACE_INSTANT("x", "null", nowhere, "empty", "", "escaped", "tab\t\"quote\"\\", "euro", "€", "u8", u8"ö");
  expect(with(R"-("null":"(null)","empty":"","escaped":"tab\t\"quote\"\\","euro":"\u20ac","u8":"\u00f6")-"));
  TRACE_INSTANT("x", "broken", "a\xff" "b", "nul inside", std::string_view("a\0b", 3));
  expect(with(R"("broken":"a\ufffdb","nul inside":"a\u0000b")"));
  expect.check(convert_now());
}

TEST_CASE("A text that does not fit is cut between characters, and the cut shows") {
  const running_recorder recorder;
  const std::string ascii(3000, 'a');
  TRACE_INSTANT("long instant", "n", 1, "text", ascii, "after", "b");
  std::string euros;
  for (int i = 0; i < 100; ++i) euros += "€";
  {
    TRACE_REGION("long region", "text", euros);
  }
  const trace converted = convert_now();
  const auto text_of = [&](const char* name) {
    const std::string json = converted.one(name).json;
    const size_t begin = json.find("\"text\":\"") + 8;
    return json.substr(begin, json.find('"', begin) - begin);
  };
  const std::string cut = text_of("long instant");
  CHECK(cut.size() > 1900);
  CHECK(cut.size() < 2040);
  CHECK(cut.substr(cut.size() - 7) == "a\\u2026");
  CHECK(cut.find_first_not_of('a') == cut.size() - 6);
  const std::string cut_euros = text_of("long region");
  REQUIRE(cut_euros.size() % 6 == 0);
  CHECK(cut_euros.substr(cut_euros.size() - 6) == "\\u2026");
  CHECK(cut_euros.size() / 6 > 45);  // 160 bytes hold some 50 characters of three bytes
  for (size_t i = 0; i + 6 < cut_euros.size(); i += 6) CHECK(cut_euros.substr(i, 6) == "\\u20ac");
}

TEST_CASE("Arrays as lists") {
  const running_recorder recorder;
  const int numbers[3] = {1, -2, 3};
  TRACE_INSTANT("x", "c", numbers, "std", std::array<double, 2>{0.5, 1.5}, "bools", std::array<bool, 2>{true, false});
  expect(with(R"("c":[1,-2,3],"std":[0.5,1.5],"bools":[true,false])"));
  const std::string texts[2] = {"one", "two"};
  TRACE_INSTANT("x", "texts", texts, "colors", std::array<color, 2>{color::blue, color::red});
  expect(with(R"("texts":["one","two"],"colors":["blue","red"])"));
  TRACE_INSTANT("x", "letters", std::array<char, 4>{'a', 'b', '\0', 'c'});
  expect(with(R"("letters":"ab")"));
  expect.check(convert_now());
}

TEST_CASE("Durations with their unit") {
  const running_recorder recorder;
  TRACE_INSTANT("x", "ns", 12ns, "us", 1500ns, "ms", 1500us, "s", 2s, "h", 1h, "minus", -3ms);
  expect(with(R"("ns":"12 ns","us":"1.5 us","ms":"1.5 ms","s":"2 s","h":"3600 s","minus":"-3 ms")"));
  TRACE_INSTANT("x", "double", std::chrono::duration<double>(0.25), "for ever", std::chrono::hours::max());
  expect(with(R"("double":"250 ms","for ever":"9223372036.854775807 s")"));
  expect.check(convert_now());
}

TEST_CASE("Registered aggregates by their members, at any depth") {
  const running_recorder recorder;
  TRACE_INSTANT("x", "at", geometry::point{1, 2}, "n", 3);
  expect(with(R"("at.x":1,"at.y":2,"n":3)"));
  const geometry::line line{{{{1, 2}, {3, 4}}}, "edge"};
  TRACE_EMIT(line);
  expect(R"({"ph":"i","cat":"default","name":"geometry::line","s":"t",)"
         R"("args":{"ends[0].x":1,"ends[0].y":2,"ends[1].x":3,"ends[1].y":4,"name":"edge"}})");
  expect.check(convert_now());
}

TEST_CASE("Lvalues, const and volatile values, references and bit-fields are recorded alike") {
  const running_recorder recorder;
  struct {
    unsigned three : 3;
  } fields{5};
  volatile int changing = 6;
  const int constant = 7;
  int value = 8;
  int& reference = value;
  TRACE_INSTANT("x", "bits", fields.three, "volatile", changing, "const", constant, "reference", reference);
  expect(with(R"("bits":5,"volatile":6,"const":7,"reference":8)"));
  expect.check(convert_now());
}

TEST_CASE("Regions carry every type as instants do") {
  const running_recorder recorder;
  {
    TRACE_REGION("r", "i", -1, "d", 0.5, "b", true, "c", 'x', "e", color::red, "t", "text", "l", 3ms);
    expect(R"({"ph":"X","cat":"default","name":"r",)"
           R"("args":{"i":-1,"d":0.5,"b":true,"c":"x","e":"red","t":"text","l":"3 ms"}})");
  }
  {
    TRACE_REGION_VAR(r, "set later");
    r.set("i", -1);
    r.set("u64", UINT64_MAX);
    r.set("d", 0.5);
    r.set("e", color::blue);
    r.set("t", std::string("text"));
    r.set("l", 3ms);
    expect(R"({"ph":"X","cat":"default","name":"set later",)"
           R"("args":{"i":-1,"u64":"18446744073709551615","d":0.5,"e":2,"t":"text","l":"3 ms"}})");
  }
  expect.check(convert_now());
}
