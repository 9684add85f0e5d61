// SPDX-License-Identifier: MIT
// A dump at a crash: fatal signals, overflowed stacks, exceptions that nobody catches. The process dies as it would
// have, and the dump says which thread crashed, by what, and what every thread was doing.
//
// Prints:
//   the child died of signal 11
//   its dump is there
// Records: "main loop", "parse", "crashed: SIGSEGV at 0x0, where nothing is mapped"
#include <contrail/contrail.hpp>

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

size_t parse(const char* text) {
  TRACE_REGION("parse", "at", static_cast<const void*>(text));  // open when it crashes: shown as unfinished
  size_t length = 0;
  for (const char* at = text; *at != '\0'; ++at) ++length;
  return length;
}

int server() {
  using namespace contrail;
  // Once, at the beginning of main. Handlers that the program installed before are called after the dump.
  if (auto error = flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  if (auto error = flight_recorder::dump_on_crash("%e.contrail")) {
    std::fprintf(stderr, "cannot watch: %s\n", error.message());
    return 1;
  }
  TRACE_REGION("main loop");
  return parse(std::getenv("A_VARIABLE_THAT_NOBODY_SET")) > 100 ? 2 : 0;
}

int main() {
  const pid_t child = fork();
  if (child == 0) _exit(server());
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFSIGNALED(status)) return 1;
  std::printf("the child died of signal %d\n", WTERMSIG(status));
  const bool written = access("12_crash.contrail", R_OK) == 0;
  std::printf("its dump is %s\n", written ? "there" : "missing");
  return written ? 0 : 1;
}
