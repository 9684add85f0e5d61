// SPDX-License-Identifier: MIT
// Writes the golden stream of version 1.2 into the folder it is given: see README.md.
#include <contrail/contrail.hpp>
#include <contrail/session.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

/// Until the stream has grown: so that chunks are in it piece by piece.
void wait_for(const contrail::session& stream) {
  const auto before = stream.status().bytes;
  while (stream.is_running() && stream.status().bytes == before) std::this_thread::yield();
}

int main(int, char** arguments) {
  const std::string path = std::string(arguments[1]) + "/v1.2-stream.contrail";
  contrail::flight_recorder::start({.memory = 1 << 20});
  TRACE_INSTANT("before the session");
  contrail::session stream;
  if (auto error = stream.start({.file = path.c_str(), .interval = std::chrono::milliseconds(1)})) {
    return std::puts(error.message()), 1;
  }
  TRACE_THREAD_NAME("main");
  TRACE_REGION("open until the end", "why", "so that it is unfinished");
  for (int i = 0; i < 5; ++i) {
    TRACE_REGION("piece", "i", i);
    wait_for(stream);
  }
  std::thread([&] {
    TRACE_THREAD_NAME("worker");
    for (int i = 0; i < 1500; ++i) {
      TRACE_REGION("plain");
      if (i % 100 == 0) TRACE_COUNTER("hundreds", i / 100);
    }
    wait_for(stream);  // its name, and its chunks: one sealed, one open
  }).join();
  TRACE_LOG("{} pieces", 5);
  const contrail::session_result result = stream.stop();
  return result.failed ? (std::puts(result.failed.message()), 1) : 0;
}
