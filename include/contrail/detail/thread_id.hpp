// SPDX-License-Identifier: MIT
// Threads as the kernel knows them.
#ifndef CONTRAIL_DETAIL_THREAD_ID_HPP
#define CONTRAIL_DETAIL_THREAD_ID_HPP

#include "contrail/detail/process.hpp"
#include "contrail/detail/safe_writer.hpp"

#include <signal.h>
#include <sys/syscall.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

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

/// Whether memory of a stack is still there: the kernel looks at the set before it refuses the unknown operation.
// Async-signal-safe.
inline bool is_readable(const uint64_t* at) {
  const errno_keeper keep;
  constexpr long unknown_operation = 99;
  constexpr long set_bytes = 8;
  return syscall(SYS_rt_sigprocmask, unknown_operation, at, nullptr, set_bytes) != 0 && errno != EFAULT;
}

/// Stands on the stack of code that takes a turn, and names it: [63:42] its thread, [41] set on an alternate signal
/// stack, [40:0] where this object is. What runs there after the code was left writes over it.
class alignas(128) turn_holder {
 public:
  turn_holder() noexcept {
    const bool is_alternate = (alternate_stack().ss_flags & SS_ONSTACK) != 0;
    name_ = uint64_t{current_tid()} << 42 | uint64_t{is_alternate} << 41 | place_of(this);
    for (uint64_t& mark : marks_) mark = ~name_;
    asm volatile("" : : "r"(this) : "memory");  // nothing here reads the marks
  }
  turn_holder(const turn_holder&) = delete;
  turn_holder& operator=(const turn_holder&) = delete;
  uint64_t name() const { return name_; }

  static constexpr uint64_t alternate = 1ULL << 41, places = alternate - 1;
  static uint64_t place_of(const turn_holder* holder) { return reinterpret_cast<uint64_t>(holder) >> 7 & places; }

  /// Whether the code that has this name, on the stack of the running thread, was left. Memory of stacks may be gone.
  static bool is_overwritten(uint64_t name) {
    turn_holder* const holder = reinterpret_cast<turn_holder*>((name & places) << 7);
    if (!is_readable(&holder->name_) || !is_readable(&holder->marks_[254])) return false;
    bool is_whole = holder->name_ == name;
    for (const uint64_t& mark : holder->marks_) is_whole = is_whole && mark == ~name;
    return !is_whole;
  }

 private:
  uint64_t name_;
  uint64_t marks_[255];  // more than what functions leave as it was of their frames
};

inline uint32_t tid_of_holder(uint64_t holder) { return static_cast<uint32_t>(holder >> 42); }

/// Whether the holder of a turn will never run again, as far as `self` can tell, which runs. Of its own thread it can:
/// a handler is deeper in the stack than what it interrupted, and on the alternate stack if that was; and what was left
/// is overwritten sooner or later.
// Async-signal-safe.
inline bool is_gone(uint64_t holder, uint64_t self) {
  if (tid_of_holder(holder) != tid_of_holder(self)) return !is_thread_alive(tid_of_holder(holder));
  const uint64_t alternate = turn_holder::alternate, places = turn_holder::places;
  const bool same_stack = (holder & alternate) == (self & alternate);
  if (same_stack ? (self & places) >= (holder & places) : (holder & alternate) != 0) return true;
  return (holder & places) != places && turn_holder::is_overwritten(holder);
}

/// Takes a turn if it is free, or if who had it is gone; what they left half done is the taker's to finish. 0: not
/// taken; 1: it was free; 2: its holder was gone.
// Async-signal-safe.
inline int take_turn(atomic_word& turn, uint64_t self) {
  uint64_t found = 0;
  if (turn.compare_exchange(found, self)) return 1;
  return is_gone(found, self) && turn.compare_exchange(found, self) ? 2 : 0;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
