// SPDX-License-Identifier: MIT
// Stop and start, in the same memory and in other memory, while writers are in the middle of a record: what is recorded
// once start has returned is in a dump or counted, and nothing of a former recording is taken for it.
#include "support/recorder.hpp"
#include "support/single_step.hpp"
#include "support/test_length.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace {

using numbers = std::vector<uint64_t>;

uint64_t checksum(uint64_t thread, uint64_t n) {
  const uint64_t x = (thread << 56 ^ n) * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

/// Two records of one number: a region with arguments around an instant.
__attribute__((noinline)) void trace(uint64_t thread, uint64_t n) {
  TRACE_REGION("region", "thread", thread, "n", n, "check", checksum(thread, n));
  TRACE_INSTANT("instant", "thread", thread, "n", n, "check", checksum(thread, n));
}

/// The numbers of a thread's records of one name, in order. Throws when one was altered.
numbers traced(const dump_reader::dump& dump, const char* name, uint64_t thread) {
  numbers found;
  for (const auto& record : dump.records(name)) {
    dump_reader::require(record.payload.size() == 3, "a record was altered");
    if (record.payload[0] != thread) continue;
    dump_reader::require(record.payload[2] == checksum(thread, record.payload[1]), "a record was altered");
    dump_reader::require(found.empty() || found.back() < record.payload[1], "a record is there twice or out of order");
    found.push_back(record.payload[1]);
  }
  return found;
}

/// Bytes of the recorder's memory, other ones each time unless `same`.
uint64_t memory_after(bool same) {
  static uint64_t memory = 1 << 20;
  if (!same) memory = memory == 1 << 20 ? (1 << 20) + (1 << 16) : 1 << 20;
  return memory;
}

unsigned failed_restarts = 0;
uint64_t handler_number = 0;

template <bool Same, bool Traces>
void restart() {
  if (flight_recorder::stop()) ++failed_restarts;
  if (flight_recorder::start({.memory = memory_after(Same)})) ++failed_restarts;
  if (Traces) trace(2, ++handler_number);
}

}  // namespace

namespace {

/// Interrupts a record by `interruption`, after `prepare`, at each of its instructions, or at some `points` of them,
/// and checks what a dump then has.
void restart_at_instructions(uint64_t points, void (*prepare)(), void (*interruption)(), bool traces) {
  points = by_test_length(points / 2, points, points * 20);
  single_step::install();
  running_recorder recorder({.memory = memory_after(true)});
  handler_number = 0;
  failed_restarts = 0;
  trace(1, 0);
  constexpr long never = 1'000'000'000;
  uint64_t length = never;
  for (int i = 0; i < 3; ++i) {  // the shortest of three, as a new time epoch makes a record take longer
    prepare();
    single_step::interrupt_at(never, [] { trace(1, 0); }, interruption);
    length = std::min(length, static_cast<uint64_t>(never - single_step::steps_left));
  }
  const uint64_t stride = length / points + 1;
  uint64_t trials = 0, whole = 0, counted = 0;
  for (;; ++trials) {
    prepare();
    const uint64_t n = 2 * trials + 1, instruction = trials * stride;
    if (!single_step::interrupt_at(static_cast<long>(instruction), [&] { trace(1, n); }, interruption)) break;
    trace(1, n + 1);
    INFO("instruction " << instruction);
    const auto dump = dump_now();
    dump_reader::check_chains(dump);
    for (const char* name : {"region", "instant"}) {
      // Of what was interrupted a record may be there; what came after it must be, or is counted: code that had
      // chosen its frame goes back there, and only the end of the region after it finds that the frame is of before.
      numbers found = traced(dump, name, 1);
      REQUIRE(found.size() <= 2);
      const bool last_is_there = !found.empty() && found.back() == n + 1;
      REQUIRE((last_is_there || dump.dropped(contrail::detail::drop_reason::misnested) == 1));
      counted += !last_is_there;
      if (found.size() == 2) REQUIRE(found[0] == n);
      whole += !found.empty() && found[0] == n;
      REQUIRE(traced(dump, name, 2) == (traces ? numbers{handler_number} : numbers{}));
    }
    REQUIRE(dump.open_names().empty());
  }
  WARN(length << " instructions, " << trials << " points, " << counted << " counted");
  CHECK(failed_restarts == 0);
  CHECK(length > 100);
  CHECK(trials > 2);
  CHECK(whole > 0);
  CHECK(counted <= trials / 10);
}

void (*const restarts[])() = {restart<true, false>, restart<true, true>, restart<false, false>, restart<false, true>};

}  // namespace

TEST_CASE("the recorder may be restarted at every instruction of a record that is being written") {
  if (!single_step::possible) return;
  for (unsigned variant = 0; variant < 4; ++variant) {
    INFO("variant " << variant);
    restart_at_instructions(1000, [] {}, restarts[variant], variant % 2 == 1);
  }
}

TEST_CASE("the recorder may be restarted while a call site asks whether it is on") {
  if (!single_step::possible) return;
  for (unsigned variant = 0; variant < 4; ++variant) {
    INFO("variant " << variant);
    restart_at_instructions(25, [] { flight_recorder::set_filter({}); }, restarts[variant], variant % 2 == 1);
  }
}

TEST_CASE("the recorder may be restarted while a thread attaches and a call site binds") {
  if (!single_step::possible) return;
  const auto prepare = [] {
    if (flight_recorder::stop() || flight_recorder::start({.memory = memory_after(false)})) ++failed_restarts;
  };
  for (const unsigned variant : {1U, 3U}) {
    INFO("variant " << variant);
    restart_at_instructions(8, prepare, restarts[variant], variant % 2 == 1);
  }
}

namespace {

constexpr uint64_t thread_count = 4;

/// A thread that traces numbers, and says how far it is.
struct writer {
  std::atomic<uint64_t> begun{0}, ended{0};

  void run(uint64_t thread, const std::atomic<bool>& done, std::atomic<uint64_t>& limit) {
    for (uint64_t n = 1; !done; ++n) {
      // No more than the memory holds between two restarts: what is missing was then lost, not overwritten.
      while (n > limit && !done) std::this_thread::yield();
      begun = n;
      trace(thread, n);
      ended = n;
    }
  }
};

/// Checks that all numbers above `after` and up to `until` are there, but for at most `dropped`.
uint64_t missing(const numbers& found, uint64_t after, uint64_t until) {
  uint64_t present = 0;
  for (const uint64_t n : found) present += n > after && n <= until;
  return until > after ? until - after - present : 0;
}

}  // namespace

TEST_CASE("what threads record while the recorder is restarted and dumped in a loop is in a dump or counted") {
  std::atomic<bool> done{false};
  std::atomic<uint64_t> limit{0}, fence{0};
  writer writers[thread_count];
  std::vector<std::thread> threads;
  REQUIRE_FALSE(flight_recorder::start({.memory = memory_after(true)}));
  for (uint64_t t = 0; t < thread_count; ++t) {
    threads.emplace_back([&, t] { writers[t].run(t, done, limit); });
  }
  std::string failure;
  uint64_t seen = 0, dropped = 0;
  for (unsigned round = 0; round < 150 && failure.empty(); ++round) {
    // Records that a thread begins from here on belong to this recording. The exchange is the fence without which the
    // loads below may overtake the last stores of start.
    fence.exchange(round);
    uint64_t after[thread_count], most = 0;
    for (uint64_t t = 0; t < thread_count; ++t) {
      after[t] = writers[t].begun;
      if (after[t] > most) most = after[t];
    }
    limit = most + 300;
    while (writers[round % thread_count].ended < most + 100) std::this_thread::yield();
    uint64_t until[thread_count];
    for (uint64_t t = 0; t < thread_count; ++t) until[t] = writers[t].ended;
    try {
      std::string bytes;
      if (flight_recorder::dump(bytes)) throw std::runtime_error("the dump failed");
      const auto dump = dump_reader::read(bytes);
      uint64_t lost = dump_reader::check_chains(dump);
      dump_reader::require(lost == 0, "words were overwritten, although there was room");
      for (const char* name : {"region", "instant"}) {
        for (uint64_t t = 0; t < thread_count; ++t) {
          const numbers found = traced(dump, name, t);
          lost += missing(found, after[t], until[t]);
          seen += found.size();
        }
      }
      dump_reader::require(lost <= dump.dropped(), "records are missing that were not counted");
      dropped += dump.dropped();
    } catch (const std::runtime_error& error) {
      failure = error.what();
    }
    if (flight_recorder::stop()) failure = "stop failed";
    // Other memory three times of four.
    if (flight_recorder::start({.memory = memory_after(round % 4 == 3)})) failure = "start failed";
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  flight_recorder::stop();
  CHECK(failure == "");
  CHECK(seen > 150 * 100);
  // A drop is a record that was in the middle of a restart: few.
  CHECK(dropped < 150 * 4 * thread_count);
  WARN(seen << " records seen, " << dropped << " counted as dropped");
}
