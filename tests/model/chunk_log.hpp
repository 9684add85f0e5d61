// SPDX-License-Identifier: MIT
// What owners of chunks wrote and what readers accepted, and whether the two agree.
#ifndef CONTRAIL_TESTS_MODEL_CHUNK_LOG_HPP
#define CONTRAIL_TESTS_MODEL_CHUNK_LOG_HPP

#include "small_image.hpp"

namespace model CONTRAIL_DETAIL_HIDDEN {

inline constexpr unsigned header_words = chunk_header_bytes / 8;
inline constexpr unsigned sealed_ticks_index = __builtin_offsetof(chunk, sealed_ticks) / 8;

/// Facts begin with one of these and their number of values.
enum fact_kind : uint64_t { written = 1, whole_up_to = 2, accepted = 3, torn = 4, dropped = 5 };

inline uint64_t own_value(const atomic_word& word) { return running->own_value(&word); }
inline chunk* own_chunk(const lane& writer) { return reinterpret_cast<chunk*>(own_value(writer.chunk)); }

inline void log(fact_kind what, std::initializer_list<uint64_t> values) {
  facts({what, values.size()});
  facts(values);
}

// ---- writers -------------------------------------------------------------------------------------------------

/// Says what the lane's open chunk has in its header.
inline void log_header(const lane& writer) {
  const chunk* const open = own_chunk(writer);
  const uint64_t ticket = own_value(open->ticket);
  for (unsigned i = 2; i != header_words; ++i) {
    log(written, {ticket, i, own_value(reinterpret_cast<const atomic_word*>(open)[i])});
  }
  log(whole_up_to, {ticket, chunk_header_bytes});
}

/// Appends a record whose words no other record has.
inline void write(lane& writer, unsigned words, uint64_t first) {
  note("appends a record");
  const chunk* const open = own_chunk(writer);
  const uint64_t ticket = own_value(open->ticket);
  const uint64_t begin = (own_value(writer.cursor) - reinterpret_cast<uint64_t>(open)) / 8;
  uint64_t record[8];
  for (unsigned i = 0; i != words; ++i) {
    record[i] = first + i;
    log(written, {ticket, begin + i, record[i]});
  }
  log(whole_up_to, {ticket, 8 * (begin + words)});
  append(writer, record, words, false);
}

/// Seals the lane's chunk and takes another; false when there is none, which is counted.
inline bool roll(unsigned slot, uint64_t ticks) {
  note("seals its chunk and takes the next");
  lane& writer = image.slots[slot].lanes[0];
  uint64_t words = 0;
  if (const chunk* const before = own_chunk(writer)) {
    log(written, {own_value(before->ticket), sealed_ticks_index, ticks});
    words = own_value(before->words_before) + (own_value(writer.cursor) - reinterpret_cast<uint64_t>(before->words)) / 8;
  }
  constexpr unsigned more_than_fits = chunk_words;
  if (!prepare_lane(own_object().process, image.view, image.slots[slot].frames, more_than_fits, ticks)) {
    log(dropped, {1});
    return false;
  }
  const bool follows_a_gap = own_value(own_chunk(writer)->words_before) != words && words != 0;
  require(!follows_a_gap, "a chunk does not say how much its lane wrote before");
  log_header(writer);
  return true;
}

// ---- readers -------------------------------------------------------------------------------------------------

inline void read_chunk(unsigned index) {
  note("copies a chunk");
  chunk& copy = own_memory<chunk>();
  if (!copy_chunk(copy, image.view, index)) return log(torn, {index});
  const uint64_t words = copy.extent.value / 8;
  facts({accepted, words + 1, copy.ticket.value});
  for (uint64_t i = 0; i != words; ++i) fact(reinterpret_cast<const atomic_word*>(&copy)[i].value);
}

// ---- judges --------------------------------------------------------------------------------------------------

class chunk_judge {
 public:
  /// `opened`: chunks that were open before the threads began, with so many records of one word.
  explicit chunk_judge(outcome& of, std::initializer_list<unsigned> opened = {}, unsigned records = 0) : of_(of) {
    for (unsigned index : opened) {
      const chunk& open = image.chunks[index];
      for (unsigned i = 0; i != header_words + records; ++i) {
        written_[{open.ticket.value, i}].insert(reinterpret_cast<const atomic_word*>(&open)[i].value);
      }
      for (unsigned i = 0; i <= records; ++i) whole_.insert({open.ticket.value, chunk_header_bytes + 8 * i});
    }
  }

  void read_facts(unsigned thread) {
    const std::span<const uint64_t> all = of_.facts(thread);
    for (size_t at = 0; at != all.size(); at += 2 + all[at + 1]) {
      const uint64_t* const value = &all[at + 2];
      if (all[at] == written) written_[{value[0], value[1]}].insert(value[2]);
      if (all[at] == whole_up_to) whole_.insert({value[0], value[1]});
      if (all[at] == dropped) ++dropped_;
    }
  }

  /// Whether each copy that a reader accepted is of one owner and whole.
  std::string judge_copies(unsigned thread) const {
    const std::span<const uint64_t> all = of_.facts(thread);
    for (size_t at = 0; at != all.size(); at += 2 + all[at + 1]) {
      if (all[at] != accepted) continue;
      const uint64_t ticket = all[at + 2], words = all[at + 1] - 1;
      const auto named = [&](const char* what, uint64_t index, uint64_t value) {
        return "a reader accepted the chunk of ticket " + std::to_string(ticket) + ", " + what + " " +
               name_of(reinterpret_cast<uint64_t>(image.chunks) + 8 * index).substr(sizeof "chunk 0") + " = " +
               std::to_string(value);
      };
      if (!whole_.contains({ticket, 8 * words})) return named("which ends within a record, at", words, 8 * words);
      for (uint64_t i = 2; i != words; ++i) {
        const uint64_t value = all[at + 3 + i];
        if (i == sealed_ticks_index && value == 0) continue;
        const auto found = written_.find({ticket, i});
        if (found == written_.end() || !found->second.contains(value)) return named("whose owner never wrote", i, value);
      }
    }
    return "";
  }

  /// Whether the chunk went from owner to owner as it should, and holds what its last one wrote.
  std::string judge_chunk(unsigned index) const {
    const std::string name = "chunk " + std::to_string(index);
    const std::vector<uint64_t> states = of_.history(&image.states[index]);
    for (size_t i = 1; i != states.size(); ++i) {
      const chunk_state before = state_of(states[i - 1]), now = state_of(states[i]);
      const uint64_t ticket_before = ticket_of(states[i - 1]), ticket = ticket_of(states[i]);
      const bool is_taken = now == chunk_state::taking && (before == chunk_state::sealed || before == chunk_state::free);
      const bool goes_on = (before == chunk_state::taking && now == chunk_state::open) ||
                           (before == chunk_state::open && now == chunk_state::sealed);
      if (is_taken && ticket <= ticket_before) {
        return name + " went from ticket " + std::to_string(ticket_before) + " back to " + std::to_string(ticket);
      }
      const auto sealed = written_.find({ticket_before, sealed_ticks_index});
      if (is_taken && sealed != written_.end() && *sealed->second.rbegin() > of_.last(&image.super.overwritten_ticks)) {
        return name + " was overwritten, and the image does not say so";
      }
      if (!is_taken && !(goes_on && ticket == ticket_before)) {
        return name + " has two owners, of tickets " + std::to_string(ticket_before) + " and " + std::to_string(ticket);
      }
    }
    const uint64_t ticket = ticket_of(states.back());
    for (auto at = written_.lower_bound({ticket, 2}); at != written_.end() && at->first.first == ticket; ++at) {
      const uint64_t i = at->first.second;
      const uint64_t value = of_.last(&reinterpret_cast<const atomic_word*>(&image.chunks[index])[i]);
      if (!at->second.contains(value) && !(i == sealed_ticks_index && value == 0)) {
        return name + " of ticket " + std::to_string(ticket) + " ends with a word that its owner never wrote, at " +
               std::to_string(8 * i);
      }
    }
    return "";
  }

  uint64_t drops() const { return dropped_; }

 private:
  outcome& of_;
  std::map<std::pair<uint64_t, uint64_t>, std::set<uint64_t>> written_;  ///< by ticket and index in the chunk
  std::set<std::pair<uint64_t, uint64_t>> whole_;                        ///< ticket and extent
  uint64_t dropped_ = 0;
};

/// Whether a thread's facts hold one of this kind.
inline bool reported(const outcome& of, unsigned thread, fact_kind what) {
  const std::span<const uint64_t> all = of.facts(thread);
  for (size_t at = 0; at != all.size(); at += 2 + all[at + 1]) {
    if (all[at] == what) return true;
  }
  return false;
}

}  // namespace model

#endif
