// SPDX-License-Identifier: MIT
// Tasks and asynchronous spans: what begins on one thread and may end on another. While one is open it stands in a
// table in the image, where every dump finds it; its end turns it into one record of the thread that ends it.
#ifndef CONTRAIL_DETAIL_SPAN_HPP
#define CONTRAIL_DETAIL_SPAN_HPP

#include "contrail/detail/slow_records.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Ids stay unique when another image takes over.
inline constexpr unsigned span_image_shift = 40;

inline uint64_t id_of_span(const image_view& image, uint64_t generation, uint64_t index) {
  return image.generation << span_image_shift | (generation * image.span_count + index);
}
inline uint64_t span_state_word(uint64_t generation, span_state state) {
  return generation << 2 | static_cast<uint64_t>(state);
}

/// The entry of an open span, null when it has ended.
inline span_entry* find_span(const image_view& image, uint64_t id) {
  span_entry& at = image.spans[(id & ((1ULL << span_image_shift) - 1)) % image.span_count];
  const uint64_t state = at.state.load_acquire();
  const bool is_open = (state & 3) == static_cast<uint64_t>(span_state::open);
  return is_open && at.words[span_id].load_relaxed() == id ? &at : nullptr;
}

/// The slot of the running thread; null when it has none in this image.
inline thread_slot* own_slot(const image_view& image, caller from) {
  frame* const at = *from.next_frame;
  return is_in_image(image, at) ? &slot_of(at) : nullptr;
}

/// What the parent hands down: by `parent`, or by the running thread's current task.
inline task_context parent_of(const image_view& image, caller from, const task_context* parent) {
  if (parent != nullptr) return *parent;
  task_context found;
  const thread_slot* const slot = own_slot(image, from);
  if (slot == nullptr) return found;
  found.id = slot->current_task.load_relaxed();
  if (const span_entry* const at = found.id == 0 ? nullptr : find_span(image, found.id)) {
    found.trace_high = at->words[span_trace_high].load_relaxed();
    found.trace_low = at->words[span_trace_low].load_relaxed();
    found.span = at->words[span_own].load_relaxed();
    if (at->words[span_id].load_acquire() != found.id) return {};  // it ended meanwhile, and another one began
  }
  return found;
}

inline span_entry* claim_span(image_view& image, uint64_t& generation, uint64_t& index) {
  for (uint64_t i = 0; i < image.span_count; ++i) {
    index = image.super->next_span.fetch_add_relaxed(1) % image.span_count;
    span_entry& at = image.spans[index];
    uint64_t found = at.state.load_acquire();
    if ((found & 3) != static_cast<uint64_t>(span_state::free)) continue;
    generation = (found >> 2) + 1;
    if (!at.state.compare_exchange(found, span_state_word(generation, span_state::claimed))) continue;
    // Entries are taken in turn, so that ids do not repeat for long: the next one has not been touched for as long.
    const char* const next = reinterpret_cast<const char*>(index + 1 == image.span_count ? image.spans : &at + 1);
    __builtin_prefetch(next, 1);
    __builtin_prefetch(next + 64, 1);
    return &at;
  }
  count_drop(image, drop_reason::no_span);
  return nullptr;
}

inline open_span begin_span_slowly(caller from, call_site& site, const task_context* parent, const atomic_word* payload,
                                   unsigned form) {
  process_state* const process = joined_process();
  if (process == nullptr) return {};
  image_view* const current = current_image(*process);
  const uint64_t word = known_or_resolved_site(*process, current, *from.object, site);
  if (word == site_off) return {};
  image_view& image = *current;
  uint64_t generation = 0, index = 0;
  span_entry* const at = claim_span(image, generation, index);
  if (at == nullptr) return {};
  // A dump that sees a word of this span also sees that the entry has changed since.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  const task_context above = parent_of(image, from, parent);
  task_context own{id_of_span(image, generation, index), 0, 0, 0};
  const bool is_task = (form & span_is_task) != 0;
  if (is_task) {
    const superblock& super = *image.super;
    const bool is_root = (above.trace_high | above.trace_low) == 0;
    own.trace_high = is_root ? scramble(super.seed[0] + own.id) : above.trace_high;
    own.trace_low = is_root ? scramble(super.seed[1] + own.id) : above.trace_low;
    own.span = scramble(super.seed[0] ^ scramble(own.id));
  }
  const thread_slot* const slot = own_slot(image, from);  // asking the system takes longer than all the rest
  const uint64_t tid = slot != nullptr ? slot->tid_index.load_relaxed() & 0xffff'ffffU : current_tid();
  at->words[span_id].store_relaxed(own.id);
  at->words[span_parent].store_relaxed(above.id);
  at->words[span_tid].store_relaxed(tid);
  at->words[span_trace_high].store_relaxed(own.trace_high);
  at->words[span_trace_low].store_relaxed(own.trace_low);
  at->words[span_own].store_relaxed(own.span);
  at->words[span_from].store_relaxed(is_task ? above.span : 0);
  const unsigned words = form & ~span_is_task;
  for (unsigned i = 0; i < words; ++i) at->payload[i].store_relaxed(payload[i].load_relaxed());
  at->binding.store_relaxed(id_of_site_word(word) | uint64_t{words} << 32);
  at->words[span_start].store_relaxed(now_ticks(*process));
  at->state.store_release(span_state_word(generation, span_state::open));
  return {at, own};
}

inline bool is_in_image(const image_view& image, const span_entry* at) {
  return at >= image.spans && at < image.spans + image.span_count;
}

inline void end_span_slowly(caller from, span_entry* at, uint64_t id) {
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  if (!is_in_image(image, at)) {  // begun before a start that made another image, or in a parent
    if (process.recording.load_relaxed() != 0) count_drop(image, drop_reason::misnested);
    return;
  }
  uint64_t found = at->state.load_acquire();
  if ((found & 3) != static_cast<uint64_t>(span_state::open) || at->words[span_id].load_relaxed() != id) return;
  const uint64_t generation = found >> 2;
  if (!at->state.compare_exchange(found, span_state_word(generation, span_state::ending))) return;
  const uint64_t bound = at->binding.load_relaxed();
  const unsigned words = static_cast<unsigned>(bound >> 32);
  if (process.recording.load_relaxed() != 0) {
    constexpr unsigned most = 2 + span_words + frame_payload_words;
    const unsigned count = 2 + span_words + words;
    write_long<most>(process, image, from, count, 1, false, [=](atomic_word* to, uint64_t now) __attribute__((always_inline)) {
      to[0].store_relaxed(long_header(long_form::span, bound & 0xffff, count - 1));
      to[1].store_relaxed(now);
      for (unsigned i = 0; i < span_words; ++i) to[2 + i].store_relaxed(at->words[i].load_relaxed());
      for (unsigned i = 0; i < words; ++i) to[2 + span_words + i].store_relaxed(at->payload[i].load_relaxed());
    });
  }
  // After the record: a dump copies this table before the chunks.
  at->state.store_release(span_state_word(generation, span_state::free));
}

/// Makes a task the running thread's current one; returns the one before. Also while nothing records, for a scope that
/// ends then: the next recording may go on in this image, and would have the thread in that task for ever.
inline uint64_t set_current_task_slowly(caller from, uint64_t id) {
  process_state* const process = joined_process();
  image_view* const current = process == nullptr ? nullptr : current_image(*process);
  if (current == nullptr) return 0;
  image_view& image = *current;
  thread_slot* slot = own_slot(image, from);
  if (slot == nullptr) {
    const errno_keeper keep;
    if (process->recording.load_acquire() == 0 || !attach_thread(*process, image, from)) return 0;
    slot = own_slot(image, from);
    if (slot == nullptr) return 0;
  }
  const uint64_t before = slot->current_task.load_relaxed();
  slot->current_task.store_relaxed(id);
  write_long<3>(*process, image, from, 3, 1, true, [id](atomic_word* to, uint64_t now) __attribute__((always_inline)) {
    to[0].store_relaxed(long_header(long_form::current_task, 0, 2));
    to[1].store_relaxed(now);
    to[2].store_relaxed(id);
  });
  return before;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
