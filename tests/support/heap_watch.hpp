// SPDX-License-Identifier: MIT
// Counts the calls of the heap that one thread makes. It defines malloc and its kin, so one translation unit of a
// program includes it. Where a sanitizer has the heap nothing is counted.
#ifndef CONTRAIL_TESTS_HEAP_WATCH_HPP
#define CONTRAIL_TESTS_HEAP_WATCH_HPP

#include "support/sanitized.hpp"

#include <stddef.h>
#include <unistd.h>

#include <atomic>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);
}

namespace heap_watch {

inline constexpr bool possible = !CONTRAIL_TESTS_SANITIZED;
inline std::atomic<long> watched_tid{0};
inline std::atomic<unsigned> calls{0};

inline void note_call() {
  if (watched_tid.load() != 0 && watched_tid.load() == static_cast<long>(gettid())) ++calls;
}

/// Counts the heap calls of the running thread in its scope.
struct scope {
  scope() {
    calls = 0;
    watched_tid = gettid();
  }
  ~scope() { watched_tid = 0; }
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
};

}  // namespace heap_watch

#if !CONTRAIL_TESTS_SANITIZED
extern "C" {
void* malloc(size_t size) {
  heap_watch::note_call();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  heap_watch::note_call();
  return __libc_calloc(count, size);
}
void* realloc(void* at, size_t size) {
  heap_watch::note_call();
  return __libc_realloc(at, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  heap_watch::note_call();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** at, size_t alignment, size_t size) {
  heap_watch::note_call();
  *at = __libc_memalign(alignment, size);
  return *at == nullptr ? 12 : 0;
}
void free(void* at) {
  if (at != nullptr) heap_watch::note_call();
  __libc_free(at);
}
}
#endif

#endif
