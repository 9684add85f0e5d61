// SPDX-License-Identifier: MIT
// The opt-ins of the single header that make dumps and streams, and its locks; where nothing records, they say so.
#include "contrail.hpp"

#include <mutex>
#include <string>

int main(int argc, char** argv) {
  const contrail::error started = contrail::start_from("memory=4M", {.thread_states = contrail::context_switches});
  contrail::session session;
  const contrail::error streaming = session.start({.file = "stream.contrail"});
  contrail::mutex mutex("lock");
  {
    const std::lock_guard lock(mutex);
    TRACE_REGION("in one header");
  }
  const contrail::session_result stream = session.stop();

  contrail::trigger watchdog({.path = argc > 1 ? argv[1] : "", .look_every = contrail::duration(1'000'000)});
  const contrail::error refused = watchdog.latency("x", contrail::duration(1));
  const contrail::error watching = watchdog.start();
  watchdog.fire("the test");
  { const contrail::latency_budget budget(watchdog, "never", contrail::duration(1'000'000'000'000)); }
  watchdog.stop();

  contrail::http_answer answer;
  contrail::http_trace("last=5s", [&](contrail::http_answer&& got) { answer = std::move(got); });
#if defined(CONTRAIL_DISABLED) || defined(CONTRAIL_FORCE_UNSUPPORTED)
  return started && streaming.code() == started.code() && stream.bytes == 0 && refused && watching &&
                 watchdog.status().fired == 0 && answer.status == 503 &&
                 answer.body == std::string(started.message()) + '\n'
             ? 0
             : 1;
#else
  return !started && !streaming && !stream.failed && stream.bytes > 0 && !refused && !watching &&
                 watchdog.status().dumps == 1 && answer.status == 200 &&
                 contrail::reader(answer.body.data(), answer.body.size())
             ? 0
             : 1;
#endif
}
