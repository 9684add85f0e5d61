// SPDX-License-Identifier: MIT
// One thread's writing: its lanes, its open-region stack, and the records themselves. The hot path of contrail.
//
// begin:  frame = next free one          the stack's pointer moves first, so that a handler takes the next frame
//         frame.word = start << 18 - w   from here the region is open and dumps show it
// end:    next free one = frame          a handler that arrives now finds the frame's word nonzero: the busy mark
//         *cursor = record               invisible
//         cursor += 1, release           visible, whole
//         frame.word = 0                 free
#ifndef CONTRAIL_DETAIL_RING_HPP
#define CONTRAIL_DETAIL_RING_HPP

#include "contrail/detail/pool.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail {

/// What a macro leaves at its call site.
struct call_site {
  atomic_word word{epoch_step + site_off};  ///< see site_off
  const descriptor* what;
  atomic_word bound{};  ///< image generation << 18 | id and tag, 0: not bound yet
};

/// Stands where a thread has no slot, so that its first begin takes the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit frame detached_frame{{frame_busy}, nullptr, {}, {}, {}};

/// Owner of frames that a new time epoch overtook: its deadline has always passed, so they end on the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit lane stale_lane{};

/// This thread's next free frame. 8 bytes of static TLS per shared object, and no more: glibc's reserve is small.
CONTRAIL_DETAIL_HIDDEN inline thread_local constinit frame* next_frame
    __attribute__((tls_model(CONTRAIL_TLS_MODEL))) = &detached_frame;

/// An open region as its owner holds it: the frame, and the word that the frame had then.
struct open_region {
  frame* at;
  uint64_t word;
};

/// Where a region or a point of `site` can go after the quick test failed: attaches the thread, binds the site, steps
/// around a stack in use. `at` is null when there is nothing to record. Defined in detail/threads.hpp.
struct claim {
  frame* at;
  uint64_t word;
};
claim claim_frame(call_site& site, uint64_t stack_pointer);

/// The caller's stack pointer in a function that is not inlined.
#define CONTRAIL_DETAIL_CALLERS_STACK_POINTER() reinterpret_cast<uint64_t>(__builtin_dwarf_cfa())

CONTRAIL_DETAIL_ALWAYS_INLINE void store_stack_pointer(frame& at) {
#if defined(__x86_64__)
  asm volatile("movq %%rsp, %0" : "=m"(at.stack_pointer.value));
#elif defined(__aarch64__)
  uint64_t pointer;
  asm volatile("mov %0, sp" : "=r"(pointer));
  at.stack_pointer.store_relaxed(pointer);
#endif
}

template <class T>
inline constexpr bool is_array_type = false;
template <class T, size_t Size>
inline constexpr bool is_array_type<T[Size]> = true;

template <class T>
constexpr bool passes_by_value() {
  if constexpr (__is_trivially_copyable(T)) return !is_array_type<T> && sizeof(T) <= 16;
  else return false;
}
template <class T, bool ByValue = passes_by_value<T>()>
struct parameter {
  using type = const T&;
};
template <class T>
struct parameter<T, true> {
  using type = T;
};

/// How an argument travels into a function that is not inlined: small plain ones by value, so that the caller's
/// variable may stay in a register on the quick path.
template <class T>
using parameter_type = typename parameter<T>::type;

/// The payload of a site whose arguments after the name are `Args`, keys and all.
template <binding_kind Kind, class... Args>
inline constexpr payload_size payload_of = size_of_arguments<form_of<Kind, Args...>(), Args...>;

// ---- regions -------------------------------------------------------------------------------------------------

template <class... Args>
CONTRAIL_DETAIL_COLD frame* begin_cold(call_site& site, unsigned* words, parameter_type<Args>... args) {
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const claim free = claim_frame(site, stack_pointer);
  if (free.at == nullptr) return nullptr;
  frame* const at = free.at;
  next_frame = at + 1;
  signal_fence();
  const unsigned used = encode_arguments<binding_kind::region, Args...>(at->payload, frame_payload_words, args...);
  if (words != nullptr) *words = used;
  const uint64_t start = now_ticks(*joined_process());
  at->start_ticks.store_relaxed(start);
  at->stack_pointer.store_relaxed(stack_pointer);
  at->word.store_release((start << duration_shift) - free.word);
  return at;
}

/// The result of begin_cold: only on that path is the frame's word read back, so that both are scalars.
CONTRAIL_DETAIL_ALWAYS_INLINE open_region opened_at(frame* at) {
  return {at, at != nullptr ? at->word.load_relaxed() : 0};
}

/// Opens a region. `words` receives the length of its payload when that is not fixed; else it is null.
template <class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE open_region begin_inline(call_site& site, unsigned* words, const Args&... args) {
  const uint64_t w = difference(site.word, own_object().epoch);
  if (__builtin_expect(w >= site_off, 0)) {
    if (w == site_off) return {nullptr, 0};
    return opened_at(begin_cold<Args...>(site, words, args...));
  }
  frame* const at = next_frame;
  // One compare: not attached, the stack is full, or a handler inside an end. Their words are above any site's.
  if (__builtin_expect(w < at->word.load_owned(), 0)) {
    return opened_at(begin_cold<Args...>(site, words, args...));
  }
  next_frame = at + 1;
  signal_fence();
  if constexpr (sizeof...(Args) != 0) {
    const unsigned used = encode_arguments<binding_kind::region, Args...>(at->payload, frame_payload_words, args...);
    if (words != nullptr) *words = used;
  }
  store_stack_pointer(*at);
  const uint64_t start = hardware_ticks();
  at->start_ticks.store_relaxed(start);
  const uint64_t word = (start << duration_shift) - w;
  // Release: a reader that sees the word sees the payload.
  at->word.store_release(word);
  return {at, word};
}

/// Every end that is not the plain one: a new time epoch, another thread, out of order, no chunk. Defined in
/// detail/threads.hpp.
void end_cold(frame* at, uint64_t word, unsigned words);

/// Opens the lane's next chunk at `ticks`; without one the lane drops records until a later try. The lane is busy.
/// Defined below.
inline bool open_chunk(process_state& process, image_view& image, lane& writer, uint64_t ticks);

/// Rolls to the next chunk and frees the frame. Defined in detail/threads.hpp.
void roll_chunk(frame* at, uint64_t ticks);

inline chunk* chunk_at(uint64_t address) { return reinterpret_cast<chunk*>(address & ~uint64_t{chunk_bytes - 1}); }

/// Multiplying the end time by this and subtracting the frame's word gives the record of a short region.
inline constexpr uint64_t region_multiplier = (1ULL << end_time_shift) + (1ULL << duration_shift);

/// Ends a region: writes its record, one word and `words` of payload from the frame.
template <bool HasPayload>
CONTRAIL_DETAIL_ALWAYS_INLINE void end_inline(frame* at, uint64_t word, unsigned words) {
  if (__builtin_expect(next_frame != at + 1, 0)) return end_cold(at, word, words);
  next_frame = at;
  signal_fence();
  const uint64_t end = hardware_ticks();
  lane& writer = *at->owner;
  if (__builtin_expect(end >= writer.deadline.load_owned(), 0)) {
    next_frame = at + 1;
    return end_cold(at, word, words);
  }
  uint64_t multiplier = region_multiplier;
  asm("" : "+r"(multiplier));  // else the compiler turns the multiplication into four dependent instructions
  const uint64_t record = end * multiplier - word;
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
  if constexpr (HasPayload) {
    // A site whose id is too large for this form, or a payload that crosses the chunk's end, goes the long way.
    const bool fits = (record & 3) == static_cast<uint64_t>(record_tag::region_payload) &&
                      words <= max_short_region_words &&
                      ((reinterpret_cast<uint64_t>(cursor + words) ^ reinterpret_cast<uint64_t>(cursor)) &
                       ~uint64_t{chunk_bytes - 1}) == 0;
    if (__builtin_expect(!fits, 0)) {
      next_frame = at + 1;
      return end_cold(at, word, words);
    }
    for (unsigned i = 0; i < words; ++i) cursor[1 + i].store_relaxed(at->payload[i].load_owned());
    writer.extra_words.add_owned(words);
    cursor->store_relaxed(record + (static_cast<uint64_t>(words) << id_shift));
    cursor += words;
  } else {
    cursor->store_relaxed(record);
  }
  ++cursor;
  // Release: the record is whole before it is visible. Pairs with the acquire in copy_chunk.
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor));
  if (__builtin_expect((reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) == 0, 0)) return roll_chunk(at, end);
  signal_fence();
  at->word.store_relaxed(0);
}

// These take scalars: g++ keeps a struct that it passes in memory.
__attribute__((noinline)) CONTRAIL_DETAIL_HIDDEN inline void end_region(frame* at, uint64_t word) {
  end_inline<false>(at, word, 0);
}
template <unsigned Words>
__attribute__((noinline)) CONTRAIL_DETAIL_HIDDEN inline void end_region_fixed(frame* at, uint64_t word) {
  end_inline<true>(at, word, Words);
}
__attribute__((noinline)) CONTRAIL_DETAIL_HIDDEN inline void end_region_payload(frame* at, uint64_t word,
                                                                                unsigned words) {
  end_inline<true>(at, word, words);
}

// ---- points: instants, counters, events, log lines -----------------------------------------------------------

template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_COLD void point_cold(call_site& site, parameter_type<Args>... args);

/// Records something that happens at one moment.
template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE void point_inline(call_site& site, const Args&... args) {
  const uint64_t w = difference(site.word, own_object().epoch);
  if (__builtin_expect(w >= site_off, 0)) {
    if (w == site_off) return;
    return point_cold<Kind, Args...>(site, args...);
  }
  frame* const at = next_frame;
  if (__builtin_expect(w < at->word.load_owned(), 0)) return point_cold<Kind, Args...>(site, args...);
  lane& writer = *at->owner;
  // The free frame's word is the busy mark here: a handler steps aside to another lane.
  store_stack_pointer(*at);
  at->word.store_relaxed(frame_busy);
  signal_fence();
  const uint64_t now = hardware_ticks();
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
  constexpr payload_size size = payload_of<Kind, Args...>;
  constexpr unsigned most = size.texts == 0 ? size.words() : max_point_words;
  const bool fits = now < writer.deadline.load_owned() &&
                    ((reinterpret_cast<uint64_t>(cursor + most) ^ reinterpret_cast<uint64_t>(cursor)) &
                     ~uint64_t{chunk_bytes - 1}) == 0;
  if (__builtin_expect(!fits, 0)) {
    at->word.store_relaxed(0);
    return point_cold<Kind, Args...>(site, args...);
  }
  unsigned words = 0;
  if constexpr (sizeof...(Args) != 0) {
    words = encode_arguments<Kind, Args...>(cursor + 1, max_point_words, args...);
    writer.extra_words.add_owned(words);
  }
  cursor->store_relaxed(now << end_time_shift | static_cast<uint64_t>(words) << duration_shift | w);
  cursor += words + 1;
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor));
  if (__builtin_expect((reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) == 0, 0)) return roll_chunk(at, now);
  signal_fence();
  at->word.store_relaxed(0);
}

// ---- the slow half: epochs, anchors, chunks, long forms --------------------------------------------------------

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

/// Regions that are open when an epoch begins outgrow their short form: they take the slow path at their end.
inline void mark_open_frames(thread_slot& slot, unsigned lane_index) {
  for (frame* at = first_frame_of(slot, lane_index); at != end_frame_of(slot, lane_index); ++at) {
    const uint64_t word = at->word.load_relaxed();
    if (word != 0 && word != frame_busy) at->owner = &stale_lane;
  }
}

inline uint64_t words_in_chunk(const lane& writer) {
  const uint64_t cursor = writer.cursor.load_relaxed();
  const uint64_t open = writer.chunk.load_relaxed();
  return open == 0 ? 0 : (cursor - open - chunk_header_bytes) / 8;
}

inline void set_epoch(process_state& process, thread_slot& slot, unsigned lane_index, uint64_t base) {
  lane& writer = slot.lanes[lane_index];
  mark_open_frames(slot, lane_index);
  writer.epoch_base.store_relaxed(base);
  // Without a trusted counter every record takes the slow path, which knows the other clock.
  writer.deadline.store_relaxed(process.hardware_clock.load_relaxed() != 0 ? base + epoch_ticks : 0);
}

/// What the system calls the running thread, zero padded.
// Async-signal-safe.
void read_system_thread_name(uint64_t (&name)[thread_name_bytes / 8]);

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
  seal_chunk(image, done, end_bytes, records_now - done.records_before.load_relaxed(), ticks);
}

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
  if (base != writer.epoch_base.load_relaxed()) mark_open_frames(slot, lane_index);
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
  writer.deadline.store_relaxed(process.hardware_clock.load_relaxed() != 0 ? base + epoch_ticks : 0);
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
    set_epoch(process, slot, lane_index, base);
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
