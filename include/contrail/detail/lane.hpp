// SPDX-License-Identifier: MIT
// The slow half of a lane: chunks, time epochs, clock anchors, and records in any form.
#ifndef CONTRAIL_DETAIL_LANE_HPP
#define CONTRAIL_DETAIL_LANE_HPP

#include "contrail/detail/pool.hpp"
#include "contrail/detail/safe_writer.hpp"

#include <signal.h>
#include <sys/syscall.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Owner of frames that a new time epoch overtook: its deadline has always passed, so they end on the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit lane stale_lane{};

inline thread_slot& slot_of(const frame* at) {
  return *reinterpret_cast<thread_slot*>(reinterpret_cast<uint64_t>(at) & ~uint64_t{sizeof(thread_slot) - 1});
}

inline unsigned lane_index_of(const thread_slot& slot, const frame* at) {
  const long index = at - slot.frames;
  return index < first_frame[1] ? 0 : index < first_frame[2] ? 1 : 2;
}

inline frame* first_frame_of(thread_slot& slot, unsigned lane_index) { return &slot.frames[first_frame[lane_index]]; }
inline frame* end_frame_of(thread_slot& slot, unsigned lane_index) {
  return &slot.frames[first_frame[lane_index] + lane_depth[lane_index]];
}

/// Regions that are open when an epoch begins outgrow their short form: they take the slow path at their end. Free
/// frames are marked too: one may belong to a begin that a handler interrupted after it had read the clock.
inline void mark_frames(thread_slot& slot, unsigned lane_index) {
  for (frame* at = first_frame_of(slot, lane_index); at != end_frame_of(slot, lane_index); ++at) at->owner = &stale_lane;
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

inline void set_epoch(process_state& process, const image_view& image, thread_slot& slot, unsigned lane_index,
                      uint64_t base) {
  lane& writer = slot.lanes[lane_index];
  mark_frames(slot, lane_index);
  writer.epoch_base.store_relaxed(base);
  set_deadline(process, image, writer, base);
}

/// Ends the lane's chunk. The lane is busy, or its thread is dead.
inline void close_chunk(image_view& image, lane& writer, uint64_t ticks) {
  const uint64_t address = writer.chunk.load_relaxed();
  if (address == 0) return;
  chunk& done = *reinterpret_cast<chunk*>(address);
  const uint64_t end_bytes = writer.cursor.load_relaxed() - address;
  writer.words_before.add_owned((end_bytes - chunk_header_bytes) / 8);
  const uint64_t records_now = writer.words_before.load_relaxed() - writer.extra_words.load_relaxed();
  writer.chunk.store_relaxed(0);
  writer.deadline.store_relaxed(0);
  // If this lane takes the same chunk again, a reader must not take the old cursor for the new one.
  writer.cursor.store_relaxed(0);
  seal_chunk(image, done, end_bytes, records_now - done.records_before.load_relaxed(), ticks);
}

// ---- dead threads ---------------------------------------------------------------------------------------------

/// Asks the kernel, not a destructor: pthread keys and C++ thread_local destructors allocate.
// Async-signal-safe.
inline bool is_thread_alive(uint32_t tid) {
  const errno_keeper keep;
  return syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH;
}

inline uint64_t slot_word(uint64_t generation, slot_state state) {
  return generation << 8 | static_cast<uint64_t>(state);
}

/// Seals what a dead thread, or one of an unloaded object, left behind and frees its slot. `found` is the state word by
/// which the caller knew that it is dead; whoever exchanges it first does the work.
// Async-signal-safe.
inline bool free_slot(process_state& process, image_view& image, thread_slot& slot, uint64_t found) {
  const uint64_t generation = found >> 8;
  if (!slot.state.compare_exchange(found, slot_word(generation, slot_state::sealing))) return false;
  for (lane& writer : slot.lanes) close_chunk(image, writer, now_ticks(process));
  image.super->attached_slots.fetch_add_relaxed(~uint64_t{0});
  slot.state.store_release(slot_word(generation, slot_state::free));
  return true;
}

inline unsigned reap_dead_slots(process_state& process, image_view& image, unsigned probes) {
  unsigned freed = 0;
  for (unsigned i = 0; i < probes && i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[image.slot_hand.fetch_add_relaxed(1) % image.slot_count];
    const uint64_t found = slot.state.load_acquire();
    if (static_cast<slot_state>(found & 0xff) != slot_state::live) continue;
    if (!is_thread_alive(tid_of(slot))) freed += free_slot(process, image, slot, found);
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

/// Opens the lane's next chunk at `ticks`; without one the lane drops records until a later try. The lane is busy.
inline bool open_chunk(process_state& process, image_view& image, lane& writer, uint64_t ticks) {
  thread_slot& slot = *reinterpret_cast<thread_slot*>(reinterpret_cast<uint64_t>(&writer) &
                                                      ~uint64_t{sizeof(thread_slot) - 1});
  const unsigned lane_index = static_cast<unsigned>(&writer - slot.lanes);
  // A busy thread opens chunks every few microseconds; three system clocks each time would show in its regions.
  uint64_t anchor[4];
  const chunk* const before = reinterpret_cast<const chunk*>(writer.chunk.load_relaxed());
  const bool reuse_anchor =
      before != nullptr && ticks - writer.anchor_ticks.load_relaxed() < process.tick_hz.load_relaxed() / 1024;
  if (reuse_anchor) {
    for (unsigned i = 0; i < 4; ++i) anchor[i] = before->anchor[i].load_relaxed();
  }
  close_chunk(image, writer, ticks);
  if (ticks < image.no_chunk_until.load_relaxed()) return false;
  if (!reuse_anchor) {
    const clock_anchor fresh = take_anchor(process);
    memcpy(anchor, &fresh, sizeof anchor);
    writer.anchor_ticks.store_relaxed(fresh.ticks);
    if (slot.name_version.load_relaxed() == 0) {
      uint64_t name[thread_name_bytes / 8];
      read_system_thread_name(name);
      for (unsigned i = 0; i < thread_name_bytes / 8; ++i) slot.name[i].store_relaxed(name[i]);
    }
  }
  const uint64_t base = ticks & ~(epoch_ticks - 1);
  if (base != writer.epoch_base.load_relaxed()) mark_frames(slot, lane_index);
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
  chunk* taken = take_chunk(image, keep_floor, header);
  if (taken == nullptr && reap_dead_slots(process, image, 64) != 0) taken = take_chunk(image, keep_floor, header);
  if (taken == nullptr) taken = take_chunk(image, false, header);
  if (taken == nullptr) {
    // Back off: else every record would search the whole pool again.
    image.no_chunk_until.store_relaxed(ticks + process.tick_hz.load_relaxed() / 1000);
    return false;
  }
  writer.cursor.store_release(reinterpret_cast<uint64_t>(taken->words));
  writer.chunk.store_release(reinterpret_cast<uint64_t>(taken));
  writer.epoch_base.store_relaxed(base);
  set_deadline(process, image, writer, base);
  return true;
}

/// Makes sure that `words` more fit in the lane's chunk.
inline bool make_room(process_state& process, image_view& image, lane& writer, unsigned words, uint64_t ticks) {
  const uint64_t open = writer.chunk.load_relaxed();
  if (open != 0 && writer.cursor.load_relaxed() + 8 * words <= open + chunk_bytes) return true;
  return open_chunk(process, image, writer, ticks);
}

/// Appends `count` words as one record; the caller made room. `bookkeeping` words are not a user's record.
inline void append(lane& writer, const uint64_t* words, unsigned count, bool bookkeeping) {
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_relaxed());
  for (unsigned i = 1; i < count; ++i) cursor[i].store_relaxed(words[i]);
  cursor[0].store_relaxed(words[0]);
  writer.extra_words.add_owned(bookkeeping ? count : count - 1);
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor + count));
}

/// Gets the lane ready for a record of up to `words` words at `ticks`: chunk, time epoch, anchor. The lane is busy.
inline bool prepare_lane(process_state& process, image_view& image, thread_slot& slot, unsigned lane_index,
                         unsigned words, uint64_t ticks) {
  lane& writer = slot.lanes[lane_index];
  constexpr unsigned bookkeeping_words = 6;  // an epoch word and an anchor
  // The cursor must not rest at a chunk's end, hence one word more.
  if (!make_room(process, image, writer, words + bookkeeping_words + 1, ticks)) {
    writer.dropped.add_owned(1);
    image.super->dropped[static_cast<unsigned>(drop_reason::no_chunk)].fetch_add_relaxed(1);
    return false;
  }
  if (ticks - writer.epoch_base.load_relaxed() >= epoch_ticks) {
    const uint64_t base = ticks & ~(epoch_ticks - 1);
    const uint64_t word = epoch_word(base);
    append(writer, &word, 1, true);
    set_epoch(process, image, slot, lane_index, base);
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
