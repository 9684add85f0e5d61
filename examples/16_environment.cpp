// SPDX-License-Identifier: MIT
// A recorder by the environment: nothing here starts one, the variable CONTRAIL does. The header stands in one
// translation unit of the program. To show it, this one runs itself once more with the variable set.
//
// Prints:
//   CONTRAIL=memory=1M,names=job*,signal=USR2:%e.contrail
//   the dump is there
// Records: "main thread", "job"
// Not recorded: "noise"
#include <contrail/contrail.hpp>
#include <contrail/env.hpp>

#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>

void job(int number) {
  TRACE_REGION("job", "number", number);
  TRACE_INSTANT("noise");
}

int main(int, char** arguments) {
  if (std::getenv("CONTRAIL") == nullptr) {
    setenv("CONTRAIL", "memory=1M,names=job*,signal=USR2:%e.contrail", 1);
    execv("/proc/self/exe", arguments);
    return 1;
  }
  std::printf("CONTRAIL=%s\n", std::getenv("CONTRAIL"));

  TRACE_THREAD_NAME("main thread");  // the first call site that is hit: here the variable is read
  for (int i = 0; i < 10; ++i) job(i);
  std::raise(SIGUSR2);

  const bool written = access("16_environment.contrail", R_OK) == 0;
  std::printf("the dump is %s\n", written ? "there" : "missing");
  return written ? 0 : 1;
}
