// SPDX-License-Identifier: MIT
// Threads need no registration: the first record attaches them. A name makes them easy to find.
//
// Prints:
//   4 threads added up 10000 numbers
//   wrote 10_threads.contrail
// Records: "add up", "wait for the lock", "adder 0", "adder 3", "main"
#include <contrail/contrail.hpp>

#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  TRACE_THREAD_NAME("main");

  std::mutex mutex;
  long added = 0;
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&, number] {
      TRACE_THREAD_NAME("adder " + std::to_string(number));
      for (int round = 0; round < 50; ++round) {
        TRACE_REGION("add up", "round", round);
        long mine = 0;
        for (int i = 0; i < 50; ++i) ++mine;
        TRACE_REGION_VAR(wait, "wait for the lock");
        const std::lock_guard lock(mutex);
        wait.end();
        added += mine;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::printf("%d threads added up %ld numbers\n", static_cast<int>(threads.size()), added);

  // A thread that has ended keeps what it recorded.
  if (auto error = contrail::flight_recorder::dump("10_threads.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 10_threads.contrail\n");
}
