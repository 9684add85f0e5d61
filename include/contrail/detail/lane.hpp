// SPDX-License-Identifier: MIT
// The slow half of a lane: chunks, time epochs, clock anchors, and records in any form.
#ifndef CONTRAIL_DETAIL_LANE_HPP
#define CONTRAIL_DETAIL_LANE_HPP

#include "contrail/detail/crash_stack.hpp"
#include "contrail/detail/pool.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Owner of frames that a new time epoch overtook: its deadline has always passed, so they end on the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit lane stale_lane{};

inline thread_slot& slot_of(const frame* at) {
  return *reinterpret_cast<thread_slot*>(reinterpret_cast<uint64_t>(at) & ~uint64_t{sizeof(thread_slot) - 1});
}

inline thread_slot& slot_of(const lane& writer) {
  return *reinterpret_cast<thread_slot*>(reinterpret_cast<uint64_t>(&writer) & ~uint64_t{sizeof(thread_slot) - 1});
}

inline unsigned lane_index_of(const thread_slot& slot, const frame* at) {
  const long index = at - slot.frames;
  return index < first_frame[1] ? 0 : index < first_frame[2] ? 1 : 2;
}

inline frame* first_frame_of(thread_slot& slot, unsigned lane_index) { return &slot.frames[first_frame[lane_index]]; }
inline frame* end_frame_of(thread_slot& slot, unsigned lane_index) {
  return &slot.frames[first_frame[lane_index] + lane_depth[lane_index]];
}

/// Begins that handlers interrupted before they stored their frames' starts, at most: one per handler within a handler.
inline constexpr unsigned most_interrupted_begins = 3;

/// What is open on these frames, or was interrupted as it began there, takes the slow path at its end.
inline void mark_frames(frame* first, const frame* end) {
  for (frame* at = first; at < end; ++at) at->owner = &stale_lane;
}

/// Regions that are open when a time epoch begins, at `base`, outgrow their short form. Free frames are marked too: one
/// may belong to a begin that a handler interrupted after it had read the clock. Not those far above `top`, the lane's
/// next free frame: where that went down below such a begin, its frame was marked then. A thread that records little
/// has a new epoch with almost every record, and would write to a cache line for each frame of its stack.
inline void mark_overtaken_frames(frame* top, uint64_t base) {
  thread_slot& slot = slot_of(top);
  const unsigned lane_index = lane_index_of(slot, top);
  const frame* const above = top + most_interrupted_begins + 1;
  const frame* const end = end_frame_of(slot, lane_index);
  for (frame* at = first_frame_of(slot, lane_index); at < above && at < end; ++at) {
    const uint64_t start = at->start_ticks.load_relaxed();
    if (!is_region(start) || start < base) at->owner = &stale_lane;
  }
}

inline lane& lane_of(const frame* at) {
  thread_slot& slot = slot_of(at);
  return slot.lanes[lane_index_of(slot, at)];
}

inline uint64_t words_in_chunk(const lane& writer) {
  const uint64_t cursor = writer.cursor.load_relaxed();
  const uint64_t open = writer.chunk.load_relaxed();
  return open == 0 ? 0 : (cursor - open - chunk_header_bytes) / 8;
}

inline void set_deadline(const process_state& process, const image_view& image, lane& writer, uint64_t base) {
  // Without a trusted counter every record takes the slow path, which knows the other clock.
  writer.deadline.store_relaxed(process.hardware_clock.load_relaxed() != 0 ? base + epoch_ticks : 0);
  // Pairs with the fence in retire_image: either it resets this deadline, or it is seen here.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (image.retired.load_relaxed() != 0) writer.deadline.store_relaxed(0);
}

inline void set_epoch(process_state& process, const image_view& image, frame* top, uint64_t base) {
  lane& writer = lane_of(top);
  mark_overtaken_frames(top, base);
  writer.epoch_base.store_relaxed(base);
  set_deadline(process, image, writer, base);
}

/// Whether a chunk is this lane's, and not sealed yet. It is not when a jump left the lane's cursor in a chunk that it
/// had sealed, and that may be anybody's by now.
inline bool is_open_chunk_of(const image_view& image, const chunk& candidate, const lane& writer) {
  const atomic_word& state = image.chunk_states[&candidate - image.chunks];
  return state_of(state.load_acquire()) == chunk_state::open && lane_of(image, candidate) == &writer;
}

/// The records from `at`, where one begins, to `end`.
inline uint64_t count_records(const atomic_word* at, const atomic_word* end) {
  uint64_t records = 0;
  while (at < end) {
    const uint64_t word = at->load_relaxed();
    const auto tag = static_cast<record_tag>(word & 3);
    const auto form = long_form_of(word);
    const bool is_long = tag == record_tag::long_form;
    records += !is_long || (form != long_form::epoch && form != long_form::anchor && form != long_form::current_task);
    at += 1 + (tag == record_tag::point            ? word >> duration_shift & 0xff
               : tag == record_tag::region_payload ? word >> id_shift & 0xf
               : is_long && form != long_form::epoch ? word >> 6 & 0x3ff
                                                     : 0);
  }
  return records;
}

/// Ends the lane's chunk. The lane is busy, or its thread is dead. Whoever reads the image finds the chunk's end by the
/// lane's cursor until it has an extent. What a jump left half done is done again, with the same result: after the lane
/// has let go of the chunk, and until its cursor has, the chunk is still to be sealed.
inline void close_chunk(image_view& image, lane& writer, uint64_t ticks) {
  const uint64_t cursor = writer.cursor.load_relaxed();
  if (cursor == 0) return;
  chunk& done = *reinterpret_cast<chunk*>((cursor - 1) & ~uint64_t{chunk_bytes - 1});
  writer.deadline.store_relaxed(0);
  writer.chunk.store_relaxed(0);
  signal_fence();
  if (is_open_chunk_of(image, done, writer)) {
    const uint64_t end_bytes = cursor - reinterpret_cast<uint64_t>(&done);
    const uint64_t words = done.words_before.load_relaxed() + (end_bytes - chunk_header_bytes) / 8;
    writer.words_before.store_relaxed(words);
    thread_slot& slot = slot_of(writer);
    atomic_word& recount = slot.recount[&writer - slot.lanes];
    if (recount.load_relaxed() != 0) {
      // A jump may have come between the count of a record's words and the record.
      const uint64_t records = count_records(done.words, reinterpret_cast<const atomic_word*>(cursor));
      writer.extra_words.store_relaxed(words - done.records_before.load_relaxed() - records);
      recount.store_relaxed(0);
    }
    const uint64_t records = words - writer.extra_words.load_relaxed() - done.records_before.load_relaxed();
    seal_chunk(image, done, end_bytes, records, ticks);
  }
  // Release: a reader that finds the cursor gone finds the extent. And before the lane may take the same chunk again.
  writer.cursor.store_release(0);
}

// ---- dead threads ---------------------------------------------------------------------------------------------

inline uint64_t slot_word(uint64_t generation, slot_state state) {
  return generation << 8 | static_cast<uint64_t>(state);
}

inline slot_state phase_of(uint64_t state) { return static_cast<slot_state>(state & 0xff); }

/// Seals what the thread of a slot left behind. Whoever calls this has the slot's turn. Done twice it does no harm.
inline void seal_slot(process_state& process, image_view& image, thread_slot& slot) {
  // A dump that sees any change to the slot sees, looking again, that it is no longer live. Pairs with copy_slot.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  for (unsigned k = 0; k < lane_count; ++k) {
    slot.recount[k].store_relaxed(1);  // the thread may have ended anywhere
    close_chunk(image, slot.lanes[k], now_ticks(process));
    return_chunk(image, slot.taking[k]);
  }
}

inline void leave_slot(thread_slot& slot, uint64_t generation) {
  slot.state.store_release(slot_word(generation, slot_state::free));
  slot.occupant.store_release(0);
}

/// Seals what a dead thread, or one of an unloaded object, left behind and frees its slot. `found` is the state word by
/// which the caller knew that it is dead; whoever gets the slot's turn first, as `self`, does the work.
// Async-signal-safe.
inline bool free_slot(process_state& process, image_view& image, thread_slot& slot, uint64_t found,
                      const turn_holder& self) {
  if (take_turn(slot.occupant, self.name()) == 0) return false;
  if (slot.state.load_acquire() != found) {
    slot.occupant.store_release(0);
    return false;
  }
  slot.state.store_relaxed(slot_word(found >> 8, slot_state::sealing));
  seal_slot(process, image, slot);
  image.super->attached_slots.fetch_add_relaxed(~uint64_t{0});
  leave_slot(slot, found >> 8);
  return true;
}

/// Frees a slot that was being claimed or sealed, if who did that is gone: by a jump, or with its thread.
// Async-signal-safe.
inline bool finish_slot(process_state& process, image_view& image, thread_slot& slot, const turn_holder& self) {
  const int turn = take_turn(slot.occupant, self.name());
  if (turn == 0) return false;
  uint64_t found = slot.state.load_acquire();
  const bool is_half = phase_of(found) == slot_state::claimed || phase_of(found) == slot_state::sealing;
  // A claim has given its turn back when it is about to make the slot live.
  const bool is_about_to_live =
      turn == 1 && is_half && tid_of(slot) != tid_of_holder(self.name()) && is_thread_alive(tid_of(slot));
  // By exchange: else it might become live between this look and the next line, and be sealed while its thread writes.
  if (!is_half || is_about_to_live || !slot.state.compare_exchange(found, slot_word(found >> 8, slot_state::sealing))) {
    slot.occupant.store_release(0);
    return false;
  }
  seal_slot(process, image, slot);
  uint64_t before = image.super->attached_slots.load_relaxed(), live = 0;
  if (turn == 1) {
    image.super->attached_slots.fetch_add_relaxed(~uint64_t{0});
  } else {
    // Whether it was counted cannot be told.
    for (uint64_t i = 0; i < image.slot_count; ++i) live += state_of(image.slots[i]) == slot_state::live;
    image.super->attached_slots.compare_exchange(before, live);
  }
  leave_slot(slot, found >> 8);
  return true;
}

inline unsigned reap_dead_slots(process_state& process, image_view& image, unsigned probes) {
  const turn_holder self;
  unsigned freed = 0;
  for (unsigned i = 0; i < probes && i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[image.slot_hand.fetch_add_relaxed(1) % image.slot_count];
    const uint64_t found = slot.state.load_acquire();
    if (phase_of(found) == slot_state::free) continue;
    if (phase_of(found) != slot_state::live) {
      freed += finish_slot(process, image, slot, self);
    } else if (!is_thread_alive(tid_of(slot))) {
      freed += free_slot(process, image, slot, found, self);
    }
  }
  return freed;
}

// ---- opening a chunk --------------------------------------------------------------------------------------------

/// What the system calls the running thread, zero padded.
// Async-signal-safe.
inline void read_system_thread_name(uint64_t (&name)[thread_name_bytes / 8]) {
  memset(name, 0, sizeof name);
  constexpr int get_name = 16;  // PR_GET_NAME
  syscall(SYS_prctl, get_name, name, 0, 0, 0);
}

/// Takes over the system's name of a thread that the program did not name.
inline void refresh_name(thread_slot& slot) {
  if (slot.name_version.load_relaxed() != 0) return;
  uint64_t name[thread_name_bytes / 8];
  read_system_thread_name(name);
  for (unsigned i = 0; i < thread_name_bytes / 8; ++i) slot.name[i].store_relaxed(name[i]);
}

/// Appends `count` words as one record; the caller made room. `bookkeeping` words are not a user's record.
inline void append(lane& writer, const uint64_t* words, unsigned count, bool bookkeeping) {
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_relaxed());
  for (unsigned i = 1; i < count; ++i) cursor[i].store_relaxed(words[i]);
  cursor[0].store_relaxed(words[0]);
  writer.extra_words.add_owned(bookkeeping ? count : count - 1);
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor + count));
}

/// Opens the next chunk of the lane of `top` at `ticks`; without one the lane drops records until a later try. The lane
/// is busy.
inline bool open_chunk(process_state& process, image_view& image, frame* top, uint64_t ticks) {
  thread_slot& slot = slot_of(top);
  const unsigned lane_index = lane_index_of(slot, top);
  lane& writer = slot.lanes[lane_index];
  // A busy thread opens chunks every few microseconds; three system clocks each time would show in its regions.
  uint64_t anchor[4];
  const chunk* const before = reinterpret_cast<const chunk*>(writer.chunk.load_relaxed());
  const bool reuse_anchor =
      before != nullptr && ticks - writer.anchor_ticks.load_relaxed() < process.tick_hz.load_relaxed() / 1024;
  if (reuse_anchor) {
    for (unsigned i = 0; i < 4; ++i) anchor[i] = before->anchor[i].load_relaxed();
  }
  close_chunk(image, writer, ticks);
  atomic_word& taking = slot.taking[lane_index];
  return_chunk(image, taking);
  if (ticks < image.no_chunk_until.load_relaxed()) return false;
  if (!reuse_anchor) {
    keep_stack(process, slot.alternate_stack);
    const clock_anchor fresh = take_anchor(process);
    memcpy(anchor, &fresh, sizeof anchor);
    writer.anchor_ticks.store_relaxed(fresh.ticks);
    refresh_name(slot);
  }
  const uint64_t base = ticks & ~(epoch_ticks - 1);
  if (base != writer.epoch_base.load_relaxed()) mark_overtaken_frames(top, base);
  const auto header = [&](chunk& fresh) {
    fresh.writer.store_relaxed(index_of(slot) | generation_of(slot) << 32);
    fresh.tid_lane.store_relaxed(tid_of(slot) | static_cast<uint64_t>(lane_index) << 32);
    fresh.words_before.store_relaxed(writer.words_before.load_relaxed());
    fresh.records_before.store_relaxed(writer.words_before.load_relaxed() - writer.extra_words.load_relaxed());
    fresh.epoch_base.store_relaxed(base);
    for (unsigned i = 0; i < 4; ++i) fresh.anchor[i].store_relaxed(anchor[i]);
    for (unsigned i = 0; i < thread_name_bytes / 8; ++i) fresh.thread_name[i].store_relaxed(slot.name[i].load_relaxed());
  };
  const bool keep_floor = image.chunk_count >= 4 * image.super->attached_slots.load_relaxed();
  chunk* taken = take_chunk(image, keep_floor, taking, header);
  if (taken == nullptr && reap_dead_slots(process, image, 64) != 0) {
    taken = take_chunk(image, keep_floor, taking, header);
  }
  if (taken == nullptr) taken = take_chunk(image, false, taking, header);
  if (taken == nullptr) {
    // Back off: else every record would search the whole pool again.
    image.no_chunk_until.store_relaxed(ticks + process.tick_hz.load_relaxed() / 1000);
    return false;
  }
  writer.cursor.store_release(reinterpret_cast<uint64_t>(taken->words));
  writer.chunk.store_release(reinterpret_cast<uint64_t>(taken));
  taking.store_release(0);
  writer.epoch_base.store_relaxed(base);
  set_deadline(process, image, writer, base);
  // Said again in each chunk, since the one where it was said first is overwritten some day.
  if (const uint64_t task = slot.current_task.load_relaxed()) {
    const uint64_t record[3] = {long_header(long_form::current_task, 0, 2), ticks, task};
    append(writer, record, 3, true);
  }
  return true;
}

/// Makes sure that `words` more fit in the chunk of the lane of `top`.
inline bool make_room(process_state& process, image_view& image, frame* top, unsigned words, uint64_t ticks) {
  const lane& writer = lane_of(top);
  const uint64_t open = writer.chunk.load_relaxed();
  if (open != 0 && writer.cursor.load_relaxed() + 8 * words <= open + chunk_bytes) return true;
  return open_chunk(process, image, top, ticks);
}

/// Gets the lane of `top` ready for a record of up to `words` words at `ticks`: chunk, time epoch, anchor. The lane is
/// busy.
inline bool prepare_lane(process_state& process, image_view& image, frame* top, unsigned words, uint64_t ticks) {
  thread_slot& slot = slot_of(top);
  lane& writer = lane_of(top);
  constexpr unsigned bookkeeping_words = 6;  // an epoch word and an anchor
  // The cursor must not rest at a chunk's end, hence one word more.
  if (!make_room(process, image, top, words + bookkeeping_words + 1, ticks)) {
    writer.dropped.add_owned(1);
    image.super->dropped[static_cast<unsigned>(drop_reason::no_chunk)].fetch_add_relaxed(1);
    return false;
  }
  if (ticks - writer.epoch_base.load_relaxed() >= epoch_ticks) {
    const uint64_t base = ticks & ~(epoch_ticks - 1);
    const uint64_t word = epoch_word(base);
    append(writer, &word, 1, true);
    set_epoch(process, image, top, base);
    keep_stack(process, slot.alternate_stack);
    if (image.is_shared != 0) {
      // When the process has been killed, nobody can be asked any more.
      refresh_name(slot);
      chunk& open = *reinterpret_cast<chunk*>(writer.chunk.load_relaxed());
      for (unsigned i = 0; i < thread_name_bytes / 8; ++i) open.thread_name[i].store_relaxed(slot.name[i].load_relaxed());
    }
    if (ticks - writer.anchor_ticks.load_relaxed() > process.tick_hz.load_relaxed()) {
      const clock_anchor fresh = take_anchor(process);
      const uint64_t anchor[5] = {long_header(long_form::anchor, 0, 4), fresh.ticks, fresh.monotonic_ns,
                                  fresh.realtime_ns, fresh.boottime_ns};
      append(writer, anchor, 5, true);
      writer.anchor_ticks.store_relaxed(fresh.ticks);
    }
  }
  return true;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
