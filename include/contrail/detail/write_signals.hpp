// SPDX-License-Identifier: MIT
// Writing to a pipe or socket that nobody reads any more, or beyond the limit of a file's size, without dying of it.
#ifndef CONTRAIL_DETAIL_WRITE_SIGNALS_HPP
#define CONTRAIL_DETAIL_WRITE_SIGNALS_HPP

#include "contrail/config.hpp"

#include <errno.h>
#include <signal.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// In its scope such a write answers EPIPE or EFBIG, and the SIGPIPE or SIGXFSZ that the kernel sends with it is taken
/// away. Of this thread only: the program's own dispositions are not touched. (Pipes know no MSG_NOSIGNAL.)
// Async-signal-safe.
class write_signal_hold {
 public:
  write_signal_hold() {
    sigset_t both, pending;
    sigemptyset(&both);
    sigaddset(&both, SIGPIPE);
    sigaddset(&both, SIGXFSZ);
    taken_ = both;
    // One that was pending before is the program's.
    if (sigpending(&pending) == 0) {
      const int signals[] = {SIGPIPE, SIGXFSZ};
      for (const int signal : signals) {
        if (sigismember(&pending, signal) == 1) sigdelset(&taken_, signal);
      }
    }
    held_ = pthread_sigmask(SIG_BLOCK, &both, &before_) == 0;
  }
  ~write_signal_hold() {
    if (!held_) return;
    const timespec at_once{};
    for (int i = 0; i < 100 && (sigtimedwait(&taken_, nullptr, &at_once) > 0 || errno == EINTR); ++i) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  write_signal_hold(const write_signal_hold&) = delete;
  write_signal_hold& operator=(const write_signal_hold&) = delete;

 private:
  sigset_t taken_, before_;
  bool held_;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
