// SPDX-License-Identifier: MIT
// From the live image to a validated dump. It runs beside the writers and never makes one wait.
//
// Order: stacks of open regions, bindings known so far, chunks, bindings made meanwhile. Stacks before chunks, so that
// a region that ends in between is in both and the reader drops the unfinished one, instead of in neither. Bindings
// once more after the chunks, so that every id in a chunk resolves; and once before, so that a dump cut short has
// names.
#ifndef CONTRAIL_DETAIL_SNAPSHOT_HPP
#define CONTRAIL_DETAIL_SNAPSHOT_HPP

#include "contrail/detail/safe_writer.hpp"
#include "contrail/detail/threads.hpp"

#include <fcntl.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Where a dump goes. `write` returns 0 or an errno value.
struct dump_sink {
  int (*write)(void* context, const void* bytes, size_t size);
  void* context;
};

/// What fired, for the superblock of the dump.
struct trigger_note {
  uint64_t ticks = 0;
  char text[sizeof superblock::trigger] = {};
};

struct dump_request {
  uint64_t window_ns;  ///< 0: all
  uint32_t signal;     ///< that asked for it, or 0
  const crash_note* crash = nullptr;
  uint64_t sequence = 0;    ///< number of the dump in its process
  const trigger_note* trigger = nullptr;
  char* scratch = nullptr;  ///< scratch_bytes of work space instead of the image's
};

/// Collects small writes into the image's scratch space. Remembers the first error and the bytes written.
class dump_output {
 public:
  dump_output(const dump_sink& sink, char* buffer, size_t capacity)
      : sink_(sink), buffer_(buffer), capacity_(capacity) {}

  void add(const void* bytes, size_t size) {
    const char* from = static_cast<const char*>(bytes);
    while (size != 0) {
      if (used_ == capacity_) flush();
      const size_t part = size < capacity_ - used_ ? size : capacity_ - used_;
      memcpy(buffer_ + used_, from, part);
      used_ += part;
      from += part;
      size -= part;
      total_ += part;
    }
  }
  /// Room for `size` bytes in the buffer, to be filled by the caller at once.
  char* reserve(size_t size) {
    if (capacity_ - used_ < size) flush();
    char* at = buffer_ + used_;
    used_ += size;
    total_ += size;
    return at;
  }
  void flush() {
    if (used_ != 0 && error_ == 0) error_ = sink_.write(sink_.context, buffer_, used_);
    used_ = 0;
  }
  int error() const { return error_; }
  uint64_t total() const { return total_; }

 private:
  const dump_sink& sink_;
  char* buffer_;
  size_t capacity_;
  size_t used_ = 0;
  uint64_t total_ = 0;
  int error_ = 0;
};

// ---- slots ---------------------------------------------------------------------------------------------------

/// Copies a frame only if it held one open region during the whole copy; else the copy is free.
inline void copy_frame(frame& to, const frame& from) {
  to.word.store_relaxed(0);
  to.start_ticks.store_relaxed(0);
  // Acquire: a start that is seen comes with the word and the payload that were stored before it.
  const uint64_t start = from.start_ticks.load_acquire();
  if (!is_region(start)) return;
  const uint64_t word = from.word.load_acquire();
  to.stack_pointer.store_relaxed(from.stack_pointer.load_acquire());
  // In order and each with acquire: a field that is set later is published by its first word, which is stored last.
  for (unsigned i = 0; i < frame_payload_words; ++i) to.payload[i].store_relaxed(from.payload[i].load_acquire());
  // The loads above stay above this one.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  // Acquire: if the region has ended, its record is there for who copies the chunks next.
  if (from.start_ticks.load_acquire() != start) return;
  to.start_ticks.store_relaxed(start);
  to.word.store_relaxed(word);
}

/// A thread's name as the system has it now, for threads that were not named by TRACE_THREAD_NAME.
inline bool read_thread_name(uint32_t tid, char (&name)[thread_name_bytes]) {
  char path[64];
  text_writer(path, sizeof path).add("/proc/self/task/").add(uint64_t{tid}).add("/comm");
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t size = read(file, name, thread_name_bytes - 1);
  close(file);
  if (size <= 0) return false;
  if (name[size - 1] == '\n') --size;
  memset(name + size, 0, thread_name_bytes - static_cast<size_t>(size));
  return true;
}

inline void copy_slot(thread_slot& to, const thread_slot& from, uint64_t state) {
  memset(static_cast<void*>(&to), 0, sizeof to);
  to.state.store_relaxed(state);
  to.tid_index.store_relaxed(from.tid_index.load_relaxed());
  to.owner_object.store_relaxed(from.owner_object.load_relaxed());
  to.attach_ticks.store_relaxed(from.attach_ticks.load_relaxed());
  char system_name[thread_name_bytes] = {};
  const uint64_t version = from.name_version.load_acquire();
  for (unsigned i = 0; i < thread_name_bytes / 8; ++i) to.name[i].store_relaxed(from.name[i].load_acquire());
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (version == 0 && read_thread_name(tid_of(to), system_name)) {
    memcpy(static_cast<void*>(to.name), system_name, sizeof system_name);
    to.name_version.store_relaxed(2);
  } else if (version == from.name_version.load_relaxed()) {
    to.name_version.store_relaxed(version);
  }
  for (unsigned k = 0; k < lane_count; ++k) {
    const lane& writer = from.lanes[k];
    lane& copy = to.lanes[k];
    copy.cursor.store_relaxed(writer.cursor.load_acquire());
    copy.epoch_base.store_relaxed(writer.epoch_base.load_relaxed());
    copy.chunk.store_relaxed(writer.chunk.load_relaxed());
    copy.extra_words.store_relaxed(writer.extra_words.load_relaxed());
    copy.words_before.store_relaxed(writer.words_before.load_relaxed());
    copy.anchor_ticks.store_relaxed(writer.anchor_ticks.load_relaxed());
    copy.dropped.store_relaxed(writer.dropped.load_relaxed());
  }
  for (unsigned i = 0; i < frame_count; ++i) copy_frame(to.frames[i], from.frames[i]);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // all of the copy stays above the second look
  // The slot went to another thread meanwhile: nothing of this copy can be trusted.
  if (from.state.load_relaxed() != state) {
    to.state.store_relaxed(0);
    for (frame& at : to.frames) at.word.store_relaxed(0);
  }
}

inline bool is_listed(uint64_t state) {
  return static_cast<slot_state>(state & 0xff) == slot_state::live;
}

// ---- spans ---------------------------------------------------------------------------------------------------

inline bool is_begun(uint64_t state) {
  return (state & 3) == static_cast<uint64_t>(span_state::open) || (state & 3) == static_cast<uint64_t>(span_state::ending);
}

/// Copies an entry only if it held one span during the whole copy; else the copy is free.
inline void copy_span(span_entry& to, const span_entry& from) {
  // Acquire: what is in the entry was stored before it became open.
  const uint64_t state = from.state.load_acquire();
  memset(static_cast<void*>(&to), 0, sizeof to);
  if (!is_begun(state)) return;
  to.binding.store_relaxed(from.binding.load_relaxed());
  for (unsigned i = 0; i < span_words; ++i) to.words[i].store_relaxed(from.words[i].load_relaxed());
  for (unsigned i = 0; i < frame_payload_words; ++i) to.payload[i].store_relaxed(from.payload[i].load_relaxed());
  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // pairs with the release fence in begin_span_slowly
  const uint64_t after = from.state.load_acquire();  // if it has ended, its record is there for who copies the chunks next
  if (is_begun(after) && after >> 2 == state >> 2) to.state.store_relaxed(state);
}

// ---- chunks --------------------------------------------------------------------------------------------------

/// Copies one chunk with its extent filled in; false, and the copy empty with ticket 0, when it was recycled meanwhile.
inline bool copy_chunk(chunk& to, const image_view& image, uint64_t index) {
  const chunk& from = image.chunks[index];
  const atomic_word& state = image.chunk_states[index];
  atomic_word* const words = reinterpret_cast<atomic_word*>(&to);
  const auto invalid = [&] {
    memset(static_cast<void*>(&to), 0, sizeof to);
    return false;
  };
  // Acquire pairs with the release that opened or sealed it: the header is whole.
  const uint64_t before = state.load_acquire();
  if (state_of(before) != chunk_state::open && state_of(before) != chunk_state::sealed) return invalid();

  // The extent comes first: the words below it were released before it was.
  uint64_t end_bytes = extent_bytes(from.extent.load_acquire());
  if (end_bytes == 0) {
    const lane* writer = lane_of(image, from);
    if (writer == nullptr) return invalid();
    const uint64_t cursor = writer->cursor.load_acquire();
    const uint64_t begin = reinterpret_cast<uint64_t>(&from);
    if (cursor >= begin + chunk_header_bytes && cursor <= begin + chunk_bytes) {
      end_bytes = cursor - begin;
    } else {
      // The writer's cursor is elsewhere: the chunk was sealed just now, or is not written to yet.
      end_bytes = extent_bytes(from.extent.load_acquire());
      if (end_bytes == 0) end_bytes = chunk_header_bytes;
    }
  }
  if (end_bytes < chunk_header_bytes || end_bytes > chunk_bytes) return invalid();

  const atomic_word* const source = reinterpret_cast<const atomic_word*>(&from);
  const uint64_t count = end_bytes / 8;
  for (uint64_t i = 0; i < count; ++i) words[i].value = source[i].load_relaxed();
  memset(static_cast<void*>(words + count), 0, chunk_bytes - end_bytes);
  // Pairs with the release fence in take_chunk: if any word above came from the next owner, its state is seen below.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const uint64_t after = state.load_relaxed();
  if (ticket_of(after) != ticket_of(before) || state_of(after) == chunk_state::taking) return invalid();
  to.ticket.value = ticket_of(before);
  to.extent.value = end_bytes;
  return true;
}

/// Whether a chunk may hold records that ended at or after `cutoff`.
inline bool is_wanted(const image_view& image, uint64_t index, uint64_t cutoff) {
  const uint64_t state = image.chunk_states[index].load_acquire();
  if (state_of(state) == chunk_state::open) return true;
  return state_of(state) == chunk_state::sealed && image.chunks[index].sealed_ticks.load_relaxed() >= cutoff;
}

// ---- the dump ------------------------------------------------------------------------------------------------

/// Ticks per second from the start until now, far better than what start measured in 50 us; the kernel's clock may be
/// slewed, so this is the rate that the reader will find too.
inline uint64_t tick_rate(const superblock& live, const clock_anchor& now) {
  const uint64_t ns = now.monotonic_ns - live.start.monotonic_ns;
  if (ns < 1'000'000) return live.tick_hz;
  const uint128 ticks = now.ticks - live.start.ticks;
  const uint64_t hz = static_cast<uint64_t>(ticks * 1'000'000'000U / ns);
  return hz < 100'000 ? live.tick_hz : hz;  // one of the clocks could not be read
}

/// The tick before which nothing belongs to a window of `window_ns` that ends now; the start for no window.
inline uint64_t window_begin(const superblock& live, uint64_t now, uint64_t window_ns, uint64_t tick_hz) {
  const uint64_t start = live.start.ticks;
  if (window_ns == 0) return start;
  const uint128 ticks = static_cast<uint128>(window_ns) * tick_hz / 1'000'000'000U;
  const uint64_t back = ticks > now ? now : static_cast<uint64_t>(ticks);
  return now - back > start ? now - back : start;
}

/// What dumps and streams take over from the live superblock. The rest is zero, but for the places of its parts.
inline void copy_superblock(superblock& super, const superblock& live, image_kind kind) {
  memcpy(static_cast<void*>(&super), &live, __builtin_offsetof(superblock, next_ticket));
  super.next_ticket.store_relaxed(live.next_ticket.load_relaxed());
  super.next_id.store_relaxed(live.next_id.load_relaxed());
  super.arena_used.store_relaxed(live.arena_used.load_relaxed());
  super.attached.store_relaxed(live.attached.load_relaxed());
  super.attached_slots.store_relaxed(live.attached_slots.load_relaxed());
  for (unsigned i = 0; i < 8; ++i) super.dropped[i].store_relaxed(live.dropped[i].load_relaxed());
  super.overwritten_ticks.store_relaxed(live.overwritten_ticks.load_relaxed());
  super.next_span.store_relaxed(live.next_span.load_relaxed());
  super.next_flow.store_relaxed(live.next_flow.load_relaxed());
  constexpr size_t rest = __builtin_offsetof(superblock, dump);
  memset(reinterpret_cast<char*>(&super) + rest, 0, sizeof super - rest);
  super.kind = kind;
  super.thread_states = live.thread_states;
  super.thread_states_error = live.thread_states_error;
  super.perf_event_paranoid = live.perf_event_paranoid;
  super.unwatched_threads = live.unwatched_threads;
}

/// Writes the dump. One at a time in the image's work space: the caller holds process.dumping. Returns 0 or an errno
/// value.
// Async-signal-safe.
inline int write_dump(process_state& process, image_view& image, const dump_request& request, const dump_sink& sink) {
  const superblock& live = *image.super;
  const state_functions* const states = thread_states_of(process);
  const uint64_t switch_buffers = states == nullptr ? 0 : states->count();
  char* const scratch = request.scratch != nullptr ? request.scratch : image.scratch;
  char* at = scratch;
  uint32_t* const chosen = reinterpret_cast<uint32_t*>(at);
  at += (image.chunk_count * sizeof(uint32_t) + 63) & ~uint64_t{63};
  superblock& super = *reinterpret_cast<superblock*>(at);
  at += sizeof(superblock);
  uint64_t* const switch_room = reinterpret_cast<uint64_t*>(at);
  at += (switch_buffers * sizeof(uint64_t) + 63) & ~uint64_t{63};
  const size_t capacity = static_cast<size_t>(scratch + image.scratch_bytes - at);
  dump_output output(sink, at, capacity);

  const clock_anchor now = take_anchor(process);
  const uint64_t tick_hz = tick_rate(live, now);
  const uint64_t cutoff = window_begin(live, now.ticks, request.window_ns, tick_hz);

  // Frozen before the superblock is written, since it states the counts: which slots, how many bindings, which chunks.
  // What is in them is copied later, so a slot may be free and a chunk torn by then.
  uint64_t slots = 0;
  for (uint64_t i = 0; i < image.slot_count; ++i) slots += is_listed(image.slots[i].state.load_acquire());
  uint64_t spans = 0;
  for (uint64_t i = 0; i < image.span_count; ++i) spans += is_begun(image.spans[i].state.load_relaxed());
  const binding& overflow = *binding_of(image, overflow_id);
  uint64_t early_end = 1;
  uint64_t early_bytes = overflow.bytes;
  for (const binding* entry; (entry = binding_of(image, early_end)) != nullptr; ++early_end) early_bytes += entry->bytes;
  uint64_t chunks = 0;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    if (is_wanted(image, i, cutoff)) chosen[chunks++] = static_cast<uint32_t>(i);
  }

  const bool is_all = request.window_ns == 0 || request.window_ns > now.monotonic_ns;
  const uint64_t since_ns = is_all ? 0 : now.monotonic_ns - request.window_ns;
  const uint64_t switches_bytes =
      switch_buffers == 0 ? 0 : states->measure(switch_room, switch_buffers, since_ns) + switch_buffers * sizeof(switch_buffer);

  copy_superblock(super, live, image_kind::dump);
  super.tick_hz = tick_hz;
  super.base_address = reinterpret_cast<uint64_t>(image.super);
  super.slots_offset = sizeof(superblock);
  super.slot_count = static_cast<uint32_t>(slots);
  super.chunk_states_offset = 0;
  const uint64_t spans_offset = super.slots_offset + slots * sizeof(thread_slot);
  super.bindings_offset = spans_offset + spans * sizeof(span_entry);
  super.bindings_bytes = early_bytes;
  super.binding_index_offset = 0;
  super.binding_index_count = 0;
  super.chunks_offset = super.bindings_offset + early_bytes;
  super.chunk_count = static_cast<uint32_t>(chunks);
  const uint64_t switches_offset = super.chunks_offset + chunks * chunk_bytes;
  super.switches_offset = switches_offset;
  super.switches_bytes = switches_bytes;
  super.switch_buffer_bytes = sizeof(switch_buffer);
  super.switch_buffer_count = static_cast<uint32_t>(switch_buffers);
  super.late_bindings_offset = switches_offset + switches_bytes;
  super.scratch_offset = 0;
  super.scratch_bytes = 0;
  super.image_bytes = live.image_bytes;
  super.dump = now;
  super.window_ns = request.window_ns;
  super.cutoff_ticks = cutoff;
  super.dump_sequence = static_cast<uint32_t>(request.sequence);
  super.dump_signal = request.signal;
  super.dump_tid = current_tid();
  if (request.crash != nullptr) super.crash = *request.crash;
  if (request.trigger != nullptr) {
    super.trigger_ticks = request.trigger->ticks;
    memcpy(super.trigger, request.trigger->text, sizeof super.trigger);
  }
  super.spans_offset = spans_offset;
  super.span_bytes = sizeof(span_entry);
  super.span_count = static_cast<uint32_t>(spans);
  output.add(&super, sizeof super);

  uint64_t copied = 0;
  for (uint64_t i = 0; i < image.slot_count && copied < slots; ++i) {
    const uint64_t state = image.slots[i].state.load_acquire();
    if (!is_listed(state)) continue;
    thread_slot& copy = *reinterpret_cast<thread_slot*>(output.reserve(sizeof(thread_slot)));
    copy_slot(copy, image.slots[i], state);
    if (states != nullptr) copy.thread_state.store_relaxed(static_cast<uint64_t>(states->state_of(tid_of(copy))));
    ++copied;
  }
  for (; copied < slots; ++copied) memset(output.reserve(sizeof(thread_slot)), 0, sizeof(thread_slot));

  copied = 0;
  for (uint64_t i = 0; i < image.span_count && copied < spans; ++i) {
    if (!is_begun(image.spans[i].state.load_relaxed())) continue;
    copy_span(*reinterpret_cast<span_entry*>(output.reserve(sizeof(span_entry))), image.spans[i]);
    ++copied;
  }
  for (; copied < spans; ++copied) memset(output.reserve(sizeof(span_entry)), 0, sizeof(span_entry));

  output.add(&overflow, overflow.bytes);
  for (uint64_t id = 1; id < early_end; ++id) {
    const binding* entry = binding_of(image, id);
    output.add(entry, entry->bytes);
  }

  end_of_dump end;
  for (uint64_t i = 0; i < chunks && output.error() == 0; ++i) {
    if (copy_chunk(*reinterpret_cast<chunk*>(output.reserve(chunk_bytes)), image, chosen[i])) {
      ++end.chunks_written;
    } else {
      ++end.chunks_torn;
    }
  }
  // After the chunks, so that the states of all that is in them are known.
  if (switch_buffers != 0) states->copy(output, switches_offset, switch_room, switch_buffers);
  // Acquire, as everywhere: an id that a copied chunk carries was published before the record was.
  const uint64_t next_id = image.super->next_id.load_acquire();
  for (uint64_t id = early_end; id < next_id && id <= image.id_count; ++id) {
    if (const binding* entry = binding_of(image, id)) output.add(entry, entry->bytes);
  }
  end.anchor = take_anchor(process);
  end.total_bytes = output.total() + sizeof end;
  output.add(&end, sizeof end);
  output.flush();
  return output.error();
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
