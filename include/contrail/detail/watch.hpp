// SPDX-License-Identifier: MIT
// What triggers see: the recorder's memory, read beside its writers as a dump reads it. Each look takes in the open
// regions of all threads, and of what was recorded since the look before that which a condition may concern.
#ifndef CONTRAIL_DETAIL_WATCH_HPP
#define CONTRAIL_DETAIL_WATCH_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED
#include "contrail/detail/session_claim.hpp"
#include "contrail/detail/session_copy.hpp"
#include "contrail/detail/watch_conditions.hpp"
#include "contrail/detail/zeroed_array.hpp"

#include <stdio.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Whether a chunk stands among those that may have more to come, and whether it has.
enum class chunk_progress : uint8_t { none, unread, read };

/// Looks at the recorder for conditions that hold.
class CONTRAIL_DETAIL_HIDDEN watch {
 public:
  watch_conditions conditions;
  uint64_t fired = 0;  ///< how often any of them held

  watch() = default;
  ~watch() { leave(); }
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;

  /// Records that were overwritten before a look at them. Exact: who recycles a chunk counts them.
  uint64_t missed() const {
    return missed_before_ + (marks_ == nullptr ? 0 : marks_->lost.load_acquire() & lost_mask);
  }
  /// Ends the looking, so that nobody counts any more.
  void leave() {
    if (marks_ == nullptr) return;
    missed_before_ = missed();
    marks_->in_use.store_release(0);
    marks_ = nullptr;
    image_ = nullptr;
  }

  /// What happened since the look before. True when a condition holds that did not before; the first is noted. The
  /// first look at a recording begins here and now.
  bool look(process_state& process, trigger_note& note) {
    const uint64_t before = fired;
    note_ = &note;
    note.ticks = 0;
    now_ = now_ticks(process);
    for (unsigned i = 0; i < conditions.count; ++i) {
      condition& each = conditions.items[i];
      if (each.kind != condition_kind::predicate) continue;
      const bool holds = each.holds(each.context);
      if (holds && !each.held) fire(now_, "%.80s holds", each.names);
      each.held = holds;
    }
    if (process.recording.load_acquire() != 0 && begin(process)) {
      // Stacks first, as in a dump: a region that ends in between is a record.
      const uint64_t slots = used_slots();
      for (uint64_t i = 0; i < slots; ++i) look_at_stacks(image_->slots[i], slots_[i]);
      look_at_chunks();
      for (uint64_t i = 0; i < slots; ++i) look_for_stall(image_->slots[i], slots_[i]);
    }
    return fired != before;
  }

 private:
  struct reported_region {
    uint64_t start, id;
  };
  /// What is known of a thread.
  struct thread_progress {
    uint64_t generation;
    uint64_t last_end;   ///< of its newest region
    uint64_t outermost;  ///< start of the oldest region that is open; 0: none
    uint64_t innermost;  ///< start of the newest one
    uint64_t innermost_id;
    uint64_t stalled;             ///< since when it was quiet as that was reported
    reported_region reported[8];  ///< that were over their budgets while they were open
    unsigned next_reported;
    unsigned idle_looks;  ///< in a row that found nothing open, and read of nothing that ended
    uint64_t idle_since;  ///< last_end, then
    bool has_ended;       ///< and left nothing open: its slot may be used for long, but not by it
  };

  /// Goes on in the recording that runs. False when there is no memory.
  bool begin(process_state& process) {
    image_view* const image = current_image(process);
    const uint64_t start = process.start_ticks.load_relaxed();
    if (image != image_ || start != start_) {
      leave();
      if (!epoch_bases_.make(image->chunk_count) || !slots_.make(image->slot_count) || !over_.make(overflow_id + 1) ||
          !unread_.make(image->chunk_count) || !progress_.make(image->chunk_count) || !conditions.begin(*image)) {
        return false;
      }
      unread_count_ = 0;
      next_ticket_ = image->chunk_count;  // an image's first
      const control_lock lock(process);
      const bool goes_on = process.recording.load_acquire() != 0 && current_image(process) == image &&
                           process.start_ticks.load_relaxed() == start;
      marks_ = goes_on ? claim_marks(*image) : nullptr;
      if (marks_ == nullptr) return false;
      conditions.set_clock(process.tick_hz.load_relaxed());
      marks_->least_ticks.store_relaxed(conditions.least_that_matters());
      begin_marks(process, *image, *marks_, false);
      since_ = now_ticks(process);  // who ends a region after this has seen the marks
      image_ = image;
      start_ = start;
    }
    return true;
  }

  __attribute__((format(printf, 3, 4))) void fire(uint64_t ticks, const char* format, ...) {
    ++fired;
    if (note_->ticks != 0) return;
    note_->ticks = ticks == 0 ? 1 : ticks;
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    vsnprintf(note_->text, sizeof note_->text, format, arguments);
    __builtin_va_end(arguments);
  }

  void look_at_stacks(const thread_slot& slot, thread_progress& thread) {
    const uint64_t state = slot.state.load_acquire();
    if (thread.has_ended && thread.generation == state >> 8) return;
    if (thread.generation != state >> 8) {
      // What was reported stays: a record of the thread before may not have been seen yet.
      thread.generation = state >> 8;
      thread.last_end = thread.outermost = thread.stalled = thread.idle_since = 0;
      thread.idle_looks = 0;
      thread.has_ended = false;
    }
    const bool asks = asks_whether_alive(thread);
    thread.outermost = thread.innermost = 0;
    if (phase_of(state) != slot_state::live) return;
    // Before its regions are looked at, so that it cannot begin another one.
    const bool is_gone = asks && !is_thread_alive(tid_of(slot));
    constexpr unsigned most_free = 16;  // frames between regions, as those leave that end on other threads
    for (unsigned k = 0; k < lane_count; ++k) {
      unsigned free_frames = 0;
      for (unsigned i = 0; i < lane_depth[k] && free_frames < most_free; ++i) {
        const frame& at = slot.frames[first_frame[k] + i];
        const uint64_t start = at.start_ticks.load_acquire();
        ++free_frames;
        if (!is_region(start)) continue;
        const uint64_t word = at.word.load_acquire();
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (at.start_ticks.load_relaxed() != start || (start << duration_shift) - word > site_word_mask) continue;
        free_frames = 0;
        look_at_open_region(slot, thread, start, id_of_site_word((start << duration_shift) - word));
      }
    }
    thread.has_ended = is_gone && thread.outermost == 0;
  }

  /// A thread's slot stays until somebody needs it: many of those in use may belong to threads that ended. Those that
  /// are idle are asked for ever less often, but from time to time: of a thread whose records are not read, nothing
  /// tells that it is busy.
  static bool asks_whether_alive(thread_progress& thread) {
    const bool is_idle = thread.outermost == 0 && thread.last_end == thread.idle_since;
    thread.idle_since = thread.last_end;
    thread.idle_looks = is_idle ? thread.idle_looks + 1 : 0;
    constexpr unsigned longest = 64;
    return is_idle && ((thread.idle_looks & (thread.idle_looks - 1)) == 0 || thread.idle_looks % longest == 0);
  }

  void look_at_open_region(const thread_slot& slot, thread_progress& thread, uint64_t start, uint64_t id) {
    if (thread.outermost == 0 || start < thread.outermost) thread.outermost = start;
    if (start >= thread.innermost) {
      thread.innermost = start;
      thread.innermost_id = id;
    }
    if (start < start_ || start > now_) return;
    const unsigned limit = conditions.over_limit(id, now_ - start);
    if (limit == conditions.count || is_reported(thread, start, id)) return;
    thread.reported[thread.next_reported++ % 8] = {start, id};
    fire_latency(now_, id, conditions.ns_of(now_ - start), limit, tid_of(slot), "is open for");
  }

  static bool is_reported(const thread_progress& thread, uint64_t start, uint64_t id) {
    for (const reported_region& each : thread.reported) {
      if (each.start == start && each.id == id) return true;
    }
    return false;
  }

  /// A region that another thread ended was open on the one that began it, whose slot the record does not tell.
  bool is_reported_of_any(const seen_record& record) {
    for (uint64_t i = 0; i < image_->slot_count; ++i) {
      if (is_reported(slots_[i], record.start, record.id)) return true;
    }
    return false;
  }

  void fire_latency(uint64_t ticks, uint64_t id, uint64_t ns, unsigned limit, uint32_t tid, const char* did) {
    const text name = name_of(*binding_of(*image_, id));
    char took[32], budget[32];
    fire(ticks, "%.*s %s %s on thread %u, more than %s", static_cast<int>(name.size < 48 ? name.size : 48), name.data,
         did, brief_time(took, ns), tid, brief_time(budget, conditions.items[limit].limit_ns));
  }

  /// The slots that threads have had so far: the first ones, since each takes the first that is free.
  uint64_t used_slots() const {
    constexpr unsigned most_unused = 16;  // that others are about to take
    unsigned unused = 0;
    uint64_t i = 0;
    for (; i < image_->slot_count && unused < most_unused; ++i) {
      unused = generation_of(image_->slots[i]) == 0 ? unused + 1 : 0;
    }
    return i;
  }

  /// Looks at the chunks that had more to come at the look before, and at those that were taken since then, in the
  /// order in which they were taken. An image has thousands, and to look at each would drive the program's data out of
  /// the caches.
  void look_at_chunks() {
    const uint64_t next = image_->super->next_ticket.load_acquire();
    const uint64_t first = next - next_ticket_ > image_->chunk_count ? next - image_->chunk_count : next_ticket_;
    next_ticket_ = next;
    const uint64_t older = unread_count_;
    for (uint64_t i = 0; i < older; ++i) {
      const bool is_older = ticket_of(image_->chunk_states[unread_[i]].load_relaxed()) < first;
      if (is_older && look_at_chunk(unread_[i])) progress_[unread_[i]] = chunk_progress::read;
    }
    for (uint64_t ticket = first; ticket < next; ++ticket) {
      const uint64_t index = ticket % image_->chunk_count;
      if (progress_[index] == chunk_progress::none) unread_[unread_count_++] = static_cast<uint32_t>(index);
      progress_[index] = look_at_chunk(index) ? chunk_progress::read : chunk_progress::unread;
    }
    uint64_t left = 0;
    for (uint64_t i = 0; i < unread_count_; ++i) {
      chunk_progress& progress = progress_[unread_[i]];
      if (progress == chunk_progress::unread) unread_[left++] = unread_[i];
      else progress = chunk_progress::none;
    }
    unread_count_ = left;
  }

  /// Of those that were given out for a chunk.
  uint64_t newest_ticket(uint64_t index) const {
    const uint64_t last = next_ticket_ - 1;
    return last - (last - index) % image_->chunk_count;
  }

  /// Reads what a chunk holds more than at the look before. True when nothing can follow before its next ticket.
  bool look_at_chunk(uint64_t index) {
    const uint64_t state = image_->chunk_states[index].load_acquire();
    const uint64_t ticket = ticket_of(state);
    // Who has the newest ticket may be about to take the chunk, or has found that it is not to be had.
    const bool is_newest = ticket >= newest_ticket(index);
    if (state_of(state) == chunk_state::free) return is_newest;
    const chunk& live = image_->chunks[index];
    if (!marks_->matters(*image_, index, ticket)) {
      return is_newest && (state_of(state) == chunk_state::sealed ||
                           (state_of(state) == chunk_state::open && has_ended(live)));
    }
    const chunk_piece piece = copy_piece(piece_, *image_, index, *marks_, true);
    if (piece.bytes != 0) read_piece(index, piece);
    if (!is_newest) return false;
    if (state_of(state) == chunk_state::open) return piece.bytes == 0 && has_ended(live);
    const bool is_copied = marked_words((*marks_)[index].load_relaxed(), ticket) == all_copied;
    return state_of(state) == chunk_state::sealed && (is_copied || live.sealed_ticks.load_relaxed() < since_);
  }

  /// Whether the thread that wrote a chunk was found to have ended.
  bool has_ended(const chunk& written) {
    const uint64_t writer = written.writer.load_relaxed();
    const uint64_t slot = writer & 0xffff'ffff;
    return slot < image_->slot_count && slots_[slot].has_ended && slots_[slot].generation == writer >> 32;
  }

  void read_piece(uint64_t index, const chunk_piece& piece) {
    const chunk& part = *reinterpret_cast<const chunk*>(piece_ + sizeof(stream_block));
    if (piece.is_first) epoch_bases_[index] = part.epoch_base.value;
    const uint64_t slot_index = part.writer.value & 0xffff'ffff;
    if (slot_index >= image_->slot_count) return;
    thread_progress& thread = slots_[slot_index];
    const bool is_current = thread.generation == part.writer.value >> 32;
    const uint32_t tid = static_cast<uint32_t>(part.tid_lane.value);
    const atomic_word* const end = part.words + (piece.bytes - sizeof(stream_block) - chunk_header_bytes) / 8;
    read_records(part.words, end, epoch_bases_[index], [&](const seen_record& record) {
      if (record.end < since_) return;
      if (!record.is_region) return look_at_counter(record);
      if (is_current && record.end > thread.last_end) thread.last_end = record.end;
      const uint64_t took = record.end - record.start;
      const unsigned limit = conditions.over_limit(record.id, took);
      if (limit == conditions.count) return;
      if (record.is_async ? !is_reported_of_any(record) : !is_reported(thread, record.start, record.id)) {
        fire_latency(record.end, record.id, conditions.ns_of(took), limit, tid, "took");
      }
    });
  }

  void look_at_counter(const seen_record& record) {
    const unsigned meant = conditions.of(record.id);
    if (meant == 0) return;
    const binding& entry = *binding_of(*image_, record.id);
    double value = 0;
    if (!number_of(entry, record, value)) return;
    for (unsigned i = 0; meant >> i != 0; ++i) {
      if ((meant >> i & 1) == 0 || conditions.items[i].kind != condition_kind::counter) continue;
      const bool was_over = (over_[record.id] >> i & 1) != 0;
      const bool is_over = value > conditions.items[i].limit;
      if (is_over && !was_over) {
        const text name = name_of(entry);
        fire(record.end, "%.*s is %.10g, over %.10g", static_cast<int>(name.size < 60 ? name.size : 60), name.data,
             value, conditions.items[i].limit);
      }
      over_[record.id] = static_cast<uint16_t>((over_[record.id] & ~(1U << i)) | (is_over ? 1U << i : 0));
    }
  }

  void look_for_stall(const thread_slot& slot, thread_progress& thread) {
    if (thread.outermost == 0) return;
    uint64_t quiet_since = thread.last_end > thread.outermost ? thread.last_end : thread.outermost;
    if (quiet_since < since_) quiet_since = since_;  // what ended before is not known
    if (quiet_since == thread.stalled || quiet_since >= now_) return;
    const uint64_t quiet = conditions.ns_of(now_ - quiet_since);
    const unsigned meant = conditions.of(thread.innermost_id);
    for (unsigned i = 0; meant >> i != 0; ++i) {
      const bool is_stall = (meant >> i & 1) != 0 && conditions.items[i].kind == condition_kind::stall;
      if (!is_stall || quiet <= conditions.items[i].limit_ns) continue;
      thread.stalled = quiet_since;
      const text name = name_of(*binding_of(*image_, thread.innermost_id));
      char time[32];
      fire(now_, "thread %u ended no region for %s, in %.*s", tid_of(slot), brief_time(time, quiet),
           static_cast<int>(name.size < 48 ? name.size : 48), name.data);
      return;
    }
  }

  image_view* image_ = nullptr;
  session_marks* marks_ = nullptr;
  uint64_t missed_before_ = 0;  ///< in recordings that ended
  uint64_t start_ = 0, since_ = 0, now_ = 0;
  uint64_t next_ticket_ = 0;  ///< the first that no look has seen
  uint64_t unread_count_ = 0;
  zeroed_array<uint32_t> unread_;  ///< chunks that may have more to come, each once
  zeroed_array<chunk_progress> progress_;
  zeroed_array<uint64_t> epoch_bases_;  ///< by chunk, of the record that comes next
  zeroed_array<thread_progress> slots_;
  zeroed_array<uint16_t> over_;  ///< by id, the counters' conditions that hold
  trigger_note* note_ = nullptr;
  alignas(8) char piece_[longest_piece_bytes];
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
