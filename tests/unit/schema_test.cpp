// SPDX-License-Identifier: MIT
// Which types can be recorded, as what fields, and at which offsets.
#include "catch.hpp"

#include "contrail/detail/schema.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#if __has_include(<span>)
#include <span>
#endif

using contrail::field_type;
using contrail::text;
using contrail::detail::is_recordable;
using contrail::detail::payload;

namespace {

enum class color : short { red, green = 5, dark = -3, flag = 1 << 10 };
enum unscoped { minus_one = -1, zero, seven = 7 };
enum class opaque : int;
enum class level : uint8_t { low, high = 200 };

/// The one field of a value of type T.
template <class T>
contrail::field only_field() {
  contrail::field f;
  contrail::detail::schema_walk walk;
  walk.room = {&f, nullptr};
  walk.value<T>(contrail::detail::field_path{nullptr, "key", 0});
  REQUIRE(walk.fields == 1);
  CHECK(f.name == "key");
  CHECK(f.offset == 0);
  return f;
}
template <class T>
field_type type_of() {
  return only_field<T>().type;
}

std::string names_of(const contrail::field& f) {
  std::string all;
  for (uint16_t i = 0; i < f.enumerator_count; ++i) {
    const contrail::enumerator& e = f.enumerators[i];
    all += std::string(e.name.data, e.name.size) + "=" + std::to_string(e.value) + " ";
  }
  return all;
}

}  // namespace

TEST_CASE("A text is compared by its characters") {
  STATIC_REQUIRE(text("abc") == "abc");
  STATIC_REQUIRE(!(text("abc") == "abd"));
  STATIC_REQUIRE(!(text("abc") == "ab"));
  STATIC_REQUIRE(text().size == 0);
}

TEST_CASE("Each arithmetic type has its field type") {
  CHECK(type_of<bool>() == field_type::boolean);
  CHECK(type_of<char>() == field_type::character);
  CHECK(type_of<char8_t>() == field_type::character);
  CHECK(type_of<signed char>() == field_type::int8);
  CHECK(type_of<unsigned char>() == field_type::uint8);
  CHECK(type_of<short>() == field_type::int16);
  CHECK(type_of<unsigned short>() == field_type::uint16);
  CHECK(type_of<int>() == field_type::int32);
  CHECK(type_of<unsigned>() == field_type::uint32);
  CHECK(type_of<long>() == field_type::int64);
  CHECK(type_of<unsigned long>() == field_type::uint64);
  CHECK(type_of<long long>() == field_type::int64);
  CHECK(type_of<unsigned long long>() == field_type::uint64);
  CHECK(type_of<contrail::detail::int128>() == field_type::int128);
  CHECK(type_of<contrail::detail::uint128>() == field_type::uint128);
  CHECK(type_of<float>() == field_type::float32);
  CHECK(type_of<double>() == field_type::float64);
  CHECK(type_of<long double>() == field_type::float64);
  CHECK(type_of<wchar_t>() == field_type::code_point);
  CHECK(type_of<char16_t>() == field_type::code_point);
  CHECK(type_of<char32_t>() == field_type::code_point);
}

TEST_CASE("Qualifiers and references do not change a field") {
  CHECK(type_of<const int>() == field_type::int32);
  CHECK(type_of<volatile int>() == field_type::int32);
  CHECK(type_of<const int&>() == field_type::int32);
  CHECK(type_of<const char* const>() == field_type::string);
}

TEST_CASE("Pointers are numbers unless they point to text") {
  CHECK(type_of<void*>() == field_type::pointer);
  CHECK(type_of<const int*>() == field_type::pointer);
  CHECK(type_of<std::nullptr_t>() == field_type::pointer);
  CHECK(type_of<void (*)(int)>() == field_type::pointer);
  CHECK(type_of<void(int) noexcept>() == field_type::pointer);
  CHECK(type_of<unsigned char*>() == field_type::pointer);
  CHECK(type_of<volatile char*>() == field_type::pointer);
  CHECK(type_of<char**>() == field_type::pointer);
  CHECK(type_of<const char*>() == field_type::string);
  CHECK(type_of<char*>() == field_type::string);
  CHECK(type_of<const char8_t*>() == field_type::string);
}

TEST_CASE("Texts are known by their shape") {
  CHECK(type_of<char[7]>() == field_type::string);
  CHECK(type_of<std::string>() == field_type::string);
  CHECK(type_of<std::string_view>() == field_type::string);
  CHECK(type_of<std::u8string>() == field_type::string);
  CHECK(type_of<std::vector<char>>() == field_type::string);
  CHECK(type_of<std::array<char, 3>>() == field_type::string);
}

TEST_CASE("Arrays of fixed size are one field") {
  const contrail::field f = only_field<int[4]>();
  CHECK(f.is_array);
  CHECK(f.count == 4);
  CHECK(f.type == field_type::int32);
  CHECK(only_field<std::array<double, 2>>().count == 2);
  CHECK(only_field<std::array<double, 2>>().is_array);
  CHECK(only_field<std::array<std::string, 3>>().type == field_type::string);
  CHECK(only_field<const char*[2]>().count == 2);
  CHECK(only_field<char[2][8]>().type == field_type::string);
  CHECK(only_field<int[1]>().is_array);
  CHECK(only_field<signed char[5]>().type == field_type::int8);
  CHECK(only_field<bool[5]>().type == field_type::boolean);
  CHECK(!only_field<int>().is_array);
}

TEST_CASE("Durations are recorded as such") {
  CHECK(type_of<std::chrono::seconds>() == field_type::duration);
  CHECK(type_of<std::chrono::duration<double, std::milli>>() == field_type::duration);
}

TEST_CASE("What has no fixed shape cannot be recorded") {
  struct unregistered {};
  STATIC_REQUIRE(!is_recordable<unregistered>);
  STATIC_REQUIRE(!is_recordable<std::atomic<int>>);
  STATIC_REQUIRE(!is_recordable<std::vector<int>>);
  STATIC_REQUIRE(!is_recordable<std::deque<char>>);
  STATIC_REQUIRE(!is_recordable<std::unique_ptr<int>>);
  STATIC_REQUIRE(!is_recordable<int unregistered::*>);
  STATIC_REQUIRE(!is_recordable<unregistered[3]>);
  STATIC_REQUIRE(!is_recordable<std::chrono::system_clock::time_point>);
#ifdef __cpp_lib_span
  STATIC_REQUIRE(!is_recordable<std::span<int, 2>>);
  STATIC_REQUIRE(!is_recordable<std::span<const int, 2>>);
  STATIC_REQUIRE(is_recordable<std::span<const char>>);
#endif
}

TEST_CASE("Enumerations carry the names of their values") {
  CHECK(type_of<color>() == field_type::int16);
  CHECK(names_of(only_field<color>()) == "dark=-3 red=0 green=5 flag=1024 ");
  CHECK(names_of(only_field<unscoped>()) == "minus_one=-1 zero=0 seven=7 ");
  CHECK(names_of(only_field<level>()) == "low=0 ");  // 200 is beyond what is tried
  CHECK(type_of<level>() == field_type::uint8);
}

TEST_CASE("An enumeration whose names are unknown is a number") {
  CHECK(type_of<opaque>() == field_type::int32);
  CHECK(only_field<opaque>().enumerators == nullptr);
  CHECK(only_field<opaque>().enumerator_count == 0);
}

TEST_CASE("Values are aligned to their size, to 8 bytes at most") {
  STATIC_REQUIRE(payload<>::fixed_words == 0);
  STATIC_REQUIRE(payload<>::is_fixed);
  STATIC_REQUIRE(payload<int, int>::fixed_words == 1);
  STATIC_REQUIRE(payload<char, int>::fixed_bytes == 8);
  STATIC_REQUIRE(payload<char, short, char>::fixed_bytes == 5);
  STATIC_REQUIRE(payload<int, double, char>::fixed_bytes == 17);
  STATIC_REQUIRE(payload<int, double, char>::fixed_words == 3);
  STATIC_REQUIRE(payload<char, contrail::detail::int128>::fixed_bytes == 24);
  STATIC_REQUIRE(payload<std::string, char[9], int>::fixed_bytes == 8);
  STATIC_REQUIRE(payload<std::string, char[9], int>::text_count == 2);
  STATIC_REQUIRE(!payload<std::string>::is_fixed);
  STATIC_REQUIRE(payload<int[3], std::array<short, 3>>::fixed_bytes == 18);
  STATIC_REQUIRE(payload<int[3], std::array<short, 3>>::field_count == 2);
}
