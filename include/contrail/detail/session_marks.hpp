// SPDX-License-Identifier: MIT
// What a session has copied of each chunk, or a trigger looked at, for whoever recycles one. Losses are counted where
// they arise, each record once, and a session can keep writers from overwriting what it has not copied. Nobody waits.
// And which chunks hold a region that a trigger may want to know of, so that it need not read the others.
//
// A mark is ticket << 20 | words copied << 10 | records copied. The session moves it on by compare-exchange when it has
// a valid copy, the recycler when it has the chunk; whoever comes second learns of the first. So a record is either
// copied or counted as lost.
#ifndef CONTRAIL_DETAIL_SESSION_MARKS_HPP
#define CONTRAIL_DETAIL_SESSION_MARKS_HPP

#include "contrail/detail/pool.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Followed by a mark for each chunk of its image, and then by the ticket of each in which a long region was recorded.
/// It stays in the image's list, and mapped, since a recycler may be in it; a later session of the image takes it over.
struct session_marks {
  session_marks* next;
  atomic_word in_use;       ///< 1: a session has it
  atomic_word is_blocking;  ///< 1: writers drop records rather than overwrite what was not copied
  atomic_word begin_ticks;  ///< chunks that were sealed before are no part of the session
  atomic_word lost;         ///< records in the low 40 bits; above, the number of the session
  atomic_word lost_chunks;
  atomic_word least_ticks;  ///< of a trigger, above 0: only chunks matter that hold a region as long, an epoch at least

  atomic_word& operator[](uint64_t chunk_index) { return reinterpret_cast<atomic_word*>(this + 1)[chunk_index]; }
  atomic_word& long_region_in(const image_view& image, uint64_t chunk_index) {
    return (*this)[image.chunk_count + chunk_index];
  }
  /// Whether a chunk holds anything that matters. Of an open one the answer may become true.
  bool matters(const image_view& image, uint64_t chunk_index, uint64_t ticket) {
    return least_ticks.load_relaxed() == 0 || long_region_in(image, chunk_index).load_relaxed() == ticket;
  }
};

inline constexpr uint64_t lost_bits = 40;
inline constexpr uint64_t lost_mask = (1ULL << lost_bits) - 1;

inline constexpr uint64_t all_copied = 1023;  ///< in place of the words copied: nothing more will be
inline constexpr uint64_t mark_word(uint64_t ticket, uint64_t words, uint64_t records) {
  return ticket << 20 | words << 10 | records;
}
inline constexpr bool is_marked(uint64_t mark, uint64_t ticket) { return mark >> 20 == ticket; }
inline constexpr uint64_t marked_words(uint64_t mark, uint64_t ticket) {
  return is_marked(mark, ticket) ? mark >> 10 & 1023 : 0;
}
inline constexpr uint64_t marked_records(uint64_t mark, uint64_t ticket) {
  return is_marked(mark, ticket) ? mark & 1023 : 0;
}

inline session_marks* first_session(const image_view& image) {
  return reinterpret_cast<session_marks*>(image.sessions.load_acquire());
}

/// Of the words of a chunk, from the first one to `end`, the records that had ended before `ticks`. A chunk that was
/// open when a session began has some; they are no part of it. Records stand in the order in which they ended.
inline uint64_t records_ended_before(uint64_t epoch_base, const atomic_word* at, const atomic_word* end, uint64_t ticks) {
  uint64_t records = 0;
  uint64_t base = epoch_base;
  while (base < ticks && at < end) {
    const uint64_t word = at->load_relaxed();
    const auto tag = static_cast<record_tag>(word & 3);
    const auto form = long_form_of(word);
    uint64_t words = 0;
    uint64_t ended = base + (word >> end_time_shift);
    if (tag == record_tag::point) words = word >> duration_shift & 0xff;
    if (tag == record_tag::region_payload) words = word >> id_shift & 0xf;
    bool is_record = true;
    if (tag == record_tag::long_form) {
      is_record = form != long_form::epoch && form != long_form::anchor && form != long_form::current_task;
      if (form == long_form::epoch) base = word & ~(epoch_ticks - 1);
      else words = word >> 6 & 0x3ff;
      const uint64_t end_word = form == long_form::point || form == long_form::span ? 1 : 2;
      if (is_record && words >= end_word) ended = at[end_word].load_relaxed();
    }
    if (is_record && ended >= ticks) break;
    records += is_record;
    at += 1 + words;
  }
  return records;
}

/// Whether any session holds this sealed chunk back.
inline bool is_held_back(const image_view& image, uint64_t index, uint64_t ticket) {
  const uint64_t sealed_ticks = image.chunks[index].sealed_ticks.load_relaxed();
  for (session_marks* session = first_session(image); session != nullptr; session = session->next) {
    if (session->in_use.load_acquire() == 0 || session->is_blocking.load_relaxed() == 0) continue;
    if (sealed_ticks < session->begin_ticks.load_relaxed()) continue;
    if (marked_words((*session)[index].load_relaxed(), ticket) != all_copied) return true;
  }
  return false;
}

/// Tells all sessions that a sealed chunk is gone. The caller has taken it, and not touched what it holds.
inline void count_recycled(const image_view& image, uint64_t index, uint64_t ticket) {
  const uint64_t sealed_ticks = image.chunks[index].sealed_ticks.load_relaxed();
  const uint64_t records = extent_records(image.chunks[index].extent.load_relaxed());
  for (session_marks* session = first_session(image); session != nullptr; session = session->next) {
    if (session->in_use.load_acquire() == 0) continue;
    uint64_t total = session->lost.load_acquire();  // before the moment it began: a later session's is another number
    if (sealed_ticks < session->begin_ticks.load_relaxed() || !session->matters(image, index, ticket)) continue;
    atomic_word& mark = (*session)[index];
    uint64_t found = mark.load_relaxed();
    while (!mark.compare_exchange(found, mark_word(ticket, all_copied, 0))) {
    }
    uint64_t known = marked_records(found, ticket);
    if (marked_words(found, ticket) == 0) {
      const chunk& gone = image.chunks[index];
      const atomic_word* const end = gone.words + (extent_bytes(gone.extent.load_relaxed()) - chunk_header_bytes) / 8;
      known = records_ended_before(gone.epoch_base.load_relaxed(), gone.words, end, session->begin_ticks.load_relaxed());
    }
    if (marked_words(found, ticket) == all_copied || records <= known) continue;
    const uint64_t lost = records - known;
    const uint64_t number = total >> lost_bits;
    while (total >> lost_bits == number && !session->lost.compare_exchange(total, total + lost)) {
    }
    if (total >> lost_bits == number) session->lost_chunks.fetch_add_relaxed(1);
  }
}

/// Tells those whom it concerns of a region that took a time epoch or more. Its record is published after that, in this
/// chunk, which is the caller's.
inline void note_long_region(const image_view& image, uint64_t index, uint64_t ticks) {
  for (session_marks* session = first_session(image); session != nullptr; session = session->next) {
    const uint64_t least = session->in_use.load_acquire() == 0 ? 0 : session->least_ticks.load_relaxed();
    if (least == 0 || ticks < least) continue;
    session->long_region_in(image, index).store_relaxed(image.chunks[index].ticket.load_relaxed());
  }
}

CONTRAIL_DETAIL_HIDDEN inline constexpr recycling_watch the_recycling_watch{&is_held_back, &count_recycled,
                                                                            &note_long_region};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
