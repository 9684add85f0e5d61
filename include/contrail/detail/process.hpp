// SPDX-License-Identifier: MIT
// The one recorder of the process. Inline variables are not process-wide: an executable linked without -rdynamic and
// plugins opened with RTLD_LOCAL each get their own. So every shared object has a hidden root and an ELF note that says
// where it is, and all of them join the first root that dl_iterate_phdr meets, the executable's before any other.
#ifndef CONTRAIL_DETAIL_PROCESS_HPP
#define CONTRAIL_DETAIL_PROCESS_HPP

#include "contrail/detail/clock.hpp"
#include "contrail/detail/errno_keeper.hpp"
#include "contrail/detail/image.hpp"
#include "contrail/detail/memory.hpp"
#include "contrail/options.hpp"
#include "contrail/task_context.hpp"
#include "contrail/registry.hpp"

#include <dlfcn.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Of the structures in this header and in image.hpp, which all objects of a process share, and of what the functions of
/// slow_half take. Objects with another number do not join.
inline constexpr uint64_t layout_version = 5;

/// A call site's cached word, less its object's epoch, is its site word (id and tag, 18 bits) while it is bound and on;
/// else it is negative: site_off while it is known to be off, site_slow where every record goes the slow way, less in a
/// later epoch.
inline constexpr uint64_t site_off = ~uint64_t{0};
inline constexpr uint64_t site_slow = site_off - 1;
inline constexpr uint64_t epoch_step = 1ULL << 19;

/// Where everything of one image is in memory; it stands in the image's second page.
struct image_view {
  superblock* super;
  thread_slot* slots;
  uint64_t slot_count;
  atomic_word* chunk_states;
  chunk* chunks;
  uint64_t chunk_count;
  uint32_t* binding_index;  ///< by id: offset in the arena plus 1; entry 0 is the overflow binding's
  uint64_t id_count;
  char* arena;
  uint64_t arena_bytes;
  atomic_word* binding_hashes;  ///< open addressing: content hash with the id in its low 16 bits
  uint64_t hash_count;          ///< a power of two
  span_entry* spans;
  uint64_t span_count;
  char* scratch;
  uint64_t scratch_bytes;
  uint64_t image_bytes;
  uint64_t generation;    ///< of this image in the process, from 1
  uint64_t is_shared;     ///< 1: a file's pages. Whatever forks must map private memory over them in the child
  image_view* replaced;   ///< the image before this one; it stays mapped
  // Of a file: for a start that may go on in it, and for a child that wants one of its own.
  uint64_t device;
  uint64_t inode;
  uint64_t keep_files;
  char file[1024];
  char file_pattern[1024];
  atomic_word retired;    ///< 1 once another image took over
  atomic_word slot_hand;  ///< where the next attach begins to look
  atomic_word no_slot_until;   ///< ticks before which looking for a slot again is pointless
  atomic_word no_chunk_until;  ///< the same for chunks
  atomic_word watch;      ///< const recycling_watch*, once there was a session or a trigger
  atomic_word sessions;   ///< session_marks* of session_marks.hpp
  atomic_word session_count;  ///< that run
};

/// What sessions and triggers have to do with chunks that are recycled, and triggers with regions of a time epoch or
/// more: in session_marks.hpp, which only their users compile.
struct recycling_watch {
  bool (*is_held_back)(const image_view& image, uint64_t chunk_index, uint64_t ticket);
  void (*count)(const image_view& image, uint64_t chunk_index, uint64_t ticket);
  void (*note_long_region)(const image_view& image, uint64_t chunk_index, uint64_t ticks);
};

inline constexpr size_t filter_bytes = 256;

/// A list of globs that threads may read while it is replaced. Who reads a mixture of old and new stores what follows
/// from it under the old epoch, which is over before anybody looks.
struct filter_list {
  atomic_word words[filter_bytes / 8];

  void store(const char* list, size_t size) {
    char bytes[filter_bytes] = {};
    memcpy(bytes, list, size);
    for (size_t i = 0; i < filter_bytes / 8; ++i) {
      uint64_t word;
      memcpy(&word, bytes + 8 * i, 8);
      words[i].store_relaxed(word);
    }
  }
  void load(char (&list)[filter_bytes]) const {
    for (size_t i = 0; i < filter_bytes / 8; ++i) {
      const uint64_t word = words[i].load_relaxed();
      memcpy(list + 8 * i, &word, 8);
    }
    list[filter_bytes - 1] = '\0';
  }
};

class dump_output;
struct object_root;
struct call_site;
struct process_state;

/// An open task or span as its owner holds it. Visible, as the tasks are that hold it.
struct [[gnu::visibility("default")]] open_span {
  span_entry* at = nullptr;
  task_context context{};
};

/// What is the running thread's and the calling object's own: handed to the slow half, which another object may hold.
struct caller {
  frame** next_frame;
  object_root* object;
};

/// A place for a region or a point: `at` is null when there is nothing to record, `word` is the site's id and tag.
struct claim {
  frame* at;
  uint64_t word;
};

/// Stands above the words of payload of a span that is a task, see slow_half.
inline constexpr unsigned span_is_task = 1U << 31;

/// The slow half of recording. Only a translation unit that calls flight_recorder::start compiles it, and every object
/// of the process calls it through this table: a translation unit that only records costs a fraction to compile.
struct slow_half {
  claim (*claim_frame)(caller from, call_site& site, uint64_t stack_pointer);
  void (*end_region)(caller from, frame* at, uint64_t word, unsigned words);
  void (*roll_chunk)(frame* at, uint64_t ticks);
  void (*write_point)(frame* at, uint64_t word, uint64_t stack_pointer, uint64_t* record, unsigned words);
  void (*name_thread)(caller from, const char* name, size_t size);
  /// `form`: the words of payload, and span_is_task.
  open_span (*begin_span)(caller from, call_site& site, const task_context* parent, const atomic_word* payload,
                          unsigned form);
  void (*end_span)(caller from, span_entry* at, uint64_t id);
  uint64_t (*set_current_task)(caller from, uint64_t id);
  void (*object_loaded)(object_root& object);
  /// Only in the table of contrail/env.hpp, which stands here until the first start: begins what the environment asks
  /// for, if it asks for anything, and says whether a recorder runs now. Held: control.
  bool (*start_from_environment)(process_state& process, const options& wanted);
};

/// Keeps what the kernel tells of threads, and copies it into dumps. Its functions are in contrail/thread_states.hpp,
/// which only their users compile. All but `open` and `close` are async-signal-safe.
struct state_functions : thread_state_source {
  /// Begins; says in the image what became of it. Held: control.
  void (*open)(superblock& live);
  void (*close)();
  /// In a forked child: gives up what it inherited.
  void (*forget)();
  /// How many buffers there are.
  uint64_t (*count)();
  /// Into `room`, for each buffer, the bytes that a copy of what it holds since `since_ns` needs; the sum of all.
  uint64_t (*measure)(uint64_t* room, uint64_t count, uint64_t since_ns);
  /// Writes as much of each buffer, and its switch_buffer behind it; `offset` is where in the dump.
  void (*copy)(dump_output& output, uint64_t offset, const uint64_t* room, uint64_t count);
  /// What a thread does now.
  thread_state (*state_of)(uint32_t tid);
};

/// The state of the recorder. Only the elected object's instance is in use.
struct process_state {
  atomic_word image;      ///< image_view*; stays after stop, since threads may still hold frames in it
  atomic_word recording;  ///< 1 between start and stop
  atomic_word recordings; ///< how many began
  atomic_word epoch{epoch_step};  ///< multiples of epoch_step; changes with start, stop, fork and filters
  atomic_word control;    ///< lock of start, stop, set_filter and the linking of objects; never taken while recording
  atomic_word dumping;    ///< whose turn it is to write a dump, see thread_id.hpp
  atomic_word dump_count;
  atomic_word window_ns;
  atomic_word hardware_clock;  ///< 1: ticks are the processor's counter; 0: CLOCK_MONOTONIC
  atomic_word tick_hz;
  atomic_word start_ticks;  ///< when the recording began
  atomic_word forked;  ///< 1 in a child that inherited a recording
  atomic_word follow_fork;  ///< what a forked child does, see fork.hpp; 0: it records nothing
  atomic_word crash;   ///< crash_state* of crash.hpp, once anybody asked for dumps of crashes
  atomic_word stacks;  ///< stack_pool* of crash_stack.hpp, likewise
  atomic_word slow_table;  ///< const slow_half*, set by the first start, before the epoch that sends anybody there
  atomic_word thread_states;  ///< const state_functions*, of a recording that has one
  atomic_word environment;  ///< whether the variable CONTRAIL was read: environment_unread and so on
  type_range* objects;  ///< object_root::types of every object
  filter_list categories;
  filter_list names;
};

/// What every shared object that uses contrail has one of.
struct object_root {
  uint64_t layout = layout_version;
  atomic_word epoch{epoch_step};  ///< copy of process_state::epoch, near the code that compares with it
  atomic_word joined;             ///< process_state*; 0 before the election
  type_range types{};             ///< also the link of the process's list of objects
  process_state process{};
};

extern "C" {
CONTRAIL_DETAIL_HIDDEN __attribute__((used)) inline constinit object_root contrail_v0_object_root{};
}

// One note per object, whatever its number of translation units; the linker keeps notes, also with --gc-sections.
asm(".pushsection .note.contrail,\"aG\",%note,contrail_v0_note,comdat\n"
    ".balign 4\n"
    ".long 9, 4, 1\n"
    ".asciz \"contrail\"\n"
    ".balign 4\n"
    ".long contrail_v0_object_root - .\n"
    ".popsection\n");

inline object_root& own_object() { return contrail_v0_object_root; }

inline object_root& object_of(type_range& types) {
  return *reinterpret_cast<object_root*>(reinterpret_cast<char*>(&types) - __builtin_offsetof(object_root, types));
}

// ---- election ------------------------------------------------------------------------------------------------

// <link.h> takes 5 ms to compile, for two structures of the ELF ABI and this function.
struct elf_segment {
  static constexpr uint32_t note = 4;
  uint32_t type;
  uint32_t flags;
  uint64_t offset;
  uint64_t address;
  uint64_t physical_address;
  uint64_t file_bytes;
  uint64_t memory_bytes;
  uint64_t alignment;
};
struct loaded_object {
  uint64_t address;
  const char* name;
  const elf_segment* segments;
  uint16_t segment_count;
};
int for_each_object(int (*visit)(loaded_object*, size_t, void*), void* context) __asm__("dl_iterate_phdr")
    __attribute__((visibility("default")));

/// dl_iterate_phdr's callback: stops at the first object with a contrail note and stores its root.
CONTRAIL_DETAIL_UNOPTIMISED inline int find_root(loaded_object* object, size_t, void* found) noexcept {
  for (int i = 0; i < object->segment_count; ++i) {
    const elf_segment& segment = object->segments[i];
    // Linkers keep notes of different alignment in segments of their own; ours is aligned to 4.
    if (segment.type != elf_segment::note || segment.alignment > 4) continue;
    const uint32_t* at = reinterpret_cast<const uint32_t*>(object->address + segment.address);
    const uint32_t* const end = at + segment.memory_bytes / 4;
    // A note is the sizes of its name and its content, its type, the name, the content.
    for (; end - at > 6; at += 3 + (at[0] + 3) / 4 + (at[1] + 3) / 4) {
      if (at[0] != 9 || memcmp(at + 3, "contrail", 9) != 0) continue;
      const char* const content = reinterpret_cast<const char*>(at + 6);
      *static_cast<const char**>(found) = content + static_cast<int32_t>(at[6]);
      return 1;
    }
  }
  return 0;
}

/// The process's state, electing it at the first call. Null when the elected object has another layout version.
/// Not async-signal-safe at the first call (dl_iterate_phdr), which the ELF constructor makes.
CONTRAIL_DETAIL_UNOPTIMISED inline process_state* join_process() noexcept {
  object_root& own = own_object();
  if (const uint64_t joined = own.joined.load_acquire()) return reinterpret_cast<process_state*>(joined);
  object_root* root = nullptr;
  for_each_object(find_root, &root);
  if (root == nullptr) root = &own;  // a linker that dropped the note: alone, but working
  if (root->layout != layout_version) return nullptr;
  own.joined.store_release(reinterpret_cast<uint64_t>(&root->process));
  return &root->process;
}

/// The process's state if this object has joined it, else null.
// Async-signal-safe.
inline process_state* joined_process() { return reinterpret_cast<process_state*>(own_object().joined.load_acquire()); }

/// Keeps the shared object that holds `address` loaded for the rest of the process.
CONTRAIL_DETAIL_UNOPTIMISED inline void pin_object(const void* address) noexcept {
  Dl_info object{};
  if (dladdr(address, &object) == 0 || object.dli_fname == nullptr) return;
  dlopen(object.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

// ---- control -------------------------------------------------------------------------------------------------

/// The running thread as the kernel knows it. Keeps errno: a sandbox may refuse the call.
// Async-signal-safe.
inline uint32_t current_tid() {
  const errno_keeper keep;
  return static_cast<uint32_t>(syscall(SYS_gettid));
}

/// In process_state::control, above the thread that holds it: it does so for a fork.
inline constexpr uint64_t fork_mark = 1ULL << 32;

/// Waits until this thread holds control, as `own`: its id, with a mark or without. Where it holds it already, a
/// handler left what had it by a jump, or a hook of its fork calls; then it stays as it is.
// Async-signal-safe.
inline void take_control(process_state& process, uint64_t own) {
  uint64_t found = 0;
  while (!process.control.compare_exchange(found, own) && static_cast<uint32_t>(found) != static_cast<uint32_t>(own)) {
    found = 0;
    sched_yield();
  }
}
// Async-signal-safe.
inline void give_control(process_state& process, uint64_t own) { process.control.compare_exchange(own, 0); }

/// Holds the lock of start, stop, set_filter, and of objects that come and go. Nothing that records, attaches, binds or
/// dumps takes it. A handler takes it only to fork.
class control_lock {
 public:
  explicit control_lock(process_state& process) noexcept : process_(process) { take_control(process, own_); }
  ~control_lock() { give_control(process_, own_); }
  control_lock(const control_lock&) = delete;
  control_lock& operator=(const control_lock&) = delete;

 private:
  process_state& process_;
  // A handler may fork before it is taken: then it is the parent's in the child too.
  const uint64_t own_ = current_tid();
};

/// Makes every call site of every object ask again whether it is on. Regions in flight are not touched. Held: control.
inline void begin_epoch(process_state& process) {
  const uint64_t epoch = process.epoch.load_relaxed() + epoch_step;
  process.epoch.store_release(epoch);
  for (type_range* object = process.objects; object != nullptr; object = object->next) {
    object_of(*object).epoch.store_release(epoch);
  }
}

/// Of process_state::environment. It stays environment_started until the program itself calls start.
inline constexpr uint64_t environment_unread = 0, environment_read = 1, environment_started = 2;

/// Whether anything was started. Until then a table of contrail/env.hpp may wait in its place.
inline bool has_slow_half(const process_state& process) {
  const slow_half* const table = reinterpret_cast<const slow_half*>(process.slow_table.load_acquire());
  return table != nullptr && table->start_from_environment == nullptr;
}

inline const state_functions* thread_states_of(const process_state& process) {
  return reinterpret_cast<const state_functions*>(process.thread_states.load_acquire());
}

inline image_view* current_image(const process_state& process) {
  return reinterpret_cast<image_view*>(process.image.load_acquire());
}

// ---- time ----------------------------------------------------------------------------------------------------

/// Ticks now, by the clock this process uses: the processor's counter only where the kernel trusts it.
// Async-signal-safe.
inline uint64_t now_ticks(const process_state& process) {
  return __builtin_expect(process.hardware_clock.load_relaxed() != 0, 1) ? hardware_ticks()
                                                                          : kernel_clock_ns(CLOCK_MONOTONIC);
}

/// The same moment on four clocks, within some 100 ns. A thread that is preempted between two of them would put them
/// apart by milliseconds, so the best of a few tries counts.
// Async-signal-safe.
inline clock_anchor take_anchor(const process_state& process) {
  clock_anchor best{};
  uint64_t shortest = ~uint64_t{0};
  constexpr uint64_t good_enough_ticks = 1024;
  for (int i = 0; i < 4 && shortest > good_enough_ticks; ++i) {
    clock_anchor anchor{};
    const uint64_t before = now_ticks(process);
    anchor.monotonic_ns = kernel_clock_ns(CLOCK_MONOTONIC);
    anchor.realtime_ns = kernel_clock_ns(CLOCK_REALTIME);
    anchor.boottime_ns = kernel_clock_ns(CLOCK_BOOTTIME);
    const uint64_t took = now_ticks(process) - before;
    if (took >= shortest) continue;
    shortest = took;
    // The monotonic clock was read a sixth of the way.
    anchor.ticks = before + took / 6;
    best = anchor;
  }
  return best;
}

// ---- ids ------------------------------------------------------------------------------------------------------

/// Makes numbers that follow each other into numbers that look random, each into another one.
inline uint64_t scramble(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9U;
  x = (x ^ x >> 27) * 0x94d0'49bb'1331'11ebU;
  x ^= x >> 31;
  return x != 0 ? x : 1;
}

// ---- registered types ----------------------------------------------------------------------------------------

/// All objects' registered types, for contrail::registry.
inline type_range* first_type_range() {
  process_state* process = join_process();
  return process == nullptr ? nullptr : process->objects;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
