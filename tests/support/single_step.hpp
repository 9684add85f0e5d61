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

#include <elf.h>
#include <sys/auxv.h>
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

#if defined(__x86_64__)
/// Whether an address is in the code that the kernel maps into each process. A clock read there begins again when the
/// kernel has updated the clock meanwhile: interrupted at all its instructions for longer than a tick, it would never
/// end.
inline bool is_kernel_code(long address) {
  static const char* const begin = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  if (begin == nullptr) return false;
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(begin);
  const auto* const segments = reinterpret_cast<const Elf64_Phdr*>(begin + header.e_phoff);
  const uint64_t offset = static_cast<uint64_t>(address) - reinterpret_cast<uint64_t>(begin);
  for (int i = 0; i < header.e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD && offset < segments[i].p_offset + segments[i].p_memsz) return true;
  }
  return false;
}
#endif

inline void on_trap(int, siginfo_t*, void* raw) {
#if defined(__x86_64__)
  if (steps_left != 0) {
    --steps_left;
    return;
  }
  if (is_kernel_code(static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP])) return;
  steps_left = period - 1;
  if (period == 0) {
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

/// Runs `work` and calls `interrupt` at its instruction number `step`, and every `again` after. False when the work
/// ended before that.
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
