// SPDX-License-Identifier: MIT
// An image of few chunks and slots for the scenarios, and names for its words.
#ifndef CONTRAIL_TESTS_MODEL_SMALL_IMAGE_HPP
#define CONTRAIL_TESTS_MODEL_SMALL_IMAGE_HPP

#include "prelude.hpp"

#include "contrail/contrail.hpp"

#include <cstdio>
#include <cstring>

namespace model CONTRAIL_DETAIL_HIDDEN {

using namespace contrail::detail;

inline constexpr unsigned most_slots = 3;
inline constexpr unsigned most_chunks = 4;
inline constexpr unsigned most_ids = 15;
inline constexpr uint32_t first_tid = 5'000'000;  ///< beyond what Linux gives to threads

struct small_image {
  alignas(sizeof(thread_slot)) thread_slot slots[most_slots];
  alignas(chunk_bytes) chunk chunks[most_chunks];
  superblock super;
  atomic_word states[most_chunks];
  image_view view;
  uint32_t binding_index[most_ids + 1];
  atomic_word binding_hashes[16];
  char arena[8192];

  /// All empty, with so many chunks and slots in use, as `start` leaves it.
  void clear(unsigned chunk_count, unsigned slot_count, uint64_t generation = 1) {
    ::memset(static_cast<void*>(this), 0, sizeof *this);
    view.super = &super;
    view.slots = slots;
    view.slot_count = slot_count;
    view.chunk_states = states;
    view.chunks = chunks;
    view.chunk_count = chunk_count;
    view.generation = generation;
    view.binding_index = binding_index;
    view.id_count = most_ids;
    view.arena = arena;
    view.arena_bytes = sizeof arena;
    view.binding_hashes = binding_hashes;
    view.hash_count = sizeof binding_hashes / sizeof *binding_hashes;
    super.next_ticket.value = chunk_count;
    super.next_id.value = 1;
    super.tick_hz = 1'000'000'000;
    super.pid = static_cast<uint32_t>(getpid());
  }

  /// Makes it the image that records, in an epoch of its own.
  void start() {
    object_root& object = own_object();
    process_state& process = object.process;
    object.joined.value = reinterpret_cast<uint64_t>(&process);
    process.image.value = reinterpret_cast<uint64_t>(&view);
    process.recording.value = 1;
    process.hardware_clock.value = 1;
    process.tick_hz.value = super.tick_hz;
    process.slow_table.value = reinterpret_cast<uint64_t>(&slow_functions);
    process.epoch.value += epoch_step;
    object.epoch.value = process.epoch.value;
  }

  /// Gives slot `index` to a thread, as claim_slot does, with no chunk yet.
  void attach(unsigned index, uint32_t tid, uint64_t generation = 1) {
    thread_slot& slot = slots[index];
    slot.state.value = slot_word(generation, slot_state::live);
    slot.tid_index.value = tid | uint64_t{index} << 32;
    slot.owner_object.value = reinterpret_cast<uint64_t>(&own_object());
    slot.name_version.value = 2;
    for (unsigned k = 0; k != lane_count; ++k) {
      for (frame* at = first_frame_of(slot, k); at != end_frame_of(slot, k); ++at) at->owner = &slot.lanes[k];
      end_frame_of(slot, k)->start_ticks.value = frame_busy;
    }
    ++super.attached_slots.value;
  }

  /// Opens the next chunk for a lane, before the threads begin.
  void open(unsigned slot, unsigned lane_index = 0) {
    open_chunk(own_object().process, view, first_frame_of(slots[slot], lane_index), 1);
  }
};

inline small_image image;

// Of the linker: where the program's variables are.
extern "C" char __data_start[], _end[];

/// All variables of the program: the image, contrail's own state, and the call sites.
inline std::pair<const void*, size_t> variables() {
  return {__data_start, static_cast<size_t>(_end - __data_start)};
}

/// What readers copy to is not shared, so it is no variable.
template <class T>
T& own_memory() {
  static T& memory = *new T;
  return memory;
}

/// Makes the running thread the owner of a slot's first frame, as attach_thread does last.
inline void stand_on(small_image& of, unsigned slot) { next_frame = first_frame_of(of.slots[slot], 0); }

// ---- names ---------------------------------------------------------------------------------------------------

namespace names {

inline std::string numbered(const char* form, uint64_t number, const std::string& rest = "") {
  char text[64];
  snprintf(text, sizeof text, form, static_cast<unsigned long long>(number));
  return text + rest;
}

inline std::string member(uint64_t offset, std::initializer_list<const char*> words, const char* rest) {
  return offset / 8 < words.size() ? words.begin()[offset / 8] : numbered(rest, offset / 8 - words.size());
}

}  // namespace names

inline std::string name_of(uint64_t address) {
  using names::member, names::numbered;
  const auto offset_in = [&](const auto& what) { return address - reinterpret_cast<uint64_t>(&what); };
  const auto is_in = [&](const auto& what) { return offset_in(what) < sizeof what; };
  for (unsigned i = 0; i != most_chunks; ++i) {
    if (is_in(image.states[i])) return numbered("states[%llu]", i);
    if (!is_in(image.chunks[i])) continue;
    return numbered("chunk %llu ", i) +
           member(offset_in(image.chunks[i]),
                  {"ticket", "extent", "writer", "tid_lane", "words_before", "records_before", "epoch_base",
                   "sealed_ticks", "anchor[0]", "anchor[1]", "anchor[2]", "anchor[3]", "thread_name[0]",
                   "thread_name[1]", "thread_name[2]", "thread_name[3]"},
                  "word[%llu]");
  }
  for (unsigned i = 0; i != most_slots; ++i) {
    const thread_slot& slot = image.slots[i];
    if (!is_in(slot)) continue;
    const std::string begin = numbered("slot %llu ", i);
    for (unsigned k = 0; k != lane_count; ++k) {
      if (!is_in(slot.lanes[k])) continue;
      return begin + numbered("lane %llu ", k) +
             member(offset_in(slot.lanes[k]), {"cursor", "deadline", "epoch_base", "chunk", "extra_words", "words_before",
                                               "anchor_ticks", "dropped"}, "%llu");
    }
    for (unsigned k = 0; k != frame_count; ++k) {
      if (!is_in(slot.frames[k])) continue;
      return begin + numbered("frame %llu ", k) +
             member(offset_in(slot.frames[k]), {"word", "owner", "start_ticks", "stack_pointer"}, "payload[%llu]");
    }
    return begin + member(offset_in(slot),
                          {"state", "tid_index", "owner_object", "attach_ticks", "name_version", "name[0]", "name[1]",
                           "name[2]", "name[3]", "alternate_stack", "occupant", "taking[0]", "taking[1]", "taking[2]",
                           "recount[0]", "recount[1]", "recount[2]"},
                          "reserved[%llu]");
  }
  if (is_in(image.super.next_ticket)) return "next_ticket";
  if (is_in(image.super.overwritten_ticks)) return "overwritten_ticks";
  if (is_in(image.super.dropped)) return "dropped" + numbered("[%llu]", offset_in(image.super.dropped) / 8);
  if (is_in(image.super)) return numbered("superblock + %llu", offset_in(image.super));
  if (is_in(image.view.retired)) return "retired";
  if (is_in(image.view)) return numbered("view + %llu", offset_in(image.view));
  if (is_in(own_object().epoch)) return "object.epoch";
  if (is_in(own_object().process.epoch)) return "process.epoch";
  if (is_in(own_object().process.dumping)) return "dumping";
  if (is_in(own_object().process.categories)) {
    return numbered("categories[%llu]", offset_in(own_object().process.categories) / 8);
  }
  if (is_in(own_object().process.names)) return numbered("names[%llu]", offset_in(own_object().process.names) / 8);
  return "";
}

inline std::string value_of(uint64_t address, uint64_t value) {
  char text[64];
  const uint64_t states = reinterpret_cast<uint64_t>(image.states);
  const uint64_t chunks = reinterpret_cast<uint64_t>(image.chunks);
  if (address >= states && address < states + sizeof image.states) {
    static constexpr const char* of[] = {"free", "open", "sealed", "taking"};
    snprintf(text, sizeof text, "ticket %llu %s", static_cast<unsigned long long>(value >> 2), of[value & 3]);
  } else if (value >= chunks && value <= chunks + sizeof image.chunks) {
    snprintf(text, sizeof text, "chunk %llu + %llu", static_cast<unsigned long long>((value - chunks) / chunk_bytes),
             static_cast<unsigned long long>((value - chunks) % chunk_bytes));
  } else {
    snprintf(text, sizeof text, value < 1'000'000 ? "%llu" : "0x%llx", static_cast<unsigned long long>(value));
  }
  return text;
}

}  // namespace model

#endif
