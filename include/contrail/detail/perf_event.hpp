// SPDX-License-Identifier: MIT
// The part of perf_event_open that thread states need: records of the context switches of one's own threads. Stated
// here, as <linux/perf_event.h> of older systems lacks some of it.
#ifndef CONTRAIL_DETAIL_PERF_EVENT_HPP
#define CONTRAIL_DETAIL_PERF_EVENT_HPP

#include "contrail/config.hpp"

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

struct perf_event_request {
  uint32_t type = 1;         // software
  uint32_t size = 96;        // of this structure, as in Linux 4.1
  uint64_t config = 9;       // a counter that never counts: only what comes with it is wanted
  uint64_t period = 0;
  uint64_t sample_type = 1U << 1 | 1U << 2;  // ids of the thread and the time end each record
  uint64_t read_format = 0;
  uint64_t flags = 0;
  uint32_t wakeup = 0;
  uint32_t breakpoint = 0;
  uint64_t config1 = 0;
  uint64_t config2 = 0;
  uint64_t branches = 0;
  uint64_t registers = 0;
  uint32_t stack = 0;
  int32_t clock = CLOCK_MONOTONIC;
};
static_assert(sizeof(perf_event_request) == 96);

inline constexpr uint64_t perf_inherit = 1ULL << 1;         ///< threads begun later too
inline constexpr uint64_t perf_exclude_kernel = 1ULL << 5;  ///< what an ordinary user may ask for
inline constexpr uint64_t perf_exclude_hypervisor = 1ULL << 6;
inline constexpr uint64_t perf_task = 1ULL << 13;           ///< records of threads that begin and end
inline constexpr uint64_t perf_sample_id_all = 1ULL << 18;
inline constexpr uint64_t perf_use_clock = 1ULL << 25;
inline constexpr uint64_t perf_context_switch = 1ULL << 26;
inline constexpr uint64_t perf_write_backward = 1ULL << 27;  ///< the newest record comes first, and overwrites the oldest
inline constexpr uint64_t perf_inherit_thread = 1ULL << 35;  ///< not child processes; since Linux 5.13
inline constexpr uint64_t perf_remove_on_exec = 1ULL << 36;

inline constexpr unsigned long perf_set_output = 0x2405;      // PERF_EVENT_IOC_SET_OUTPUT
inline constexpr unsigned long perf_get_id = 0x80082407;      // PERF_EVENT_IOC_ID

/// Context switches of a thread, 0 for this one, on one processor. A descriptor, or a negative errno value.
// Async-signal-safe.
inline int open_switch_event(uint32_t tid, uint32_t cpu) {
  constexpr int close_on_exec = 8;  // PERF_FLAG_FD_CLOEXEC
  perf_event_request wanted;
  wanted.flags = perf_inherit | perf_exclude_kernel | perf_exclude_hypervisor | perf_task | perf_sample_id_all |
                 perf_use_clock | perf_context_switch | perf_write_backward | perf_inherit_thread | perf_remove_on_exec;
  long made = syscall(SYS_perf_event_open, &wanted, tid, cpu, -1, close_on_exec);
  if (made < 0 && errno == EINVAL) {
    wanted.flags &= ~(perf_inherit_thread | perf_remove_on_exec);  // an older kernel: readers leave other processes out
    made = syscall(SYS_perf_event_open, &wanted, tid, cpu, -1, close_on_exec);
  }
  return made < 0 ? -errno : static_cast<int>(made);
}

// ---- the buffer: a page of which only data_head is of interest, then a power of two of bytes -------------------------

inline constexpr uint64_t perf_page_bytes = 4096;
inline constexpr uint64_t perf_head_offset = 1024;

struct perf_record_header {
  uint32_t type;
  uint16_t flags;
  uint16_t bytes;
};

/// How many bytes were ever written: the kernel counts down from 0. Acquire: all of them are there.
inline uint64_t perf_bytes_written(const char* buffer) {
  return 0 - __atomic_load_n(reinterpret_cast<const uint64_t*>(buffer + perf_head_offset), __ATOMIC_ACQUIRE);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
