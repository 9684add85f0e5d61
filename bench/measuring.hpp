// SPDX-License-Identifier: MIT
// How an operation is timed: against the floor, in alternating blocks of one run, so that whatever slows the machine
// down slows both.
//
//   struct region {
//     static void run(uint64_t) { TRACE_REGION("region"); }
//   };
//   paired_blocks<region>(samples);
#ifndef CONTRAIL_BENCH_MEASURING_HPP
#define CONTRAIL_BENCH_MEASURING_HPP

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace contrail_bench {

/// The clock that contrail itself uses, without contrail.
[[gnu::always_inline]] inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  uint64_t now;
  asm volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
#endif
}

inline double clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

inline double measure_ns_per_tick() {
  const double from_ns = clock_ns(CLOCK_MONOTONIC);
  const uint64_t from = ticks();
  while (clock_ns(CLOCK_MONOTONIC) - from_ns < 20e6) {
  }
  const uint64_t to = ticks();
  return (clock_ns(CLOCK_MONOTONIC) - from_ns) / static_cast<double>(to - from);
}

inline double ns_per_tick() {
  static const double value = measure_ns_per_tick();
  return value;
}

/// Makes the compiler believe that a value is used, in a register.
template <class T>
[[gnu::always_inline]] inline void use(T value) {
  asm volatile("" : : "r"(value));
}

/// A value that the compiler knows nothing about.
template <class T>
[[gnu::always_inline]] inline T unknown(T value) {
  asm volatile("" : "+r"(value));
  return value;
}

/// Two bare clock reads: what nothing that times a region can go below.
struct floor_of_a_region {
  [[gnu::always_inline]] static void run(uint64_t) {
    use(ticks());
    use(ticks());
  }
};

/// The loop alone, for operations that take less than a clock read.
struct empty_loop {
  [[gnu::always_inline]] static void run(uint64_t) {}
};

/// `count` operations. What stands in memory is anybody's between two of them, as between two regions of a program, and
/// so nothing moves out of the loop.
template <class Operation>
[[gnu::noinline, gnu::aligned(64)]] void run_block(uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    Operation::run(i);
    asm volatile("" ::: "memory");
  }
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Processor time of the calling thread that a block takes, per operation.
template <class Operation>
double block_ns(uint64_t count) {
  const double before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  run_block<Operation>(count);
  return (clock_ns(CLOCK_THREAD_CPUTIME_ID) - before) / static_cast<double>(count);
}

struct paired_samples {
  std::vector<double> operation_ns;
  std::vector<double> floor_ns;
  std::vector<double> ratio;

  void add(const paired_samples& more) {
    operation_ns.insert(operation_ns.end(), more.operation_ns.begin(), more.operation_ns.end());
    floor_ns.insert(floor_ns.end(), more.floor_ns.begin(), more.floor_ns.end());
    ratio.insert(ratio.end(), more.ratio.begin(), more.ratio.end());
  }
};

/// Blocks of the floor and of the operation by turns, floor first and operation first by turns.
template <class Operation, class Floor>
paired_samples paired_blocks(unsigned pairs, uint64_t block) {
  paired_samples samples;
  run_block<Floor>(block);
  run_block<Operation>(block);
  for (unsigned i = 0; i < pairs; ++i) {
    double floor = i % 2 == 0 ? block_ns<Floor>(block) : 0;
    const double operation = block_ns<Operation>(block);
    if (i % 2 != 0) floor = block_ns<Floor>(block);
    samples.floor_ns.push_back(floor);
    samples.operation_ns.push_back(operation);
    samples.ratio.push_back(operation / floor);
  }
  return samples;
}

/// Counts of how long single operations took, in ticks.
class latencies {
 public:
  void add(uint64_t took) {
    ++counts_[std::min<uint64_t>(took, counts_.size() - 1)];
    max_ = std::max(max_, took);
  }
  void add(const latencies& more) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += more.counts_[i];
    max_ = std::max(max_, more.max_);
  }
  void clear() {
    counts_.fill(0);
    max_ = 0;
  }
  uint64_t max() const { return max_; }
  /// At most so many ticks took the fraction `part` of all.
  uint64_t quantile(double part) const {
    uint64_t all = 0;
    for (const uint64_t count : counts_) all += count;
    const uint64_t wanted = static_cast<uint64_t>(part * static_cast<double>(all));
    uint64_t seen = 0;
    for (size_t i = 0; i + 1 < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted) return i;
    }
    return max_;
  }

 private:
  std::array<uint64_t, 65536> counts_{};
  uint64_t max_ = 0;
};

/// Whether the kernel took the processor from this thread since the last call.
class descheduling {
 public:
  bool happened() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    const long now = usage.ru_nivcsw + usage.ru_nvcsw;
    const bool changed = now != last_;
    last_ = now;
    return changed;
  }

 private:
  long last_ = -1;
};

/// Times operations one by one, in runs of 64; a run in which the thread lost its processor is left out, since that
/// says something about the machine's other work. Interrupts stay in.
template <class Operation>
[[gnu::noinline]] void time_each(unsigned runs, latencies& to) {
  descheduling lost;
  lost.happened();
  std::array<uint64_t, 64> took{};
  for (unsigned r = 0; r < runs; ++r) {
    for (uint64_t i = 0; i < took.size(); ++i) {
      const uint64_t before = ticks();
      Operation::run(i);
      took[i] = ticks() - before;
      asm volatile("" ::: "memory");
    }
    if (lost.happened()) continue;
    for (const uint64_t t : took) to.add(t);
  }
}

}  // namespace contrail_bench

#endif
