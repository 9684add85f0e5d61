// SPDX-License-Identifier: MIT
// A session: all that is recorded goes to a file, from its start to its stop, whatever the recorder's memory holds.
//
// Prints:
//   streaming
//   2000 jobs by 2 workers
//   the stream has them all: 0 lost, 0 dropped
// Records: "job", "report", "worker 0", "worker 1"
// Not recorded: "before"
#include <contrail/contrail.hpp>
#include <contrail/session.hpp>

#include <cstdio>
#include <string>
#include <thread>

void work(int number) {
  TRACE_THREAD_NAME("worker " + std::to_string(number));
  for (int i = 0; i < 1000; ++i) {
    TRACE_REGION("job", "number", i);
  }
}

int main() {
  // Of 2000 small jobs 1 MiB holds all; what a session streams has no such bound.
  if (auto error = contrail::flight_recorder::start({.memory = 1 << 20})) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  TRACE_INSTANT("before");

  contrail::session session;
  if (auto error = session.start({.file = "14_session.contrail"})) {
    std::fprintf(stderr, "cannot stream: %s\n", error.message());
    return 1;
  }
  if (session.is_running()) std::puts("streaming");
  std::thread first(work, 0), second(work, 1);
  first.join();
  second.join();
  std::puts("2000 jobs by 2 workers");
  TRACE_INSTANT("report");  // just before stop: it is in the stream too

  const contrail::session_result result = session.stop();
  if (result.failed) {
    std::fprintf(stderr, "the stream ended early: %s\n", result.failed.message());
    return 1;
  }
  std::printf("the stream has them all: %d lost, %d dropped\n", static_cast<int>(result.lost_records),
              static_cast<int>(result.dropped_records));
}
