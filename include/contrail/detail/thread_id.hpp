// SPDX-License-Identifier: MIT
// Threads as the kernel knows them.
#ifndef CONTRAIL_DETAIL_THREAD_ID_HPP
#define CONTRAIL_DETAIL_THREAD_ID_HPP

#include "contrail/detail/safe_writer.hpp"

#include <signal.h>
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

// ---- turns -----------------------------------------------------------------------------------------------------
// What only one may do at a time is a word: 0, or who does it. Nobody waits for it, and none is lost for ever: code that
// was left by siglongjmp, or by the end of its thread, never gives its turn back, but the word tells that it is gone.

/// The running thread's alternate signal stack.
// Async-signal-safe.
inline stack_t alternate_stack() {
  const errno_keeper keep;
  stack_t stack{};
  if (sigaltstack(nullptr, &stack) != 0) stack.ss_flags = SS_DISABLE;
  return stack;
}

/// The running code as the holder of a turn: [63:42] its thread, [41] set on an alternate signal stack, [40:0] the stack
/// pointer in units that are smaller than any signal's frame.
// Async-signal-safe.
__attribute__((noinline)) inline uint64_t running_code() {
  const uint64_t place = reinterpret_cast<uint64_t>(__builtin_frame_address(0)) >> 7;
  const uint64_t is_alternate = (alternate_stack().ss_flags & SS_ONSTACK) != 0;
  return uint64_t{current_tid()} << 42 | is_alternate << 41 | (place & ((1ULL << 41) - 1));
}

inline uint32_t tid_of_holder(uint64_t holder) { return static_cast<uint32_t>(holder >> 42); }

/// Whether the holder of a turn will never run again, as far as `code` can tell, which runs. Of its own thread it can: a
/// handler is deeper in the stack than what it interrupted, or on the alternate stack and the other one is not.
// Async-signal-safe.
inline bool is_gone(uint64_t holder, uint64_t code) {
  if (tid_of_holder(holder) != tid_of_holder(code)) return !is_thread_alive(tid_of_holder(holder));
  constexpr uint64_t alternate = 1ULL << 41, place = alternate - 1;
  if ((holder & alternate) != (code & alternate)) return (holder & alternate) != 0;
  return (code & place) >= (holder & place);
}

/// Takes a turn if it is free, or if who had it is gone; what they left half done is the taker's to finish. 0: not taken;
/// 1: it was free; 2: its holder was gone.
// Async-signal-safe.
inline int take_turn(atomic_word& turn, uint64_t code) {
  uint64_t found = 0;
  if (turn.compare_exchange(found, code)) return 1;
  return is_gone(found, code) && turn.compare_exchange(found, code) ? 2 : 0;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
