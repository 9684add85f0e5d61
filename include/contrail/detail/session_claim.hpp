// SPDX-License-Identifier: MIT
// Marks for whoever reads all that is recorded, and must know what was overwritten before: a session, or a trigger.
#ifndef CONTRAIL_DETAIL_SESSION_CLAIM_HPP
#define CONTRAIL_DETAIL_SESSION_CLAIM_HPP

#include "contrail/detail/session_marks.hpp"

#include <sys/mman.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Marks in this image: those that somebody had before, or new ones; null when the system has no memory. Held: control.
/// Who calls this has pinned the object that count_recycled is in.
inline session_marks* claim_marks(image_view& image) {
  session_marks* found = first_session(image);
  while (found != nullptr && found->in_use.load_acquire() != 0) found = found->next;
  if (found == nullptr) {
    const uint64_t bytes = sizeof(session_marks) + 2 * image.chunk_count * sizeof(atomic_word);
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    found = static_cast<session_marks*>(memory);
    found->next = first_session(image);
    image.sessions.store_release(reinterpret_cast<uint64_t>(found));
    // For good: whoever takes a chunk may be about to call these. The object that has them stays loaded.
    if (image.watch.load_relaxed() == 0) image.watch.store_release(reinterpret_cast<uint64_t>(&the_recycling_watch));
  }
  // What those before wrote. The second half is touched only if a trigger had it: else it needs no memory.
  const uint64_t count = found->least_ticks.load_relaxed() == 0 ? image.chunk_count : 2 * image.chunk_count;
  for (uint64_t i = 0; i < count; ++i) (*found)[i].store_relaxed(0);
  found->least_ticks.store_relaxed(0);
  return found;
}

/// Lets the marks count from now on; when that is, in ticks. A chunk that is sealed after that moment and recycled
/// before the moment is known would be counted by nobody: so no ticket may be drawn in between.
inline uint64_t begin_marks(const process_state& process, const image_view& image, session_marks& marks,
                            bool is_blocking) {
  marks.is_blocking.store_relaxed(is_blocking);
  marks.lost_chunks.store_relaxed(0);
  uint64_t begin = 0;
  for (int tries = 0; tries < 100; ++tries) {
    const uint64_t ticket = image.super->next_ticket.load_acquire();
    begin = now_ticks(process);
    marks.begin_ticks.store_relaxed(begin);
    marks.lost.store_relaxed(((marks.lost.load_relaxed() >> lost_bits) + 1) << lost_bits);
    marks.in_use.store_release(1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);  // all that is known before the second look
    if (image.super->next_ticket.load_acquire() == ticket) break;
  }
  return begin;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
