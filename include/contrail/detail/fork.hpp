// SPDX-License-Identifier: MIT
// Processes that fork. The child leaves its parent's recording before it does anything else; with options::follow_fork
// it gets an image of its own. What runs here is async-signal-safe, as all that a child of a process with threads may
// do.
#ifndef CONTRAIL_DETAIL_FORK_HPP
#define CONTRAIL_DETAIL_FORK_HPP

#include "contrail/detail/start.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

// pthread_atfork under a name of our own: <pthread.h> takes longer to compile than this whole header.
int at_fork(void (*prepare)(), void (*parent)(), void (*child)()) __asm__("pthread_atfork")
    __attribute__((visibility("default")));

// ---- what start leaves for children --------------------------------------------------------------------------

/// In process_state::follow_fork. The rest of start's options stand in the state and in the image.
inline constexpr uint64_t follow_flag = 1;
inline constexpr uint64_t follow_prefault_flag = 2;

inline uint64_t follow_flags(const options& wanted) {
  return !wanted.follow_fork ? 0 : follow_flag | (wanted.prefault ? follow_prefault_flag : 0);
}

/// Whether children can have files of their own. %n does not make them differ: two children of one process have one.
inline error check_follow(const options& wanted) {
  if (!wanted.follow_fork || wanted.file == nullptr) return {};
  for (const char* at = wanted.file; *at != '\0'; ++at) {
    if (*at != '%') continue;
    if (*++at == 'p') return {};
    if (*at == '\0') break;
  }
  return {error_code::bad_option,
          "options.follow_fork needs %p in options.file: each process keeps its recorder in a file of its own."};
}

// ---- signals -------------------------------------------------------------------------------------------------
// A child whose image is still its parent's file must not run a handler that traces: signals wait until fork is done.

struct forking_thread {
  atomic_word next_frame;  ///< its address, which tells threads apart on both sides of a fork; 0: unused
  uint64_t signal_mask;
};

/// More threads than this that fork at the same moment do so with signals on.
CONTRAIL_DETAIL_HIDDEN inline constinit forking_thread forking_threads[16]{};

inline uint64_t set_signal_mask(uint64_t mask) {
  constexpr int set_mask = 2;  // SIG_SETMASK
  uint64_t before = 0;
  syscall(SYS_rt_sigprocmask, set_mask, &mask, &before, sizeof mask);
  return before;
}

// Async-signal-safe.
inline void before_fork() {
  const errno_keeper keep;
  process_state* const process = joined_process();
  // A start of another thread: what that has mapped and opened so far, the child would keep.
  if (process != nullptr) take_control(*process, current_tid() | fork_mark);
  const image_view* image = process == nullptr ? nullptr : current_image(*process);
  while (image != nullptr && image->is_shared == 0) image = image->replaced;
  if (image == nullptr) return;
  // The C library keeps 32 and 33 to itself, and waits for threads that block them.
  const uint64_t before = set_signal_mask(~(3ULL << 31));
  for (forking_thread& place : forking_threads) {
    uint64_t free = 0;
    if (!place.next_frame.compare_exchange(free, reinterpret_cast<uint64_t>(&next_frame))) continue;
    place.signal_mask = before;
    return;
  }
  set_signal_mask(before);
}

// Async-signal-safe.
inline void after_fork() {
  const errno_keeper keep;
  if (process_state* const process = joined_process()) give_control(*process, current_tid() | fork_mark);
  for (forking_thread& place : forking_threads) {
    if (place.next_frame.load_relaxed() != reinterpret_cast<uint64_t>(&next_frame)) continue;
    const uint64_t before = place.signal_mask;
    place.next_frame.store_release(0);
    set_signal_mask(before);
    return;
  }
}

// ---- the child -----------------------------------------------------------------------------------------------

/// Where a child cannot be taken off its parent's file, which it would write to.
[[noreturn]] inline void give_up_child() {
  constexpr char message[] =
      "contrail: A forked child ends, as there is no memory to take it off the file of its parent's recorder.\n";
  const ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
  static_cast<void>(ignored);
  _exit(127);
}

/// Maps private memory over pages of a shared image, of the same content if `keep`.
inline void make_private(char* at, uint64_t bytes, bool keep) {
  constexpr uint64_t page_bytes = 4096;
  const uint64_t step = keep ? page_bytes : bytes;
  for (char* const end = at + bytes; at < end; at += step) {
    char content[page_bytes];
    if (keep) memcpy(content, at, page_bytes);
    if (mmap(at, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
      give_up_child();
    }
    if (keep) memcpy(at, content, page_bytes);
  }
}

/// Takes a child off its parent's shared image. Code that a fork in a signal handler interrupted goes on there with
/// addresses that it holds in registers, so the range stays, and holds what such code follows: the view, the slots in
/// use, and the overflow binding, which is the first. All else is zero; nothing that it writes is ever read.
inline void leave_shared_image(image_view& shared) {
  char* const base = reinterpret_cast<char*>(shared.super);
  char* at = base;
  const auto keep = [&](const void* from, uint64_t bytes) {
    char* const begin = const_cast<char*>(static_cast<const char*>(from));
    char* const page = base + (static_cast<uint64_t>(begin - base) & ~uint64_t{4095});
    char* const end = base + round_up(static_cast<uint64_t>(begin + bytes - base), 4096);
    if (page > at) make_private(at, static_cast<uint64_t>(page - at), false);
    if (end > at) make_private(page > at ? page : at, static_cast<uint64_t>(end - (page > at ? page : at)), true);
    if (end > at) at = end;
  };
  keep(base, sizeof(superblock) + sizeof(image_view));
  for (uint64_t i = 0; i < shared.slot_count; ++i) {
    if (generation_of(shared.slots[i]) != 0) keep(&shared.slots[i], sizeof(thread_slot));
  }
  keep(shared.binding_index, sizeof *shared.binding_index);
  keep(shared.arena, sizeof(binding));
  make_private(at, static_cast<uint64_t>(base + shared.image_bytes - at), false);
  shared.is_shared = 0;
}

/// Begins a recording in the child like the one that its parent has. Without memory, or space for its file, the child
/// records nothing.
inline void follow_into_child(process_state& process, image_view& parent, const thread_state_source* thread_states) {
  options wanted;
  wanted.memory = parent.image_bytes;
  wanted.prefault = (process.follow_fork.load_relaxed() & follow_prefault_flag) != 0;
  if (parent.file_pattern[0] != '\0') wanted.file = parent.file_pattern;
  wanted.keep_files = static_cast<unsigned>(parent.keep_files);
  // Somewhere else, not over the parent's, for the sake of that interrupted code.
  image_view* const own = make_image(process, wanted, parent.generation + 1);
  if (own == nullptr) return;
  process.image.store_release(reinterpret_cast<uint64_t>(own));
  retire_image(parent);
  process.forked.store_relaxed(0);
  for (const type_range* types = process.objects; types != nullptr; types = types->next) bind_types(*own, *types);
  begin_thread_states(process, *own->super, thread_states);
  process.recording.store_release(1);
  begin_epoch(process);
}

/// In a forked child, before fork returns. The parent's other threads do not exist here: what they held, locks and
/// turns, nobody else gives back; what they had claimed of the parent's image, the child's own does not know.
// Async-signal-safe.
inline void after_fork_in_child() {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr) return;
  image_view* const parent = current_image(*process);
  for (image_view* image = parent; image != nullptr; image = image->replaced) {
    if (image->is_shared != 0) leave_shared_image(*image);
  }
  const bool was_recording = process->recording.load_relaxed() != 0;
  const state_functions* const thread_states = thread_states_of(*process);
  if (thread_states != nullptr) thread_states->forget();
  process->thread_states.store_relaxed(0);
  process->control.store_relaxed(0);
  process->dumping.store_relaxed(0);
  process->recording.store_relaxed(0);
  process->forked.store_relaxed(1);
  adopt_stack(*process);
  begin_epoch(*process);
  if (was_recording && process->follow_fork.load_relaxed() != 0) follow_into_child(*process, *parent, thread_states);
  after_fork();
  for (forking_thread& other : forking_threads) other.next_frame.store_relaxed(0);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
