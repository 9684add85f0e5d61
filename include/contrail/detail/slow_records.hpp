// SPDX-License-Identifier: MIT
// The slow half of ends and points: every record that does not go the quick way, and those that have a long form.
#ifndef CONTRAIL_DETAIL_SLOW_RECORDS_HPP
#define CONTRAIL_DETAIL_SLOW_RECORDS_HPP

#include "contrail/detail/threads.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Before a lane closes its chunk, as it may for want of `room` words: a frame in use above the one that writes may be
/// of an end that a jump left between counting words and publishing them.
inline void note_left_frames(thread_slot& slot, unsigned lane_index, const frame* at, unsigned room) {
  if (words_in_chunk(slot.lanes[lane_index]) + room < chunk_words) return;
  for (const frame* above = at + 1; above < end_frame_of(slot, lane_index); ++above) {
    if (!is_free(*above)) return slot.recount[lane_index].store_relaxed(1);
  }
}

/// Tells triggers of a region that took as long as this, before its record is written to `place` and published.
inline void note_if_long(const image_view& image, uint64_t place, uint64_t ticks) {
  if (ticks < epoch_ticks) return;
  const auto* const watch = reinterpret_cast<const recycling_watch*>(image.watch.load_acquire());
  if (watch == nullptr) return;
  watch->note_long_region(image, (place - reinterpret_cast<uint64_t>(image.chunks)) / chunk_bytes, ticks);
}

/// Writes a region's record in its shortest form. The lane, that of `top`, is busy.
inline void write_region(process_state& process, image_view& image, frame* top, uint64_t word, uint64_t start,
                         uint64_t end, const atomic_word* payload, unsigned words) {
  if (!prepare_lane(process, image, top, words + 3, end)) return;
  note_if_long(image, lane_of(top).cursor.load_relaxed(), end - start);
  // The region's 18 low bits come back out of its frame's word.
  const uint64_t site = ((start << duration_shift) - word) & site_word_mask;
  const bool is_short = end - start < epoch_ticks && (site & 3) != static_cast<uint64_t>(record_tag::long_form) &&
                        words <= max_short_region_words;
  uint64_t record[3 + frame_payload_words];
  unsigned count = 0;
  if (is_short) {
    const uint64_t length = words << id_shift;
    record[count++] = end << end_time_shift | (end - start) << duration_shift | (site + length);
  } else {
    record[count++] = long_header(long_form::region, id_of_site_word(site), 2 + words);
    record[count++] = start;
    record[count++] = end;
  }
  for (unsigned i = 0; i < words; ++i) record[count++] = payload[i].load_relaxed();
  append(lane_of(top), record, count, false);
}

/// Writes a long record as the running thread's next one where that needs another lane, a chunk, a time epoch or a
/// slot.
__attribute__((noinline)) inline void write_long_slowly(process_state& process, image_view& image, caller from,
                                                        uint64_t* record, unsigned count, unsigned time_at,
                                                        bool bookkeeping) {
  const errno_keeper keep;
  if (!is_in_image(image, *from.next_frame) && !attach_thread(process, image, from)) return;
  frame* at = *from.next_frame;
  if (!is_in_image(image, at)) return;  // a handler attached to a newer image
  thread_slot& slot = slot_of(at);
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const auto free_mark = [&] { return at == end_frame_of(slot, lane_index_of(slot, at)) ? frame_busy : 0; };
  if (at->start_ticks.load_relaxed() != free_mark()) {
    constexpr uint64_t no_site = ~uint64_t{0};
    at = find_place(image, at, no_site, stack_pointer);
    if (at == nullptr) return;
  }
  const unsigned lane_index = lane_index_of(slot, at);
  mark_point(*at, stack_pointer);
  signal_fence();
  note_left_frames(slot, lane_index, at, count + 16);
  record[time_at] = now_ticks(process);
  if (prepare_lane(process, image, at, count, record[time_at])) {
    if (long_form_of(record[0]) == long_form::async_region) {
      note_if_long(image, slot.lanes[lane_index].cursor.load_relaxed(), record[2] - record[1]);
    }
    append(slot.lanes[lane_index], record, count, bookkeeping);
  }
  if (at == first_frame_of(slot, lane_index)) slot.interrupted[lane_index].store_relaxed(0);
  at->owner = &slot.lanes[lane_index];
  signal_fence();
  at->start_ticks.store_relaxed(free_mark());
}

/// Writes a long record of `count` words, `Most` at most, as the running thread's next one, attaching it if it has no
/// slot. `fill(words, now)` stores it; the time stands in word `time_at`. The quick way is that of point_inline.
template <unsigned Most, class Fill>
CONTRAIL_DETAIL_ALWAYS_INLINE void write_long(process_state& process, image_view& image, caller from, unsigned count,
                                              unsigned time_at, bool bookkeeping, const Fill& fill) {
  frame* const at = *from.next_frame;
  if (__builtin_expect(is_in_image(image, at) && is_free(*at), 1)) {
    lane& writer = *at->owner;
    mark_point_here(*at);
    signal_fence();
    const uint64_t now = hardware_ticks();
    atomic_word* const words = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
    // The chunk has room, and one word more: the cursor must not rest at its end.
    const bool fits = now < writer.deadline.load_owned() && is_in_one_chunk(words, words + count);
    if (__builtin_expect(fits, 1)) {
      prefetch_for_writing(words);
      fill(words, now);
      // As append.
      writer.extra_words.add_owned(bookkeeping ? count : count - 1);
      writer.cursor.store_release(reinterpret_cast<uint64_t>(words + count));
    }
    signal_fence();
    at->start_ticks.store_relaxed(0);
    if (__builtin_expect(fits, 1)) return;
  }
  atomic_word record[Most];
  fill(record, 0);
  write_long_slowly(process, image, from, &record->value, count, time_at, bookkeeping);
}

/// A region that ends on another thread than it began on, as regions of coroutines do: recorded by the thread that ends
/// it, as an asynchronous slice, since it need not nest with anything there.
inline void end_elsewhere(process_state& process, image_view& image, caller from, frame& origin, uint64_t word,
                          unsigned words) {
  thread_slot& origin_slot = slot_of(&origin);
  const uint64_t start = origin.start_ticks.load_relaxed();
  const uint64_t site = ((start << duration_shift) - word) & site_word_mask;
  const uint64_t tid = tid_of(origin_slot);
  uint64_t payload[frame_payload_words];
  for (unsigned i = 0; i < words; ++i) payload[i] = origin.payload[i].load_relaxed();
  // Its own thread frees it first where it purges frames. The start tells this region from the frame's next one.
  uint64_t expected = start;
  if (!origin.start_ticks.compare_exchange(expected, 0)) return count_drop(image, drop_reason::misnested);

  const auto fill = [&](atomic_word* to, uint64_t now) __attribute__((always_inline)) {
    if (now != 0) note_if_long(image, reinterpret_cast<uint64_t>(to), now - start);
    to[0].store_relaxed(long_header(long_form::async_region, id_of_site_word(site), 3 + words));
    to[1].store_relaxed(start);
    to[2].store_relaxed(now);
    to[3].store_relaxed(tid);
    for (unsigned i = 0; i < words; ++i) to[4 + i].store_relaxed(payload[i]);
  };
  write_long<4 + frame_payload_words>(process, image, from, 4 + words, 2, false, fill);
}

/// After the last region of a handler that stepped aside to another lane.
inline void go_back(caller from, atomic_word& interrupted) {
  frame* const back = reinterpret_cast<frame*>(interrupted.load_relaxed());
  interrupted.store_relaxed(0);
  if (back != nullptr && !is_free(*back)) *from.next_frame = back;
}

inline void end_region_slowly(caller from, frame* at, uint64_t word, unsigned words) {
  const errno_keeper keep;
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  if (!is_in_image(image, at)) {
    // Begun before a start that made another image. Its frame stays busy, so that nothing begins there again.
    if (at->start_ticks.load_relaxed() >= process.start_ticks.load_relaxed()) count_drop(image, drop_reason::misnested);
    if (*from.next_frame == at + 1) *from.next_frame = at;
    at->start_ticks.store_relaxed(frame_busy);
    return;
  }
  if (!holds_region(*at, word)) return count_drop(image, drop_reason::misnested);
  frame* const top = *from.next_frame;
  thread_slot& slot = slot_of(at);
  if (!is_in_image(image, top) || &slot_of(top) != &slot) return end_elsewhere(process, image, from, *at, word, words);

  const unsigned lane_index = lane_index_of(slot, at);
  const unsigned top_lane = lane_index_of(slot, top);
  const bool in_order = top == at + 1;
  // In order, the frame itself is the busy mark. Else handlers look at the top, which must say so if they would write
  // into the same lane.
  const uint64_t free_mark = top == end_frame_of(slot, lane_index) ? frame_busy : 0;
  const bool mark_top = !in_order && top_lane == lane_index && top->start_ticks.load_relaxed() == free_mark;
  if (in_order) *from.next_frame = at;
  if (mark_top) mark_point(*top, CONTRAIL_DETAIL_CALLERS_STACK_POINTER());
  signal_fence();
  note_left_frames(slot, lane_index, in_order ? at : top, words + 16);
  frame* const top_of_lane = in_order ? at : top_lane == lane_index ? top : end_frame_of(slot, lane_index);
  write_region(process, image, top_of_lane, word, at->start_ticks.load_relaxed(), now_ticks(process), at->payload,
               words);
  at->owner = &slot.lanes[lane_index];
  signal_fence();
  if (mark_top) top->start_ticks.store_relaxed(free_mark);
  set_free(*at);
  if (in_order && at == first_frame_of(slot, lane_index)) go_back(from, slot.interrupted[lane_index]);
  if (in_order) return;
  if (top_lane == lane_index || top_frame(slot, top_lane) == first_frame_of(slot, top_lane)) {
    frame* const next = top_frame(slot, lane_index);
    mark_frames(next, top_lane == lane_index ? top : end_frame_of(slot, lane_index));  // as in find_frame
    *from.next_frame = next;
  }
}

inline void roll_chunk_slowly(frame* at, uint64_t ticks) {
  const errno_keeper keep;
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  lane& writer = *at->owner;
  if (!is_in_image(image, at)) {
    writer.deadline.store_relaxed(0);
    at->start_ticks.store_relaxed(frame_busy);
    return;
  }
  thread_slot& slot = slot_of(at);
  writer.deadline.store_relaxed(0);
  signal_fence();
  writer.cursor.store_release((writer.cursor.load_relaxed() | (chunk_bytes - 1)) + 1);
  note_left_frames(slot, lane_index_of(slot, at), at, 16);
  open_chunk(process, image, at, ticks);
  at->owner = &writer;  // a new time epoch takes open regions from their lane, this one too
  signal_fence();
  set_free(*at);
}

/// Writes a point's record: `record` holds the payload from its second word on.
inline void write_point_slowly(frame* at, uint64_t word, uint64_t stack_pointer, uint64_t* record, unsigned words) {
  const errno_keeper keep;
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  if (!is_in_image(image, at)) return;  // another image took over since the frame was claimed
  thread_slot& slot = slot_of(at);
  const unsigned lane_index = lane_index_of(slot, at);
  mark_point(*at, stack_pointer);
  signal_fence();
  note_left_frames(slot, lane_index, at, words + 16);
  const uint64_t now = now_ticks(process);
  if (prepare_lane(process, image, at, words + 1, now)) {
    record[0] = now << end_time_shift | static_cast<uint64_t>(words) << duration_shift | word;
    append(slot.lanes[lane_index], record, words + 1, false);
  }
  if (at == first_frame_of(slot, lane_index)) slot.interrupted[lane_index].store_relaxed(0);
  at->owner = &slot.lanes[lane_index];
  signal_fence();
  set_free(*at);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
