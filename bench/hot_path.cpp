// SPDX-License-Identifier: MIT
// What a call site costs the thread that runs it. Each benchmark is one pass of alternating blocks; its counters are
//   ns, floor_ns  processor time per operation and per floor operation, medians over the blocks
//   ratio         median of the blocks' ratios
//   p999_ns, max_ns  of single operations, the cost of timing them taken off
//   bytes         in memory per operation, headers of chunks left out
#include <benchmark/benchmark.h>
#include <contrail/contrail.hpp>

#include <memory>
#include <mutex>
#include <string>

#include "compiled_out.hpp"
#include "measuring.hpp"

namespace contrail_bench {
namespace {

struct order_event {
  int32_t id;
  int64_t amount;
};
TRACE_EVENT_TYPE(order_event, id, amount);

// ---- the operations ------------------------------------------------------------------------------------------

struct two_clock_reads : floor_of_a_region {};

struct plain_region {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_REGION("plain"); }
};
struct region_two_int32 {
  [[gnu::always_inline]] static void run(uint64_t i) {
    const int32_t a = unknown(static_cast<int32_t>(i));
    const int32_t b = unknown(7);
    TRACE_REGION("two int32", "a", a, "b", b);
  }
};
struct region_two_int64 {
  [[gnu::always_inline]] static void run(uint64_t i) {
    const int64_t a = unknown(static_cast<int64_t>(i));
    const int64_t b = unknown(int64_t{7});
    TRACE_REGION("two int64", "a", a, "b", b);
  }
};
const std::string fifteen_bytes = "fifteen bytes !";
struct region_string {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_REGION("string", "text", fifteen_bytes); }
};
struct region_c_string {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_REGION("c string", "text", unknown(fifteen_bytes.c_str())); }
};
struct typed_event {
  [[gnu::always_inline]] static void run(uint64_t i) {
    TRACE_EMIT(order_event{unknown(static_cast<int32_t>(i)), unknown(int64_t{7})});
  }
};
struct instant {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_INSTANT("instant"); }
};
struct counter {
  [[gnu::always_inline]] static void run(uint64_t i) { TRACE_COUNTER("counter", unknown(static_cast<int64_t>(i))); }
};
struct log_two {
  [[gnu::always_inline]] static void run(uint64_t i) {
    const int32_t a = unknown(static_cast<int32_t>(i));
    const int32_t b = unknown(7);
    TRACE_LOG("took {} of {}", a, b);
  }
};
struct off_region {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_REGION("off plain"); }
};
struct off_two_int64 {
  [[gnu::always_inline]] static void run(uint64_t i) {
    TRACE_REGION("off two", "a", unknown(static_cast<int64_t>(i)), "b", i);
  }
};
struct off_instant {
  [[gnu::always_inline]] static void run(uint64_t) { TRACE_INSTANT("off instant"); }
};

// ---- passes --------------------------------------------------------------------------------------------------

unsigned pairs_of_pass = 40;
constexpr uint64_t block_operations = 4096;
// What takes half a nanosecond needs more of it for the clock around a block not to show.
constexpr uint64_t block_operations_off = 65536;

/// Collects what the threads of one pass measured.
struct pass_result {
  std::mutex lock;
  paired_samples samples;
  latencies operation;
  latencies nothing;
  double bytes = 0;
};
std::unique_ptr<pass_result> result;

struct words_and_records {
  uint64_t words;
  uint64_t records;
};
/// What this thread has written so far.
words_and_records written() {
  const contrail::detail::frame* const at = contrail::detail::next_frame;
  if (at == &contrail::detail::detached_frame) return {0, 0};
  const contrail::detail::lane& writer = *at->owner;
  const uint64_t words = writer.words_before.load_relaxed() + contrail::detail::words_in_chunk(writer);
  return {words, words - writer.extra_words.load_relaxed()};
}

template <class Operation>
double bytes_per_operation() {
  run_block<Operation>(1);  // attaches the thread and binds the site
  const words_and_records before = written();
  run_block<Operation>(block_operations);
  const words_and_records after = written();
  const uint64_t records = after.records - before.records;
  return records == 0 ? 0 : 8 * static_cast<double>(after.words - before.words) / static_cast<double>(records);
}

void report(benchmark::State& state) {
  const double tick = ns_per_tick();
  const double timing = static_cast<double>(result->nothing.quantile(0.5)) * tick;
  const auto net = [&](uint64_t took) { return std::max(0.0, static_cast<double>(took) * tick - timing); };
  state.counters["ns"] = median(result->samples.operation_ns);
  state.counters["floor_ns"] = median(result->samples.floor_ns);
  state.counters["ratio"] = median(result->samples.ratio);
  state.counters["p999_ns"] = net(result->operation.quantile(0.999));
  state.counters["max_ns"] = net(result->operation.max());
  state.counters["bytes"] = result->bytes;
}

template <class Operation, class Floor>
void pass(benchmark::State& state, uint64_t block) {
  if (state.thread_index() == 0) result = std::make_unique<pass_result>();
  const auto operation = std::make_unique<latencies>();
  const auto nothing = std::make_unique<latencies>();
  for (auto _ : state) {
    const double bytes = bytes_per_operation<Operation>();
    const paired_samples samples = paired_blocks<Operation, Floor>(pairs_of_pass, block);
    time_each<empty_loop>(500, *nothing);
    time_each<Operation>(2000, *operation);
    state.SetIterationTime(median(samples.operation_ns) * 1e-9);
    const std::lock_guard hold(result->lock);
    result->samples.add(samples);
    result->operation.add(*operation);
    result->nothing.add(*nothing);
    result->bytes = bytes;
  }
  if (state.thread_index() == 0) report(state);
}

template <class Operation>
void recorded(benchmark::State& state) {
  pass<Operation, floor_of_a_region>(state, block_operations);
}
template <class Operation>
void off(benchmark::State& state) {
  pass<Operation, empty_loop>(state, block_operations_off);
}
void compiled_out(benchmark::State& state) {
  if (state.thread_index() == 0) result = std::make_unique<pass_result>();
  for (auto _ : state) {
    const paired_samples samples = compiled_out_blocks(pairs_of_pass, block_operations_off);
    state.SetIterationTime(median(samples.operation_ns) * 1e-9);
    const std::lock_guard hold(result->lock);
    result->samples.add(samples);
  }
  if (state.thread_index() == 0) report(state);
}

void add(const char* name, void (*function)(benchmark::State&)) {
  for (const int threads : {1, 2, 8}) {
    benchmark::RegisterBenchmark(name, function)->UseManualTime()->Iterations(1)->Threads(threads);
  }
}

}  // namespace
}  // namespace contrail_bench

int main(int argc, char** argv) {
  using namespace contrail_bench;
  ns_per_tick();
  add("two clock reads", recorded<two_clock_reads>);
  add("region", recorded<plain_region>);
  add("region, two int32", recorded<region_two_int32>);
  add("region, two int64", recorded<region_two_int64>);
  add("region, std::string of 15", recorded<region_string>);
  add("region, char* of 15", recorded<region_c_string>);
  add("typed event", recorded<typed_event>);
  add("instant", recorded<instant>);
  add("counter", recorded<counter>);
  add("log, two int32", recorded<log_two>);
  add("off: region", off<off_region>);
  add("off: region, two int64", off<off_two_int64>);
  add("off: instant", off<off_instant>);
  add("compiled out", compiled_out);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (auto failed = contrail::flight_recorder::start({.prefault = true, .filter = {.names = "*,-off *"}})) {
    fprintf(stderr, "%s\n", failed.message());
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
