// SPDX-License-Identifier: MIT
// What a dump of a full recorder takes, and what a thread notices that records meanwhile.
//   bench_dump --disk=FOLDER [--benchmark_...]    measure; dumps to disk go to FOLDER
//   bench_dump --write=FILE                       only write the dump of a full recorder, for the converter's benchmark
#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <contrail/contrail.hpp>

#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "measuring.hpp"

namespace contrail_bench {
namespace {

using contrail::flight_recorder;

std::string disk_folder = ".";

/// A little of everything, most of it plain regions, three deep.
void record_some(uint64_t i) {
  TRACE_REGION("request");
  { TRACE_REGION("parse"); }
  {
    TRACE_REGION("handle", "id", static_cast<int64_t>(i), "bytes", static_cast<int64_t>(i % 4096));
    for (int k = 0; k < 3; ++k) {
      TRACE_REGION("step");
    }
  }
  { TRACE_REGION("reply"); }
}

/// Writes until the recorder has gone round: a full recorder has no chunk that was never used.
void fill_recorder() {
  const auto fill = [] {
    for (uint64_t before = 0;;) {
      for (uint64_t i = 0; i < 20000; ++i) record_some(i);
      const uint64_t used = flight_recorder::status().used_bytes;
      if (used == before) return;
      before = used;
    }
  };
  std::thread beside(fill);
  fill();
  beside.join();
}

void report_size(benchmark::State& state, double bytes) {
  state.counters["mib"] = bytes / (1 << 20);
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * static_cast<int64_t>(state.iterations()));
}

void dump_to_memory(benchmark::State& state) {
  std::string bytes;
  bytes.reserve(size_t{40} << 20);
  for (auto _ : state) {
    bytes.clear();
    if (auto failed = flight_recorder::dump(bytes)) return state.SkipWithError(failed.message());
  }
  report_size(state, static_cast<double>(bytes.size()));
}

void dump_to_file(benchmark::State& state, const std::string& folder) {
  const std::string path = folder + "/contrail-bench-" + std::to_string(getpid()) + ".contrail";
  for (auto _ : state) {
    if (auto failed = flight_recorder::dump(path.c_str())) return state.SkipWithError(failed.message());
  }
  FILE* const file = fopen(path.c_str(), "rb");
  if (file != nullptr) {
    fseek(file, 0, SEEK_END);
    report_size(state, static_cast<double>(ftell(file)));
    fclose(file);
  }
  unlink(path.c_str());
}

/// From the store through a null pointer until the process is gone, dump and all, in a child with a full recorder.
void crash_dump(benchmark::State& state, const std::string& folder) {
  const std::string path = folder + "/contrail-bench-crash-" + std::to_string(getpid()) + ".contrail";
  void* const shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* const crashed_at_ns = static_cast<volatile double*>(shared);
  double bytes = 0;
  for (auto _ : state) {
    unlink(path.c_str());
    const pid_t child = fork();
    if (child == 0) {
      if (flight_recorder::start({.prefault = true}) || flight_recorder::dump_on_crash(path.c_str())) _exit(1);
      fill_recorder();
      *crashed_at_ns = clock_ns(CLOCK_MONOTONIC);
      *unknown(static_cast<volatile char*>(nullptr)) = 1;
    }
    int status = 0;
    waitpid(child, &status, 0);
    state.SetIterationTime((clock_ns(CLOCK_MONOTONIC) - *crashed_at_ns) * 1e-9);
    FILE* const file = fopen(path.c_str(), "rb");
    if (file == nullptr || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV) {
      return state.SkipWithError("The child did not crash as it should, or left no dump.");
    }
    fseek(file, 0, SEEK_END);
    bytes = static_cast<double>(ftell(file));
    fclose(file);
  }
  report_size(state, bytes);
  unlink(path.c_str());
  munmap(shared, 4096);
}

struct plain_region {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_REGION("while dumping"); }
};

/// Phases of 4 ms with and without another thread that dumps in a loop, by turns.
void region_beside_a_dump(benchmark::State& state) {
  std::atomic<bool> dumping{false};
  std::atomic<bool> done{false};
  std::thread dumper([&] {
    std::string bytes;
    bytes.reserve(size_t{40} << 20);
    while (!done) {
      if (!dumping) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        continue;
      }
      bytes.clear();
      flight_recorder::dump(bytes);
    }
  });
  const auto alone = std::make_unique<latencies>();
  const auto beside = std::make_unique<latencies>();
  std::vector<double> alone_ns;
  std::vector<double> beside_ns;
  for (auto _ : state) {
    for (unsigned phase = 0; phase < 80; ++phase) {
      const bool with = phase % 2 != 0;
      dumping = with;
      std::this_thread::sleep_for(std::chrono::milliseconds(with ? 1 : 30));  // the last dump ends
      (with ? beside_ns : alone_ns).push_back(block_ns<plain_region>(40000));
      time_each<plain_region>(600, with ? *beside : *alone);
    }
  }
  done = true;
  dumper.join();
  const double tick = ns_per_tick();
  state.counters["alone_ns"] = median(alone_ns);
  state.counters["beside_ns"] = median(beside_ns);
  state.counters["alone_p999_ns"] = static_cast<double>(alone->quantile(0.999)) * tick;
  state.counters["beside_p999_ns"] = static_cast<double>(beside->quantile(0.999)) * tick;
  state.counters["alone_max_ns"] = static_cast<double>(alone->max()) * tick;
  state.counters["beside_max_ns"] = static_cast<double>(beside->max()) * tick;
}

}  // namespace
}  // namespace contrail_bench

int main(int argc, char** argv) {
  using namespace contrail_bench;
  std::string write_to;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--disk=")) {
      disk_folder = argument.substr(7);
    } else if (argument.starts_with("--write=")) {
      write_to = argument.substr(8);
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;

  contrail::error failed = flight_recorder::start({.prefault = true});
  if (!failed) {
    fill_recorder();
    if (!write_to.empty()) failed = flight_recorder::dump(write_to.c_str());
  }
  if (failed) {
    fprintf(stderr, "%s\n", failed.message());
    return 1;
  }
  if (!write_to.empty()) return 0;

  const auto add = [](const char* name, auto function) {
    benchmark::RegisterBenchmark(name, function)->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(8);
  };
  add("dump to memory", dump_to_memory);
  add("dump to /dev/shm", [](benchmark::State& state) { dump_to_file(state, "/dev/shm"); });
  add("dump to disk", [](benchmark::State& state) { dump_to_file(state, disk_folder); });
  const auto add_crash = [](const char* name, auto function) {
    benchmark::RegisterBenchmark(name, function)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(4);
  };
  add_crash("crash dump to /dev/shm", [](benchmark::State& state) { crash_dump(state, "/dev/shm"); });
  add_crash("crash dump to disk", [](benchmark::State& state) { crash_dump(state, disk_folder); });
  benchmark::RegisterBenchmark("region beside a dump", region_beside_a_dump)->Iterations(1)->UseRealTime();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
