// SPDX-License-Identifier: MIT
// Threads as the kernel knows them.
#ifndef CONTRAIL_DETAIL_THREAD_ID_HPP
#define CONTRAIL_DETAIL_THREAD_ID_HPP

#include "contrail/detail/safe_writer.hpp"

#include <sys/syscall.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

// Async-signal-safe.
inline uint32_t current_tid() { return static_cast<uint32_t>(syscall(SYS_gettid)); }

/// Asks the kernel, not a destructor: pthread keys and C++ thread_local destructors allocate.
// Async-signal-safe.
inline bool is_thread_alive(uint32_t tid) {
  const errno_keeper keep;
  return syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
