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
            image.start();
            image.attach(0, first_tid);
            image.open(0);
          },
          {variables()},
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
            image.start();
            image.attach(0, first_tid);
            image.open(0);
          },
          {variables()},
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

std::string judge_pool(outcome& of, std::initializer_list<unsigned> opened) {
  chunk_judge judge(of, opened);
  for (unsigned i = 0; i != of.threads(); ++i) judge.read_facts(i);
  for (unsigned i = 0; i != image.view.chunk_count; ++i) {
    if (const std::string wrong = judge.judge_chunk(i); !wrong.empty()) return wrong;
  }
  if (of.last(&image.super.dropped[0]) != judge.drops()) return "a record was lost that nobody counted";
  of.occurred(judge.drops() == 0 ? "all have chunks" : "one has none");
  return "";
}

/// Gives each of two threads an open chunk, of a pool of so many.
void open_two(unsigned chunks) {
  image.clear(chunks, 2);
  image.start();
  for (unsigned slot = 0; slot != 2; ++slot) {
    image.attach(slot, first_tid + slot);
    image.open(slot);
  }
}

/// Both go on to their next chunks, `rolls` times.
scenario two_takers(const char* name, void (*set_up)(), unsigned rolls, std::vector<const char*> cases) {
  const auto taker = [=](unsigned slot) {
    return [=] {
      write(lane_of_slot(slot), 1, 1000 * (slot + 1));
      for (unsigned i = 1; i <= rolls; ++i) {
        if (roll(slot, 10'000 + i)) write(lane_of_slot(slot), 1, 1000 * (slot + 1) + i);
      }
    };
  };
  return {name,
          set_up,
          {variables()},
          {{"A", taker(0)}, {"B", taker(1)}},
          [](outcome& of) { return judge_pool(of, {0, 1}); },
          std::move(cases),
          name_of,
          value_of};
}

/// Takes a chunk from the pool and seals it, `turns` times, with two words in its header.
void take_and_seal(unsigned slot, unsigned turns, uint64_t first) {
  for (uint64_t value = first; value != first + turns; ++value) {
    note("takes a chunk");
    const chunk* const taken = take_chunk(image.view, false, image.slots[slot].taking[0], [&](chunk& fresh) {
      fresh.words_before.store_relaxed(value);
      fresh.records_before.store_relaxed(value);
    });
    if (taken == nullptr) continue;
    const uint64_t ticket = own_value(taken->ticket);
    for (unsigned i : {4U, 5U}) log(written, {ticket, i, value});
    note("seals it");
    seal_chunk(image.view, *const_cast<chunk*>(taken), chunk_header_bytes, 0, value);
    log(written, {ticket, sealed_ticks_index, value});
  }
}

/// One thread goes once around the pool while another one stands between its ticket and its chunk.
scenario delayed_taker() {
  return {"delayed_taker",
          [] {
            image.clear(2, 0);
            image.start();
          },
          {variables()},
          {{"slow", [] { take_and_seal(0, 1, 100); }}, {"quick", [] { take_and_seal(1, is_long() ? 4 : 3, 200); }}},
          [](outcome& of) { return judge_pool(of, {}); },
          {"all have chunks"},
          name_of,
          value_of};
}

/// Three threads want the one chunk of a pool.
scenario three_takers() {
  return {"three_takers",
          [] {
            image.clear(1, 0);
            image.start();
          },
          {variables()},
          {{"A", [] { take_and_seal(0, 1, 100); }},
           {"B", [] { take_and_seal(1, 1, 200); }},
           {"C", [] { take_and_seal(2, 1, 300); }}},
          [](outcome& of) { return judge_pool(of, {}); },
          {"all have chunks"},
          name_of,
          value_of};
}

}  // namespace
}  // namespace model

int main(int count, char** arguments) {
  using namespace model;
  std::vector<scenario> all = {
      append_while_copied(),
      recycle_while_copied(),
      two_takers("two_takers", [] { open_two(2); }, 1, {"all have chunks", "one has none"}),
      delayed_taker(),
      three_takers()};
  if (is_long()) all.push_back(two_takers("two_takers_of_three_chunks", [] { open_two(3); }, 2, {"all have chunks"}));
  return run_scenarios(all, count, arguments);
}
