// SPDX-License-Identifier: MIT
// Chunks: appended to, sealed, taken and recycled while others copy them and want them.
#include "chunk_log.hpp"

namespace model {

long (*system_call)(long, long) = nullptr;

namespace {

lane& lane_of_slot(unsigned slot) { return image.slots[slot].lanes[0]; }

const char* case_of_copy(outcome& of, unsigned reader) {
  return reported(of, reader, torn) ? "torn" : "accepted";
}

/// A reader copies the chunk that a writer appends to.
scenario append_while_copied() {
  return {"append_while_copied",
          [] {
            image.clear(1, 1);
            image.attach(0, first_tid);
            image.open(0);
          },
          {image.all()},
          {{"writer",
            [] {
              for (unsigned i = 0; i != (is_long() ? 6U : 3U); ++i) write(lane_of_slot(0), 1 + i % 3, 100 * (i + 1));
            }},
           {"reader",
            [] {
              read_chunk(0);
              read_chunk(0);
            }}},
          [](outcome& of) {
            chunk_judge judge(of, {0});
            judge.read_facts(0);
            of.occurred(case_of_copy(of, 1));
            return judge.judge_copies(1);
          },
          {"accepted"},
          name_of,
          value_of};
}

/// A reader copies a chunk that is sealed, taken anew and written to meanwhile.
scenario recycle_while_copied() {
  return {"recycle_while_copied",
          [] {
            image.clear(1, 1);
            image.attach(0, first_tid);
            image.open(0);
          },
          {image.all()},
          {{"writer",
            [] {
              write(lane_of_slot(0), 2, 100);
              for (unsigned i = 0; i != (is_long() ? 2U : 1U); ++i) {
                if (!roll(0, 10'000 + i)) return;
                write(lane_of_slot(0), 1, 200 + 100 * i);
              }
            }},
           {"reader", [] { read_chunk(0); }}},
          [](outcome& of) {
            chunk_judge judge(of, {0});
            judge.read_facts(0);
            of.occurred(case_of_copy(of, 1));
            const std::string wrong = judge.judge_copies(1);
            return wrong.empty() ? judge.judge_chunk(0) : wrong;
          },
          {"accepted", "torn"},
          name_of,
          value_of};
}

/// Of two threads and two chunks.
std::string judge_pool(outcome& of, std::initializer_list<unsigned> opened) {
  chunk_judge judge(of, opened);
  for (unsigned i = 0; i != 2; ++i) judge.read_facts(i);
  for (unsigned i = 0; i != 2; ++i) {
    if (const std::string wrong = judge.judge_chunk(i); !wrong.empty()) return wrong;
  }
  if (of.last(&image.super.dropped[0]) != judge.drops()) return "a record was lost that nobody counted";
  of.occurred(judge.drops() == 0 ? "all have chunks" : "one has none");
  return "";
}

/// Two threads take chunks of a pool that has one for each.
scenario two_takers() {
  const auto taker = [](unsigned slot) {
    return [slot] {
      write(lane_of_slot(slot), 1, 1000 * (slot + 1));
      for (unsigned i = 1; i != (is_long() ? 3U : 2U); ++i) {
        if (roll(slot, 10'000 + i)) write(lane_of_slot(slot), 1, 1000 * (slot + 1) + i);
      }
    };
  };
  return {"two_takers",
          [] {
            image.clear(2, 2);
            image.attach(0, first_tid);
            image.attach(1, first_tid + 1);
            image.open(0);
            image.open(1);
          },
          {image.all()},
          {{"A", taker(0)}, {"B", taker(1)}},
          [](outcome& of) { return judge_pool(of, {0, 1}); },
          {"all have chunks", "one has none"},
          name_of,
          value_of};
}

/// One thread goes once around the pool while another one stands between its ticket and its chunk.
scenario delayed_taker() {
  return {"delayed_taker",
          [] {
            image.clear(2, 2);
            image.attach(0, first_tid);
            image.attach(1, first_tid + 1);
            image.open(1);
          },
          {image.all()},
          {{"slow", [] { if (roll(0, 10'000)) write(lane_of_slot(0), 1, 100); }},
           {"quick",
            [] {
              for (unsigned i = 0; i != (is_long() ? 4U : 3U); ++i) {
                if (roll(1, 20'000 + i)) write(lane_of_slot(1), 1, 200 + i);
              }
            }}},
          [](outcome& of) { return judge_pool(of, {0}); },
          {"all have chunks"},
          name_of,
          value_of};
}

}  // namespace
}  // namespace model

int main(int count, char** arguments) {
  using namespace model;
  return run_scenarios({append_while_copied(), recycle_while_copied(), two_takers(), delayed_taker()}, count, arguments);
}
