// SPDX-License-Identifier: MIT
// What surrounds the work: a condition variable that records real waits and for what, the turns of a loop as frames, a
// download that belongs to no thread, and a counter of two series.
//
// Prints:
//   drew 3 frames
//   wrote 21_waits_and_frames.contrail
// Records: "wait for condition", "screen", "download", "memory", "decode"
#include <contrail/contrail.hpp>
#include <contrail/blocking.hpp>

#include <cstdio>
#include <mutex>
#include <thread>

contrail::mutex guard("pictures");
contrail::condition_variable changed("a picture");
bool is_waiting = false, is_there = false;

void decode() {
  std::unique_lock lock(guard);
  is_waiting = true;
  changed.wait(lock, [] { return is_there; });  // a region, since it has to wait
  TRACE_REGION("decode");
}

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  std::thread decoder(decode);
  TRACE_ASYNC(download, "download", "file", "cat.png");  // it overlaps frames, and ends on whatever thread

  for (bool waits = false; !waits; std::this_thread::yield()) {
    const std::lock_guard lock(guard);
    waits = is_waiting;
  }
  {
    const std::lock_guard lock(guard);
    is_there = true;
  }
  changed.notify_one();
  decoder.join();
  download.end();

  TRACE_FRAME("screen");
  for (int i = 0; i < 3; ++i) {
    TRACE_COUNTER("memory", "pictures", i, "text", 0.5 * i);
    TRACE_FRAME("screen");  // here one frame ends and the next one begins
  }
  std::puts("drew 3 frames");

  if (auto error = contrail::flight_recorder::dump("21_waits_and_frames.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::puts("wrote 21_waits_and_frames.contrail");
}
