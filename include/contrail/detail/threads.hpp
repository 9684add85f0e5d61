// SPDX-License-Identifier: MIT
// Threads and their slots: attach, liveness, and the slow half of begin that needs them.
#ifndef CONTRAIL_DETAIL_THREADS_HPP
#define CONTRAIL_DETAIL_THREADS_HPP

#include "contrail/detail/binding.hpp"
#include "contrail/detail/filter.hpp"
#include "contrail/detail/lane.hpp"
#include "contrail/detail/ring.hpp"
#include "contrail/detail/safe_writer.hpp"
#include "contrail/detail/signal_frame.hpp"

#include <signal.h>
#include <sys/syscall.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline void count_drop(image_view& image, drop_reason reason) {
  image.super->dropped[static_cast<unsigned>(reason)].fetch_add_relaxed(1);
}

// ---- slots ---------------------------------------------------------------------------------------------------

inline void reset(lane& writer) {
  writer.cursor.store_relaxed(0);
  writer.deadline.store_relaxed(0);
  writer.epoch_base.store_relaxed(0);
  writer.chunk.store_relaxed(0);
  writer.extra_words.store_relaxed(0);
  writer.words_before.store_relaxed(0);
  writer.anchor_ticks.store_relaxed(0);
  writer.dropped.store_relaxed(0);
}

/// A slot and the state word that says whose it is.
struct claimed_slot {
  thread_slot* slot;
  uint64_t state;
};

/// Takes a slot for the running thread, whose next_frame is `before`, and this object. Null when all are in use by live
/// threads, or a handler has attached the thread meanwhile.
inline claimed_slot claim_slot(process_state& process, image_view& image, caller from, const frame* before) {
  const uint64_t now = now_ticks(process);
  if (now < image.no_slot_until.load_relaxed()) return {nullptr, 0};
  // A vfork child would leave its tid in the slot, and the slot would seem dead while its parent uses it.
  if (static_cast<uint32_t>(getpid()) != image.super->pid) return {nullptr, 0};
  const turn_holder self;
  const uint32_t tid = tid_of_holder(self.name());
  const uint64_t object = reinterpret_cast<uint64_t>(from.object);
  // This thread has no slot for this object: one that carries its tid belonged to a thread that ended, or a jump came
  // between its claim and the end of this function.
  for (uint64_t i = 0; i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[i];
    const uint64_t found = slot.state.load_acquire();
    if (phase_of(found) == slot_state::live && tid_of(slot) == tid && slot.owner_object.load_relaxed() == object) {
      if (*from.next_frame != before) return {nullptr, 0};  // or to us, by a handler
      free_slot(process, image, slot, found, self);
    }
  }
  for (uint64_t i = 0; i < 2 * image.slot_count; ++i) {
    thread_slot& slot = image.slots[i % image.slot_count];
    uint64_t found = slot.state.load_acquire();
    // The second round looks for threads that ended without a word. Those that jumped away are looked for at once: this
    // one's half-made claims, and what it was about to free.
    const bool is_half_own = phase_of(found) != slot_state::live && tid_of(slot) == tid;
    const bool may_be_dead =
        i >= image.slot_count || is_half_own || tid_of_holder(slot.occupant.load_relaxed()) == tid;
    if (phase_of(found) != slot_state::free && may_be_dead) {
      if (phase_of(found) != slot_state::live) {
        finish_slot(process, image, slot, self);
      } else if (!is_thread_alive(tid_of(slot))) {
        free_slot(process, image, slot, found, self);
      }
      found = slot.state.load_acquire();
    }
    if (phase_of(found) != slot_state::free || take_turn(slot.occupant, self.name()) == 0) continue;
    if (slot.state.load_acquire() != found) {
      slot.occupant.store_release(0);
      continue;
    }
    const uint64_t generation = (found >> 8) + 1;
    uint64_t claimed = slot_word(generation, slot_state::claimed);
    slot.state.store_relaxed(claimed);
    __atomic_thread_fence(__ATOMIC_RELEASE);  // as in seal_slot
    slot.tid_index.store_relaxed(tid | (i % image.slot_count) << 32);
    slot.owner_object.store_relaxed(object);
    slot.attach_ticks.store_relaxed(now);
    slot.name_version.store_relaxed(0);
    slot.alternate_stack.store_relaxed(0);
    slot.current_task.store_relaxed(0);
    uint64_t name[thread_name_bytes / 8];
    read_system_thread_name(name);
    for (unsigned k = 0; k < thread_name_bytes / 8; ++k) slot.name[k].store_relaxed(name[k]);
    for (unsigned k = 0; k < lane_count; ++k) {
      lane& writer = slot.lanes[k];
      reset(writer);
      slot.recount[k].store_relaxed(0);
      slot.interrupted[k].store_relaxed(0);
      for (frame* at = first_frame_of(slot, k); at != end_frame_of(slot, k); ++at) {
        at->owner = &writer;
        at->start_ticks.store_relaxed(0);
      }
      end_frame_of(slot, k)->start_ticks.store_relaxed(frame_busy);
    }
    image.super->attached_slots.fetch_add_relaxed(1);
    // The turn goes before the slot is live: a handler in between that attaches must be able to free it. Then it does
    // not become live.
    slot.occupant.store_release(0);
    const uint64_t live = slot_word(generation, slot_state::live);
    if (slot.state.compare_exchange(claimed, live)) return {&slot, live};
    if (*from.next_frame != before) return {nullptr, 0};
  }
  image.no_slot_until.store_relaxed(now + process.tick_hz.load_relaxed() / 1000);
  return {nullptr, 0};
}

/// Gives the running thread a slot in the image and points its next_frame at the stack. A handler may attach in
/// between: the pointer is published last, by compare-exchange, and who comes second gives its slot back. That handler
/// may have taken our slot for a dead thread's and have it now: the state word tells, which is therefore not read
/// again.
inline bool attach_thread(process_state& process, image_view& image, caller from) {
  frame* before = *from.next_frame;
  const claimed_slot mine = claim_slot(process, image, from, before);
  if (*from.next_frame == before && mine.slot == nullptr) {
    count_drop(image, drop_reason::no_slot);
    return false;
  }
  if (mine.slot == nullptr ||
      !__atomic_compare_exchange_n(from.next_frame, &before, first_frame_of(*mine.slot, 0), false, __ATOMIC_RELAXED,
                                   __ATOMIC_RELAXED)) {
    if (mine.slot != nullptr) free_slot(process, image, *mine.slot, mine.state, turn_holder());
    return true;
  }
  image.super->attached.fetch_add_relaxed(1);
  keep_stack(process, mine.slot->alternate_stack);
  return true;
}

// ---- call sites ----------------------------------------------------------------------------------------------

/// Whether the filters let this descriptor through.
inline bool passes_filters(const process_state& process, const descriptor& what) {
  char list[filter_bytes];
  process.categories.load(list);
  if (!passes_globs(list, what.category)) return false;
  process.names.load(list);
  return passes_globs(list, what.name);
}

/// Resolves a site for the current epoch. Returns its site word in `image`, or site_off.
inline uint64_t resolve_site(process_state& process, image_view* image, const object_root& object, call_site& site) {
  // Read first: whatever changes after this makes the word stored below stale at once.
  const uint64_t epoch = object.epoch.load_acquire();
  // Before the image: who sees a recording that begins in another image sees that image too. A word of the image before
  // would be stored for the epoch that the new recording still has.
  const bool is_recording = process.recording.load_acquire() != 0;
  // Another image took over since the caller looked, maybe in the epoch just read: the site is not off, it asks again.
  if (image == nullptr || image != current_image(process)) return site_off;
  const uint64_t generation = image->generation << 18;
  uint64_t bound = site.bound.load_relaxed();
  const bool is_bound = (bound & ~site_word_mask) == generation;
  // Acquire: a binding made by another thread is known in full.
  if (is_bound && site.word.load_acquire() - epoch <= site_word_mask) return bound & site_word_mask;
  if (!is_recording || !passes_filters(process, *site.what)) {
    // Release, as below: whoever reads this finds its epoch, and not an earlier one that would make it a site's word.
    site.word.store_release(epoch + site_off);
    return site_off;
  }
  if (!is_bound) {
    bound = generation | site_word(*site.what, bind(*image, *site.what));
    site.bound.store_relaxed(bound);
  }
  // The quick path reads the hardware's counter. Where that is not trusted no word fits, so that all go the slow path.
  const bool quick = process.hardware_clock.load_relaxed() != 0;
  const uint64_t word = bound & site_word_mask;
  site.word.store_release(epoch + (quick ? word : site_slow));
  return word;
}

/// The same, in a few instructions where the site is bound and on. A word that fits the epoch is of the image that was
/// the process's when the epoch began; `image` was read before, and is so still.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t known_or_resolved_site(process_state& process, image_view* image,
                                                              const object_root& object, call_site& site) {
  const uint64_t word = difference(site.word, object.epoch);
  const bool is_known = word <= site_word_mask && image == current_image(process);
  return __builtin_expect(is_known, 1) ? word : resolve_site(process, image, object, site);
}

// ---- the slow begin ------------------------------------------------------------------------------------------

/// A point in progress marks its frame with the stack pointer of its code. One store says both, so that no handler sees
/// one without the other.
inline void mark_point(frame& at, uint64_t stack_pointer) { at.start_ticks.store_relaxed(stack_pointer | point_mark); }

inline bool is_on(const stack_t& alternate, uint64_t depth) {
  return (alternate.ss_flags & SS_DISABLE) == 0 &&
         depth - reinterpret_cast<uint64_t>(alternate.ss_sp) < alternate.ss_size;
}

/// Whether code at `depth` of this thread's stacks was left for good, as code shows that runs at `stack_pointer`. A
/// handler runs deeper in the stack than what it interrupted. While code runs on the normal stack none does on the
/// alternate one; the other way round nothing can be told.
inline bool is_left(uint64_t depth, uint64_t stack_pointer, const stack_t& alternate) {
  const bool is_on_it = (alternate.ss_flags & SS_ONSTACK) != 0;
  if (is_on(alternate, depth) != is_on_it) return !is_on_it;
  return stack_pointer >= depth;
}

/// How deep in the stack the code is that uses the frame.
inline uint64_t depth_of(const frame& at) {
  const uint64_t found = at.start_ticks.load_relaxed();
  return is_region(found) ? at.stack_pointer.load_relaxed() : found & ~point_mark;
}

inline uint64_t site_of(const frame& at) {
  return ((at.start_ticks.load_relaxed() << duration_shift) - at.word.load_relaxed()) & site_word_mask;
}

/// Frees frames of code that was jumped over by longjmp, as a region of site word `word` at `stack_pointer` shows that
/// is about to begin. Code that still runs is deeper in the stack the later it began its region; so a frame is over
/// when a later one is less deep, or is of the same site at the same depth. Takes some microseconds.
inline void purge_frames(thread_slot& slot, uint64_t word, uint64_t stack_pointer) {
  const stack_t alternate = alternate_stack();
  // A region of this site at this depth was left, and so was what began within it.
  uint64_t left_since = frame_busy;
  for (const frame& at : slot.frames) {
    const uint64_t start = at.start_ticks.load_relaxed();
    const bool is_same = is_region(start) && depth_of(at) == stack_pointer && site_of(at) == word;
    if (is_same && start < left_since) left_since = start;
  }
  for (frame& at : slot.frames) {
    const uint64_t found = at.start_ticks.load_relaxed();
    if (found == 0 || found == frame_busy || &at == end_frame_of(slot, lane_index_of(slot, &at))) continue;
    const uint64_t depth = depth_of(at);
    bool is_over = is_left(depth, stack_pointer, alternate) &&
                   (depth != stack_pointer || (is_region(found) && found >= left_since));
    for (const frame& later : slot.frames) {
      if (is_over) break;
      const uint64_t other = later.start_ticks.load_relaxed();
      if (!is_region(other) || !is_region(found) || other <= found) continue;
      if (is_on(alternate, depth) != is_on(alternate, depth_of(later))) continue;
      is_over = depth_of(later) > depth || (depth_of(later) == depth && site_of(later) == site_of(at));
    }
    if (!is_over) continue;
    const unsigned lane_index = lane_index_of(slot, &at);
    slot.recount[lane_index].store_relaxed(1);
    if (&at == first_frame_of(slot, lane_index)) slot.interrupted[lane_index].store_relaxed(0);
    set_free(at);
  }
}

/// The first frame of a lane above all frames in use.
inline frame* top_frame(thread_slot& slot, unsigned lane_index) {
  frame* at = end_frame_of(slot, lane_index);
  while (at != first_frame_of(slot, lane_index) && is_free(*(at - 1))) --at;
  return at;
}

/// Where to go on when a lane's stack is full: above all its frames in use, since regions that ended on other threads
/// leave free ones; or on a lane that nothing uses; or there after a purge. Null when even then there is none.
inline frame* find_frame(thread_slot& slot, unsigned lane_index, uint64_t word, uint64_t stack_pointer) {
  for (int round = 0; round != 2; ++round) {
    // Last: a region on the heap may look like one that was jumped over.
    if (round == 1) purge_frames(slot, word, stack_pointer);
    frame* const at = top_frame(slot, lane_index) + most_interrupted_begins;
    if (at < end_frame_of(slot, lane_index)) {
      mark_frames(at + 1, end_frame_of(slot, lane_index));  // interrupted begins may be there
      return at;
    }
    for (unsigned k = 0; k < lane_count; ++k) {
      if (k == lane_index || top_frame(slot, k) != first_frame_of(slot, k)) continue;
      slot.interrupted[k].store_relaxed(0);
      return first_frame_of(slot, k);
    }
  }
  return nullptr;
}

/// Whether a frame is in this image: detached_frame and frames of an image that was retired are not.
inline bool is_in_image(const image_view& image, const frame* at) {
  const uint64_t offset = reinterpret_cast<uint64_t>(at) - reinterpret_cast<uint64_t>(image.slots);
  return offset < image.slot_count * sizeof(thread_slot);
}

/// Where the thread goes on when its next frame, `at`, is in use or its lane is full. Null when there is no place.
inline frame* find_place(image_view& image, frame* at, uint64_t word, uint64_t stack_pointer) {
  thread_slot& slot = slot_of(at);
  const unsigned lane_index = lane_index_of(slot, at);
  const bool is_full = at == end_frame_of(slot, lane_index);
  bool is_in_use = !is_full || at->start_ticks.load_relaxed() != frame_busy;
  // The next free frame is not free: an end (or a point) was interrupted on it. Either this is a handler above it, or a
  // handler has jumped out of it for good. A handler runs deeper in the stack than the code that it interrupted.
  // But a region that a coroutine began deeper in the stack may be ending above: within a handler that tells nothing.
  if (is_in_use && is_left(depth_of(*at), stack_pointer, alternate_stack()) && !is_in_handler_of(stack_pointer, at)) {
    slot.recount[lane_index].store_relaxed(1);
    at->start_ticks.store_relaxed(is_full ? frame_busy : 0);
    if (!is_full) return at;
    is_in_use = false;
  }
  if (!is_in_use) {
    at = find_frame(slot, lane_index, word, stack_pointer);
    if (at == nullptr) count_drop(image, drop_reason::too_deep);
    return at;
  }
  for (int round = 0; round != 2; ++round) {
    // Handlers that jumped away may have left frames in all other lanes.
    if (round == 1) purge_frames(slot, word, stack_pointer);
    for (unsigned k = 0; k < lane_count; ++k) {
      frame* const first = first_frame_of(slot, k);
      if (k == lane_index || top_frame(slot, k) != first) continue;
      // What is interrupted goes on in its own lane, so that this one is free for the next handler.
      slot.interrupted[k].store_relaxed(reinterpret_cast<uint64_t>(at));
      first->owner = &stale_lane;
      return first;
    }
  }
  count_drop(image, drop_reason::no_lane);
  return nullptr;
}

inline claim claim_frame(caller from, call_site& site, uint64_t stack_pointer) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr) return {nullptr, 0};
  // Read once: the id, the slot and the frame have to be of one image, also while another one takes over.
  image_view* const current = current_image(*process);
  const uint64_t word = resolve_site(*process, current, *from.object, site);
  if (word == site_off) return {nullptr, 0};
  image_view& image = *current;
  frame* at = *from.next_frame;
  if (!is_in_image(image, at)) {
    if (!attach_thread(*process, image, from)) return {nullptr, 0};
    at = *from.next_frame;
    if (!is_in_image(image, at)) return {nullptr, 0};  // a handler attached to a newer image
  }
  return {is_free(*at) ? at : find_place(image, at, word, stack_pointer), word};
}

/// Names the running thread, attaching it if it has no slot yet. `size` is below thread_name_bytes.
inline void name_thread_slowly(caller from, const char* name, size_t size) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process->recording.load_acquire() == 0) return;
  image_view& image = *current_image(*process);
  if (!is_in_image(image, *from.next_frame) && !attach_thread(*process, image, from)) return;
  thread_slot& slot = slot_of(*from.next_frame);
  uint64_t words[thread_name_bytes / 8] = {};
  memcpy(words, name, size);
  const uint64_t version = slot.name_version.load_relaxed() + 1;
  slot.name_version.store_relaxed(version);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  for (unsigned i = 0; i < thread_name_bytes / 8; ++i) slot.name[i].store_relaxed(words[i]);
  slot.name_version.store_release(version + 1);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
