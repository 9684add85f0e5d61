// SPDX-License-Identifier: MIT
// Interrupts code at each of its instructions in turn: the processor's trap flag makes every instruction raise SIGTRAP
// in the thread itself, and at the chosen one the handler runs what the test wants. x86-64 only.
#ifndef CONTRAIL_TESTS_SINGLE_STEP_HPP
#define CONTRAIL_TESTS_SINGLE_STEP_HPP

#include "support/sanitized.hpp"

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/ucontext.h>

namespace single_step {

#if defined(__x86_64__) && !CONTRAIL_TESTS_SANITIZED
inline constexpr bool possible = true;
#else
inline constexpr bool possible = false;  // sanitizers delay handlers, and their own code would be stepped through
#endif

inline constexpr long trap_flag = 0x100;
inline long steps_left = 0;
inline long period = 0;  ///< interrupt again after so many instructions; 0: once
inline void (*interruption)() = nullptr;
inline bool is_over = false;  ///< set by an interruption, in a forked child: nothing more is stepped

/// How many instructions were interrupted; told when the program ends.
struct point_counter {
  uint64_t points = 0;
  ~point_counter() {
    if (points != 0) std::printf("%llu points\n", static_cast<unsigned long long>(points));
  }
};
inline point_counter counter;

inline void on_trap(int, siginfo_t*, void* raw) {
#if defined(__x86_64__)
  if (steps_left-- != 0) return;
  if (period != 0) {
    steps_left = period - 1;
  } else {
    // The interrupted code goes on without traps.
    static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_EFL] &= ~trap_flag;
  }
  ++counter.points;
  interruption();
  if (is_over) static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_EFL] &= ~trap_flag;
#else
  static_cast<void>(raw);
#endif
}

/// `flags` for the handler: SA_NODEFER lets an interruption leave by siglongjmp without a saved mask.
inline void install(int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | flags;
  sigaction(SIGTRAP, &action, nullptr);
}

/// Runs `work` and calls `interrupt` at its instruction number `step`, and every `again` after. False when the work ended
/// before that.
template <class Work>
__attribute__((noinline)) bool interrupt_at(long step, Work&& work, void (*interrupt)(), long again = 0) {
#if defined(__x86_64__)
  steps_left = step;
  period = again;
  interruption = interrupt;
  asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
  work();
  asm volatile("pushfq\n andq $-0x101, (%%rsp)\n popfq" ::: "memory", "cc");
  return steps_left < 0;
#else
  static_cast<void>(step), work(), static_cast<void>(interrupt), static_cast<void>(again);
  return false;
#endif
}

}  // namespace single_step

#endif
