// SPDX-License-Identifier: MIT
// What the system did with the threads: a track below each one shows when it ran, waited, and waited for a processor,
// and each region has its processor time. Where the system does not permit it, the rest is recorded, and the dump says
// why:
//
//   $ contrail.py info 19_thread_states.contrail
//   tid    thread         running  runnable   waiting  not known  switches
//   13797  producer      20.28 ms  16.83 ms      0 ns       0 ns        73
//   13796  consumer      48.12 us  12.01 us  36.92 ms       0 ns         6
//
// Prints:
//   the answer is 42
// Records: "producer", "consumer", "compute", "consume"
#include <contrail/contrail.hpp>
#include <contrail/thread_states.hpp>

#include <cstdio>
#include <future>
#include <thread>

int compute() {
  TRACE_REGION("compute");
  volatile int steps = 0;
  while (steps < 5'000'000) steps = steps + 1;
  return 42;
}

int main() {
  if (auto error = contrail::flight_recorder::start({.thread_states = contrail::context_switches})) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  std::promise<int> promise;
  std::thread consumer([answer = promise.get_future()]() mutable {
    TRACE_THREAD_NAME("consumer");
    TRACE_REGION("consume");
    TRACE_BLOCKED(sync, "the answer");  // the state's slice in the trace is then named "waiting (sync)"
    std::printf("the answer is %d\n", answer.get());
  });
  std::thread producer([&promise] {
    TRACE_THREAD_NAME("producer");
    promise.set_value(compute());
  });
  producer.join();
  consumer.join();

  if (auto error = contrail::flight_recorder::dump("19_thread_states.contrail")) {
    std::fprintf(stderr, "cannot dump: %s\n", error.message());
    return 1;
  }
}
