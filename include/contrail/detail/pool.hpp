// SPDX-License-Identifier: MIT
// The pool of chunks: take one by ticket, seal it, recycle the oldest. Lock-free; nobody waits.
//
//   FREE --take--> TAKING --header written--> OPEN --seal--> SEALED --take--> TAKING ...
//
// A state word is ticket << 2 | state. Tickets are unique and increase, so a state word never repeats and a
// compare-exchange on it cannot be fooled. A reader remembers the ticket before it copies and compares it afterwards.
#ifndef CONTRAIL_DETAIL_POOL_HPP
#define CONTRAIL_DETAIL_POOL_HPP

#include "contrail/detail/process.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline chunk_state state_of(uint64_t word) { return static_cast<chunk_state>(word & 3); }
inline uint64_t ticket_of(uint64_t word) { return word >> 2; }
inline uint64_t extent_bytes(uint64_t extent) { return extent & 0xffff'ffff; }
inline uint64_t extent_records(uint64_t extent) { return extent >> 32; }
inline uint64_t state_word(uint64_t ticket, chunk_state state) { return ticket << 2 | static_cast<uint64_t>(state); }

inline slot_state state_of(const thread_slot& slot) { return static_cast<slot_state>(slot.state.load_acquire() & 0xff); }
inline uint64_t generation_of(const thread_slot& slot) { return slot.state.load_acquire() >> 8; }

inline uint32_t tid_of(const thread_slot& slot) { return static_cast<uint32_t>(slot.tid_index.load_relaxed()); }
inline uint64_t index_of(const thread_slot& slot) { return slot.tid_index.load_relaxed() >> 32; }

/// The lane that wrote a chunk, or null if its header makes no sense (it may be changing).
inline lane* lane_of(const image_view& image, const chunk& written) {
  const uint64_t index = written.writer.load_relaxed() & 0xffff'ffff;
  const uint64_t lane_index = written.tid_lane.load_relaxed() >> 32;
  if (index >= image.slot_count || lane_index >= lane_count) return nullptr;
  return &image.slots[index].lanes[lane_index];
}

/// Whether a sealed chunk is the newest history of a live thread, which a noisy thread must not take from a quiet one.
/// What it reads may be recycled meanwhile; then the caller's compare-exchange fails.
inline bool is_floored(const image_view& image, const chunk& candidate) {
  const lane* writer = lane_of(image, candidate);
  if (writer == nullptr) return false;
  const uint64_t identity = candidate.writer.load_relaxed();
  const thread_slot& slot = image.slots[identity & 0xffff'ffff];
  if (state_of(slot) != slot_state::live || generation_of(slot) != identity >> 32) return false;
  const uint64_t words = (extent_bytes(candidate.extent.load_relaxed()) - chunk_header_bytes) / 8;
  return candidate.words_before.load_relaxed() + words == writer->words_before.load_relaxed();
}

/// Remembers up to when history is gone.
inline void note_overwritten(superblock& super, uint64_t ticks) {
  uint64_t newest = super.overwritten_ticks.load_relaxed();
  while (newest < ticks && !super.overwritten_ticks.compare_exchange(newest, ticks)) {
  }
}

/// Takes a chunk, the oldest that may be had, and opens it with its ticket; null when there is none.
/// `header` is called between, to write the chunk's header. `taking` tells the ticket before the chunk has it: should a
/// jump or the thread's end leave a chunk half taken, return_chunk finds it there.
template <class WriteHeader>
inline chunk* take_chunk(image_view& image, bool keep_floor, atomic_word& taking, WriteHeader&& header) {
  superblock& super = *image.super;
  for (uint64_t tries = 0; tries < image.chunk_count; ++tries) {
    // Relaxed: the ticket only has to be unique; the state word orders everything else.
    const uint64_t ticket = super.next_ticket.fetch_add_relaxed(1);
    const uint64_t index = ticket % image.chunk_count;
    atomic_word& state = image.chunk_states[index];
    chunk& candidate = image.chunks[index];
    // Acquire pairs with the release in seal_chunk: its records are written before ours replace them.
    uint64_t found = state.load_acquire();
    if (state_of(found) == chunk_state::open || state_of(found) == chunk_state::taking) continue;
    // A thread that was preempted here for a whole round would otherwise put an old ticket over a newer one.
    if (ticket_of(found) >= ticket) continue;
    if (keep_floor && state_of(found) == chunk_state::sealed && is_floored(image, candidate)) continue;
    // Acquire, after the state: a session that began before this chunk was sealed is seen.
    const uint64_t watched = state_of(found) == chunk_state::sealed ? image.watch.load_acquire() : 0;
    const recycling_watch* const watch = reinterpret_cast<const recycling_watch*>(watched);
    if (watch != nullptr && watch->is_held_back(image, index, ticket_of(found))) continue;
    taking.store_relaxed(ticket);
    // Before the exchange, so that nothing can come in between: too much said is better than too little.
    if (state_of(found) == chunk_state::sealed) note_overwritten(super, candidate.sealed_ticks.load_relaxed());
    if (!state.compare_exchange(found, state_word(ticket, chunk_state::taking))) continue;
    // A reader that sees any word of the new header also sees TAKING or later when it re-reads the state, behind its
    // acquire fence: this fence pairs with that one.
    __atomic_thread_fence(__ATOMIC_RELEASE);
    candidate.ticket.store_relaxed(0);
    if (watch != nullptr) watch->count(image, index, ticket_of(found));
    header(candidate);
    candidate.extent.store_relaxed(0);
    candidate.sealed_ticks.store_relaxed(0);
    candidate.ticket.store_release(ticket);
    state.store_release(state_word(ticket, chunk_state::open));
    return &candidate;
  }
  return nullptr;
}

/// Gives back a chunk that was taken and is no lane's, because a jump or its thread's end came in between.
inline void return_chunk(image_view& image, atomic_word& taking) {
  const uint64_t ticket = taking.load_relaxed();
  if (ticket == 0) return;
  atomic_word& state = image.chunk_states[ticket % image.chunk_count];
  const uint64_t found = state.load_relaxed();
  // Nobody else has this ticket. Sealed, the chunk did become the lane's.
  if (found == state_word(ticket, chunk_state::taking) || found == state_word(ticket, chunk_state::open)) {
    state.store_release(state_word(ticket, chunk_state::free));
  }
  taking.store_relaxed(0);
}

/// Ends a chunk that this thread owns (or whose owner is dead): its extent is final and it may be recycled.
inline void seal_chunk(image_view& image, chunk& done, uint64_t end_bytes, uint64_t records, uint64_t ticks) {
  const uint64_t index = static_cast<uint64_t>(&done - image.chunks);
  done.sealed_ticks.store_relaxed(ticks);
  done.extent.store_release(end_bytes | records << 32);
  image.chunk_states[index].store_release(state_word(done.ticket.load_relaxed(), chunk_state::sealed));
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
