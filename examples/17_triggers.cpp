// SPDX-License-Identifier: MIT
// Dumps by themselves: when a region takes longer than its budget, when a thread hangs, when a counter is too high. The
// dump says which, and has what led to it.
//
// Prints:
//   dumps: 1
// Records: "request", "query"
#include <contrail/contrail.hpp>
#include <contrail/trigger.hpp>

#include <chrono>
#include <cstdio>
#include <thread>

using namespace std::chrono_literals;

void request(std::chrono::milliseconds database) {
  TRACE_REGION("request");
  TRACE_REGION("query");
  std::this_thread::sleep_for(database);
}

int main() {
  using namespace contrail;
  if (auto error = flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  // With %n in the path each dump would have a name of its own, and the newest 8 of them would stay.
  trigger watchdog({.path = "17_triggers.contrail", .last = 10s, .after = 20ms, .at_most_every = 1min});
  watchdog.latency("request", 5ms);
  watchdog.stall(2s, "-idle*");  // a thread that ended no region for 2 s, but for those that are idle
  watchdog.counter("jobs waiting", 1000);
  if (auto error = watchdog.start()) {
    std::fprintf(stderr, "cannot watch: %s\n", error.message());
    return 1;
  }

  request(0ms);
  request(10ms);
  while (watchdog.status().dumps == 0) std::this_thread::sleep_for(1ms);
  std::printf("dumps: %d\n", static_cast<int>(watchdog.status().dumps));
}
