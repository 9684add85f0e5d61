// SPDX-License-Identifier: MIT
// The executable knows nothing of contrail: its plugins find the one recorder among themselves.
#include "catch.hpp"
#include "opened_plugin.hpp"

TEST_CASE("plugins of a program without contrail share one recorder") {
  opened_plugin one("hidden_one"), two("hidden_two"), three("visible");
  REQUIRE(two->start() == 0);
  CHECK(one->start() != 0);
  one->trace(3);
  two->trace_on_new_thread(3);
  three->trace(3);
  CHECK(one->look() == two->look());
  CHECK(one->look() == three->look());
  REQUIRE(three->dump("plugins_only.contrail") == 0);
  CHECK(dump_has("plugins_only.contrail", "'hidden_one region' 'hidden_two region' 'visible region'"));
  CHECK(one->stop() == 0);
}

TEST_CASE("the recorder outlives the plugin that owned it") {
  {
    opened_plugin one("hidden_one");
    REQUIRE(one->start() == 0);
    one->trace(3);
  }
  opened_plugin two("hidden_two");
  two->trace(3);
  CHECK(two->start() != 0);  // still running
  REQUIRE(two->dump("plugins_outlived.contrail") == 0);
  CHECK(dump_has("plugins_outlived.contrail", "'hidden_one region' 'hidden_two region'"));
  CHECK(two->stop() == 0);
}
