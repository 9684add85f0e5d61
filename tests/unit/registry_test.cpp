// SPDX-License-Identifier: MIT
// Descriptors of call sites and of registered types, and the list of types.
#include "catch.hpp"

#include "contrail/contrail.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

using contrail::event_info;
using contrail::field_type;
using namespace contrail::detail;

// ---- registered types ----------------------------------------------------------------------------------------

struct global_type {
  bool flag;
};
CONTRAIL_EVENT_TYPE(global_type, flag);

namespace geometry {

struct point {
  int x;
  int y;
};
CONTRAIL_EVENT_TYPE(point, x, y);

CONTRAIL_CATEGORY("shapes");
enum class color { red, green };
struct shape {
  struct label {
    std::string text;
    char code[4];
  };
  point corners[2];
  std::array<point, 1> middle;
  label name;
  color fill;
  const double area;
  unsigned bits : 5;
  int ignored;
};
CONTRAIL_EVENT_TYPE(shape::label, text, code);
CONTRAIL_EVENT_TYPE(shape, corners, middle, name, fill, area, bits);

struct derived : point {};

template <class T>
struct box {
  T inside;
};
CONTRAIL_EVENT_TYPE(box<long>, inside);

}  // namespace geometry

namespace {
struct hidden {
  const char* why;
};
CONTRAIL_EVENT_TYPE(hidden, why);
}  // namespace

// All of it are constants.
using point_info = event_info<geometry::point>;
static_assert(point_info::name == "geometry::point");
static_assert(point_info::size == 8);
static_assert(point_info::id != 0);
static_assert(point_info::fields.size() == 2);
static_assert(point_info::fields[0].name == "x" && point_info::fields[0].offset == 0);
static_assert(point_info::fields[1].name == "y" && point_info::fields[1].offset == 4);
static_assert(point_info::fields[1].type == field_type::int32);
static_assert(point_info::category == "");
static_assert(point_info::line > 10);
static_assert(event_info<geometry::shape>::category == "shapes");
static_assert(event_info<global_type>::name == "global_type");

namespace {

std::string string_of(contrail::text t) { return {t.data, t.size}; }

std::string names_of(const contrail::descriptor& what) {
  std::string all;
  for (uint16_t i = 0; i < what.field_count; ++i) all += string_of(what.fields[i].name) + " ";
  return all;
}

/// As the macros do: the arguments' types after the name, and a lambda that knows the site.
template <binding_kind Kind, class Site, class Name, class... Args>
const contrail::descriptor& describe(Site, const Name&, const Args&...) {
  static_assert(check_site<Site, Kind, Args...>());
  return site_descriptor<Site, Kind, Args...>;
}
#define SITE(kind, ...) describe<binding_kind::kind>([] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); }, __VA_ARGS__)

template <class... Args>
std::vector<uint64_t> words_of(const Args&... args) {
  atomic_word out[20];
  const unsigned used = encode_arguments<binding_kind::region>(out, 20, args...);
  std::vector<uint64_t> words;
  for (unsigned i = 0; i < used; ++i) words.push_back(out[i].value);
  return words;
}

template <class T>
T twice(T value) {
  return static_cast<T>(value * 2);
}
template <int A, int B>
int sum() {
  return A + B;
}

}  // namespace

TEST_CASE("A registered type's members are flattened into fields") {
  CHECK(names_of(type_descriptor<geometry::shape>) ==
        "corners[0].x corners[0].y corners[1].x corners[1].y middle[0].x middle[0].y name.text name.code fill area "
        "bits ");
  const auto fields = event_info<geometry::shape>::fields;
  CHECK(fields[7].type == field_type::string);
  CHECK(fields[8].enumerator_count == 2);
  CHECK(fields[9].offset == 32);
  CHECK(event_info<geometry::shape>::size == 44);
}

TEST_CASE("A type's id depends on its name and on its schema") {
  CHECK(point_info::id != event_info<geometry::shape>::id);
  CHECK(point_info::id != event_info<geometry::box<long>>::id);
  // As the hash of name, fields and offsets gave it on the first day: dumps of other builds depend on it.
  CHECK(point_info::id == 0x0108c08249368b35);
}

TEST_CASE("A class derived from a registered one is not registered") { CHECK_FALSE(registered<geometry::derived>); }

TEST_CASE("The registry lists each type once, before any event") {
  std::vector<std::string> names;
  for (const contrail::descriptor& type : contrail::registry()) {
    CHECK(type.kind == binding_kind::event_type);
    CHECK(type.type_id != 0);
    names.push_back(string_of(type.name));
  }
  for (const char* name : {"global_type", "geometry::point", "geometry::shape", "geometry::shape::label"})
    CHECK(std::count(names.begin(), names.end(), name) == 1);
  CHECK(names.size() == 6);
}

TEST_CASE("A site's descriptor knows its place") {
  const contrail::descriptor& what = SITE(region, "plain");
  CHECK(what.kind == binding_kind::region);
  CHECK(what.name == "plain");
  CHECK(what.line == __LINE__ - 3);
  CHECK(string_of(what.file) == __FILE__);
  CHECK(what.function.size != 0);
  CHECK(what.field_count == 0);
  CHECK(what.type_id == 0);
  CHECK(what.category == "");
}

TEST_CASE("Keys name the fields of a site") {
  const contrail::descriptor& what = SITE(region,
                                          "two\tparts"
                                          " here",
                                          "first", 1, "second", 2.0, R"(th"ird)", "text");
  CHECK(what.name == "two\tparts here");
  CHECK(names_of(what) == "first second th\"ird ");
  CHECK(what.fields[1].offset == 8);
  CHECK(what.fields[2].type == field_type::string);
}

TEST_CASE("Values may hold commas, literals and calls of templates") {
  const bool yes = true;
  const contrail::descriptor& what = SITE(
      instant, "n", "a", sum<1, 2>(), "b", yes ? "x" : "y", "c", "lit,eral", "d", ',', "e",
      [](int x, int y) { return x + y; }(1, 2), "f", 1'000);
  CHECK(names_of(what) == "a b c d e f ");
}

TEST_CASE("A name and keys may come from macros") {
#define NAME \
  "from a "  \
  "macro"
#define KEY "key"
  const contrail::descriptor& what = SITE(region, NAME, KEY, 1);
  CHECK(what.name == "from a macro");
  CHECK(names_of(what) == "key ");
}

TEST_CASE("Arguments are encoded without their keys") {
  CHECK(words_of("a", 1, "b", 2) == std::vector<uint64_t>{0x00000002'00000001});
  CHECK(words_of("a", geometry::point{3, 4}, u8"b", short{5}) == std::vector<uint64_t>{0x00000004'00000003, 5});
  CHECK(words_of().empty());
  CHECK(words_of(geometry::point{3, 4}) == std::vector<uint64_t>{0x00000004'00000003});
}

TEST_CASE("A registered object is encoded member by member") {
  const geometry::shape s{{{1, 2}, {3, 4}}, {{{5, 6}}}, {"label", {'a', 'b'}}, geometry::color::green, 0.5, 17, 0};
  const std::vector<uint64_t> words = words_of(s);
  CHECK(words == std::vector<uint64_t>{0x00000002'00000001, 0x00000004'00000003, 0x00000006'00000005,
                                       0x00000001'00020005, 0x3fe0000000000000, 0x6562616c'00000011, 0x62616c});
}

TEST_CASE("A region with an object has the fields of its type") {
  const geometry::point p{1, 2};
  const contrail::descriptor& what = SITE(region, "move", p);
  CHECK(what.type_id == point_info::id);
  CHECK(what.fields == type_descriptor<geometry::point>.fields);
  CHECK(names_of(what) == "x y ");
}

TEST_CASE("An object as a value is flattened below its key") {
  const geometry::point p{1, 2};
  const contrail::descriptor& what = SITE(region, "move", "from\x21", p, "n", 3);
  CHECK(names_of(what) == "from!.x from!.y n ");
  CHECK(what.type_id == 0);
  const geometry::point both[2] = {p, p};
  CHECK(names_of(SITE(instant, "move", "way", both)) == "way[0].x way[0].y way[1].x way[1].y ");
}

TEST_CASE("A counter has one field, a log line numbers its fields") {
  CHECK(names_of(SITE(counter, "depth", twice(4))) == "value ");
  const contrail::descriptor& log = SITE(log, "{} {} {} {} {} {} {} {} {} {} {}", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "ten");
  CHECK(log.name == "{} {} {} {} {} {} {} {} {} {} {}");
  CHECK(names_of(log) == "0 1 2 3 4 5 6 7 8 9 10 ");
}

namespace sites {
namespace nested {
CONTRAIL_CATEGORY("near");
CONTRAIL_CATEGORY("near");
inline const contrail::descriptor& near() { return SITE(region, "r"); }
namespace deeper {
inline const contrail::descriptor& inherited() { return SITE(region, "r"); }
}  // namespace deeper
}  // namespace nested
inline const contrail::descriptor& none() { return SITE(region, "r"); }
}  // namespace sites

TEST_CASE("The category is that of the nearest namespace that has one") {
  CHECK(sites::nested::near().category == "near");
  CHECK(sites::nested::deeper::inherited().category == "near");
  CHECK(sites::none().category == "");
}

namespace named {
struct worker {
  const contrail::descriptor& run(int) const { return SITE(region, CONTRAIL_DETAIL_FUNCTION_NAME); }
  template <class T>
  const contrail::descriptor& take(T value) const {
    return SITE(region, CONTRAIL_DETAIL_FUNCTION_NAME, "value", value);
  }
};
}  // namespace named

TEST_CASE("A site can take its function's name") {
  CHECK(named::worker().run(1).name == "named::worker::run");
  const contrail::descriptor& what = named::worker().take(1);
  CHECK(string_of(what.name).substr(0, 19) == "named::worker::take");
  CHECK(names_of(what) == "value ");
}

TEST_CASE("Sites with thirty arguments are described") {
  const contrail::descriptor& what =
      SITE(instant, "n", "a", 1, "b", 2, "c", 3, "d", 4, "e", 5, "f", 6, "g", 7, "h", 8, "i", 9, "j", 10, "k", 11, "l",
           12, "m", 13, "n", 14, "o", 15, "p", 16, "q", 17, "r", 18, "s", 19, "t", 20, "u", 21, "v", 22, "w", 23, "x",
           24, "y", 25, "z", 26, "aa", 27, "bb", 28, "cc", 29, "dd", 30);
  CHECK(what.field_count == 30);
  CHECK(what.fields[29].name == "dd");
}
