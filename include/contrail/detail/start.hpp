// SPDX-License-Identifier: MIT
// Makes an image: how the memory is divided, and what stands in the superblock.
#ifndef CONTRAIL_DETAIL_START_HPP
#define CONTRAIL_DETAIL_START_HPP

#include "contrail/detail/binding.hpp"
#include "contrail/detail/image_file.hpp"
#include "contrail/detail/object.hpp"
#include "contrail/detail/safe_writer.hpp"
#include "contrail/detail/span.hpp"
#include "contrail/options.hpp"

#include <fcntl.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint64_t smallest_image_bytes = 1U << 20;
inline constexpr uint64_t largest_image_bytes = 1ULL << 34;  ///< 34 bits of offsets stay far from every field's limit

// ---- clock ---------------------------------------------------------------------------------------------------

/// Whether the processor's counter runs at a constant rate through sleep states, and the kernel still lists it as a
/// clock: it withdraws the TSC when it finds the cores' counters apart.
inline bool hardware_clock_is_trusted() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(0x8000'0007, &eax, &ebx, &ecx, &edx) == 0 || (edx & 1U << 8) == 0) return false;
  const int file =
      open("/sys/devices/system/clocksource/clocksource0/available_clocksource", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char sources[256];
  const ssize_t size = read(file, sources, sizeof sources - 1);
  close(file);
  if (size <= 0) return false;
  sources[size] = '\0';
  return strstr(sources, "tsc") != nullptr;
#else
  return true;
#endif
}

/// Nominal ticks per second, measured between two anchors some 50 us apart; anchors in the chunks are far better.
inline uint64_t estimate_tick_hz(const clock_anchor& from, const clock_anchor& to) {
  const uint64_t ns = to.monotonic_ns - from.monotonic_ns;
  const uint64_t hz = ns == 0 ? 0 : static_cast<uint64_t>(static_cast<uint128>(to.ticks - from.ticks) * 1'000'000'000U / ns);
  // No counter is as slow: a clock failed, and others divide by this.
  return hz < 100'000 ? 1'000'000'000 : hz;
}

// ---- layout --------------------------------------------------------------------------------------------------

/// How an image of some size is divided. Everything counts: the chunks get what the rest leaves.
struct image_layout {
  uint64_t image_bytes;
  uint64_t slots_offset, slot_count;
  uint64_t index_offset, id_count;
  uint64_t hashes_offset, hash_count;
  uint64_t arena_offset, arena_bytes;
  uint64_t spans_offset, span_count;
  uint64_t scratch_offset, scratch_bytes;
  uint64_t states_offset;
  uint64_t chunks_offset, chunk_count;
};

inline constexpr uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

inline constexpr image_layout divide(uint64_t bytes) {
  image_layout layout{};
  layout.image_bytes = bytes & ~uint64_t{sizeof(thread_slot) - 1};
  uint64_t at = sizeof(thread_slot);  // the superblock, the view, and padding up to the slots' alignment
  layout.slots_offset = at;
  // An eighth for threads: 256 of them in 32 MiB.
  layout.slot_count = layout.image_bytes / 8 / sizeof(thread_slot);
  at += layout.slot_count * sizeof(thread_slot);
  // Tasks and spans that are open at the same time: 1024 in 32 MiB.
  layout.spans_offset = at;
  layout.span_count = layout.image_bytes / 128 / sizeof(span_entry);
  at += layout.span_count * sizeof(span_entry);
  layout.id_count = layout.image_bytes / 4096;
  if (layout.id_count > max_id) layout.id_count = max_id;
  layout.index_offset = at;
  at += round_up((layout.id_count + 1) * 4, 64);
  layout.hash_count = 1;
  while (layout.hash_count < layout.id_count * 3 / 2) layout.hash_count *= 2;
  layout.hashes_offset = at;
  at += layout.hash_count * 8;
  layout.arena_offset = at;
  layout.arena_bytes = layout.id_count * 256;  // what a call site with two arguments and a long path takes
  at += layout.arena_bytes;
  const uint64_t most_chunks = layout.image_bytes / chunk_bytes;
  layout.states_offset = at;
  at += round_up(most_chunks * 8, 64);
  layout.scratch_offset = at;
  layout.scratch_bytes = round_up(most_chunks * 4, 64) + sizeof(superblock) + 4 * sizeof(thread_slot);
  at += layout.scratch_bytes;
  layout.chunks_offset = round_up(at, chunk_bytes);
  layout.chunk_count = (layout.image_bytes - layout.chunks_offset) / chunk_bytes;
  return layout;
}

/// Copies a string into a field of the superblock, cut to fit and zero padded.
template <size_t Size>
inline void copy_text(char (&to)[Size], const char* from) {
  size_t i = 0;
  for (; from[i] != '\0' && i + 1 < Size; ++i) to[i] = from[i];
  memset(to + i, 0, Size - i);
}

/// Who this process is.
inline void identify(superblock& super) {
  super.pid = static_cast<uint32_t>(getpid());
  read_executable(super.executable);
  char host[64] = {};
  if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  copy_text(super.host, host);
}

/// Where the recording begins in time.
inline void start_clock(process_state& process, superblock& super) {
  super.source = process.hardware_clock.load_relaxed() == 0 ? clock_source::monotonic
#if defined(__aarch64__)
                                                            : clock_source::cntvct;
#else
                                                            : clock_source::tsc;
#endif
  super.start = take_anchor(process);
  process.start_ticks.store_relaxed(super.start.ticks);
  // Bounded: where reading the clock is a system call that a sandbox refuses, time stands still.
  for (int i = 0; i < 1'000; ++i) {
    super.ready = take_anchor(process);
    const uint64_t passed_ns = super.ready.monotonic_ns - super.start.monotonic_ns;
    if (passed_ns >= 50'000 || (passed_ns == 0 && i >= 50)) break;
  }
  super.tick_hz = estimate_tick_hz(super.start, super.ready);
  process.tick_hz.store_relaxed(super.tick_hz);
}

/// The overflow binding's descriptor: what call sites bind to when there is no room for theirs.
CONTRAIL_DETAIL_HIDDEN inline constexpr descriptor overflow_descriptor{
    binding_kind::overflow, 0, text{"(more call sites than contrail has room for)"}, {}, {}, {}, 0, 0, nullptr, 0};

/// Makes an image of memory that is all zero.
inline image_view* fill_image(process_state& process, const image_layout& layout, char* base, uint64_t generation) {
  superblock& super = *reinterpret_cast<superblock*>(base);
  image_view& view = *reinterpret_cast<image_view*>(base + sizeof(superblock));
  view.super = &super;
  view.slots = reinterpret_cast<thread_slot*>(base + layout.slots_offset);
  view.slot_count = layout.slot_count;
  view.chunk_states = reinterpret_cast<atomic_word*>(base + layout.states_offset);
  view.chunks = reinterpret_cast<chunk*>(base + layout.chunks_offset);
  view.chunk_count = layout.chunk_count;
  view.binding_index = reinterpret_cast<uint32_t*>(base + layout.index_offset);
  view.id_count = layout.id_count;
  view.arena = base + layout.arena_offset;
  view.arena_bytes = layout.arena_bytes;
  view.binding_hashes = reinterpret_cast<atomic_word*>(base + layout.hashes_offset);
  view.hash_count = layout.hash_count;
  view.spans = reinterpret_cast<span_entry*>(base + layout.spans_offset);
  view.span_count = layout.span_count;
  view.scratch = base + layout.scratch_offset;
  view.scratch_bytes = layout.scratch_bytes;
  view.image_bytes = layout.image_bytes;
  view.generation = generation;
  view.replaced = current_image(process);

  super.version_major = format_major;
  super.version_minor = format_minor;
  super.superblock_bytes = sizeof(superblock);
  super.kind = image_kind::live;
  super.image_bytes = layout.image_bytes;
  super.base_address = reinterpret_cast<uint64_t>(base);
  super.slots_offset = layout.slots_offset;
  super.slot_bytes = sizeof(thread_slot);
  super.slot_count = static_cast<uint32_t>(layout.slot_count);
  super.chunk_states_offset = layout.states_offset;
  super.chunks_offset = layout.chunks_offset;
  super.chunk_bytes = chunk_bytes;
  super.chunk_count = static_cast<uint32_t>(layout.chunk_count);
  super.binding_index_offset = layout.index_offset;
  super.binding_index_count = layout.id_count + 1;
  super.bindings_offset = layout.arena_offset;
  super.bindings_bytes = layout.arena_bytes;
  super.spans_offset = layout.spans_offset;
  super.span_bytes = sizeof(span_entry);
  super.span_count = static_cast<uint32_t>(layout.span_count);
  super.scratch_offset = layout.scratch_offset;
  super.scratch_bytes = layout.scratch_bytes;
  super.lane_count = lane_count;
  super.frame_bytes = sizeof(frame);
  super.frame_count = frame_count;
  for (unsigned i = 0; i < lane_count; ++i) super.lane_first_frame[i] = first_frame[i];
  // Ticket modulo count is the chunk; the first ticket is above the 0 of a chunk that was never taken.
  super.next_ticket.store_relaxed(layout.chunk_count);
  super.next_id.store_relaxed(1);
  identify(super);
  start_clock(process, super);
  constexpr int at_once = 1;  // GRND_NONBLOCK
  if (syscall(SYS_getrandom, super.seed, sizeof super.seed, at_once) != static_cast<long>(sizeof super.seed)) {
    super.seed[0] = super.start.realtime_ns ^ uint64_t{super.pid} << 32;
    super.seed[1] = super.start.ticks;
  }
  binding_output overflow;
  serialise(overflow_descriptor, overflow);
  publish_binding(view, overflow_descriptor, overflow.size(), overflow_id);
  // Last: whoever scans memory for the magic finds a whole superblock.
  __atomic_store_n(&super.magic, ~complement_of_image_magic, __ATOMIC_RELEASE);
  return &view;
}

/// Maps and fills an image in the file that `wanted` names. Null, and in `failed` why, when it cannot be made.
inline image_view* make_image_file(process_state& process, const options& wanted, uint64_t generation, error& failed) {
  if (wanted.keep_files > most_kept_files) {
    failed = {error_code::bad_option, "options.keep_files must not be above 64."};
    return nullptr;
  }
  char path[longest_path_bytes];
  failed = expand_image_path(wanted.file, generation, path);
  if (failed) return nullptr;
  const image_layout layout = divide(wanted.memory);
  replacing_file file(path, static_cast<uint64_t>(getpid()), generation, true);
  struct stat made {};
  if (!file.is_open() || fstat(file.descriptor(), &made) != 0) {
    failed = file_error("Could not create the recorder's file", path, file.is_open() ? errno : file.error());
    return nullptr;
  }
  if (const int cause = reserve_space(file.descriptor(), layout.image_bytes)) {
    failed = file_error("Could not reserve the space for the recorder's file", path, cause);
    return nullptr;
  }
  void* const base = map_image(layout.image_bytes, sizeof(thread_slot), wanted.prefault, file.descriptor());
  if (base == nullptr) {
    failed = file_error("Could not map the recorder's file", path, errno);
    return nullptr;
  }
  image_view& view = *fill_image(process, layout, static_cast<char*>(base), generation);
  view.is_shared = 1;
  view.device = made.st_dev;
  view.inode = made.st_ino;
  text_writer(view.file, sizeof view.file).add(path);
  text_writer(view.file_pattern, sizeof view.file_pattern).add(wanted.file);
  view.keep_files = wanted.keep_files;
  view.super->storage = image_storage::file;
  failed = take_name(process, file, path);
  if (failed) {
    munmap(base, layout.image_bytes);
    return nullptr;
  }
  remove_oldest(process, wanted.file, path, name_in_path(view.super->executable), wanted.keep_files);
  return &view;
}

/// Maps and fills an image. Null, and in `failed` why, when it cannot be made.
inline image_view* make_image(process_state& process, const options& wanted, uint64_t generation, error& failed) {
  if (wanted.file != nullptr) return make_image_file(process, wanted, generation, failed);
  const image_layout layout = divide(wanted.memory);
  if (void* const base = map_image(layout.image_bytes, sizeof(thread_slot), wanted.prefault)) {
    return fill_image(process, layout, static_cast<char*>(base), generation);
  }
  failed = {error_code::out_of_memory,
            "The system gave no memory for the flight recorder: ask for less with options.memory."};
  return nullptr;
}

/// Without an error: null when there is no memory.
inline image_view* make_image(process_state& process, const options& wanted, uint64_t generation) {
  error ignored;
  return make_image(process, wanted, generation, ignored);
}

/// Makes threads leave an image that another one replaces: their next begin there takes the slow path and attaches
/// anew. The image stays mapped, since a thread may hold a frame in it for as long as it likes; its chunks' memory is
/// given back to the system.
inline void retire_image(image_view& image) {
  // Whoever gives a lane a new deadline looks at this afterwards.
  image.retired.store_relaxed(1);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  for (uint64_t i = 0; i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[i];
    if (generation_of(slot) == 0) continue;  // never used: its pages are not even there
    for (lane& writer : slot.lanes) writer.deadline.store_relaxed(0);
    for (frame& at : slot.frames) {
      uint64_t free = 0;
      at.start_ticks.compare_exchange(free, frame_busy);
    }
  }
  if (image.session_count.load_acquire() != 0) return;  // they still copy what was recorded until now
  madvise(image.chunks, image.chunk_count * chunk_bytes, MADV_DONTNEED);
}

// ---- thread states -------------------------------------------------------------------------------------------

/// Held: control.
// Async-signal-safe.
inline void begin_thread_states(process_state& process, superblock& live, const thread_state_source* source) {
  const state_functions* const functions = static_cast<const state_functions*>(source);
  process.thread_states.store_release(reinterpret_cast<uint64_t>(functions));
  live.thread_states = state_recording::unwanted;
  if (functions != nullptr) functions->open(live);
}

/// Held: control.
inline void end_thread_states(process_state& process) {
  if (const state_functions* const source = thread_states_of(process)) source->close();
}

// ---- objects that come and go --------------------------------------------------------------------------------

/// Slots of objects that were unloaded: no thread can be in their code any more. Held: control.
inline void free_slots_of_unloaded_objects(process_state& process, image_view& image) {
  for (uint64_t i = 0; i < image.slot_count; ++i) {
    const uint64_t found = image.slots[i].state.load_acquire();
    if (static_cast<slot_state>(found & 0xff) != slot_state::live) continue;
    type_range* object = process.objects;
    while (object != nullptr &&
           reinterpret_cast<uint64_t>(&object_of(*object)) != image.slots[i].owner_object.load_relaxed()) {
      object = object->next;
    }
    if (object == nullptr) free_slot(process, image, image.slots[i], found, turn_holder());
  }
}

/// Takes in an object that was loaded after the first start. Held: control.
inline void take_in_object(object_root& object) {
  process_state& process = *joined_process();
  object.epoch.store_release(process.epoch.load_relaxed());
  if (process.recording.load_relaxed() == 0) return;
  image_view& image = *current_image(process);
  bind_types(image, object.types);
  free_slots_of_unloaded_objects(process, image);
}

/// What every object's records call when the quick path does not do.
CONTRAIL_DETAIL_HIDDEN inline constexpr slow_half slow_functions{
    claim_frame,       end_region_slowly, roll_chunk_slowly,       write_point_slowly, name_thread_slowly,
    begin_span_slowly, end_span_slowly,   set_current_task_slowly, take_in_object,     nullptr};

/// Tells in a file's image that its process ended by itself, after all other destructors of this object.
template <class>
struct exit_note {
  __attribute__((destructor(101), used)) static void on_exit() {
    const process_state* const process = joined_process();
    // Another object that may be unloaded holds a copy of this function. The one whose functions are in use is pinned.
    if (process == nullptr || process->recording.load_relaxed() == 0) return;
    if (process->slow_table.load_relaxed() == reinterpret_cast<uint64_t>(&slow_functions)) {
      note_end(*process, image_end::exited);
    }
  }
  static void require() { (void)&on_exit; }
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
