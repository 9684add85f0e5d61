// SPDX-License-Identifier: MIT
// The one atomic word type, over the compilers' builtins: <atomic> alone would cost each translation unit 220 ms.
#ifndef CONTRAIL_DETAIL_ATOMIC_HPP
#define CONTRAIL_DETAIL_ATOMIC_HPP

#include "contrail/config.hpp"

#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define CONTRAIL_DETAIL_THREAD_SANITIZER 1
#elif defined(__has_feature)
#define CONTRAIL_DETAIL_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define CONTRAIL_DETAIL_THREAD_SANITIZER 0
#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// A 64-bit word that threads, signal handlers and readers of the image share. Same size and layout as uint64_t.
// Async-signal-safe.
struct alignas(8) atomic_word {
  uint64_t value = 0;

  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_relaxed() const { return __atomic_load_n(&value, __ATOMIC_RELAXED); }
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_acquire() const { return __atomic_load_n(&value, __ATOMIC_ACQUIRE); }
  /// Loads a word that only the running thread writes while it matters. Compilers fold this into the instruction that
  /// uses it, which they do not do with atomic loads; several per region.
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_owned() const {
    return CONTRAIL_DETAIL_THREAD_SANITIZER ? load_relaxed() : value;
  }
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
  CONTRAIL_DETAIL_ALWAYS_INLINE void add_owned(uint64_t v) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    asm("addq %1, %0" : "+m"(value) : "er"(v) : "cc");
#else
    store_relaxed(load_relaxed() + v);
#endif
  }
};

/// A pointer that one thread uses, and another one when that thread has ended.
template <class T>
struct owned_pointer {
  T* value;

  CONTRAIL_DETAIL_ALWAYS_INLINE T& operator*() const {
    return *(CONTRAIL_DETAIL_THREAD_SANITIZER ? __atomic_load_n(&value, __ATOMIC_RELAXED) : value);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void operator=(T* to) { __atomic_store_n(&value, to, __ATOMIC_RELAXED); }
};

static_assert(sizeof(atomic_word) == 8 && __atomic_always_lock_free(8, nullptr),
              "contrail needs lock-free 64-bit atomics.");

/// The difference of two words, `b` read after `a` and anew each time, in one instruction where the compiler would take
/// two.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t difference(const atomic_word& a, const atomic_word& b) {
  // Acquire costs nothing on x86-64, whose loads stay in order.
  uint64_t result = a.load_acquire();
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  asm volatile("subq %1, %0" : "+r"(result) : "m"(b.value) : "cc");
#else
  result -= b.load_relaxed();
#endif
  return result;
}

/// Orders this thread against its own signal handlers; emits no instruction.
CONTRAIL_DETAIL_ALWAYS_INLINE void signal_fence() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
