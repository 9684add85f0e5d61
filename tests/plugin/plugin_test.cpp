// SPDX-License-Identifier: MIT
// One recorder in a process whose executable exports nothing and whose plugins see nothing of each other.
#include "catch.hpp"
#include "contrail/contrail.hpp"
#include "opened_plugin.hpp"

namespace {

recorder_seen look() {
  const auto status = contrail::flight_recorder::status();
  return {static_cast<int>(status.state), status.memory_bytes, status.used_bytes, status.records, status.threads};
}

struct running_recorder {
  running_recorder() { REQUIRE_FALSE(contrail::flight_recorder::start({.memory = 4 << 20})); }
  ~running_recorder() { contrail::flight_recorder::stop(); }
};

void trace_in_executable() { TRACE_REGION("executable region"); }

bool dump_to(const char* path) { return !contrail::flight_recorder::dump(path); }

}  // namespace

TEST_CASE("plugins opened before the start record into the executable's recorder") {
  opened_plugin one("hidden_one"), two("hidden_two"), three("visible");
  running_recorder recorder;
  trace_in_executable();
  one->trace(3);
  two->trace_on_new_thread(3);
  three->trace(3);
  REQUIRE(dump_to("plugins_before.contrail"));
  CHECK(dump_has("plugins_before.contrail", "'executable region' 'hidden_one region' 'hidden_one instant' "
                                            "'hidden_two region' 'hidden_two instant' 'visible region'"));
}

TEST_CASE("plugins opened after the start record into the executable's recorder") {
  running_recorder recorder;
  trace_in_executable();
  opened_plugin one("hidden_one"), two("hidden_two"), three("visible");
  one->trace_on_new_thread(3);
  two->trace(3);
  three->trace_on_new_thread(3);
  REQUIRE(dump_to("plugins_after.contrail"));
  CHECK(dump_has("plugins_after.contrail", "'executable region' 'hidden_one region' 'hidden_two region' "
                                           "'visible region' 'visible instant'"));
}

TEST_CASE("every shared object sees the same recorder") {
  opened_plugin one("hidden_one"), two("hidden_two"), three("visible");
  CHECK(one->look() == look());
  running_recorder recorder;
  one->trace(5);
  three->trace(7);
  const recorder_seen seen = look();
  CHECK(seen.records >= 12 * 6);
  CHECK(one->look() == seen);
  CHECK(two->look() == seen);
  CHECK(three->look() == seen);
  CHECK(one->start() != 0);  // one is running
}

TEST_CASE("a plugin can start, dump and stop the recorder of all") {
  opened_plugin one("hidden_one"), two("hidden_two");
  REQUIRE(one->start() == 0);
  trace_in_executable();
  two->trace(2);
  REQUIRE(two->dump("plugins_started.contrail") == 0);
  CHECK(two->stop() == 0);
  CHECK(one->start() == 0);
  CHECK_FALSE(contrail::flight_recorder::stop());
  CHECK(dump_has("plugins_started.contrail", "'executable region' 'hidden_two region'"));
}

TEST_CASE("a plugin really unloads, and its names stay in later dumps") {
  running_recorder recorder;
  for (const char* name : {"hidden_one", "visible", "visible_unoptimised"}) {
    INFO(name);
    opened_plugin plugin(name);
    plugin->trace(3);
    plugin->trace_on_new_thread(3);
    CHECK(plugin.close());
  }
  trace_in_executable();
  REQUIRE(dump_to("plugins_closed.contrail"));
  CHECK(dump_has("plugins_closed.contrail", "'executable region' 'hidden_one region' 'hidden_one instant' "
                                            "'visible region' 'visible instant' 'plugins::message' "
                                            "'visible_unoptimised variable' 'visible_unoptimised counter'"));
}

TEST_CASE("opening and closing a plugin again and again keeps recording") {
  running_recorder recorder;
  for (int i = 0; i < 200; ++i) {
    opened_plugin plugin(i % 2 == 0 ? "hidden_one" : "hidden_two");
    plugin->trace(1);
    REQUIRE(plugin.close());
  }
  CHECK(look().records >= 200 * 6);
  REQUIRE(dump_to("plugins_again.contrail"));
  CHECK(dump_has("plugins_again.contrail", "'hidden_one region' 'hidden_two region'"));
}
