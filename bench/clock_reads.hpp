// SPDX-License-Identifier: MIT
// The floor of the server's benchmark, included before a server under CONTRAIL_DISABLED: where that would record, it
// reads the clock and stores what it read, and nothing else. A recorder that reads the clock for each of these and
// keeps what it read costs at least about this. Scopes of tasks and waits for locks, which have moments too, are left
// out.
#ifndef CONTRAIL_BENCH_CLOCK_READS_HPP
#define CONTRAIL_BENCH_CLOCK_READS_HPP

#include <contrail/contrail.hpp>
#include <contrail/detail/clock.hpp>

#include <cstdint>

namespace clock_reads {

using contrail::v0::detail::hardware_ticks;

/// As many of a thread's newest moments as fit in 64 KiB.
struct ring {
  std::uint64_t next = 0;
  std::uint64_t words[8192];
};
inline thread_local ring own;

__attribute__((always_inline)) inline void store(std::uint64_t from, std::uint64_t to) {
  const std::uint64_t at = own.next;
  own.next = (at + 2) % 8192;
  own.words[at] = from;
  own.words[at + 1] = to;
}

class interval {
 public:
  __attribute__((always_inline)) interval() = default;
  __attribute__((always_inline)) ~interval() { store(begin_, hardware_ticks()); }
  interval(const interval&) = delete;
  interval& operator=(const interval&) = delete;

 private:
  std::uint64_t begin_ = hardware_ticks();
};

struct region : contrail::region {
  interval time;
};
struct task : contrail::task {
  interval time;
};

}  // namespace clock_reads

#define CLOCK_READS_JOIN(a, b) CLOCK_READS_JOIN_EXPANDED(a, b)
#define CLOCK_READS_JOIN_EXPANDED(a, b) a##b
#define CLOCK_READS_INTERVAL(...)     \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__); \
  const ::clock_reads::interval CLOCK_READS_JOIN(clock_reads_, __COUNTER__)
#define CLOCK_READS_MOMENT(...) \
  (CONTRAIL_DETAIL_CHECK(__VA_ARGS__), ::clock_reads::store(__LINE__, ::clock_reads::hardware_ticks()))

#undef CONTRAIL_REGION
#undef CONTRAIL_SCOPE
#undef CONTRAIL_FUNCTION
#undef CONTRAIL_REGION_VAR
#undef CONTRAIL_BLOCKED
#undef CONTRAIL_TASK
#undef CONTRAIL_TASK_OF
#undef CONTRAIL_INSTANT
#undef CONTRAIL_COUNTER
#undef CONTRAIL_LOG
#undef CONTRAIL_EMIT
#define CONTRAIL_REGION(...) CLOCK_READS_INTERVAL(__VA_ARGS__)
#define CONTRAIL_SCOPE(...) CLOCK_READS_INTERVAL(__VA_ARGS__)
#define CONTRAIL_FUNCTION(...) CLOCK_READS_INTERVAL(__VA_ARGS__)
#define CONTRAIL_BLOCKED(reason, ...) CLOCK_READS_INTERVAL(__VA_ARGS__)
#define CONTRAIL_REGION_VAR(variable, ...) \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__);      \
  ::clock_reads::region variable
#define CONTRAIL_TASK(variable, ...)  \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__); \
  ::clock_reads::task variable
#define CONTRAIL_TASK_OF(variable, parent, ...) \
  CONTRAIL_DETAIL_CHECK(parent, __VA_ARGS__);   \
  ::clock_reads::task variable
#define CONTRAIL_INSTANT(...) CLOCK_READS_MOMENT(__VA_ARGS__)
#define CONTRAIL_COUNTER(...) CLOCK_READS_MOMENT(__VA_ARGS__)
#define CONTRAIL_LOG(...) CLOCK_READS_MOMENT(__VA_ARGS__)
#define CONTRAIL_EMIT(...) CLOCK_READS_MOMENT(__VA_ARGS__)

#endif
