// SPDX-License-Identifier: MIT
// Which call sites a filter lets through, and that it may change while they run.
#include "support/trace.hpp"

namespace net {
TRACE_CATEGORY("net");
void hit() { TRACE_INSTANT("net.read"); }
}  // namespace net

namespace db {
TRACE_CATEGORY("db.query");
struct row {
  int id;
};
TRACE_EVENT_TYPE(row, id);
void hit() {
  TRACE_REGION("db.read");
  TRACE_EMIT(row{1});
}
namespace noise {
TRACE_CATEGORY("db.noise");
void hit() { TRACE_COUNTER("db.ping", 1); }
}  // namespace noise
}  // namespace db

namespace {

using names = std::vector<std::string>;

void hit_all() {
  net::hit();
  db::hit();
  db::noise::hit();
  TRACE_INSTANT("uncategorised");
  TRACE_LOG("line {}", 1);
}

/// Names of all records, in order.
names recorded() {
  names result;
  for (const auto& event : convert_now().events) {
    const size_t begin = event.json.find("\"name\":\"") + 8;
    result.push_back(event.json.substr(begin, event.json.find('"', begin) - begin));
  }
  return result;
}

names recorded_with(const contrail::filter_options& filter) {
  const running_recorder recorder({.memory = 1 << 20, .filter = filter});
  hit_all();
  return recorded();
}

const names everything{"net.read", "db.read", "db::row", "db.ping", "uncategorised", "line 1"};

}  // namespace

TEST_CASE("No filter lets everything through") {
  CHECK(recorded_with({}) == everything);
  CHECK(recorded_with({.categories = "", .names = ""}) == everything);
  CHECK(recorded_with({.categories = "*"}) == everything);
}

TEST_CASE("A filter by category lets only those through") {
  CHECK(recorded_with({.categories = "net"}) == names{"net.read"});
  CHECK(recorded_with({.categories = "net,db*,-db.noise"}) == names{"net.read", "db.read", "db::row"});
  CHECK(recorded_with({.categories = "-db*"}) == names{"net.read", "uncategorised", "line 1"});
  CHECK(recorded_with({.categories = "ne"}).empty());
}

TEST_CASE("A filter by name lets only those through, log lines by their format, objects by their type") {
  CHECK(recorded_with({.names = "*read"}) == names{"net.read", "db.read"});
  CHECK(recorded_with({.names = "line {}"}) == names{"line 1"});
  CHECK(recorded_with({.names = "db::row"}) == names{"db::row"});
  CHECK(recorded_with({.names = "-*d*"}) == names{"line 1"});
}

TEST_CASE("A site must pass both filters") {
  CHECK(recorded_with({.categories = "db*", .names = "*read"}) == names{"db.read"});
}

TEST_CASE("A filter that is replaced holds from the next hit of each site on") {
  const running_recorder recorder;
  hit_all();
  REQUIRE_FALSE(flight_recorder::set_filter({.categories = "net"}));
  hit_all();
  REQUIRE_FALSE(flight_recorder::set_filter({.names = "db.*"}));
  hit_all();
  REQUIRE_FALSE(flight_recorder::set_filter({}));
  hit_all();
  names expected = everything;
  for (const char* name : {"net.read", "db.read", "db.ping"}) expected.push_back(name);
  expected.insert(expected.end(), everything.begin(), everything.end());
  CHECK(recorded() == expected);
}

TEST_CASE("Regions in flight end as they began when the filter changes") {
  const running_recorder recorder;
  {
    TRACE_REGION("begun before");
    REQUIRE_FALSE(flight_recorder::set_filter({.names = "nothing"}));
    TRACE_REGION("begun while off");
    REQUIRE_FALSE(flight_recorder::set_filter({}));
    TRACE_REGION("begun after");
  }
  CHECK(recorded() == names{"begun before", "begun after"});
}

TEST_CASE("A filter that is too long is refused and the old one stays") {
  const running_recorder recorder({.memory = 1 << 20, .filter = {.categories = "net"}});
  const std::string longest(255, 'x'), longer(256, 'x');
  const contrail::error failed = flight_recorder::set_filter({.categories = longer.c_str()});
  CHECK(failed.code() == contrail::error_code::bad_option);
  CHECK(std::string(failed.message()) == "A filter is longer than 255 bytes: use fewer or shorter globs.");
  CHECK(flight_recorder::set_filter({.names = longer.c_str()}).code() == contrail::error_code::bad_option);
  hit_all();
  CHECK(recorded() == names{"net.read"});
  CHECK_FALSE(flight_recorder::set_filter({.categories = longest.c_str()}));
}

TEST_CASE("A filter's text need not outlive the call") {
  running_recorder recorder;
  std::string list = "net";
  REQUIRE_FALSE(flight_recorder::set_filter({.categories = list.c_str()}));
  list = "db*";
  hit_all();
  CHECK(recorded() == names{"net.read"});
}

TEST_CASE("Without a recorder there is no filter to set, and start forgets an earlier one") {
  CHECK(flight_recorder::set_filter({}).code() == contrail::error_code::not_running);
  CHECK(recorded_with({.categories = "net"}) == names{"net.read"});
  CHECK(recorded_with({}) == everything);
}
