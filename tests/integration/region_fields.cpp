// SPDX-License-Identifier: MIT
// The fields that region.set adds, behind keys of every length: a key and its value share words.
#include "support/trace.hpp"

#include <utility>

namespace {

expectations expect;

/// A key of that many characters, "abc...", as a literal has it.
template <size_t Bytes>
struct key_of {
  char characters[Bytes + 1]{};
  constexpr key_of() {
    for (size_t i = 0; i < Bytes; ++i) characters[i] = static_cast<char>('a' + i % 26);
  }
};
template <size_t Bytes>
constexpr key_of<Bytes> key{};

/// The region that these fields make, of keys and values as JSON has them.
using shown_field = std::pair<std::string, std::string>;
std::string region_with(const std::vector<shown_field>& fields) {
  std::string arguments;
  for (const auto& [name, value] : fields) {
    arguments += (arguments.empty() ? R"(,"args":{")" : ",\"") + name + "\":" + value;
  }
  return R"({"ph":"X","cat":"default","name":"r")" + arguments + (fields.empty() ? "}" : "}}");
}
template <size_t Bytes>
shown_field field(const std::string& value) {
  return {key<Bytes>.characters, value};
}

template <size_t Bytes, class Value>
void set_between_others(const Value& value, const std::string& shown) {
  {
    TRACE_REGION_VAR(r, "r");
    r.set("before", 1);
    r.set(key<Bytes>.characters, value);
    r.set("after", true);
  }
  expect(region_with({{"before", "1"}, field<Bytes>(shown), {"after", "true"}}));
}

template <size_t Bytes>
void set_every_type() {
  __extension__ const __int128 huge = static_cast<__int128>(INT64_MIN) * 4;
  set_between_others<Bytes>(uint8_t{0xfe}, "254");
  set_between_others<Bytes>(int16_t{-0x1234}, "-4660");
  set_between_others<Bytes>(uint32_t{0xfedc'ba98}, "4275878552");
  set_between_others<Bytes>(uint64_t{0x1234'5678'9abc}, "20015998343868");
  set_between_others<Bytes>(int64_t{-2}, "-2");
  set_between_others<Bytes>(0.5, "0.5");
  set_between_others<Bytes>(huge, "\"-36893488147419103232\"");
  set_between_others<Bytes>(std::string("some text"), "\"some text\"");
  set_between_others<Bytes>("", "\"\"");
}

template <size_t... Bytes>
void set_behind_keys_of(std::index_sequence<Bytes...>) {
  (set_every_type<Bytes + 1>(), ...);
}

/// A region whose only field has a key of that many bytes.
template <size_t Bytes, class Value>
void set_alone(const Value& value) {
  TRACE_REGION_VAR(r, "r");
  r.set(key<Bytes>.characters, value);
}

}  // namespace

TEST_CASE("A field comes out as it went in, whatever the length of its key") {
  const running_recorder recorder;
  set_behind_keys_of(std::make_index_sequence<20>());
  expect.check(convert_now());
}

// 160 bytes for all arguments: a word ends the fields, and one stands before each. So 144 are a key's and its value's.
TEST_CASE("A field that fills a region to its last byte is kept, and one that is longer left out") {
  const running_recorder recorder;
  set_alone<136>(uint64_t{7});
  expect(region_with({field<136>("7")}));
  set_alone<137>(uint64_t{7});
  expect(region_with({}));
  set_alone<140>(7);
  expect(region_with({field<140>("7")}));
  set_alone<141>(7);
  expect(region_with({}));
  set_alone<143>(true);
  expect(region_with({field<143>("true")}));
  set_alone<144>(true);
  expect(region_with({}));
  expect.check(convert_now());
}

TEST_CASE("A text is cut to what a region has left for it, not inside a character") {
  const running_recorder recorder;
  set_alone<100>(std::string(44, 'x'));
  expect(region_with({field<100>('"' + std::string(44, 'x') + '"')}));
  set_alone<100>(std::string(45, 'x'));
  expect(region_with({field<100>('"' + std::string(44, 'x') + R"(\u2026")")}));
  set_alone<100>(std::string(43, 'x') + "\u00e9");
  expect(region_with({field<100>('"' + std::string(43, 'x') + R"(\u2026")")}));
  set_alone<143>("xy");
  expect(region_with({field<143>(R"("x\u2026")")}));
  set_alone<144>("x");
  expect(region_with({}));
  expect.check(convert_now());
}

TEST_CASE("What has no room is left out, and what fits behind it is kept") {
  const running_recorder recorder;
  {
    TRACE_REGION_VAR(r, "r", "first", 1, "second", int64_t{2});
    r.set(key<100>.characters, 3);
    r.set(key<30>.characters, 4);
    r.set("x", 5);
    r.set("y", 6);
  }
  expect(region_with({{"first", "1"}, {"second", "2"}, field<100>("3"), {"x", "5"}}));
  expect.check(convert_now());
}
