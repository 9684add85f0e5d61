// SPDX-License-Identifier: MIT
// Records leave errno alone, also where the system refuses what they ask it for.
#include "support/recorder.hpp"
#include "support/refused_call.hpp"

#include <cerrno>

namespace {

/// What a child answers, in a sandbox in which `call` fails and `work` finds errno as 77.
template <class Work>
int errno_after(long call, Work&& work) {
  return status_of_child([&] {
    if (flight_recorder::start()) return 1;
    refuse_call(call, EPERM);
    errno = 77;
    work();
    return errno;
  });
}

}  // namespace

TEST_CASE("a task that begins on a thread without a slot leaves errno alone") {
  CHECK(errno_after(SYS_gettid, [] { TRACE_TASK(task, "task"); }) == 77);
}

TEST_CASE("the first record of a thread leaves errno alone") {
  CHECK(errno_after(SYS_gettid, [] { TRACE_REGION("region"); }) == 77);
  CHECK(errno_after(SYS_prctl, [] { TRACE_INSTANT("instant"); }) == 77);
}
