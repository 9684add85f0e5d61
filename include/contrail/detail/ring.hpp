// SPDX-License-Identifier: MIT
// One thread's writing: its lanes, its open-region stack, and the records themselves. The hot path of contrail.
//
// begin:  frame = next free one          the stack's pointer moves first, so that a handler takes the next frame
//         frame.start_ticks = start      from here the region is open and dumps show it
// end:    next free one = frame          a handler that arrives now finds the frame in use: the busy mark
//         *cursor = record               invisible
//         cursor += 1, release           visible, whole
//         frame.start_ticks = 0          free
#ifndef CONTRAIL_DETAIL_RING_HPP
#define CONTRAIL_DETAIL_RING_HPP

#include "contrail/detail/object.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What a macro leaves at its call site.
struct call_site {
  atomic_word word{epoch_step + site_off};  ///< see site_word_mask
  const descriptor* what;
  atomic_word bound{};  ///< image generation << 18 | id and tag, 0: not bound yet
};

/// Stands where a thread has no slot, so that its first begin takes the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit frame detached_frame{{}, {}, {frame_busy}, {}, {}};

/// This thread's next free frame. 8 bytes of static TLS per shared object, and no more: glibc's reserve is small.
CONTRAIL_DETAIL_HIDDEN inline thread_local constinit frame* next_frame
    __attribute__((tls_model(CONTRAIL_TLS_MODEL))) = &detached_frame;

/// As signed numbers.
CONTRAIL_DETAIL_ALWAYS_INLINE bool is_less(uint64_t a, uint64_t b) {
  return static_cast<int64_t>(a) < static_cast<int64_t>(b);
}

/// An open region as its owner holds it: the frame, and the word that the frame had then.
struct open_region {
  frame* at;
  uint64_t word;
};

inline caller this_caller() { return {&next_frame, &own_object()}; }

/// The slow half; there is one once anything was started, and nothing calls it before.
inline const slow_half& the_slow_half() {
  return *reinterpret_cast<const slow_half*>(joined_process()->slow_table.load_acquire());
}

/// The caller's stack pointer in a function that is not inlined.
#define CONTRAIL_DETAIL_CALLERS_STACK_POINTER() reinterpret_cast<uint64_t>(__builtin_dwarf_cfa())

CONTRAIL_DETAIL_ALWAYS_INLINE void store_stack_pointer(atomic_word& to) {
#if defined(__x86_64__)
  asm volatile("movq %%rsp, %0" : "=m"(to.value));
#elif defined(__aarch64__)
  uint64_t pointer;
  asm volatile("mov %0, sp" : "=r"(pointer));
  to.store_relaxed(pointer);
#endif
}

/// mark_point with the running function's own stack pointer.
CONTRAIL_DETAIL_ALWAYS_INLINE void mark_point_here(frame& at) {
  uint64_t mark = 0;
#if defined(__x86_64__)
  asm volatile("movq %%rsp, %0\n\tbtsq $62, %0" : "=r"(mark) : : "cc");
#elif defined(__aarch64__)
  asm volatile("mov %0, sp" : "=r"(mark));
  mark |= point_mark;
#endif
  at.start_ticks.store_relaxed(mark);
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

template <bool HasFields, class... Args>
CONTRAIL_DETAIL_COLD frame* begin_cold(call_site& site, unsigned* words, parameter_type<bare<Args>>... args) {
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const claim free = the_slow_half().claim_frame(this_caller(), site, stack_pointer);
  if (free.at == nullptr) return nullptr;
  frame* const at = free.at;
  next_frame = at + 1;
  signal_fence();
  __atomic_thread_fence(__ATOMIC_RELEASE);  // as in begin_inline
  const unsigned used = encode_arguments<binding_kind::region, Args...>(at->payload, frame_payload_words, args...);
  if (HasFields && used < frame_payload_words) at->payload[used].store_relaxed(0);
  if (words != nullptr) *words = used;
  const uint64_t start = now_ticks(*joined_process());
  at->stack_pointer.store_relaxed(stack_pointer);
  at->word.store_relaxed((start << duration_shift) - free.word);
  at->start_ticks.store_release(start);
  return at;
}

/// The result of begin_cold: only on that path is the frame's word read back, so that both are scalars.
CONTRAIL_DETAIL_ALWAYS_INLINE open_region opened_at(frame* at) {
  return {at, at != nullptr ? at->word.load_relaxed() : 0};
}

/// Opens a region. `words` receives the length of its payload when that is not fixed; else it is null. With `HasFields`
/// a 0 behind the payload ends the fields for whoever looks before the first one is set.
template <bool HasFields = false, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE open_region begin_inline(call_site& site, unsigned* words, const Args&... args) {
  // The frame first. A handler in between may find another image, after a start or in a forked child, and attach to it:
  // then the frame is a retired one and never free, where the other way round it would be a new one and get an old id.
  frame* const at = next_frame;
  signal_fence();
  const uint64_t w = difference(site.word, own_object().epoch);
  // One compare for all that is not a bound site and a free frame: off, another epoch, not attached, the stack is full,
  // a handler inside an end. Two compares cost 2 % of a region.
  if (__builtin_expect(is_less(w, at->start_ticks.load_owned()), 0)) {
    if (w == site_off) return {nullptr, 0};
    return opened_at(begin_cold<HasFields, Args...>(site, words, args...));
  }
  next_frame = at + 1;
  signal_fence();
  if constexpr (HasFields || sizeof...(Args) != 0) {
    // No instruction on x86-64. A dump that sees a word of this payload must not find the frame's former start again.
    __atomic_thread_fence(__ATOMIC_RELEASE);
    const unsigned used = encode_arguments<binding_kind::region, Args...>(at->payload, frame_payload_words, args...);
    if (HasFields && used < frame_payload_words) at->payload[used].store_relaxed(0);
    if (words != nullptr) *words = used;
  }
  store_stack_pointer(at->stack_pointer);
  const uint64_t start = hardware_ticks();
  const uint64_t word = (start << duration_shift) - w;
  at->word.store_release(word);  // after the frame became free, for the same reason
  // Release: a reader that sees the start sees the word and the payload.
  at->start_ticks.store_release(start);
  return {at, word};
}

/// Every end that is not the plain one: a new time epoch, another thread, out of order, no chunk.
CONTRAIL_DETAIL_COLD inline void end_cold(frame* at, uint64_t word, unsigned words) {
  the_slow_half().end_region(this_caller(), at, word, words);
}

/// Publishes the record that fills the chunk, rolls to the next one and frees the frame.
CONTRAIL_DETAIL_COLD inline void roll_chunk(frame* at, uint64_t ticks) { the_slow_half().roll_chunk(at, ticks); }

/// Multiplying the end time by this and subtracting the frame's word gives the record of a short region.
inline constexpr uint64_t region_multiplier = (1ULL << end_time_shift) + (1ULL << duration_shift);

/// Fetches the line that this lane comes to half a kilobyte later. Without it the stores of records wait for memory,
/// and the store buffer fills up behind them: 1 to 3 % of a region, up to 6 % with arguments.
CONTRAIL_DETAIL_ALWAYS_INLINE void prefetch_for_writing(const atomic_word* cursor) {
  // By number: a lane without a chunk has a null cursor, to which nothing may be added.
  const atomic_word* const ahead = reinterpret_cast<const atomic_word*>(reinterpret_cast<uint64_t>(cursor) + 512);
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*ahead));  // the builtin knows it only under -mprfchw
#else
  __builtin_prefetch(ahead, 1);
#endif
}

/// Whether two words are in the same chunk.
CONTRAIL_DETAIL_ALWAYS_INLINE bool is_in_one_chunk(const atomic_word* one, const atomic_word* other) {
  return (reinterpret_cast<uint64_t>(one) ^ reinterpret_cast<uint64_t>(other)) < chunk_bytes;
}

/// Ends a region: writes its record, one word and `words` of payload from the frame.
template <bool HasPayload>
CONTRAIL_DETAIL_ALWAYS_INLINE void end_inline(frame* at, uint64_t word, unsigned words) {
  if (__builtin_expect(next_frame != at + 1, 0)) return end_cold(at, word, words);
#if defined(__aarch64__)
  // A coroutine may end higher in the stack than it began: a handler tells by this whether it interrupted this end. On
  // x86-64, where it would cost 2 % of a region, the handler looks for itself, see is_in_handler_of.
  store_stack_pointer(at->stack_pointer);
  signal_fence();
#endif
  next_frame = at;
  signal_fence();
  // All that does not need the time stands before the clock read: behind it, it would cost 1 % of a region.
  lane& writer = *at->owner;
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
  prefetch_for_writing(cursor);
  // Hidden from the compiler, which would make four dependent instructions of the multiplication. Where there is a
  // payload, a register that is taken this early costs more than it saves.
  uint64_t multiplier = region_multiplier;
  if constexpr (!HasPayload) asm volatile("" : "+r"(multiplier));
  const uint64_t end = hardware_ticks();
  if constexpr (HasPayload) asm("" : "+r"(multiplier));
  if (__builtin_expect(end >= writer.deadline.load_owned(), 0)) {
    next_frame = at + 1;
    return end_cold(at, word, words);
  }
  const uint64_t record = end * multiplier - word;
  if constexpr (HasPayload) {
    // A site whose id is too large for this form, or a payload that crosses the chunk's end, goes the long way. So does
    // a region whose frame was taken for one that was jumped over: the payload there is another's.
    const bool fits = (record & 3) == static_cast<uint64_t>(record_tag::region_payload) &&
                      at->word.load_owned() == word &&
                      words <= max_short_region_words && is_in_one_chunk(cursor, cursor + words);
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
  // The cursor never stands at a chunk's end while the quick path is open: a handler that jumped away there would have
  // the next record written behind the chunk.
  if (__builtin_expect((reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) == 0, 0)) return roll_chunk(at, end);
  // Release: the record is whole before it is visible. Pairs with the acquire in copy_chunk.
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor));
  signal_fence();
  // Release: a dump that finds the frame free finds the record, since it copies frames before chunks.
  at->start_ticks.store_release(0);
}

// These take scalars: g++ keeps a struct that it passes in memory. Where they begin in a cache line is 1 to 2 % of a
// region.
__attribute__((noinline, aligned(64))) CONTRAIL_DETAIL_HIDDEN inline void end_region(frame* at, uint64_t word) {
  end_inline<false>(at, word, 0);
}
template <unsigned Words>
__attribute__((noinline, aligned(64))) CONTRAIL_DETAIL_HIDDEN inline void end_region_fixed(frame* at, uint64_t word) {
  end_inline<true>(at, word, Words);
}
__attribute__((noinline, aligned(64))) CONTRAIL_DETAIL_HIDDEN inline void end_region_payload(frame* at, uint64_t word,
                                                                                             unsigned words) {
  end_inline<true>(at, word, words);
}

/// The begin of CONTRAIL_COMPACT, for regions without arguments: a call instead of inlined code.
__attribute__((noinline)) CONTRAIL_DETAIL_HIDDEN inline frame* begin_compact(call_site& site) {
  return begin_inline(site, nullptr).at;
}

// ---- points: instants, counters, events, log lines -----------------------------------------------------------

template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_COLD void point_cold(call_site& site, parameter_type<bare<Args>>... args) {
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const claim free = the_slow_half().claim_frame(this_caller(), site, stack_pointer);
  if (free.at == nullptr) return;
  constexpr payload_size size = payload_of<Kind, Args...>;
  atomic_word record[size.texts == 0 ? size.words() + 1 : max_point_words + 1];
  const unsigned words = encode_arguments<Kind, Args...>(record + 1, max_point_words, args...);
  the_slow_half().write_point(free.at, free.word, stack_pointer, &record->value, words);
}

/// Records something that happens at one moment.
template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE void point_inline(call_site& site, const Args&... args) {
  frame* const at = next_frame;
  signal_fence();
  const uint64_t w = difference(site.word, own_object().epoch);
  // As in begin_inline. All that does not go the quick way meets in one call, which keeps the call site small.
  if (__builtin_expect(!is_less(w, at->start_ticks.load_owned()), 1)) {
    lane& writer = *at->owner;
    // The free frame is marked as busy by one store, which also says how deep this code is: a handler steps aside to
    // another lane.
    mark_point_here(*at);
    signal_fence();
    const uint64_t now = hardware_ticks();
    atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
    constexpr payload_size size = payload_of<Kind, Args...>;
    const bool fits = now < writer.deadline.load_owned() && is_in_one_chunk(cursor, cursor + size.words());
    if (__builtin_expect(fits, 1)) {
      unsigned words = 0;
      bool is_whole = true;
      if constexpr (sizeof...(Args) != 0) {
        prefetch_for_writing(cursor);
        unsigned capacity = max_point_words;
        if constexpr (size.texts != 0) {
          const auto room = static_cast<unsigned>((~reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) / 8);
          if (room < capacity) capacity = room;
        }
        words = encode_arguments<Kind, Args...>(cursor + 1, capacity, args...);
        // A text that was cut fills its room but for a part of a character, 3 bytes at most.
        is_whole = size.texts == 0 || words < capacity || capacity == max_point_words;
      }
      if (__builtin_expect(is_whole, 1)) {
        if (sizeof...(Args) != 0) writer.extra_words.add_owned(words);
        cursor->store_relaxed(now << end_time_shift | static_cast<uint64_t>(words) << duration_shift | w);
        cursor += words + 1;
        if (__builtin_expect((reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) == 0, 0)) return roll_chunk(at, now);
        writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor));
        signal_fence();
        at->start_ticks.store_relaxed(0);
        return;
      }
    }
    at->start_ticks.store_relaxed(0);
  } else if (w == site_off) {
    return;
  }
  point_cold<Kind, Args...>(site, args...);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
