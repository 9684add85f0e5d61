// SPDX-License-Identifier: MIT
// How much two threads may record, on all processors that there are, before a session loses any of it.
//   bench_session --disk=FOLDER [--seconds=N] [--benchmark_...]
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>
#include <contrail/contrail.hpp>
#include <contrail/session.hpp>

#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "measuring.hpp"

namespace contrail_bench {
namespace {

using contrail::flight_recorder;

constexpr int writers = 2;
constexpr uint64_t regions_at_once = 4;  // of record_some
double trial_seconds = 1;
std::string disk_folder = ".";

/// 48 bytes.
void record_some(uint64_t i) {
  TRACE_REGION("request");
  { TRACE_REGION("parse"); }
  { TRACE_REGION("handle", "id", static_cast<int64_t>(i), "bytes", static_cast<int64_t>(i % 4096)); }
  { TRACE_REGION("reply"); }
}

/// Records at a rate of regions per second, 0 for as fast as it can, and computes in between. How many it recorded.
uint64_t record_for(double seconds, double rate) {
  const double ticks_a_second = 1e9 / ns_per_tick();
  const uint64_t begin = ticks();
  const uint64_t end = begin + static_cast<uint64_t>(seconds * ticks_a_second);
  const double ticks_each = rate == 0 ? 0 : static_cast<double>(regions_at_once) * ticks_a_second / rate;
  uint64_t i = 0;
  for (double due = 0; ticks() < end; ++i, due += ticks_each) {
    while (ticks() - begin < static_cast<uint64_t>(due)) {
    }
    record_some(i);
  }
  return i * regions_at_once;
}

struct trial {
  std::string failed;
  double regions_a_second = 0;
  double mib_a_second = 0;
  double lost_share = 0;
};

/// A session of its own, to a file that is removed afterwards, or to nowhere.
trial run_trial(const std::string& folder, double rate) {
  const std::string path = folder + "/contrail-bench-stream-" + std::to_string(getpid()) + ".contrail";
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  trial result;
  contrail::session session;
  const contrail::error failed =
      folder.empty() ? session.start({.descriptor = nowhere}) : session.start({.file = path.c_str()});
  if (failed) {
    result.failed = failed.message();
    return result;
  }
  uint64_t recorded[writers] = {};
  const double begin_ns = clock_ns(CLOCK_MONOTONIC);
  std::vector<std::thread> threads;
  for (uint64_t& count : recorded) threads.emplace_back([&] { count = record_for(trial_seconds, rate / writers); });
  for (std::thread& thread : threads) thread.join();
  const double seconds = (clock_ns(CLOCK_MONOTONIC) - begin_ns) * 1e-9;
  const contrail::session_result told = session.stop();
  unlink(path.c_str());
  close(nowhere);
  if (told.failed) result.failed = told.failed.message();
  double sum = 0;
  for (const uint64_t count : recorded) sum += static_cast<double>(count);
  result.regions_a_second = sum / seconds;
  result.mib_a_second = static_cast<double>(told.bytes) / seconds / (1 << 20);
  result.lost_share = static_cast<double>(told.lost_records + told.dropped_records) / sum;
  return result;
}

/// As fast as the threads can; and if that loses anything, the highest rate at which two trials in a row lose nothing.
void stream_to(benchmark::State& state, const std::string& folder) {
  for (auto _ : state) {
    const trial fastest = run_trial(folder, 0);
    if (!fastest.failed.empty()) return state.SkipWithError(fastest.failed.c_str());
    trial best = fastest;
    if (fastest.lost_share != 0) {
      best = {};
      double low = 0, high = fastest.regions_a_second;
      for (int step = 0; step < 6; ++step) {
        const double rate = (low + high) / 2;
        trial tried;
        for (int again = 0; again < 2; ++again) {
          tried = run_trial(folder, rate);
          if (!tried.failed.empty()) return state.SkipWithError(tried.failed.c_str());
          if (tried.lost_share != 0) break;
        }
        (tried.lost_share == 0 ? low : high) = rate;
        if (tried.lost_share == 0) best = tried;
      }
    }
    state.counters["fastest_per_s"] = fastest.regions_a_second;
    state.counters["fastest_lost"] = fastest.lost_share;
    state.counters["lossless_per_s"] = best.regions_a_second;
    state.counters["lossless_mib_per_s"] = best.mib_a_second;
  }
}

}  // namespace
}  // namespace contrail_bench

int main(int argc, char** argv) {
  using namespace contrail_bench;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--disk=")) {
      disk_folder = argument.substr(7);
    } else if (argument.starts_with("--seconds=")) {
      trial_seconds = std::atof(argv[i] + 10);
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (const contrail::error failed = flight_recorder::start({.prefault = true})) {
    fprintf(stderr, "%s\n", failed.message());
    return 1;
  }
  const auto add = [](const char* name, auto function) {
    benchmark::RegisterBenchmark(name, function)->UseRealTime()->Iterations(1);
  };
  add("to /dev/null", [](benchmark::State& state) { stream_to(state, ""); });
  add("to /dev/shm", [](benchmark::State& state) { stream_to(state, "/dev/shm"); });
  add("to disk", [](benchmark::State& state) { stream_to(state, disk_folder); });
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
