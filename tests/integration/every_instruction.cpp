// SPDX-License-Identifier: MIT
// A signal handler that traces interrupts the writer at each instruction, over every path: a plain record, payloads, a
// new time epoch, a chunk's end, attaching, binding. Nothing is lost, altered or out of order; after a jump out of the
// handler only what was interrupted may be missing.
#include "support/recorder.hpp"
#include "support/single_step.hpp"

#include <csetjmp>
#include <coroutine>
#include <thread>
#include <vector>

namespace {

using dump_reader::record;

uint64_t written_by_handler = 0;
sigjmp_buf place;

__attribute__((noinline)) void trace_in_handler() {
  TRACE_REGION("handler outer");
  TRACE_INSTANT("handler", "n", ++written_by_handler);
  { TRACE_REGION("handler inner", "n", written_by_handler); }
}
void trace_in_handler_and_jump() {
  trace_in_handler();
  siglongjmp(place, 1);
}
void jump() { siglongjmp(place, 1); }

/// Spends more than a time epoch, so that what the interrupted code had read is out of date.
void trace_in_handler_after_an_epoch() {
  TRACE_REGION("whole handler");
  const uint64_t from = contrail::detail::hardware_ticks();
  while (contrail::detail::hardware_ticks() - from < contrail::detail::epoch_ticks + 1000) {
  }
  trace_in_handler();
  while (contrail::detail::hardware_ticks() - from < 2 * contrail::detail::epoch_ticks + 1000) {
  }
  TRACE_INSTANT("handler late");
}

struct pattern {
  uint64_t low = 0x1111'2222'3333'4444, high = 0x5555'6666'7777'8888;
};

/// What is interrupted: 6 records of known content.
__attribute__((noinline)) void work(uint64_t n) {
  TRACE_REGION("outer", "n", n, "low", pattern{}.low);
  { TRACE_REGION("plain"); }
  TRACE_INSTANT("instant", "n", n, "high", pattern{}.high);
  TRACE_REGION_VAR(inner, "inner", "text", "0123456789");
  inner.set("n", n);
  TRACE_COUNTER("counter", n);
  TRACE_LOG("log {} {}", n, pattern{}.high);
}

void check_times(const dump_reader::dump& dump, uint64_t begin, uint64_t end) {
  for (const auto& chunk : dump.chunks) {
    for (const record& r : chunk.records) {
      if (r.end < dump.super.start.ticks) continue;
      CHECK(r.start <= r.end);
      CHECK(r.start >= begin);
      CHECK(r.end <= end);
    }
  }
  for (const auto& slot : dump.slots) CHECK(slot.open.empty());
}

void check_work(const dump_reader::dump& dump, uint64_t trials, bool all) {
  const auto check_one = [&](const char* name, auto&& is_right) {
    const std::vector<record> found = dump.records(name);
    INFO(name);
    if (all) {
      CHECK(found.size() == trials);
    } else {
      CHECK(found.size() <= trials);
    }
    uint64_t before = 0;
    for (const record& r : found) {
      CHECK(is_right(r));
      CHECK(r.start >= before);
      before = r.end;
    }
  };
  uint64_t next_outer = 0, next_instant = 0;
  const auto grows = [&](uint64_t& next, uint64_t n) {
    const bool good = all ? n == next : n >= next;
    next = n + 1;
    return good;
  };
  check_one("outer", [&](const record& r) {
    return r.payload.size() == 2 && r.payload[1] == pattern{}.low && grows(next_outer, r.payload[0]);
  });
  check_one("plain", [&](const record& r) { return r.payload.empty(); });
  check_one("instant", [&](const record& r) {
    return r.payload.size() == 2 && r.payload[1] == pattern{}.high && grows(next_instant, r.payload[0]);
  });
  check_one("inner", [&](const record& r) {
    return std::memcmp(reinterpret_cast<const char*>(r.payload.data()) + 2, "0123456789", 10) == 0;
  });
  uint64_t next_counter = 0, next_log = 0;
  check_one("counter", [&](const record& r) { return r.payload.size() == 1 && grows(next_counter, r.payload[0]); });
  check_one("log {} {}", [&](const record& r) {
    return r.payload.size() == 2 && r.payload[1] == pattern{}.high && grows(next_log, r.payload[0]);
  });
  uint64_t next_handler = 1;
  for (const record& r : dump.records("handler")) {
    CHECK(r.payload.at(0) >= next_handler);
    next_handler = r.payload.at(0) + 1;
  }
  if (!all) return;
  CHECK(dump.records("handler").size() == written_by_handler);
  CHECK(dump.records("handler inner").size() == written_by_handler);
  CHECK(dump.records("handler outer").size() == written_by_handler);
}

/// Interrupts `interrupted` at its first, second, ... instruction; the interruption jumps out of it. Returns the
/// trials.
template <class Interrupted>
uint64_t jump_out_at_every_instruction(Interrupted&& interrupted, void (*interrupt)(), uint64_t most) {
  written_by_handler = 0;
  volatile uint64_t trials = 0;
  volatile bool interrupted_it = true;
  while (interrupted_it && trials < most) {
    if (sigsetjmp(place, 1) == 0) {
      interrupted_it =
          single_step::interrupt_at(static_cast<long>(trials), [&] { interrupted(2 * trials); }, interrupt);
    }
    interrupted(2 * trials + 1);  // and once in peace: it heals what the jump left, so that the next trial is as short
    trials = trials + 1;
  }
  return trials;
}

/// Interrupts `interrupted` at every instruction: each run at every `runs`-th one, and each time at others.
template <class Prepare, class Interrupted>
uint64_t at_every_instruction(uint64_t runs, Prepare&& prepare, Interrupted&& interrupted, void (*interrupt)()) {
  written_by_handler = 0;
  for (uint64_t run = 0; run < runs; ++run) {
    prepare();
    single_step::interrupt_at(static_cast<long>(run), [&] { interrupted(run); }, interrupt, static_cast<long>(runs));
  }
  return runs;
}

/// The lane that the thread writes next: after a handler took another one, that.
contrail::detail::lane& current_lane() {
  using namespace contrail::detail;
  thread_slot& slot = slot_of(next_frame);
  return slot.lanes[lane_index_of(slot, next_frame)];
}

/// Makes the thread's next record the first of a new epoch.
void end_epoch() { current_lane().deadline.store_relaxed(0); }

/// Leaves room for `words` in the chunk.
void fill_chunk(unsigned words) {
  using namespace contrail::detail;
  while (chunk_words - words_in_chunk(current_lane()) > words) {
    TRACE_REGION("filler");
  }
}

bool skipped() {
  if (!single_step::possible) WARN("skipped: single-stepping is not possible here");
  return !single_step::possible;
}

/// Another number each time, so that each test has a new image: jumps leave regions open in theirs.
uint64_t other_memory() {
  static uint64_t memory = 8 << 20;
  return memory ^= 1 << 20;
}

struct stepping_recorder : running_recorder {
  explicit stepping_recorder(uint64_t bytes = other_memory()) : running_recorder({.memory = bytes}), memory(bytes) {
    single_step::install();
    work(~uint64_t{0} >> 1);  // binds and attaches
    trace_in_handler();
    flight_recorder::stop();
    REQUIRE_FALSE(flight_recorder::start({.memory = memory}));  // and what was recorded does not count
  }
  uint64_t memory;
};

}  // namespace

/// Everything since the start is there: `trials` times the work, and what the handler wrote.
void check_nothing_lost(uint64_t trials) {
  const auto dump = dump_now();
  check_work(dump, trials, true);
  check_times(dump, dump.super.start.ticks, dump.super.dump.ticks);
  CHECK(dump.dropped() == 0);
  CHECK(dump_reader::check_chains(dump) == 0);
}

TEST_CASE("a handler that traces may interrupt a record at every instruction") {
  if (skipped()) return;
  for (const uint64_t runs : {1U, 2U, 3U, 7U}) {
    stepping_recorder recorder;
    INFO(runs);
    check_nothing_lost(at_every_instruction(runs, [] {}, work, trace_in_handler));
    CHECK(written_by_handler > 100);
  }
}

TEST_CASE("a handler that traces may interrupt the begin of a time epoch at every instruction") {
  if (skipped()) return;
  for (const uint64_t runs : {11U}) {
    stepping_recorder recorder;
    check_nothing_lost(at_every_instruction(runs, end_epoch, work, trace_in_handler));
    CHECK(written_by_handler > 200);
  }
}

/// A coroutine that holds a region from its first suspension to its second.
struct holder {
  struct promise_type {
    holder get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> frame;
};
holder hold_region(uint64_t n) {
  TRACE_REGION("held", "n", n);
  co_await std::suspend_always{};
}
__attribute__((noinline)) void resume_deep(holder& what, int depth) {
  volatile char room[512];
  room[0] = static_cast<char>(depth);
  if (depth == 0) what.frame.resume();
  else resume_deep(what, depth - 1);
  room[1] = room[0];
}

TEST_CASE("a handler that traces may interrupt the end of a region that began deeper in the stack") {
  if (skipped()) return;
  stepping_recorder recorder;
  written_by_handler = 0;
  uint64_t trials = 0;
  for (bool interrupted_it = true; interrupted_it; ++trials) {
    holder what = hold_region(trials);
    resume_deep(what, 20);
    interrupted_it = single_step::interrupt_at(static_cast<long>(trials), [&] { what.frame.resume(); }, trace_in_handler);
    what.frame.destroy();
  }
  CHECK(trials > 50);
  const auto dump = dump_now();
  check_work(dump, 0, true);
  CHECK(dump.records("held").size() == trials);
  CHECK(dump.dropped() == 0);
  CHECK(dump_reader::check_chains(dump) == 0);
}

TEST_CASE("a handler that takes longer than a time epoch may interrupt a record at every instruction") {
  if (skipped()) return;
  stepping_recorder recorder;
  unsigned runs = 0;
  for (bool interrupted_it = true; interrupted_it; ++runs) {
    // One interruption a run, since each takes long.
    interrupted_it =
        single_step::interrupt_at(runs, [] { TRACE_REGION("begin interrupted"); }, trace_in_handler_after_an_epoch);
  }
  const auto dump = dump_now();
  CHECK(dump.records("begin interrupted").size() == runs);
  CHECK(dump.records("handler late").size() > 10);
  // The handler ran before the region, within it, or after it; within it from the begin's clock read on, to the end's.
  unsigned within = 0;
  for (const record& handler : dump.records("whole handler")) {
    CHECK(handler.end - handler.start > 2 * contrail::detail::epoch_ticks);
    for (const record& region : dump.records("begin interrupted")) {
      const bool apart = region.end <= handler.start || region.start >= handler.end;
      const bool is_within = region.start <= handler.start && region.end >= handler.end;
      CHECK((apart || is_within));
      within += is_within;
    }
  }
  CHECK(within > 10);
  check_times(dump, dump.super.start.ticks, dump.super.dump.ticks);
  CHECK(dump.dropped() == 0);
}

void note_after_two_epochs() {
  const uint64_t from = contrail::detail::hardware_ticks();
  while (contrail::detail::hardware_ticks() - from < 2 * contrail::detail::epoch_ticks + 1000) {
  }
  TRACE_INSTANT("two epochs later");
}

TEST_CASE("a handler that takes longer than a time epoch may interrupt a begin on a full stack with room below") {
  if (skipped()) return;
  stepping_recorder recorder;
  bool interrupted_it = true;
  unsigned within = 0;
  for (unsigned step = 0; interrupted_it; ++step) {
    std::thread([&] {
      { TRACE_REGION("first"); }
      std::vector<holder> held;
      for (unsigned i = 0; i + 1 < contrail::detail::lane_depth[0]; ++i) {
        held.push_back(hold_region(i));
        held.back().frame.resume();
      }
      std::thread([&] {
        for (holder& each : held) each.frame.resume();
      }).join();
      { TRACE_REGION("last frame, which then is of this epoch"); }
      const auto work = [] { TRACE_REGION("on the last frame"); };
      interrupted_it = single_step::interrupt_at(step, work, note_after_two_epochs);
      for (holder& each : held) each.frame.destroy();
    }).join();
    if (!interrupted_it) break;
    const auto dump = dump_now();
    const record region = dump.records("on the last frame").back();
    const uint64_t noted = dump.records("two epochs later").back().end;
    INFO(step);
    CHECK(region.start < region.end);
    if (region.start >= noted || region.end <= noted) continue;
    CHECK(noted - region.start > 2 * contrail::detail::epoch_ticks);
    ++within;
  }
  CHECK(within > 10);
}

TEST_CASE("a handler that traces may interrupt the change of chunks at every instruction") {
  if (skipped()) return;
  for (unsigned room : {1U, 3U, 6U, 10U}) {
    stepping_recorder recorder;
    INFO(room);
    check_nothing_lost(at_every_instruction(7, [&] { fill_chunk(room); }, work, trace_in_handler));
    CHECK(written_by_handler > 100);
  }
}

TEST_CASE("a jump out of a handler loses at most what it interrupted, and frames heal") {
  if (skipped()) return;
  for (void (*interrupt)() : {jump, trace_in_handler_and_jump}) {
    stepping_recorder recorder;
    const uint64_t trials = jump_out_at_every_instruction(work, interrupt, 200);
    CHECK(trials > 100);
    const auto dump = dump_now();
    check_work(dump, 2 * trials, false);
    // What a jump left on a lane keeps handlers off it, so that some find none: they are counted.
    CHECK(dump.records("handler").size() + dump.records("handler inner").size() + dump.records("handler outer").size() +
              dump.dropped(contrail::detail::drop_reason::no_lane) + trials >=
          3 * written_by_handler);
    // What was not interrupted is there.
    uint64_t in_peace = 0;
    for (const record& r : dump.records("outer")) in_peace += r.payload.at(0) % 2;
    CHECK(in_peace == trials);
  }
}

__attribute__((noinline)) void jump_out_at(int step) {
  if (sigsetjmp(place, 1) == 0) single_step::interrupt_at(step, [] { TRACE_REGION("jumped over"); }, jump);
}

TEST_CASE("jumps out of handlers in an endless number do not use the stack of open regions up") {
  if (skipped()) return;
  stepping_recorder recorder;
  for (int i = 0; i < 200; ++i) {
    for (const int step : {8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}) {
      jump_out_at(step);
    }
  }
  const uint64_t dropped = flight_recorder::status().dropped;
  for (uint64_t i = 0; i < 10; ++i) work(i);
  CHECK(flight_recorder::status().dropped == dropped);
  CHECK(dump_now().records("outer").size() >= 10);
}

TEST_CASE("a handler that traces may interrupt attaching") {
  if (skipped()) return;
  stepping_recorder recorder;
  written_by_handler = 0;
  uint64_t trials = 0;
  for (bool interrupted_it = true; interrupted_it && trials < 40; ++trials) {
    std::thread([&] {
      interrupted_it = single_step::interrupt_at(static_cast<long>(trials) * 61, [&] { work(2 * trials); },
                                                 trace_in_handler);
      work(2 * trials + 1);
    }).join();
  }
  const auto dump = dump_now();
  CHECK(trials > 20);
  check_work(dump, 2 * trials, true);
  CHECK(dump.dropped() == 0);
  dump_reader::check_chains(dump);
}

TEST_CASE("a handler that traces may interrupt a dump") {
  if (skipped()) return;
  stepping_recorder recorder;
  for (uint64_t i = 0; i < 10; ++i) work(i);
  written_by_handler = 0;
  std::string bytes;
  bytes.reserve(4 << 20);
  single_step::interrupt_at(7, [&] { CHECK_FALSE(flight_recorder::dump(bytes)); }, trace_in_handler, 29);
  CHECK(written_by_handler > 1000);
  // That one has all from before it began, and of the handler's records those that came in time, whole.
  const auto beside = dump_reader::read(bytes);
  dump_reader::check_chains(beside);
  check_work(beside, 10, false);
  CHECK(beside.records("outer").size() == 10);
  const auto dump = dump_now();
  check_work(dump, 10, true);
  CHECK(dump.dropped() == 0);
}

TEST_CASE("a handler that traces may interrupt stop and start") {
  if (skipped()) return;
  stepping_recorder recorder;
  const auto restart = [&] {
    flight_recorder::stop();
    if (flight_recorder::start({.memory = recorder.memory})) std::abort();
  };
  written_by_handler = 0;
  single_step::interrupt_at(0, restart, trace_in_handler, 13);
  CHECK(single_step::counter.points > 100);
  for (uint64_t i = 0; i < 10; ++i) work(i);
  const auto dump = dump_now();
  check_work(dump, 10, false);
  CHECK(dump.records("outer").size() == 10);
  check_times(dump, dump.super.start.ticks, dump.super.dump.ticks);
}

/// Works when its thread ends. Only until then: at last the C library blocks all signals, and a blocked trap is deadly.
struct last_work {
  uint64_t trial = 0;
  ~last_work() {
    single_step::interrupt_at(static_cast<long>(trial), [&] { work(trial); }, trace_in_handler, 31);
  }
};

TEST_CASE("a handler that traces may interrupt what a thread records at its end") {
  if (skipped()) return;
  stepping_recorder recorder;
  written_by_handler = 0;
  for (uint64_t trial = 0; trial < 31; ++trial) {
    std::thread([trial] {
      thread_local last_work at_end;
      at_end.trial = trial;
    }).join();
  }
  CHECK(written_by_handler > 100);
  check_nothing_lost(31);
}

TEST_CASE("a handler that traces may interrupt binding") {
  if (skipped()) return;
  single_step::install();
  for (unsigned trial = 0; trial < 2; ++trial) {
    // Another size, hence a new image, in which nothing is bound.
    running_recorder recorder({.memory = (2U << 20) + trial % 2 * 65536});
    written_by_handler = 0;
    single_step::interrupt_at(50 + 997 * trial, [] { work(0); }, trace_in_handler, 4999);
    work(1);
    const auto dump = dump_now();
    check_work(dump, 2, true);
    CHECK(dump.dropped() == 0);
    CHECK(written_by_handler > 3);
  }
}
