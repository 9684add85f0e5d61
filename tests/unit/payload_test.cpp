// SPDX-License-Identifier: MIT
// What argument values become in a record's words.
#include "catch.hpp"

#include "contrail/detail/payload.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

using contrail::detail::atomic_word;
using contrail::detail::string_cut;

namespace {

struct encoded {
  std::vector<uint64_t> words;

  const char* bytes() const { return reinterpret_cast<const char*>(words.data()); }
  template <class T>
  T at(size_t offset) const {
    T value;
    std::memcpy(&value, bytes() + offset, sizeof value);
    return value;
  }
  std::string tail(size_t offset, size_t size) const { return {bytes() + offset, size}; }
};

/// The payload in `capacity` words; nothing may be written behind what is used.
template <class... Args>
encoded encode_in(unsigned capacity, const Args&... args) {
  constexpr uint64_t untouched = 0x1122334455667788;
  std::vector<atomic_word> out(capacity + 2, atomic_word{untouched});
  const unsigned used = contrail::detail::encode(out.data(), capacity, args...);
  REQUIRE(used <= capacity);
  for (size_t i = used; i < out.size(); ++i) REQUIRE(out[i].value == untouched);
  encoded result;
  for (unsigned i = 0; i < used; ++i) result.words.push_back(out[i].value);
  return result;
}
template <class... Args>
encoded encode(const Args&... args) {
  return encode_in(255, args...);
}

using words = std::vector<uint64_t>;
enum class color : uint8_t { red, green };

}  // namespace

TEST_CASE("No arguments take no words") { CHECK(encode().words.empty()); }

TEST_CASE("Two ints share a word") { CHECK(encode(1, -2).words == words{0xfffffffe'00000001}); }

TEST_CASE("Values are padded with zeros to their alignment") {
  CHECK(encode('a', short{2}, true, 3.0).words == words{0x00000001'00020061, 0x4008000000000000});
  CHECK(encode(int8_t{-1}).words == words{0xff});
  CHECK(encode(color::green, 7L).words == words{1, 7});
}

TEST_CASE("Floating point values keep their bits, long double becomes a double") {
  CHECK(encode(1.5f).words == words{0x3fc00000});
  CHECK(encode(1.5L).words == words{0x3ff8000000000000});
  CHECK(encode(-0.0).words == words{0x8000000000000000});
}

TEST_CASE("128-bit integers take two words") {
  using contrail::detail::int128;
  const int128 least = static_cast<int128>(1) << 126;
  CHECK(encode(-least - least).words == words{0, 0x8000000000000000});
  CHECK(encode(true, int128{-1}).words == words{1, ~0ULL, ~0ULL});
}

TEST_CASE("Wide characters are code points") {
  CHECK(encode(u'\u00e9', U'\U0001f600').words == words{0x0001f600'000000e9});
  CHECK(encode(L'x').words == words{'x'});
}

TEST_CASE("Pointers are their addresses") {
  int object = 0;
  CHECK(encode(&object).words == words{reinterpret_cast<uintptr_t>(&object)});
  CHECK(encode(nullptr).words == words{0});
  CHECK(encode(std::strcmp).words == words{reinterpret_cast<uintptr_t>(&std::strcmp)});
  int (*const function)(const char*, const char*) = std::strcmp;
  CHECK(encode(function).words == words{reinterpret_cast<uintptr_t>(function)});
}

TEST_CASE("Volatile values and bit-fields are recorded by value") {
  volatile int v = 5;
  struct {
    int narrow : 3;
    unsigned wide : 20;
  } const bits{-2, 70000};
  CHECK(encode(v).words == words{5});
  CHECK(encode(bits.narrow, bits.wide).words == words{70000ULL << 32 | 0xfffffffe});
}

TEST_CASE("Arrays are their elements in a row") {
  const int ints[3] = {1, 2, 3};
  CHECK(encode(ints).words == words{0x00000002'00000001, 3});
  CHECK(encode('x', ints).words == words{uint64_t{'x'} | 1ULL << 32, 0x00000003'00000002});
  const signed char small[5] = {-1, 2, 3, 4, 5};
  CHECK(encode(small, 6).words == words{0x05040302ff, 6});
  const bool bools[9] = {true, false, true, false, false, false, false, true, true};
  CHECK(encode(bools).words == words{0x0100000000010001, 1});
  CHECK(encode(std::array<double, 2>{1.0, 2.0}).words == words{0x3ff0000000000000, 0x4000000000000000});
  const short grid[2][3] = {{1, 2, 3}, {4, 5, 6}};
  CHECK(encode(grid).words == words{0x0004000300020001, 0x00060005});
}

TEST_CASE("A text's length stands in the fixed part and its characters in the tail") {
  const encoded e = encode("hello", 7);
  CHECK(e.at<uint16_t>(0) == 5);
  CHECK(e.at<int>(4) == 7);
  CHECK(e.tail(8, 5) == "hello");
  CHECK(e.words.size() == 2);
  CHECK(e.words[1] >> 40 == 0);
}

TEST_CASE("The tail holds texts in order, without padding, right behind the fixed part") {
  const std::string first = "the first one";
  const std::string_view second = "2";
  const char third[10] = "third";
  const encoded e = encode(first, second, third, u8"\u00e9");
  CHECK(e.at<uint16_t>(0) == 13);
  CHECK(e.at<uint16_t>(2) == 1);
  CHECK(e.at<uint16_t>(4) == 5);
  CHECK(e.at<uint16_t>(6) == 2);
  CHECK(e.tail(8, 21) == "the first one2third\xc3\xa9");
}

TEST_CASE("The tail is right at each alignment") {
  for (unsigned before = 0; before < 20; ++before) {
    for (unsigned size = 0; size < 40; ++size) {
      const std::string a(before, 'a');
      const std::string b = std::string("0123456789012345678901234567890123456789").substr(0, size);
      const encoded e = encode(a, b, "end");
      REQUIRE(e.tail(6, before + size + 3) == a + b + "end");
      REQUIRE(e.words.size() == (6 + before + size + 3 + 7) / 8);
      for (size_t i = 6 + before + size + 3; i < e.words.size() * 8; ++i) REQUIRE(e.bytes()[i] == 0);
    }
  }
}

TEST_CASE("Empty and null texts are harmless") {
  const char* null = nullptr;
  CHECK(encode("").words == words{0});
  CHECK(encode(std::string_view()).words == words{0});
  CHECK(encode(null).tail(2, 6) == "(null)");
}

TEST_CASE("A char array is text up to its NUL, or all of it") {
  const char unterminated[4] = {'a', 'b', 'c', 'd'};
  CHECK(encode(unterminated).tail(2, 4) == "abcd");
  CHECK(encode(std::array<char, 4>{'x', 'y', 0, 'z'}).words == words{0x79780002});
  CHECK(encode(std::string("a\0b", 3)).words == words{0x6200610003});
}

TEST_CASE("A long text is cut to the room left, and marked") {
  const std::string text(5000, 'x');
  const encoded all = encode(text);
  CHECK(all.words.size() == 255);
  CHECK(all.at<uint16_t>(0) == (string_cut | (255 * 8 - 2)));
  const encoded few = encode_in(3, text.c_str(), 9);
  CHECK(few.words.size() == 3);
  CHECK(few.at<uint16_t>(0) == (string_cut | 16));
  CHECK(few.tail(8, 16) == std::string(16, 'x'));
}

TEST_CASE("A text that just fits is not cut") {
  CHECK(encode_in(2, std::string(14, 'x')).at<uint16_t>(0) == 14);
  CHECK(encode_in(2, std::string(15, 'x')).at<uint16_t>(0) == (string_cut | 14));
  CHECK(encode_in(2, std::string(14, 'x').c_str()).at<uint16_t>(0) == 14);
  CHECK(encode_in(2, std::string(15, 'x').c_str()).at<uint16_t>(0) == (string_cut | 14));
}

TEST_CASE("Texts after a cut one are cut to nothing, and values keep their place") {
  const encoded e = encode_in(2, std::string(50, 'a'), "lost", 77);
  CHECK(e.at<uint16_t>(0) == (string_cut | 8));
  CHECK(e.at<uint16_t>(2) == string_cut);
  CHECK(e.at<int>(4) == 77);
  CHECK(e.tail(8, 8) == "aaaaaaaa");
}

TEST_CASE("A cut text does not end in a part of a UTF-8 sequence") {
  const std::string text = "abcdefghijkl\u20ac";  // 12 bytes and 3
  CHECK(encode_in(2, text).at<uint16_t>(0) == (string_cut | 12));
  const std::string no_utf8(40, '\x80');
  CHECK(encode_in(2, no_utf8).at<uint16_t>(0) == (string_cut | 14));
}

TEST_CASE("Arrays of texts put each element into the tail") {
  const encoded e = encode(std::array<std::string, 2>{"one", "three"}, 5);
  CHECK(e.at<uint16_t>(0) == 3);
  CHECK(e.at<uint16_t>(2) == 5);
  CHECK(e.at<int>(4) == 5);
  CHECK(e.tail(8, 8) == "onethree");
}

TEST_CASE("Thirty arguments are recorded") {
  const encoded e = encode(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
                           26, 27, 28, 29, "thirty");
  for (int i = 0; i < 29; ++i) CHECK(e.at<int>(static_cast<size_t>(i) * 4) == i + 1);
  CHECK(e.tail(118, 6) == "thirty");
}

TEST_CASE("Durations become nanoseconds") {
  using namespace std::chrono;
  const auto ns = [](auto d) { return static_cast<int64_t>(encode(d).words.at(0)); };
  CHECK(ns(5s) == 5'000'000'000);
  CHECK(ns(-7ms) == -7'000'000);
  CHECK(ns(nanoseconds(1)) == 1);
  CHECK(ns(duration<int, std::pico>(-2500)) == -2);
  CHECK(ns(duration<int, std::ratio<1, 3>>(1)) == 333'333'333);
  CHECK(ns(duration<double>(1.5)) == 1'500'000'000);
  CHECK(ns(duration<uint8_t>(3)) == 3'000'000'000);
}

TEST_CASE("Durations beyond 64 bits of nanoseconds are saturated") {
  using namespace std::chrono;
  const auto ns = [](auto d) { return static_cast<int64_t>(encode(d).words.at(0)); };
  constexpr int64_t max = std::numeric_limits<int64_t>::max();
  constexpr int64_t min = std::numeric_limits<int64_t>::min();
  CHECK(ns(hours::max()) == max);
  CHECK(ns(hours::min()) == min);
  CHECK(ns(nanoseconds::min()) == min);
  CHECK(ns(duration<double>(1e300)) == max);
  CHECK(ns(duration<double>(-1e300)) == min);
  CHECK(ns(duration<double>(std::numeric_limits<double>::quiet_NaN())) == 0);
  CHECK(ns(duration<uint64_t, std::micro>(~0ULL)) == max);
  CHECK(ns(duration<int64_t, std::ratio<1, 3>>(std::numeric_limits<int64_t>::min())) == min);
  CHECK(ns(duration<int, std::exa>(1)) == max);
  CHECK(ns(duration<int, std::exa>(0)) == 0);
}
