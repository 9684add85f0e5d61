// SPDX-License-Identifier: MIT
// Writes the golden dump of thread states into the folder it is given: see README.md. Each region says in its arguments
// what its thread measured itself.
#include <contrail/contrail.hpp>
#include <contrail/thread_states.hpp>

#include <atomic>
#include <cstdio>
#include <sched.h>
#include <string>
#include <thread>
#include <time.h>
#include <unistd.h>

int64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

template <class Work>
void measured(const char* what, Work&& work) {
  TRACE_REGION_VAR(region, "measured", "what", what);
  const int64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  work();
  region.set("cpu_ns", clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
  region.set("wall_ns", clock_ns(CLOCK_MONOTONIC) - wall);
}

void compute() {
  for (const int64_t until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + 20'000'000; clock_ns(CLOCK_THREAD_CPUTIME_ID) < until;) {
  }
}

int main(int, char** arguments) {
  const std::string path = std::string(arguments[1]) + "/v1.2-states.contrail";
  contrail::flight_recorder::start({.memory = 1 << 20, .thread_states = contrail::context_switches});
  int ends[2];
  if (pipe(ends) != 0) return 1;
  std::atomic<int> begun{0};
  const int cpu = sched_getcpu();
  const auto compete = [&](const char* name) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    sched_setaffinity(0, sizeof only, &only);
    TRACE_THREAD_NAME(name);
    measured("it competes for a processor", [&] {
      ++begun;
      while (begun < 2) {
      }
      compute();
    });
  };
  std::thread one([&] {
    compete("one");
    usleep(40'000);
    if (write(ends[1], "x", 1) != 1) std::puts("cannot write");
  });
  std::thread other([&] {
    compete("other");
    measured("it waits", [&] {
      TRACE_BLOCKED(io, "pipe");
      char byte;
      if (read(ends[0], &byte, 1) != 1) std::puts("cannot read");
    });
    measured("it sleeps", [] {
      for (int i = 0; i < 20; ++i) usleep(500);
    });
  });
  one.join();
  other.join();
  const contrail::error failed = contrail::flight_recorder::dump(path.c_str());
  return failed ? (std::puts(failed.message()), 1) : 0;
}
