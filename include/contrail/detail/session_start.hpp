// SPDX-License-Identifier: MIT
// Begins and ends sessions: their memory, their file, their thread.
#ifndef CONTRAIL_DETAIL_SESSION_START_HPP
#define CONTRAIL_DETAIL_SESSION_START_HPP

#include "contrail/detail/dump.hpp"
#include "contrail/detail/session_claim.hpp"
#include "contrail/detail/session_thread.hpp"

#include <fcntl.h>
#include <signal.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Maps a session's memory; null when the system has none.
inline session_state* make_session(const image_view& image) {
  uint64_t bytes = (sizeof(session_state) + 63) & ~uint64_t{63};
  const auto place = [&](uint64_t size) {
    const uint64_t at = bytes;
    bytes += (size + 63) & ~uint64_t{63};
    return at;
  };
  const uint64_t work = place(sizeof(thread_slot));
  const uint64_t hashes = place(image.slot_count * sizeof(uint64_t));
  const uint64_t spans = place(image.span_count * sizeof(uint64_t));
  const uint64_t bound = place(image.id_count + 1);
  const uint64_t blocks = place(most_buffered_blocks * sizeof(buffered_block));
  const uint64_t buffer = place(session_buffer_bytes);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* const base = static_cast<char*>(memory);
  // Zero is what all of its members begin with, but for the descriptor, which is given below.
  session_state& made = *static_cast<session_state*>(memory);
  made.memory_bytes = bytes;
  made.slot_work = reinterpret_cast<thread_slot*>(base + work);
  made.slot_hashes = reinterpret_cast<uint64_t*>(base + hashes);
  made.spans = reinterpret_cast<uint64_t*>(base + spans);
  made.is_bound = reinterpret_cast<uint8_t*>(base + bound);
  made.blocks = reinterpret_cast<buffered_block*>(base + blocks);
  made.buffer = base + buffer;
  return &made;
}

/// What stands at the stream's start.
inline void fill_stream_superblock(superblock& super, const process_state& process, const image_view& image,
                                   uint64_t begin_ticks, uint64_t sequence) {
  copy_superblock(super, *image.super, image_kind::stream);
  super.dump = take_anchor(process);
  super.tick_hz = tick_rate(*image.super, super.dump);
  super.base_address = reinterpret_cast<uint64_t>(image.super);
  super.slots_offset = super.chunk_states_offset = super.chunks_offset = 0;
  super.slot_count = super.chunk_count = 0;
  super.binding_index_offset = super.binding_index_count = 0;
  super.bindings_offset = super.bindings_bytes = super.late_bindings_offset = 0;
  super.scratch_offset = super.scratch_bytes = 0;
  super.cutoff_ticks = begin_ticks;
  super.dump_sequence = static_cast<uint32_t>(sequence);
  super.dump_tid = current_tid();
}

/// Creates the session's thread with all signals blocked, so that it runs no handler of the program. 0 or an errno
/// value.
inline int start_session_thread(session_state& session) {
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_cond_init(&session.wake, &clock);
  pthread_condattr_destroy(&clock);
  pthread_mutex_init(&session.mutex, nullptr);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int failed = pthread_create(&session.thread, nullptr, run_session, &session);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return failed;
}

inline void free_session(session_state* session) {
  leave_marks(*session);
  session->sink.finish();
  munmap(session, session->memory_bytes);
}

inline error no_memory_for_a_session() {
  return {error_code::out_of_memory, "The system gave no memory or no thread for the session: free some, and try again."};
}

/// Names the file, and makes it with the superblock in it.
inline error open_stream(session_state& session, const char* pattern, const superblock& super) {
  const uint64_t pid = super.pid;
  const uint64_t sequence = super.dump_sequence;
  const path_values values{pid, kernel_clock_ns(CLOCK_REALTIME) / 1'000'000'000U, sequence, name_in_path(super.executable)};
  if (error failed = expand_path(pattern, values, session.path)) return failed;
  if (const int failed = session.sink.create(session.path, pid, sequence, super)) {
    return file_error("Could not create the stream", session.path, failed);
  }
  return {};
}

/// Whether the descriptor can be written to.
inline error check_descriptor(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) return {};
  return file_error("Could not begin the stream", "session_options::descriptor", EBADF);
}

struct session_request {
  const char* file;
  int descriptor;
  uint64_t interval_ns;
  bool is_blocking;
};

/// Begins a session; null, and in `failed` why, if it cannot.
inline session_state* begin_session(const session_request& wanted, error& failed) {
  process_state* const process = join_process();
  if (process == nullptr) {
    failed = incompatible();
    return nullptr;
  }
  pin_object(reinterpret_cast<const void*>(&count_recycled));  // also for the thread; before the lock, as start does
  const control_lock lock(*process);
  if (process->recording.load_relaxed() == 0) {
    failed = not_running();
    return nullptr;
  }
  image_view& image = *current_image(*process);
  session_state* const made = make_session(image);
  session_marks* const marks = made == nullptr ? nullptr : claim_marks(image);
  if (marks == nullptr) {
    if (made != nullptr) munmap(made, made->memory_bytes);
    failed = no_memory_for_a_session();
    return nullptr;
  }
  image.session_count.fetch_add_relaxed(1);
  session_state& session = *made;
  session.process = process;
  session.image = &image;
  session.marks = marks;
  session.recording = process->recordings.load_relaxed();
  session.interval_ns = wanted.interval_ns;
  // Chunks must not go round between two looks: 4 us for each are half of them at a gigabyte a second.
  const uint64_t safe_ns = image.chunk_count * 4'000;
  session.look_ns = safe_ns < wanted.interval_ns ? safe_ns : wanted.interval_ns;
  if (session.look_ns < 1'000'000) session.look_ns = 1'000'000;
  session.pid = getpid();
  session.bindings_done = 1;
  const uint64_t begin = begin_marks(*process, image, *marks, wanted.is_blocking);

  superblock& super = *reinterpret_cast<superblock*>(session.buffer);
  fill_stream_superblock(super, *process, image, begin, process->dump_count.fetch_add_relaxed(1) + 1);
  for (unsigned i = 0; i < 8; ++i) {
    session.dropped[i].store_relaxed(super.dropped[i].load_relaxed());
    session.dropped_before += super.dropped[i].load_relaxed();
  }
  if (wanted.file != nullptr) {
    failed = open_stream(session, wanted.file, super);
  } else {
    failed = check_descriptor(wanted.descriptor);
    session.sink.use(wanted.descriptor);
    text_writer(session.path, sizeof session.path).add("the descriptor");
    session.used = sizeof super;  // for the thread to write, as the descriptor may make it wait
  }
  if (!failed && start_session_thread(session) != 0) failed = no_memory_for_a_session();
  if (failed) {
    free_session(&session);
    return nullptr;
  }
  return &session;
}

/// What became of it so far.
inline error failure_of(const session_state& session) {
  if (session.is_done.load_acquire() == 0) return {};
  if (session.sink.error() != 0) return file_error("Could not write the stream", session.path, session.sink.error());
  if (session.cause == stream_cause::recorder) {
    return {error_code::not_running,
            "The flight recorder was stopped before the session: the stream holds what was recorded until then."};
  }
  return {};
}

/// In a child of fork the thread does not exist, and the stream is the parent's.
inline bool is_of_other_process(const session_state& session) { return session.pid != getpid(); }

/// Ends the thread when it has written all that was recorded until now.
inline void join_session(session_state& session) {
  pthread_mutex_lock(&session.mutex);
  session.stop_wanted = true;
  pthread_cond_signal(&session.wake);
  pthread_mutex_unlock(&session.mutex);
  pthread_join(session.thread, nullptr);
  pthread_cond_destroy(&session.wake);
  pthread_mutex_destroy(&session.mutex);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
