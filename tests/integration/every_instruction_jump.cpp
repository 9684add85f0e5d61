// SPDX-License-Identifier: MIT
// A signal handler leaves by siglongjmp, at each instruction of what changes the recorder's own state: chunks, slots,
// bindings, dumps, start and stop. At worst what was interrupted is missing; nothing is used up, stuck or false.
#include "support/recorder.hpp"
#include "support/single_step.hpp"
#include "support/test_length.hpp"

#include <fcntl.h>

#include <csetjmp>
#include <vector>

namespace {

using namespace contrail::detail;
using dump_reader::record;

sigjmp_buf place;
void jump() { siglongjmp(place, 1); }

/// Leaves regions open as well.
void trace_and_jump() {
  TRACE_REGION("handler");
  TRACE_INSTANT("in handler");
  TRACE_REGION_VAR(open, "left open");
  siglongjmp(place, 1);
}

__attribute__((noinline)) void work(uint64_t n) {
  TRACE_REGION("outer", "n", n, "check", ~n);
  { TRACE_REGION("plain"); }
  TRACE_INSTANT("instant", "n", n);
  TRACE_LOG("log {} {}", n, "some text");
}

__attribute__((noinline)) void roll() {
  TRACE_REGION("roll");
  TRACE_INSTANT("roll too");
}

/// Runs `interrupted` and jumps out of it at its instruction `step`. False when it ended before.
template <class Work>
__attribute__((noinline)) bool jump_out(long step, Work&& interrupted, void (*interrupt)()) {
  if (sigsetjmp(place, 1) == 0) return single_step::interrupt_at(step, interrupted, interrupt);
  return true;
}

/// Every `stride`-th instruction, more of them in the long mode. `heal` runs after each jump, and makes ready for the
/// next.
template <class Work, class Heal>
uint64_t at_instructions(long stride, Work&& interrupted, void (*interrupt)(), Heal&& heal, uint64_t most = 100'000) {
  stride = by_test_length(stride, stride, stride > 200 ? 97L : 3L);
  uint64_t trials = 0;
  for (; trials < most && jump_out(static_cast<long>(trials) * stride, interrupted, interrupt); ++trials) heal();
  return trials;
}

bool skipped() {
  if (!single_step::possible) WARN("skipped: single-stepping is not possible here");
  return !single_step::possible;
}

image_view& the_image() { return *current_image(*joined_process()); }

struct jumping_recorder : running_recorder {
  explicit jumping_recorder(int flags = 0, uint64_t memory = 1 << 20) : running_recorder({.memory = memory}) {
    single_step::install(flags);
    work(0);
    trace_in_peace();
  }
  static void trace_in_peace() {
    TRACE_REGION("handler");
    TRACE_INSTANT("in handler");
  }
};

lane& current_lane() {
  thread_slot& slot = slot_of(next_frame);
  return slot.lanes[lane_index_of(slot, next_frame)];
}

void fill_chunk(unsigned words) {
  while (chunk_words - words_in_chunk(current_lane()) > words) {
    TRACE_REGION("filler");
  }
}

/// Every chunk that is open or being taken is known to a lane, which will use it or give it back.
void check_nothing_is_lost() {
  image_view& image = the_image();
  unsigned lost = 0;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    const uint64_t state = image.chunk_states[i].load_relaxed();
    if (state_of(state) != chunk_state::open && state_of(state) != chunk_state::taking) continue;
    bool is_known = false;
    for (uint64_t k = 0; k < image.slot_count * lane_count; ++k) {
      const thread_slot& slot = image.slots[k / lane_count];
      const uint64_t cursor = slot.lanes[k % lane_count].cursor.load_relaxed();
      is_known = is_known || slot.taking[k % lane_count].load_relaxed() == ticket_of(state) ||
                 cursor - 1 - reinterpret_cast<uint64_t>(&image.chunks[i]) < chunk_bytes;
    }
    lost += !is_known;
  }
  CHECK(lost == 0);
}

/// The newest records named "outer" are those of `numbers`, once each, in this order.
void check_outer(const dump_reader::dump& dump, const std::vector<uint64_t>& numbers) {
  std::vector<uint64_t> found;
  for (const record& r : dump.records("outer")) {
    REQUIRE(r.payload.size() == 2);
    CHECK(r.payload[1] == ~r.payload[0]);
    if (numbers.size() != 0 && r.payload[0] >= numbers.front()) found.push_back(r.payload[0]);
  }
  INFO("no lane " << dump.dropped(drop_reason::no_lane) << ", too deep " << dump.dropped(drop_reason::too_deep)
                   << ", misnested " << dump.dropped(drop_reason::misnested));
  CHECK(found == numbers);
}

}  // namespace

TEST_CASE("a jump out of a change of chunks loses no chunk and no count") {
  if (skipped()) return;
  for (void (*interrupt)() : {jump, trace_and_jump}) {
    for (const unsigned room : {1U, 2U}) {
      jumping_recorder recorder(0, 8 << 20);  // nothing is overwritten
      uint64_t n = 1'000;
      std::vector<uint64_t> since;
      fill_chunk(room);
      const uint64_t trials = at_instructions(5, roll, interrupt, [&] {
        work(++n);
        since.push_back(n);
        if (n % 32 == 0) {
          const auto dump = dump_now();
          dump_reader::check_chains(dump);
          check_outer(dump, since);
          since.clear();
        }
        fill_chunk(room);
      }, 250);
      CHECK(trials > 50);
      check_nothing_is_lost();
      CHECK(dump_now().dropped(drop_reason::no_chunk) == 0);
    }
  }
}

TEST_CASE("a jump out of attaching uses no slot up") {
  if (skipped()) return;
  for (void (*interrupt)() : {jump, trace_and_jump}) {
    jumping_recorder recorder;
    uint64_t n = 1'000;
    const uint64_t trials = at_instructions(
        211,
        [] {
          next_frame = &detached_frame;  // as in a new thread
          work(0);
        },
        interrupt,
        [&] {
          next_frame = &detached_frame;
          work(++n);
        });
    CHECK(trials > 20);
    CHECK(flight_recorder::status().threads == 1);
    check_nothing_is_lost();
    const auto dump = dump_now();
    CHECK(dump.dropped(drop_reason::no_slot) == 0);
    CHECK(dump.dropped(drop_reason::no_chunk) == 0);
    dump_reader::check_chains(dump);
    // What was interrupted may be there too, with 0.
    uint64_t newest = 0;
    for (const record& r : dump.records("outer")) newest = std::max(newest, r.payload[0]);
    CHECK(newest == n);
  }
}

TEST_CASE("a jump out of binding costs an id at most") {
  if (skipped()) return;
  jumping_recorder recorder;
  image_view& image = the_image();
  const uint64_t before = image.super->next_id.load_relaxed();
  char name[] = "site 0000";
  uint64_t number = 0;
  const auto bind_new = [&] {
    std::snprintf(name, sizeof name, "site %04u", static_cast<unsigned>(number));
    return bind(image, {binding_kind::region, 0, contrail::text(name, sizeof name - 1), {}, {}, {}, 0, 0, nullptr, 0});
  };
  bool good = true;
  const uint64_t trials = at_instructions(97, bind_new, jump, [&] {
    const uint64_t id = bind_new();
    const binding* const entry = binding_of(image, id);
    good = good && entry != nullptr && std::memcmp(entry + 1, name, sizeof name - 1) == 0 && bind_new() == id;
    ++number;
  });
  CHECK(good);
  CHECK(trials > 10);
  CHECK(image.super->next_id.load_relaxed() <= before + 2 * (trials + 1));
}

__attribute__((noinline)) void check_newest(const std::string& bytes, uint64_t n) {
  CHECK(dump_reader::read(bytes).records("outer").back().payload[0] == n);
}

/// In a small frame: a large one, whose variables are not written yet, would keep below it what the dump before left.
__attribute__((noinline)) bool dump_again(uint64_t n) {
  work(n);
  std::string bytes;
  if (flight_recorder::dump(bytes)) return false;
  check_newest(bytes, n);
  return true;
}

TEST_CASE("after a jump out of a dump the next dump is whole") {
  if (skipped()) return;
  jumping_recorder recorder;
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  const temporary_folder folder;
  const std::string path = folder / "dump.contrail";
  uint64_t n = 1'000, refused = 0;
  const auto heal = [&] { refused += !dump_again(++n); };
  uint64_t trials = at_instructions(4001, [&] { flight_recorder::dump(nowhere); }, jump, heal);
  trials += at_instructions(6007, [&] { flight_recorder::dump(path.c_str()); }, jump, heal);
  CHECK(trials > 10);
  CHECK(refused == 0);
  close(nowhere);
}

TEST_CASE("after a jump out of start or stop the recorder starts and stops") {
  if (skipped()) return;
  jumping_recorder recorder;
  uint64_t n = 1'000;
  const auto heal = [&] {
    flight_recorder::stop();
    REQUIRE_FALSE(flight_recorder::start({.memory = 1 << 20}));
    work(++n);
    CHECK(dump_now().records("outer").back().payload[0] == n);
  };
  const auto restart = [] {
    flight_recorder::stop();
    flight_recorder::start({.memory = 1 << 20});
  };
  CHECK(at_instructions(101, restart, jump, heal) > 10);
}

TEST_CASE("handlers that jump out again and again do not use lanes up") {
  if (skipped()) return;
  static char stack_bytes[64 << 10];
  for (const bool is_alternate : {false, true}) {
    stack_t stack{};
    stack.ss_sp = stack_bytes;
    stack.ss_size = sizeof stack_bytes;
    REQUIRE(sigaltstack(&stack, nullptr) == 0);
    jumping_recorder recorder(is_alternate ? SA_ONSTACK : 0);
    for (int round = 0; round < 2; ++round) {
      uint64_t n = 1'000;
      CHECK(at_instructions(1, [&] { work(0); }, trace_and_jump, [&] { work(++n); }, 300) > 100);
    }
    INFO(is_alternate);
    const uint64_t dropped = flight_recorder::status().dropped;
    for (int i = 0; i < 20; ++i) {
      for (int step = 5; step < 60; step += 5) {
        jump_out(step, [] { work(0); }, trace_and_jump);
        work(1);
      }
    }
    const auto dump = dump_now();
    INFO("no lane " << dump.dropped(drop_reason::no_lane) << ", too deep " << dump.dropped(drop_reason::too_deep)
                    << ", misnested " << dump.dropped(drop_reason::misnested));
    CHECK(flight_recorder::status().dropped == dropped);
    check_nothing_is_lost();
  }
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
}
