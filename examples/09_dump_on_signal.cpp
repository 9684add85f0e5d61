// SPDX-License-Identifier: MIT
// A dump on demand from outside: `kill -USR2 PID`. The handler is async-signal-safe and no thread waits for it.
//
// Prints:
//   kill -USR2 … would do the same
//   the dump is there
// Records: "main loop", "compute"
#include <contrail/contrail.hpp>

#include <csignal>
#include <cstdio>
#include <unistd.h>

double compute(int rounds) {
  TRACE_REGION("compute", "rounds", rounds);
  double sum = 0;
  for (int i = 1; i <= rounds; ++i) sum += 1.0 / i;
  return sum;
}

int main() {
  using namespace contrail;
  if (auto error = flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  // %e is the name of the executable; %p (pid), %t (time) and %n (a number) keep the dumps of many processes apart.
  if (auto error = flight_recorder::dump_on_signal(SIGUSR2, "%e.contrail")) {
    std::fprintf(stderr, "cannot install the handler: %s\n", error.message());
    return 1;
  }

  {
    TRACE_REGION("main loop");  // still open when the dump is taken: shown as unfinished
    double sum = 0;
    for (int i = 0; i < 10; ++i) sum += compute(1000 * i);
    std::printf("kill -USR2 %d would do the same\n", static_cast<int>(getpid()));
    std::raise(SIGUSR2);
    if (sum < 0) return 1;
  }

  const bool written = access("09_dump_on_signal.contrail", R_OK) == 0;
  std::printf("the dump is %s\n", written ? "there" : "missing");
  return written ? 0 : 1;
}
