// SPDX-License-Identifier: MIT
// Included before any header of contrail: turns the compilers' atomic builtins, the clock and the system calls of the
// protocol into calls of the explorer. All that contrail itself says, and with what order, stays as it stands in
// include/.
#ifndef CONTRAIL_TESTS_MODEL_PRELUDE_HPP
#define CONTRAIL_TESTS_MODEL_PRELUDE_HPP

#include "explorer.hpp"

// All headers that contrail includes: what follows must not meet them.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace model {

constexpr order order_of(int builtin) {
  switch (builtin) {
    case __ATOMIC_RELAXED: return order::relaxed;
    case __ATOMIC_ACQUIRE: return order::acquire;
    case __ATOMIC_RELEASE: return order::release;
    case __ATOMIC_ACQ_REL: return order::acq_rel;
    default: return order::seq_cst;
  }
}

template <class T>
uint64_t bits_of(T value) {
  if constexpr (std::is_null_pointer_v<T>) return 0;
  else if constexpr (std::is_pointer_v<T>) return reinterpret_cast<uint64_t>(value);
  else return static_cast<uint64_t>(value);
}
template <class T>
T value_of(uint64_t bits) {
  if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(bits);
  else return static_cast<T>(bits);
}

inline bool is_watched(const void* address) { return running != nullptr && running->is_shared(address); }

template <class T>
T load(const T* from, int how) {
  if (!is_watched(from)) return *from;
  return value_of<T>(running->perform({kind::load, order_of(how)}, from, sizeof(T)));
}

template <class T, class Value>
void store(T* to, Value value, int how) {
  if (!is_watched(to)) {
    *to = value;
    return;
  }
  operation what{kind::store, order_of(how)};
  what.value = bits_of<T>(value);
  running->perform(what, to, sizeof(T));
}

template <class T>
T add(T* to, T value, int how) {
  if (!is_watched(to)) return (*to += value) - value;
  operation what{kind::add, order_of(how)};
  what.value = value;
  return static_cast<T>(running->perform(what, to, sizeof(T)));
}

template <class T, class Value>
bool compare_exchange(T* to, T* expected, Value desired, int how, int how_if_failed) {
  if (!is_watched(to)) {
    if (*to == *expected) return *to = desired, true;
    return *expected = *to, false;
  }
  operation what{kind::exchange, order_of(how), order_of(how_if_failed)};
  what.value = bits_of<T>(desired);
  what.expected = bits_of(*expected);
  const uint64_t found = running->perform(what, to, sizeof(T));
  if (found == what.expected) return true;
  *expected = value_of<T>(found);
  return false;
}

inline void fence(int how) {
  if (running != nullptr) running->perform({kind::fence, order_of(how)}, nullptr, 0);
}

/// Each thread has a clock of its own, which goes on by the same amount with every look at it.
inline uint64_t ticks() { return running != nullptr ? running->ticks() : 1; }

/// gettid, tgkill and prctl, as the scenario answers them; nothing else matters to the protocol. The argument is the
/// one that says most: tgkill's thread, prctl's result.
extern long (*system_call)(long number, long argument);

template <class... Args>
long answer_system_call(long number, Args... arguments) {
  if (system_call == nullptr) return 0;
  const long all[] = {0, static_cast<long>(reinterpret_cast<uint64_t>(value_of<void*>(bits_of(arguments))))..., 0, 0};
  return system_call(number, number == SYS_tgkill || number == SYS_prctl ? all[2] : all[1]);
}

inline int set_time(timespec* to) {
  const uint64_t now = ticks();
  *to = {static_cast<time_t>(now / 1'000'000'000), static_cast<long>(now % 1'000'000'000)};
  return 0;
}

}  // namespace model

#define __atomic_load_n(from, how) ::model::load(from, how)
#define __atomic_store_n(to, value, how) ::model::store(to, value, how)
#define __atomic_fetch_add(to, value, how) ::model::add(to, value, how)
#define __atomic_compare_exchange_n(to, expected, desired, weak, how, how_if_failed) \
  ::model::compare_exchange(to, expected, desired, how, how_if_failed)
#define __atomic_thread_fence(how) ::model::fence(how)
#define __builtin_ia32_rdtsc() ::model::ticks()
#define clock_gettime(clock, to) ((void)(clock), ::model::set_time(to))
#define syscall(...) ::model::answer_system_call(__VA_ARGS__)
#define madvise(...) static_cast<void>(0)

// What contrail does under ThreadSanitizer: no plain accesses and no assembly, but the orders that it means.
#ifndef __SANITIZE_THREAD__
#define __SANITIZE_THREAD__ 1
#endif

#endif
