// SPDX-License-Identifier: MIT
// Processes that fork. The child leaves its parent's recording before it does anything else; with options::follow_fork
// it gets an image of its own. What runs here is async-signal-safe, as all that a child of a process with threads may do.
#ifndef CONTRAIL_DETAIL_FORK_HPP
#define CONTRAIL_DETAIL_FORK_HPP

#include "contrail/detail/start.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

// pthread_atfork under a name of our own: <pthread.h> takes longer to compile than this whole header.
int at_fork(void (*prepare)(), void (*parent)(), void (*child)()) __asm__("pthread_atfork")
    __attribute__((visibility("default")));

/// What start leaves for forked children in process_state::follow_fork. The rest of its options stand in the state and
/// in the image.
inline constexpr uint64_t follow_flag = 1;
inline constexpr uint64_t follow_prefault_flag = 2;

inline uint64_t follow_flags(const options& wanted) {
  return !wanted.follow_fork ? 0 : follow_flag | (wanted.prefault ? follow_prefault_flag : 0);
}

/// Begins a recording in the child like the one that its parent has. Without memory the child records nothing.
// Async-signal-safe.
inline void follow_into_child(process_state& process, image_view& parent) {
  options wanted;
  wanted.memory = parent.image_bytes;
  wanted.prefault = (process.follow_fork.load_relaxed() & follow_prefault_flag) != 0;
  // Somewhere else, not over the copy of the parent's: code that a fork in a signal handler interrupted goes on there.
  image_view* const own = make_image(process, wanted, parent.generation + 1);
  if (own == nullptr) return;
  process.image.store_release(reinterpret_cast<uint64_t>(own));
  retire_image(parent);
  process.forked.store_relaxed(0);
  for (const type_range* types = process.objects; types != nullptr; types = types->next) bind_types(*own, *types);
  process.recording.store_release(1);
  begin_epoch(process);
}

/// In a forked child, before fork returns. The parent's other threads do not exist here: what they held, locks and turns,
/// nobody else gives back; what they had claimed of the parent's image, the child's own does not know.
// Async-signal-safe.
inline void after_fork_in_child() {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr) return;
  const bool was_recording = process->recording.load_relaxed() != 0;
  process->control.store_relaxed(0);
  process->dumping.store_relaxed(0);
  process->recording.store_relaxed(0);
  process->forked.store_relaxed(1);
  adopt_stack(*process);
  begin_epoch(*process);
  if (was_recording && process->follow_fork.load_relaxed() != 0) follow_into_child(*process, *current_image(*process));
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
