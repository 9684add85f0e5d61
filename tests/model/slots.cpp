// SPDX-License-Identifier: MIT
// Thread slots: threads that attach, and end, and leave their slots to others, while a dump copies them.
#include "chunk_log.hpp"

#include <cstring>

namespace model CONTRAIL_DETAIL_HIDDEN {

namespace {

constexpr uint32_t ended_tid = first_tid, newcomer_tid = first_tid + 1;
constexpr char newcomer_name[] = "newcomer";

long answer(long number, long argument) {
  if (number == SYS_gettid) return newcomer_tid;
  if (number == SYS_prctl) ::memcpy(reinterpret_cast<void*>(argument), newcomer_name, sizeof newcomer_name);
  if (number != SYS_tgkill || argument == newcomer_tid) return 0;
  errno = ESRCH;
  return -1;
}

void traced() { TRACE_REGION("newcomer's"); }

enum class owner { none, idle, in_region };

void set_up(owner ended) {
  image.clear(2, 1);
  image.attach(0, ended_tid);
  image.start();
  image.open(0);
  stand_on(image, 0);
  traced();
  if (ended == owner::in_region) {
    frame& open = image.slots[0].frames[0];
    open.start_ticks.value = 77;
    open.word.value = (uint64_t{77} << duration_shift) - 5;
  }
  if (ended != owner::none) return;
  ::memset(static_cast<void*>(&image.slots[0]), 0, sizeof image.slots[0]);
  image.slots[0].state.value = slot_word(1, slot_state::free);
}

/// As a thread does at its first region. There may be no slot yet while another thread is about to free it.
bool attach() {
  next_frame = &detached_frame;
  note("attaches");
  return attach_thread(own_object().process, image.view, this_caller());
}

/// Attaches and records a region.
void newcomer() {
  const chunk* const of_ended = reinterpret_cast<const chunk*>(image.slots[0].lanes[0].chunk.value);
  require(attach(), "no slot, although one can be had");
  if (of_ended != nullptr) {
    log(written, {of_ended->ticket.value, sealed_ticks_index, own_value(of_ended->sealed_ticks)});
  }
  note("records a region");
  traced();
  if (own_chunk(image.slots[0].lanes[0]) == nullptr) return;
  const chunk& open = *own_chunk(image.slots[0].lanes[0]);
  log_header(image.slots[0].lanes[0]);
  log(written, {own_value(open.ticket), header_words, own_value(open.words[0])});
  log(whole_up_to, {own_value(open.ticket), chunk_header_bytes + 8});
}

// ---- the slot ------------------------------------------------------------------------------------------------

enum slot_fact : uint64_t { copied = 10, not_copied = 11 };

constexpr unsigned first_lane_word = __builtin_offsetof(thread_slot, lanes) / 8;
constexpr unsigned slot_head_words = __builtin_offsetof(thread_slot, alternate_stack) / 8;

/// What of a copy is judged: identity and name, the first lane, and the first frame's region.
void for_each_judged(const thread_slot& slot, auto&& visit) {
  const atomic_word* const words = reinterpret_cast<const atomic_word*>(&slot);
  for (unsigned i = 0; i != slot_head_words; ++i) visit(words[i]);
  for (unsigned i = 0; i != sizeof(lane) / 8; ++i) {
    if (&words[first_lane_word + i] != &slot.lanes[0].deadline) visit(words[first_lane_word + i]);
  }
  visit(slot.frames[0].word);
  visit(slot.frames[0].start_ticks);
}

void read_slot() {
  const uint64_t state = image.slots[0].state.load_acquire();
  if (!is_listed(state)) return log(torn, {state});
  note("copies the slot");
  thread_slot& copy = own_memory<thread_slot>();
  copy_slot(copy, image.slots[0], state);
  if (copy.state.value == 0) return log(torn, {state});
  std::vector<uint64_t> values;
  for_each_judged(copy, [&](const atomic_word& word) { values.push_back(word.value); });
  facts({copied, values.size()});
  for (uint64_t value : values) fact(value);
}

/// Whether each word of an accepted copy is one that this generation's owner stored there.
std::string judge_slot(outcome& of) {
  const auto all = of.facts(1);
  if (all.empty() || all[0] != static_cast<uint64_t>(copied)) {
    of.occurred("not accepted");
    return "";
  }
  const uint64_t generation = all[2] >> 8;
  of.occurred(generation == 1 ? "the first owner" : "the second owner");
  std::string wrong;
  size_t at = 2;
  for_each_judged(image.slots[0], [&](const atomic_word& word) {
    const uint64_t value = all[at++];
    if (&word == &image.slots[0].state || !wrong.empty()) return;
    // Of the first owner what was there at the start; it had ended by then. All else is the second one's.
    const std::vector<uint64_t> history = of.history(&word);
    const auto from = history.begin() + (generation == 1 || history.size() == 1 ? 0 : 1);
    const auto to = generation == 1 ? history.begin() + 1 : history.end();
    const thread_slot& slot = image.slots[0];
    // A copy has no region where it found none, and the second owner clears its lane.
    const bool may_be_none = &word == &slot.frames[0].word || &word == &slot.frames[0].start_ticks;
    const bool is_cleared = generation == 2 && (&word == &slot.name_version || &word >= &slot.lanes[0].cursor);
    if (std::find(from, to, value) != to || ((may_be_none || is_cleared) && value == 0)) return;
    wrong = "the copy of generation " + std::to_string(generation) + " has " +
            name_of(reinterpret_cast<uint64_t>(&word)) + " = " + value_of(0, value);
  });
  return wrong;
}

scenario slot_reused() {
  return {"slot_reused_while_copied", [] { set_up(owner::in_region); }, {variables()},
          {{"newcomer", newcomer}, {"dump", read_slot}}, judge_slot,
          {"the first owner", "the second owner", "not accepted"}, name_of, value_of};
}

scenario idle_slot_reused() {
  return {"idle_slot_reused_while_copied", [] { set_up(owner::idle); }, {variables()},
          {{"newcomer", newcomer}, {"dump", read_slot}}, judge_slot,
          {"the first owner", "the second owner", "not accepted"}, name_of, value_of};
}

scenario attach_while_dumped() {
  return {"attach_while_dumped", [] { set_up(owner::none); }, {variables()},
          {{"newcomer", newcomer}, {"dump", read_slot}}, judge_slot,
          {"the second owner", "not accepted"}, name_of, value_of};
}

/// One thread frees the slot, whose chunk it has sealed before, and another one takes it.
scenario slot_freed_by_another() {
  return {"slot_freed_by_another",
          [] {
            set_up(owner::in_region);
            seal_slot(own_object().process, image.view, image.slots[0]);
          },
          {variables()},
          {{"newcomer", [] { attach(); }},
           {"dump", read_slot},
           {"reaper",
            [] {
              note("frees the slot");
              leave_slot(image.slots[0], 1);
            }}},
          judge_slot, {"the first owner", "the second owner", "not accepted"}, name_of, value_of};
}

// ---- what the ended thread left in its chunk -------------------------------------------------------------------

scenario chunk_of_ended_thread() {
  return {"chunk_of_ended_thread", [] { set_up(owner::in_region); }, {variables()},
          {{"newcomer", newcomer}, {"dump", [] { read_chunk(0); }}},
          [](outcome& of) {
            // The set-up recorded one region of a word.
            chunk_judge judge(of, {0}, 1);
            judge.read_facts(0);
            of.occurred(reported(of, 1, torn) ? "torn" : "accepted");
            const auto copy = of.facts(1);
            if (copy[0] == accepted && copy[2] == image.chunks[0].ticket.value && copy[1] == 1 + header_words) {
              return std::string("a record that was there before the dump began is not in it");
            }
            return judge.judge_copies(1);
          },
          {"accepted"}, name_of, value_of};
}

}  // namespace

long (*system_call)(long, long) = answer;

}  // namespace model

int main(int count, char** arguments) {
  using namespace model;
  return run_scenarios({slot_reused(), idle_slot_reused(), slot_freed_by_another(), attach_while_dumped(), chunk_of_ended_thread()}, count, arguments);
}
