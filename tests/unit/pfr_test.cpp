// SPDX-License-Identifier: MIT
// needs: boost/pfr/core.hpp
// Aggregates that register without a list of their fields.
#include "catch.hpp"

#include "contrail/contrail.hpp"
#include "contrail/pfr.hpp"

#include <array>
#include <string>

using contrail::event_info;

namespace geometry {

struct point {
  int x_1;
  double y2;
};
CONTRAIL_EVENT_TYPE(point);

enum class color { red, green };
struct shape {
  struct label {
    std::string text;
  };
  std::array<point, 2> corners;
  label name;
  color fill;
  const bool closed;
  const char* note;
  std::array<char, 3> code;
  std::array<short, 3> numbers;
};
CONTRAIL_EVENT_TYPE(shape::label);
CONTRAIL_EVENT_TYPE(shape);

struct empty {};
CONTRAIL_EVENT_TYPE(empty);

template <class T>
struct box {
  T inside;
};
CONTRAIL_EVENT_TYPE(box<unsigned>);

struct listed {
  int first;
  point second;
};
CONTRAIL_EVENT_TYPE(listed, second);

}  // namespace geometry

struct global {
  int at_top;
};
CONTRAIL_EVENT_TYPE(global);

namespace {
struct hidden {
  int in_anonymous;
};
CONTRAIL_EVENT_TYPE(hidden);
}  // namespace

static_assert(event_info<geometry::point>::name == "geometry::point");
static_assert(event_info<geometry::point>::fields[0].name == "x_1");
static_assert(event_info<geometry::point>::fields[1].name == "y2");
static_assert(event_info<geometry::point>::size == 16);

namespace {

template <class T>
std::string names_of() {
  std::string all;
  for (const contrail::field& f : event_info<T>::fields) all += std::string(f.name.data, f.name.size) + " ";
  return all;
}

}  // namespace

TEST_CASE("An aggregate's members are found with their names") {
  CHECK(names_of<geometry::shape>() ==
        "corners[0].x_1 corners[0].y2 corners[1].x_1 corners[1].y2 name.text fill closed note code numbers ");
  CHECK(names_of<geometry::box<unsigned>>() == "inside ");
  CHECK(names_of<global>() == "at_top ");
  CHECK(names_of<hidden>() == "in_anonymous ");
  CHECK(names_of<geometry::empty>().empty());
}

TEST_CASE("Listed types and found ones mix") { CHECK(names_of<geometry::listed>() == "second.x_1 second.y2 "); }

TEST_CASE("An aggregate is encoded like the same type with a list") {
  contrail::detail::atomic_word out[20];
  const geometry::shape s{{{{1, 2}, {3, 4}}}, {"name"}, geometry::color::green, true, "note", {'a', 'b'}, {5, 6, 7}};
  REQUIRE(contrail::detail::encode(out, 20, s) == 8);
  CHECK(out[0].value == 1);
  CHECK(out[3].value == 0x4010000000000000);
  CHECK(out[4].value == 0x00000001'00000004);
  CHECK(out[5].value == 0x0005'0002'0004'0001);
  CHECK(out[6].value == 0x656d616e'0007'0006);  // the tail begins behind the last number
}
