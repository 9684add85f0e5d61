// SPDX-License-Identifier: MIT
// Pieces of chunks for a stream, or a trigger's look: of a sealed chunk all that was not copied yet, of an open one
// what was published since the last look; and of threads and spans as they are now. It runs beside the writers; nobody
// waits for anybody.
#ifndef CONTRAIL_DETAIL_SESSION_COPY_HPP
#define CONTRAIL_DETAIL_SESSION_COPY_HPP

#include "contrail/detail/session_marks.hpp"
#include "contrail/detail/snapshot.hpp"
#include "contrail/detail/stream.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr size_t longest_piece_bytes = sizeof(stream_block) + chunk_bytes;

/// What copy_piece made.
struct chunk_piece {
  size_t bytes = 0;      ///< 0: nothing
  uint64_t records = 0;  ///< in these words
  bool is_first = false;  ///< of its chunk
  bool is_last = false;
};

/// Bytes from an unsealed chunk's start to the end of what is published; 0: none can be told.
inline uint64_t open_extent(const image_view& image, const chunk& from) {
  const lane* const writer = lane_of(image, from);
  if (writer == nullptr) return 0;
  const uint64_t cursor = writer->cursor.load_acquire();
  const uint64_t begin = reinterpret_cast<uint64_t>(&from);
  if (cursor >= begin + chunk_header_bytes && cursor <= begin + chunk_bytes) return cursor - begin;
  // The writer's cursor is elsewhere: the chunk was sealed just now, or is not written to yet.
  return extent_bytes(from.extent.load_acquire());
}

/// Copies to `to` what was not copied before of a chunk, by these marks, as a block, and marks it. Nothing if there is
/// nothing new, or if the chunk was recycled meanwhile: then the recycler has counted it. Reads in the order of
/// copy_chunk.
inline chunk_piece copy_piece(char* to, const image_view& image, uint64_t index, session_marks& marks, bool open_too) {
  const chunk& from = image.chunks[index];
  const atomic_word& state = image.chunk_states[index];
  const uint64_t before = state.load_acquire();
  const bool is_sealed = state_of(before) == chunk_state::sealed;
  if (!is_sealed && (!open_too || state_of(before) != chunk_state::open)) return {};
  const uint64_t ticket = ticket_of(before);
  uint64_t mark = marks[index].load_acquire();
  const uint64_t copied = marked_words(mark, ticket);
  if (copied == all_copied) return {};
  if (is_sealed && copied == 0 && from.sealed_ticks.load_relaxed() < marks.begin_ticks.load_relaxed()) return {};

  const uint64_t extent = from.extent.load_acquire();
  const uint64_t end_bytes = extent_bytes(extent) != 0 ? extent_bytes(extent) : open_extent(image, from);
  const uint64_t begin_bytes = chunk_header_bytes + 8 * copied;
  if (end_bytes < begin_bytes || end_bytes > chunk_bytes || (!is_sealed && end_bytes == begin_bytes)) return {};

  const atomic_word* const source = reinterpret_cast<const atomic_word*>(&from);
  char* const header = to + sizeof(stream_block);
  atomic_word* const head = reinterpret_cast<atomic_word*>(header);
  atomic_word* const words = head + chunk_header_bytes / 8;
  for (uint64_t i = 0; i < chunk_header_bytes / 8; ++i) head[i].value = source[i].load_relaxed();
  const uint64_t count = (end_bytes - begin_bytes) / 8;
  for (uint64_t i = 0; i < count; ++i) words[i].value = source[begin_bytes / 8 + i].load_relaxed();
  // Pairs with the release fence in take_chunk, as in copy_chunk.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const uint64_t after = state.load_relaxed();
  if (ticket_of(after) != ticket || state_of(after) == chunk_state::taking) return {};

  // A chunk that was sealed during the copy may be taken for an open one: the rest comes with the next look.
  const uint64_t marked = marked_records(mark, ticket);
  const uint64_t records = is_sealed ? extent_records(extent) - marked : count_records(words, words + count);
  const uint64_t fresh = is_sealed ? mark_word(ticket, all_copied, 0)
                                   : mark_word(ticket, copied + count, marked + records);
  // By exchange: if it was recycled just now, the recycler has counted these records, and they are not in the stream.
  if (!marks[index].compare_exchange(mark, fresh)) return {};

  chunk& copy = *reinterpret_cast<chunk*>(header);
  copy.ticket.value = ticket;
  copy.extent.value = end_bytes;
  if (!is_sealed) copy.sealed_ticks.value = 0;
  // What had ended before the session began is no part of it, and so no loss either.
  const uint64_t before_it = copied != 0 ? 0
                                         : records_ended_before(copy.epoch_base.value, words, words + count,
                                                                marks.begin_ticks.load_relaxed());
  const stream_block block{block_type::chunk, static_cast<uint32_t>(begin_bytes), chunk_header_bytes + 8 * count};
  memcpy(to, &block, sizeof block);
  return {sizeof block + block.bytes, records - before_it, copied == 0 && !is_marked(mark, ticket), is_sealed};
}

/// Copies a thread's slot to `to` as a block, with its open regions; 0 if nobody has it. `work` has room for a slot.
inline size_t copy_slot_block(char* to, thread_slot& work, const thread_slot& from) {
  const uint64_t state = from.state.load_acquire();
  if (!is_listed(state)) return 0;
  copy_slot(work, from, state);
  if (work.state.load_relaxed() != state) return 0;
  constexpr size_t head = __builtin_offsetof(thread_slot, frames);
  char* at = to + sizeof(stream_block);
  memcpy(at, &work, head);
  at += head;
  for (uint64_t i = 0; i < frame_count; ++i) {
    if (work.frames[i].word.load_relaxed() == 0) continue;
    memcpy(at, &i, sizeof i);
    memcpy(at + sizeof i, &work.frames[i], sizeof(frame));
    at += sizeof i + sizeof(frame);
  }
  const size_t bytes = static_cast<size_t>(at - to);
  const stream_block block{block_type::slot, 0, bytes - sizeof block};
  memcpy(to, &block, sizeof block);
  return bytes;
}
inline constexpr size_t longest_slot_block_bytes = sizeof(stream_block) + sizeof(thread_slot) + 8 * frame_count;

/// Copies an open span to `to` as a block. Its generation; 0 if the entry holds none, or it ended meanwhile: then its
/// record tells of it.
inline uint64_t copy_span_block(char* to, const image_view& image, uint64_t index) {
  span_entry copy;
  copy_span(copy, image.spans[index]);
  if (copy.state.load_relaxed() == 0) return 0;
  const stream_block block{block_type::span, static_cast<uint32_t>(index), sizeof copy};
  memcpy(to, &block, sizeof block);
  memcpy(to + sizeof block, &copy, sizeof copy);
  return copy.state.load_relaxed() >> 2;
}
inline constexpr size_t span_block_bytes = sizeof(stream_block) + sizeof(span_entry);

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
