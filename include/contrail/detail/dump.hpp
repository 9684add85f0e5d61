// SPDX-License-Identifier: MIT
// A dump from request to file: one at a time, in the window that the options allow, with errors in sentences.
#ifndef CONTRAIL_DETAIL_DUMP_HPP
#define CONTRAIL_DETAIL_DUMP_HPP

#include "contrail/detail/dump_file.hpp"
#include "contrail/detail/write_signals.hpp"
#include "contrail/detail/snapshot.hpp"
#include "contrail/options.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline error incompatible() {
  return {error_code::incompatible,
          "Another shared object of this process carries an incompatible version of contrail: build both with the same "
          "version."};
}

inline error not_running() {
  return {error_code::not_running, "No flight recorder runs: call contrail::flight_recorder::start() first."};
}

/// One dump at a time; a second one gets an error instead of waiting.
class dump_turn {
 public:
  struct wait_tag {};
  static constexpr wait_tag wait{};

  explicit dump_turn(process_state& process)
      : process_(process), taken_(take_turn(process.dumping, self_.name()) != 0) {}
  /// For start, which no signal handler calls.
  dump_turn(process_state& process, wait_tag) : process_(process), taken_(true) {
    // Hence a dump of this very thread was left by a jump, however deep it was.
    while (take_turn(process.dumping, self_.name() | turn_holder::places) == 0) sched_yield();
  }
  ~dump_turn() {
    if (taken_) process_.dumping.store_release(0);
  }
  dump_turn(const dump_turn&) = delete;
  dump_turn& operator=(const dump_turn&) = delete;
  bool taken() const { return taken_; }

 private:
  turn_holder self_;
  process_state& process_;
  bool taken_;
};

inline uint64_t window_ns(const process_state& process, duration last) {
  const uint64_t limit = process.window_ns.load_relaxed();
  const uint64_t wanted = static_cast<uint64_t>(last.ns);
  return limit != 0 && (wanted == 0 || wanted > limit) ? limit : wanted;
}

inline error negative_window() { return {error_code::bad_option, "dump_options.last must not be negative."}; }

inline int write_to_descriptor(void* context, const void* bytes, size_t size) {
  return write_all(*static_cast<int*>(context), bytes, size);
}

/// Every dump goes through here. `write` is called with pieces of the dump, in order. `sequence` is its number, 0 to
/// take the next one.
// Async-signal-safe, as far as `sink` is.
inline error dump_to(const dump_sink& sink, duration last, uint32_t signal, const char* where,
                     const crash_note* crash = nullptr, uint64_t sequence = 0, const trigger_note* trigger = nullptr) {
  if (last.ns < 0) return negative_window();
  process_state* process = joined_process();
  if (process == nullptr || process->recording.load_acquire() == 0) return not_running();
  const dump_turn turn(*process);
  const write_signal_hold no_death_by_writing;
  image_view& image = *current_image(*process);
  dump_request request{window_ns(*process, last), signal, crash, 0, trigger};
  if (!turn.taken()) {
    // Only a crash cannot wait: this very thread may have crashed within the other dump.
    void* const own = crash == nullptr ? MAP_FAILED
                                       : mmap(nullptr, image.scratch_bytes, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) return {error_code::busy, "Another dump is being written; try again when it is done."};
    request.scratch = static_cast<char*>(own);
  }
  request.sequence = sequence != 0 ? sequence : process->dump_count.fetch_add_relaxed(1) + 1;
  const int failed = write_dump(*process, image, request, sink);
  if (request.scratch != nullptr) munmap(request.scratch, image.scratch_bytes);
  if (failed != 0) {
    return file_error("Could not write the dump", where, failed);
  }
  return {};
}

/// `made`, if not null, receives the path.
// Async-signal-safe.
inline error dump_to_path(const char* pattern, duration last, uint32_t signal, const crash_note* crash = nullptr,
                          const trigger_note* trigger = nullptr, char* made = nullptr) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr || process->recording.load_acquire() == 0) return not_running();
  const char* const executable = name_in_path(current_image(*process)->super->executable);
  const uint64_t pid = static_cast<uint64_t>(getpid());
  const uint64_t sequence = process->dump_count.fetch_add_relaxed(1) + 1;
  char path[longest_path_bytes];
  const path_values values{pid, kernel_clock_ns(CLOCK_REALTIME) / 1'000'000'000U, sequence, executable};
  if (error failed = expand_path(pattern, values, path)) return failed;

  replacing_file file(path, pid, sequence);
  if (!file.is_open()) return file_error("Could not create the dump", path, file.error());
  for (const image_view* image = current_image(*process); image != nullptr; image = image->replaced) {
    if (image->is_shared != 0 && file.replaces(image->device, image->inode)) {
      return path_error(error_code::path, "A dump must not replace the recorder's own file: name another one than ", path, ".");
    }
  }
  int descriptor = file.descriptor();
  if (error failed = dump_to({write_to_descriptor, &descriptor}, last, signal, path, crash, sequence, trigger)) {
    return failed;
  }
  if (const int failed = file.commit()) return file_error("Could not finish the dump", path, failed);
  if (made != nullptr) memcpy(made, path, sizeof path);
  return {};
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
