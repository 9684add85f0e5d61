// SPDX-License-Identifier: MIT
// What thread states cost: the processor time of a context switch, and of a thread that begins and ends, with and
// without options::thread_states, in alternation.
//   bench_thread_states [ROUNDS]
#include <sched.h>
#include <unistd.h>
#include <contrail/contrail.hpp>
#include <contrail/thread_states.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using contrail::flight_recorder;

double cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// Both threads on one processor, so that each message is a switch.
void stay_here(int cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(cpu, &only);
  sched_setaffinity(0, sizeof only, &only);
}

bool pass_on(int from, int to) {
  char byte = 0;
  return read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1;
}

/// Processor time for each switch of a byte that goes to and fro.
double switch_ns() {
  constexpr int trips = 20'000;
  int there[2], back[2];
  if (pipe(there) != 0 || pipe(back) != 0) std::abort();
  const int cpu = sched_getcpu();
  double spent = 0;
  std::thread other([&] {
    stay_here(cpu);
    while (pass_on(there[0], back[1])) {
    }
  });
  std::thread one([&] {
    stay_here(cpu);
    char byte = 0;
    const double begin = cpu_ns();
    for (int i = 0; i < trips; ++i) {
      if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) std::abort();
    }
    spent = cpu_ns() - begin;
    close(there[1]);
  });
  one.join();
  other.join();
  for (const int end : {there[0], back[0], back[1]}) close(end);
  return spent / (2 * trips);
}

/// Processor time for each thread that begins and ends.
double thread_ns() {
  constexpr int threads = 500;
  const double begin = cpu_ns();
  for (int i = 0; i < threads; ++i) std::thread([] {}).join();
  return (cpu_ns() - begin) / threads;
}

template <class Measure>
double run(Measure&& measure, bool with_states) {
  if (flight_recorder::start({.thread_states = with_states ? contrail::context_switches : nullptr})) std::abort();
  const double result = measure();
  flight_recorder::stop();
  return result;
}

template <class Measure>
void report(const char* what, int rounds, Measure&& measure) {
  std::vector<double> without, with, ratios;
  for (int i = 0; i < rounds; ++i) {
    const bool first = i % 2 == 0;
    double pair[2];
    pair[first] = run(measure, first);
    pair[!first] = run(measure, !first);
    without.push_back(pair[0]);
    with.push_back(pair[1]);
    ratios.push_back(pair[1] / pair[0]);
  }
  const auto at = [](std::vector<double>& values, double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
  };
  std::printf("%-28s %8.0f ns without %8.0f ns with   ratio %.3f (quartiles %.3f to %.3f)\n", what, at(without, 0.5),
              at(with, 0.5), at(ratios, 0.5), at(ratios, 0.25), at(ratios, 0.75));
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::max(1, std::atoi(arguments[1])) : 21;
  report("a switch", rounds, switch_ns);
  report("a thread, begun and ended", rounds, thread_ns);
}
