// SPDX-License-Identifier: MIT
// Ticks now. They become nanoseconds only in the decoder, by the clock anchors.
#ifndef CONTRAIL_DETAIL_CLOCK_HPP
#define CONTRAIL_DETAIL_CLOCK_HPP

#include "contrail/detail/errno_keeper.hpp"

#include <stdint.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The processor's counter. Not fenced: neighbouring instructions may move across it by some nanoseconds, and a fence
/// would double the price of a region. Always inline; no header is needed for it (<x86intrin.h> costs 500 ms).
// Async-signal-safe.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t hardware_ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return 0;
#endif
}

/// Nanoseconds of one of the kernel's clocks, read through the vDSO. Keeps errno: where it is a system call, a sandbox
/// may refuse it.
// Async-signal-safe.
inline uint64_t kernel_clock_ns(clockid_t clock) {
  const errno_keeper keep;
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
