// SPDX-License-Identifier: MIT
// The opt-ins that make dumps, of the single header; where nothing records, they are there and say so.
#include "contrail.hpp"

#include <string>

int main(int argc, char** argv) {
  const contrail::error started = contrail::start_from("memory=4M", {.thread_states = contrail::context_switches});
  { TRACE_REGION("in one header"); }

  contrail::trigger watchdog({.path = argc > 1 ? argv[1] : "", .look_every = contrail::duration(1'000'000)});
  const contrail::error refused = watchdog.latency("x", contrail::duration(1));
  const contrail::error watching = watchdog.start();
  watchdog.fire("the test");
  { const contrail::latency_budget budget(watchdog, "never", contrail::duration(1'000'000'000'000)); }
  watchdog.stop();

  contrail::http_answer answer;
  contrail::http_trace("last=5s", [&](contrail::http_answer&& got) { answer = std::move(got); });
#if defined(CONTRAIL_DISABLED) || defined(CONTRAIL_FORCE_UNSUPPORTED)
  return started && refused && watching && watchdog.status().fired == 0 && answer.status == 503 &&
                 answer.body == std::string(started.message()) + '\n'
             ? 0
             : 1;
#else
  return !started && !refused && !watching && watchdog.status().dumps == 1 && answer.status == 200 &&
                 contrail::reader(answer.body.data(), answer.body.size())
             ? 0
             : 1;
#endif
}
