// SPDX-License-Identifier: MIT
// Writing to a pipe or socket that nobody reads any more, without dying of it.
#ifndef CONTRAIL_DETAIL_PIPE_SIGNAL_HPP
#define CONTRAIL_DETAIL_PIPE_SIGNAL_HPP

#include "contrail/config.hpp"

#include <errno.h>
#include <signal.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// In its scope a write whose reader is gone answers EPIPE, and the SIGPIPE that the kernel sends with it is taken away.
/// Of this thread only: the program's own disposition is not touched. (Pipes know no MSG_NOSIGNAL.)
// Async-signal-safe.
class pipe_signal_hold {
 public:
  pipe_signal_hold() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    was_pending_ = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    held_ = pthread_sigmask(SIG_BLOCK, &pipe_, &before_) == 0;
  }
  ~pipe_signal_hold() {
    if (!held_) return;
    const timespec at_once{};
    // One that was pending before is the program's.
    for (int i = 0; !was_pending_ && sigtimedwait(&pipe_, nullptr, &at_once) < 0 && errno == EINTR && i < 100; ++i) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  pipe_signal_hold(const pipe_signal_hold&) = delete;
  pipe_signal_hold& operator=(const pipe_signal_hold&) = delete;

 private:
  sigset_t pipe_, before_;
  bool was_pending_, held_;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
