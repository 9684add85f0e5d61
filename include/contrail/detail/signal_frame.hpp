// SPDX-License-Identifier: MIT
// Whether code runs in a signal handler. Nothing tells that but the frame that the kernel put on the stack.
#ifndef CONTRAIL_DETAIL_SIGNAL_FRAME_HPP
#define CONTRAIL_DETAIL_SIGNAL_FRAME_HPP

#include "contrail/detail/thread_id.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

#if defined(__x86_64__)

/// Where handlers return to: the same function of the C library for all, and hardly ever another one.
struct signal_restorers {
  static constexpr unsigned most = 4;
  uint64_t found[most] = {};

  signal_restorers() {
    for (int signal = 1; signal < 65; ++signal) {
      uint64_t action[4] = {};  // the kernel's sigaction: handler, flags, restorer, mask
      constexpr long mask_bytes = 8;
      if (syscall(SYS_rt_sigaction, signal, nullptr, action, mask_bytes) == 0) add(action[2]);
    }
  }
  void add(uint64_t restorer) {
    for (uint64_t& known : found) {
      if (restorer == 0 || known == restorer) return;
      if (known == 0) {
        known = restorer;
        return;
      }
    }
  }
  bool has(uint64_t word) const {
    for (const uint64_t known : found) {
      if (known == word && word != 0) return true;
    }
    return false;
  }
};

/// Whether a handler runs above the stack pointer that interrupted code which has `held` in a register. Looks through
/// the stack above, up to 64 KiB: some 20 us. What an earlier handler left in a function's unused room may look like
/// that: then yes.
// Async-signal-safe.
__attribute__((noinline, no_sanitize("address"))) inline bool is_in_handler_of(uint64_t stack_pointer, const void* held) {
  const errno_keeper keep;
  const signal_restorers restorers;
  constexpr uint64_t page = 4096, most_bytes = 64 << 10;
  // Words of the kernel's frame: the return address, 5 of the context's head, r8 to r15, rdi, rsi, rbp, rbx, rdx, rax,
  // rcx, rsp.
  constexpr unsigned registers_at = 6, stack_pointer_at = 21;
  const uint64_t begin = stack_pointer & ~uint64_t{7};
  uint64_t end = begin;
  for (uint64_t at = begin; at < begin + most_bytes; at += 8) {
    for (; at + 8 * (stack_pointer_at + 1) > end; end = (end & ~(page - 1)) + page) {
      if (!is_readable(reinterpret_cast<const uint64_t*>(end & ~uint64_t{7}))) return false;
    }
    const volatile uint64_t* const words = reinterpret_cast<const volatile uint64_t*>(at);
    if (!restorers.has(words[0]) || words[stack_pointer_at] <= at) continue;
    for (unsigned i = registers_at; i < stack_pointer_at; ++i) {
      if (words[i] == reinterpret_cast<uint64_t>(held)) return true;
    }
  }
  return false;
}

#else

/// Not needed: the end of a region says itself how deep it is, see end_inline.
inline bool is_in_handler_of(uint64_t, const void*) { return false; }

#endif

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
