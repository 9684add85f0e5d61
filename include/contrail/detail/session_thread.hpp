// SPDX-License-Identifier: MIT
// A session's thread: it looks at the table of chunk states again and again and writes what is new. It runs beside all
// others and is waited for only by session::stop.
//
// Order within a look: open regions and spans, chunks, then the bindings that were made until then, which stand before
// all of them in the stream: so every id resolves wherever the stream ends, and what ends in between is in both.
#ifndef CONTRAIL_DETAIL_SESSION_THREAD_HPP
#define CONTRAIL_DETAIL_SESSION_THREAD_HPP

#include "contrail/detail/session_copy.hpp"
#include "contrail/detail/session_sink.hpp"
#include "contrail/detail/storage.hpp"

#include <pthread.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr size_t session_buffer_bytes = 1U << 20;
inline constexpr size_t most_buffered_blocks = 4096;

/// Where a block of the buffer ends, and what would be lost with it.
struct buffered_block {
  uint32_t end;
  uint32_t records;
};

/// A running session, in memory of its own. Only its thread writes it, but for what stop and start say.
struct session_state {
  process_state* process;
  image_view* image;
  session_marks* marks;
  uint64_t recording;  ///< the number of the one that it streams
  uint64_t dropped_before;
  uint64_t interval_ns, look_ns;
  int pid;
  stream_sink sink;
  char path[longest_path_bytes];  ///< or what the descriptor is called in messages

  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  bool stop_wanted;     ///< under the mutex
  atomic_word is_done;  ///< 1: the thread has written the end, or failed to
  stream_cause cause;
  atomic_word chunks;        ///< of which the stream has a part
  atomic_word unwritten;     ///< records that were copied and could not be written
  atomic_word has_left;      ///< 1: the marks are no longer its own, and the next three tell
  atomic_word lost_at_end, dropped_at_end;
  uint64_t lost_chunks_at_end;

  uint64_t bindings_done;    ///< all ids below are in the stream
  bool overflow_done;
  uint64_t memory_bytes;     ///< of all this
  uint8_t* is_bound;         ///< by id: it is in the stream
  uint64_t* slot_hashes;     ///< by slot: of its last block
  uint64_t* spans;           ///< by entry: the generation that the stream shows as open; 0: none
  thread_slot* slot_work;    ///< also where pieces go that will not be written
  buffered_block* blocks;
  size_t block_count;
  char* buffer;
  size_t used;
  bool is_buffer_begun;  ///< it is being written, or that failed
  atomic_word dropped[8];  ///< as in the superblock, at the last look
};

// ---- writing ---------------------------------------------------------------------------------------------------

/// What its recording has dropped for this reason. A recorder that was started again in the same image counts anew:
/// then what it was at the last look.
inline uint64_t dropped_until_now(const session_state& session, unsigned reason) {
  const uint64_t now = session.image->super->dropped[reason].load_acquire();
  const uint64_t known = session.dropped[reason].load_relaxed();
  const bool is_its_own = session.process->recordings.load_relaxed() == session.recording;
  return is_its_own && now > known ? now : known;
}

/// Records that were recycled before they were copied.
inline uint64_t recycled_records(const session_state& session) {
  const uint64_t now = session.marks->lost.load_acquire() & lost_mask;
  return session.has_left.load_acquire() != 0 ? session.lost_at_end.load_relaxed() : now;
}

inline uint64_t lost_records(const session_state& session) {
  return recycled_records(session) + session.unwritten.load_relaxed();
}

inline uint64_t dropped_records(const session_state& session) {
  uint64_t now = 0;
  for (unsigned i = 0; i < 8; ++i) now += dropped_until_now(session, i);
  return session.has_left.load_acquire() != 0 ? session.dropped_at_end.load_relaxed() : now - session.dropped_before;
}

/// Nothing is counted any more, and writers need not spare chunks. The marks may be another session's from here on.
inline void leave_marks(session_state& session) {
  if (session.has_left.load_relaxed() != 0) return;
  session.lost_at_end.store_relaxed(recycled_records(session));
  session.lost_chunks_at_end = session.marks->lost_chunks.load_relaxed();
  session.dropped_at_end.store_relaxed(dropped_records(session));
  session.has_left.store_release(1);
  session.marks->in_use.store_release(0);
  session.image->session_count.fetch_add_relaxed(~uint64_t{0});
}

struct state_block {
  stream_block head;
  stream_state state;
};
static_assert(sizeof(state_block) == sizeof(stream_block) + sizeof(stream_state));

inline state_block make_state(const session_state& session, block_type type) {
  const superblock& super = *session.image->super;
  state_block made{};
  made.head = {type, 0, sizeof made.state};
  made.state.anchor = take_anchor(*session.process);
  made.state.next_ticket = super.next_ticket.load_relaxed();
  made.state.attached = super.attached.load_relaxed();
  made.state.attached_slots = super.attached_slots.load_relaxed();
  for (unsigned i = 0; i < 8; ++i) made.state.dropped[i] = dropped_until_now(session, i);
  made.state.lost_records = lost_records(session);
  const bool has_left = session.has_left.load_relaxed() != 0;
  made.state.lost_chunks = has_left ? session.lost_chunks_at_end : session.marks->lost_chunks.load_relaxed();
  made.state.chunks = session.chunks.load_relaxed();
  made.state.cause = session.cause;
  made.state.error_number = session.sink.error();
  return made;
}

inline bool write_binding(session_state& session, const binding& entry) {
  const stream_block head{block_type::binding, 0, entry.bytes};
  return session.sink.put(&head, sizeof head, &entry, entry.bytes);
}

/// Writes the bindings made since the last time. An id is taken before its entry is there, so there may be gaps for a
/// while.
inline bool write_bindings(session_state& session) {
  const image_view& image = *session.image;
  if (!session.overflow_done) {
    if (!write_binding(session, *binding_of(image, overflow_id))) return false;
    session.overflow_done = true;
  }
  // Acquire, as in dumps: an id that a copied chunk carries was published before the record was.
  const uint64_t next_id = image.super->next_id.load_acquire();
  for (uint64_t id = session.bindings_done; id < next_id && id <= image.id_count; ++id) {
    const binding* const entry = session.is_bound[id] != 0 ? nullptr : binding_of(image, id);
    if (entry != nullptr) {
      if (!write_binding(session, *entry)) return false;
      session.is_bound[id] = 1;
    }
    if (session.is_bound[id] != 0 && id == session.bindings_done) ++session.bindings_done;
  }
  return true;
}

/// Writes what the buffer holds, behind the bindings that it needs.
inline bool write_buffer(session_state& session) {
  if (!write_bindings(session)) return false;
  session.is_buffer_begun = true;
  if (!session.sink.put(session.buffer, session.used)) return false;
  session.is_buffer_begun = false;
  session.used = session.block_count = 0;
  return true;
}

/// After a failed write: counts what did not get into the stream, and ends it there if it can.
inline void give_up(session_state& session) {
  session.cause = stream_cause::failed;
  const size_t taken = session.is_buffer_begun ? session.sink.taken() : 0;
  size_t kept = 0;
  uint64_t unwritten = 0;
  for (size_t i = 0; i < session.block_count; ++i) {
    if (session.blocks[i].end + sizeof(state_block) <= taken) {
      kept = session.blocks[i].end;
    } else {
      unwritten += session.blocks[i].records;
    }
  }
  session.unwritten.store_relaxed(session.unwritten.load_relaxed() + unwritten);
  const state_block end = make_state(session, block_type::end);
  session.sink.end_after_failure(kept, &end, sizeof end);
}

// ---- looking ---------------------------------------------------------------------------------------------------

inline bool make_buffer_room(session_state& session, size_t bytes) {
  if (session.used + bytes <= session_buffer_bytes && session.block_count < most_buffered_blocks) return true;
  return write_buffer(session);
}

inline void add_block(session_state& session, size_t bytes, uint64_t records) {
  session.used += bytes;
  session.blocks[session.block_count++] = {static_cast<uint32_t>(session.used), static_cast<uint32_t>(records)};
}

/// The threads and their open regions, as far as they changed.
inline bool copy_slots(session_state& session) {
  for (uint64_t i = 0; i < session.image->slot_count; ++i) {
    if (!make_buffer_room(session, longest_slot_block_bytes)) return false;
    char* const at = session.buffer + session.used;
    const size_t bytes = copy_slot_block(at, *session.slot_work, session.image->slots[i]);
    if (bytes == 0) continue;
    uint64_t hash = 0xcbf2'9ce4'8422'2325ULL;
    for (size_t k = 0; k < bytes; k += 8) {
      uint64_t word;
      memcpy(&word, at + k, 8);
      hash = (hash ^ word) * 0x100'0000'01b3ULL;
      hash ^= hash >> 32;
    }
    if (hash == session.slot_hashes[i]) continue;
    session.slot_hashes[i] = hash;
    add_block(session, bytes, 0);
  }
  return true;
}

inline constexpr uint64_t ended_span = ~uint64_t{0};

/// Entries that ever held a span: those behind them are untouched memory.
inline uint64_t touched_spans(const image_view& image) {
  const uint64_t taken = image.super->next_span.load_relaxed();
  return taken < image.span_count ? taken : image.span_count;
}

/// The tasks and asynchronous spans that are open, as far as the stream does not show them.
inline bool copy_spans(session_state& session) {
  const image_view& image = *session.image;
  for (uint64_t i = 0; i < touched_spans(image); ++i) {
    const uint64_t state = image.spans[i].state.load_acquire();
    if (!is_begun(state)) {
      if (session.spans[i] != 0) session.spans[i] = ended_span;
      continue;
    }
    if (session.spans[i] == state >> 2) continue;
    if (!make_buffer_room(session, span_block_bytes)) return false;
    const uint64_t generation = copy_span_block(session.buffer + session.used, image, i);
    if (generation == 0) continue;
    session.spans[i] = generation;
    add_block(session, span_block_bytes, 0);
  }
  return true;
}

/// Takes back the spans that had ended before the chunks were copied: their records are in the stream now, or lost.
inline bool end_spans(session_state& session) {
  for (uint64_t i = 0; i < touched_spans(*session.image); ++i) {
    if (session.spans[i] != ended_span) continue;
    if (!make_buffer_room(session, sizeof(stream_block))) return false;
    const stream_block block{block_type::span, static_cast<uint32_t>(i), 0};
    memcpy(session.buffer + session.used, &block, sizeof block);
    add_block(session, sizeof block, 0);
    session.spans[i] = 0;
  }
  return true;
}

/// The chunks, from the one that will be recycled next. How many pieces there were.
inline uint64_t copy_chunks(session_state& session, bool open_too) {
  const image_view& image = *session.image;
  uint64_t pieces = 0;
  const uint64_t hand = image.super->next_ticket.load_relaxed() % image.chunk_count;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    const uint64_t index = hand + i < image.chunk_count ? hand + i : hand + i - image.chunk_count;
    if (!make_buffer_room(session, longest_piece_bytes)) return pieces;
    const chunk_piece made = copy_piece(session.buffer + session.used, image, index, *session.marks, open_too);
    if (made.bytes == 0) continue;
    add_block(session, made.bytes, made.records);
    if (made.is_first) session.chunks.store_relaxed(session.chunks.load_relaxed() + 1);
    ++pieces;
  }
  return pieces;
}

/// After a failed write: what was recorded until now and is not even copied is lost too.
inline void count_uncopied(session_state& session) {
  const image_view& image = *session.image;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    const chunk_piece rest = copy_piece(reinterpret_cast<char*>(session.slot_work), image, i, *session.marks, true);
    session.unwritten.store_relaxed(session.unwritten.load_relaxed() + rest.records);
  }
}

inline void note_drops(session_state& session) {
  for (unsigned i = 0; i < 8; ++i) session.dropped[i].store_relaxed(dropped_until_now(session, i));
}

/// One look; with `all` also at what is not finished: open chunks, open regions and spans, counters.
inline uint64_t look(session_state& session, bool all) {
  note_drops(session);
  if (all && !(copy_slots(session) && copy_spans(session))) return 0;
  const uint64_t pieces = copy_chunks(session, all);
  if (all && !end_spans(session)) return pieces;
  if ((session.used != 0 || all) && write_buffer(session) && all) {
    const state_block state = make_state(session, block_type::state);
    session.sink.put(&state, sizeof state);
  }
  return pieces;
}

/// Waits until the next look; whether stop was called.
inline bool wait_for_look(session_state& session, bool at_once) {
  pthread_mutex_lock(&session.mutex);
  if (!session.stop_wanted && !at_once) {
    timespec until{};
    clock_gettime(CLOCK_MONOTONIC, &until);
    const uint64_t ns = static_cast<uint64_t>(until.tv_nsec) + session.look_ns;
    until.tv_sec += static_cast<time_t>(ns / 1'000'000'000);
    until.tv_nsec = static_cast<long>(ns % 1'000'000'000);
    pthread_cond_timedwait(&session.wake, &session.mutex, &until);
  }
  const bool stop_wanted = session.stop_wanted;
  pthread_mutex_unlock(&session.mutex);
  return stop_wanted;
}

inline bool still_records(const session_state& session) {
  const process_state& process = *session.process;
  return process.recording.load_acquire() != 0 && process.recordings.load_relaxed() == session.recording;
}

/// What the thread runs.
inline void* run_session(void* argument) {
  session_state& session = *static_cast<session_state*>(argument);
  constexpr int set_name = 15;  // PR_SET_NAME
  syscall(SYS_prctl, set_name, "contrail", 0, 0, 0);
  session.sink.put(session.buffer, session.used);  // the superblock, if it is not there yet
  session.used = 0;
  uint64_t next_full = 0;
  for (bool is_busy = true;;) {
    const bool stop_wanted = wait_for_look(session, is_busy);
    const bool is_recording = still_records(session);
    const bool is_last = stop_wanted || !is_recording;
    const uint64_t now = kernel_clock_ns(CLOCK_MONOTONIC);
    const bool is_full = is_last || now >= next_full;
    if (is_full) next_full = now + session.interval_ns;
    const uint64_t pieces = look(session, is_full);
    // Where an eighth of all chunks is new, the next look had better come at once.
    is_busy = !is_full && pieces > session.image->chunk_count / 8;
    if (session.sink.error() != 0) break;
    if (!is_last) continue;
    leave_marks(session);
    session.cause = is_recording ? stream_cause::stopped : stream_cause::recorder;
    const state_block end = make_state(session, block_type::end);
    session.sink.put(&end, sizeof end);
    break;
  }
  if (session.sink.error() != 0) count_uncopied(session);
  leave_marks(session);
  if (session.sink.error() != 0) give_up(session);
  session.sink.finish();
  session.is_done.store_release(1);
  return nullptr;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
