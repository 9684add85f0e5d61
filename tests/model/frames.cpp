// SPDX-License-Identifier: MIT
// Frames: regions that begin, get fields and end while a dump copies them.
#include "small_image.hpp"

namespace model CONTRAIL_DETAIL_HIDDEN {

long (*system_call)(long, long) = nullptr;

namespace {

enum frame_fact : uint64_t { shown = 1, accepted = 2, none = 3, recorded = 4 };

frame& first() { return image.slots[0].frames[0]; }

void log(frame_fact what, std::initializer_list<uint64_t> values) {
  facts({what, values.size()});
  facts(values);
}

/// What the region in the first frame may look like from now on: its word, its start, and this many words of payload.
void log_shown(unsigned words) {
  facts({shown, 2 + words, running->own_value(&first().word), running->own_value(&first().start_ticks)});
  for (unsigned i = 0; i != words; ++i) fact(running->own_value(&first().payload[i]));
}

void read_frame() {
  note("copies the frame");
  frame& copy = own_memory<frame>();
  copy_frame(copy, first());
  if (copy.word.value == 0) return log(none, {});
  facts({accepted, 2 + frame_payload_words, copy.word.value, copy.start_ticks.value});
  for (const atomic_word& word : copy.payload) fact(word.value);
}

/// Whether what the reader accepted is what the writer's frame showed at some time.
std::string judge_frame(outcome& of) {
  const auto all = of.facts(1);
  if (all.empty() || all[0] != accepted) {
    of.occurred("no region");
    return "";
  }
  of.occurred("a region");
  const auto copy = all.subspan(2);
  const auto written = of.facts(0);
  for (size_t at = 0; at != written.size(); at += 2 + written[at + 1]) {
    if (written[at] != shown) continue;
    const auto one = written.subspan(at + 2, written[at + 1]);
    if (std::equal(one.begin(), one.end(), copy.begin())) return "";
  }
  std::string text = "a reader accepted a frame that never was:";
  for (size_t i = 0; i != 8; ++i) text += " " + value_of(0, copy[i]);
  return text;
}

void set_up_image() {
  image.clear(1, 1);
  image.attach(0, first_tid);
  image.start();
  image.open(0);
  stand_on(image, 0);
}

scenario frame_scenario(const char* name, void (*set_up)(), std::function<void()> writer) {
  return {name,  set_up, {variables()}, {{"writer", std::move(writer)}, {"reader", read_frame}}, judge_frame,
          {"a region", "no region"}, name_of, value_of};
}

// ---- with arguments ------------------------------------------------------------------------------------------

// The same site each time, so that it is bound before the threads begin.
void region_with_arguments(uint64_t number) {
  note("begins a region");
  TRACE_REGION("arguments", "a", number, "b", ~number);
  if (running != nullptr) log_shown(2);
  note("ends it");
}

scenario region_reused() {
  return frame_scenario(
      "region_reused_while_copied",
      [] {
        set_up_image();
        region_with_arguments(5);
      },
      [] {
        stand_on(image, 0);
        for (unsigned i = 1; i <= (is_long() ? 3U : 2U); ++i) region_with_arguments(i);
      });
}

/// The same, but the second begin takes the slow path, as after a change of filters.
scenario slow_region_reused() {
  return frame_scenario(
      "slow_region_reused_while_copied",
      [] {
        set_up_image();
        region_with_arguments(5);
      },
      [] {
        stand_on(image, 0);
        region_with_arguments(1);
        own_object().epoch.store_release(own_object().epoch.load_relaxed() + epoch_step);
        region_with_arguments(2);
      });
}

void region_without_arguments() {
  note("begins a region");
  TRACE_REGION("nothing");
  if (running != nullptr) log_shown(0);
  note("ends it");
}

scenario plain_region_reused() {
  return frame_scenario(
      "plain_region_reused_while_copied",
      [] {
        set_up_image();
        region_without_arguments();
      },
      [] {
        stand_on(image, 0);
        for (unsigned i = 0; i != (is_long() ? 4U : 2U); ++i) region_without_arguments();
      });
}

// ---- fields set at run time ----------------------------------------------------------------------------------

void region_with_field(uint64_t number) {
  note("begins a region");
  TRACE_REGION_VAR(var, "fields");
  // Before any field its payload is one word, 0.
  if (running != nullptr) {
    facts({shown, 3, running->own_value(&first().word), running->own_value(&first().start_ticks), 0});
  }
  note("sets a field");
  var.set("key", number);
  if (running != nullptr) log_shown(4);
  note("ends it");
}

scenario field_set() {
  return frame_scenario(
      "field_set_while_copied",
      [] {
        set_up_image();
        region_with_field(5);
      },
      [] {
        stand_on(image, 0);
        for (unsigned i = 1; i <= 2; ++i) region_with_field(i);
      });
}

// ---- frames before chunks ------------------------------------------------------------------------------------

atomic_word is_begun;

void dumped_region() {
  TRACE_REGION("dumped");
  if (running != nullptr) is_begun.store_release(1);
  note("ends the region");
}

/// A region that had begun before the dump is in its frames or in its chunks, or both.
scenario region_ends_during_dump() {
  return {"region_ends_during_dump",
          [] {
            is_begun.value = 0;
            set_up_image();
            dumped_region();
          },
          {variables()},
          {{"writer",
            [] {
              stand_on(image, 0);
              dumped_region();
            }},
           {"dump",
            [] {
              if (is_begun.load_acquire() == 0) return;
              frame& frame_copy = own_memory<frame>();
              note("copies the frame");
              copy_frame(frame_copy, first());
              if (frame_copy.word.value != 0) return log(accepted, {frame_copy.start_ticks.value});
              note("copies the chunk");
              chunk& chunk_copy = own_memory<chunk>();
              if (!copy_chunk(chunk_copy, image.view, 0)) return log(none, {});
              const uint64_t words = (chunk_copy.extent.value - chunk_header_bytes) / 8;
              log(recorded, {words, chunk_copy.words[words - 1].value});
            }}},
          [](outcome& of) -> std::string {
            const auto dumped = of.facts(1);
            if (dumped.empty()) return "";
            of.occurred(dumped[0] == accepted ? "open" : "ended");
            // The set-up has left one record.
            if (dumped[0] == recorded && dumped[2] < 2) return "a region is in the dump neither as open nor as a record";
            return "";
          },
          {"open", "ended"},
          name_of,
          value_of};
}

}  // namespace
}  // namespace model

int main(int count, char** arguments) {
  using namespace model;
  return run_scenarios({region_reused(), slow_region_reused(), plain_region_reused(), field_set(), region_ends_during_dump()},
                       count, arguments);
}
