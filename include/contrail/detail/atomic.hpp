// SPDX-License-Identifier: MIT
// The one atomic word type, over the compilers' builtins: <atomic> alone would cost each translation unit 220 ms.
#ifndef CONTRAIL_DETAIL_ATOMIC_HPP
#define CONTRAIL_DETAIL_ATOMIC_HPP

#include "contrail/config.hpp"

#include <stdint.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail {

/// A 64-bit word that threads, signal handlers and readers of the image share. Same size and layout as uint64_t.
// Async-signal-safe.
struct alignas(8) atomic_word {
  uint64_t value = 0;

  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_relaxed() const { return __atomic_load_n(&value, __ATOMIC_RELAXED); }
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_acquire() const { return __atomic_load_n(&value, __ATOMIC_ACQUIRE); }
  CONTRAIL_DETAIL_ALWAYS_INLINE void store_relaxed(uint64_t v) { __atomic_store_n(&value, v, __ATOMIC_RELAXED); }
  CONTRAIL_DETAIL_ALWAYS_INLINE void store_release(uint64_t v) { __atomic_store_n(&value, v, __ATOMIC_RELEASE); }
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t fetch_add_relaxed(uint64_t v) {
    return __atomic_fetch_add(&value, v, __ATOMIC_RELAXED);
  }
  /// Strong compare-exchange, acquire and release on success; `expected` receives the value found.
  CONTRAIL_DETAIL_ALWAYS_INLINE bool compare_exchange(uint64_t& expected, uint64_t desired) {
    return __atomic_compare_exchange_n(&value, &expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }
  /// Adds with a plain load and store, for words that only their own thread changes and others may read.
  CONTRAIL_DETAIL_ALWAYS_INLINE void add_owned(uint64_t v) { store_relaxed(load_relaxed() + v); }
};

static_assert(sizeof(atomic_word) == 8 && __atomic_always_lock_free(8, nullptr),
              "contrail needs lock-free 64-bit atomics.");

/// Orders this thread against its own signal handlers; emits no instruction.
CONTRAIL_DETAIL_ALWAYS_INLINE void signal_fence() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
