// SPDX-License-Identifier: MIT
// What contrail's locks cost while nobody competes for them, against those of the standard library.
//   bench_locks [--threads] [--benchmark_...]     --threads: in a process that has another thread
#include <benchmark/benchmark.h>
#include <contrail/blocking.hpp>

#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <thread>

#include "measuring.hpp"

namespace contrail_bench {
namespace {

constexpr unsigned pairs_of_pass = 100;
constexpr uint64_t block_operations = 8192;

/// One of each, on cache lines of their own.
template <class Lock>
struct alignas(64) padded {
  Lock lock;
};
template <class Lock, int Number = 0>
padded<Lock> the;

template <class Lock, int Number = 0>
struct exclusive {
  [[gnu::always_inline]] static void run(uint64_t) {
    the<Lock, Number>.lock.lock();
    asm volatile("" ::: "memory");
    the<Lock, Number>.lock.unlock();
  }
};

template <class Lock>
struct shared {
  [[gnu::always_inline]] static void run(uint64_t) {
    the<Lock>.lock.lock_shared();
    asm volatile("" ::: "memory");
    the<Lock>.lock.unlock_shared();
  }
};

template <class Operation, class Floor>
void compared(benchmark::State& state) {
  for (auto _ : state) {
    const paired_samples samples = paired_blocks<Operation, Floor>(pairs_of_pass, block_operations);
    state.SetIterationTime(median(samples.operation_ns) * 1e-9);
    state.counters["ns"] = median(samples.operation_ns);
    state.counters["floor_ns"] = median(samples.floor_ns);
    state.counters["ratio"] = median(samples.ratio);
  }
}

void add(const char* name, void (*function)(benchmark::State&)) {
  benchmark::RegisterBenchmark(name, function)->UseManualTime()->Iterations(1);
}

/// A thread that waits until the end.
class other_thread {
 public:
  other_thread() : thread_([this] {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return end_; });
  }) {}
  ~other_thread() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    ended_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

int run(bool is_threaded) {
  if (const contrail::error failed = contrail::flight_recorder::start()) {
    fprintf(stderr, "%s\n", failed.message());
    return 1;
  }
  TRACE_INSTANT("this thread records");
  add("std::mutex, against itself", compared<exclusive<std::mutex, 1>, exclusive<std::mutex>>);
  add("mutex", compared<exclusive<contrail::mutex>, exclusive<std::mutex>>);
  add("shared_mutex", compared<exclusive<contrail::shared_mutex>, exclusive<std::shared_mutex>>);
  add("shared_mutex, shared", compared<shared<contrail::shared_mutex>, shared<std::shared_mutex>>);
  if (!is_threaded) {
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  }
  const other_thread other;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace contrail_bench

int main(int argc, char** argv) {
  const bool is_threaded = argc > 1 && std::string_view(argv[1]) == "--threads";
  if (is_threaded) argv[1] = argv[0], ++argv, --argc;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  return contrail_bench::run(is_threaded);
}
