// SPDX-License-Identifier: MIT
// needs: fmt/core.h
// Records as text, printed by fmt in the process.
#include "catch.hpp"

#include "contrail/contrail.hpp"
#include "contrail/fmt.hpp"

#include <array>
#include <chrono>
#include <string>
#include <vector>

using namespace contrail::detail;

namespace geometry {

enum class color : uint8_t { red, green };
struct point {
  int x;
  double y;
};
CONTRAIL_EVENT_TYPE(point, x, y);
struct shape {
  point at;
  std::string name;
  color fill;
  std::array<short, 3> numbers;
  bool closed;
};
CONTRAIL_EVENT_TYPE(shape, at, name, fill, numbers, closed);
struct nothing {};

}  // namespace geometry

namespace {

/// What format_record gives for a site with these arguments.
template <binding_kind Kind, class Site, class Name, class... Args>
std::string recorded(Site, const Name&, const Args&... args) {
  static_assert(check_site<Site, Kind, Args...>());
  if constexpr (Kind == binding_kind::log) static_assert(check_log<CONTRAIL_DETAIL_LOG_CHECKER, Site, Args...>());
  atomic_word out[max_point_words];
  const unsigned used = encode_arguments<Kind>(out, max_point_words, args...);
  std::vector<uint64_t> words;
  for (unsigned i = 0; i < used; ++i) words.push_back(out[i].value);
  return contrail::format_record(site_descriptor<Site, Kind, Args...>, words.data(), words.size());
}
#define RECORDED(kind, ...) \
  recorded<binding_kind::kind>([] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); }, __VA_ARGS__)

/// A log line beside what fmt itself makes of it.
#define CHECK_LOG(...) CHECK(RECORDED(log, __VA_ARGS__) == fmt::format(__VA_ARGS__))

}  // namespace

TEST_CASE("A log line reads as fmt formats it") {
  CHECK_LOG("plain {{}}");
  CHECK_LOG("{} {} {}", 1, -2L, 3U);
  CHECK_LOG("{:>8}|{:<8}|{:^8}|{:*^9}", "right", "left", std::string("mid"), 'c');
  CHECK_LOG("{} {} {:.2f} {:g} {:e}", 1.0, 1.5f, 2.0, 1e100, 3.25);
  CHECK_LOG("{:#x} {:08b} {:+d} {:o}", 255, uint8_t{5}, 7, short{8});
  CHECK_LOG("{1} {0}", "world", "hello");
  CHECK_LOG("{:{}.{}f}|{:{}}", 3.14159, 10, 2, "x", 4);
  CHECK_LOG("{} {:d} {}", true, false, static_cast<const void*>(nullptr));
  CHECK_LOG("{}", static_cast<signed char>(-5));
  CHECK_LOG("{}", 1.0L);
}

TEST_CASE("A log line shows what fmt alone would not") {
  CHECK(RECORDED(log, "{} {:d} {:>6}", geometry::color::green, geometry::color::green, geometry::color::red) ==
        "green 1    red");
  CHECK(RECORDED(log, "{}", static_cast<geometry::color>(9)) == "9");
  CHECK(RECORDED(log, "{}", std::array<int, 2>{1, 2}) == "[1, 2]");
  CHECK(RECORDED(log, "{}", std::chrono::microseconds(2)) == "2000ns");
  CHECK(RECORDED(log, "{} {}", int128{-5}, u'\u20ac') == "-5 \u20ac");
  const char* null = nullptr;
  CHECK(RECORDED(log, "{}", null) == "(null)");
}

TEST_CASE("Other records show their keys") {
  CHECK(RECORDED(region, "empty") == "empty");
  CHECK(RECORDED(region, "two", "a", 1, "b", "text") == "two{a: 1, b: text}");
  CHECK(RECORDED(counter, "depth", 7) == "depth{value: 7}");
  const int numbers[2] = {1, 2};
  CHECK(RECORDED(instant, "many", "list", numbers, "p", geometry::point{3, 0.5}) ==
        "many{list: [1, 2], p.x: 3, p.y: 0.5}");
}

TEST_CASE("An object of a registered type prints as its event") {
  CHECK(contrail::to_text(geometry::shape{{1, 2.5}, "square", geometry::color::green, {1, 2, 3}, true}) ==
        "geometry::shape{at.x: 1, at.y: 2.5, name: square, fill: green, numbers: [1, 2, 3], closed: true}");
}

TEST_CASE("A cut text ends in an ellipsis") {
  const std::string printed =
      contrail::to_text(geometry::shape{{}, std::string(5000, 'x'), geometry::color::red, {}, false});
  CHECK(printed.find("xxx\u2026, fill: red") != std::string::npos);
}

TEST_CASE("A payload that ends too early shows what is there") {
  const uint64_t words[1] = {7};
  CHECK(contrail::format_record(type_descriptor<geometry::point>, words, 1) == "geometry::point{x: 7}");
  CHECK(contrail::format_record(type_descriptor<geometry::point>, words, 0) == "geometry::point");
}
