// SPDX-License-Identifier: MIT
// A black box: the recorder in a file. A process that is killed, here by SIGKILL as the out-of-memory killer does it,
// leaves the file as it was at that moment, and the converter reads it like a dump.
//
// Prints:
//   killed by signal 9
//   the file has 1048576 bytes
// Records: "worker", "job", "the last job"
#include <contrail/contrail.hpp>

#include <csignal>
#include <cstdio>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int work() {
  using namespace contrail;
  // The space is reserved here: a full disk is an error now, and no surprise later. An older file of that name becomes
  // 13_black_box.contrail.1. A file system in memory, such as /dev/shm, costs no disk writes.
  if (auto error = flight_recorder::start({.memory = 1 << 20, .file = "%e.contrail", .keep_files = 2})) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  TRACE_THREAD_NAME("worker");
  for (int i = 0; i < 10; ++i) {
    TRACE_REGION("job", "number", i);
  }
  TRACE_REGION("the last job");  // unfinished, when the process dies
  std::raise(SIGKILL);
  return 1;
}

int main() {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) return 1;
  std::printf("killed by signal %d\n", WTERMSIG(status));
  struct stat box {};
  if (stat("13_black_box.contrail", &box) != 0) return 1;
  std::printf("the file has %lld bytes\n", static_cast<long long>(box.st_size));
}
