// SPDX-License-Identifier: MIT
// A dump from request to file: one at a time, in the window that the options allow, with errors in sentences.
#ifndef CONTRAIL_DETAIL_DUMP_HPP
#define CONTRAIL_DETAIL_DUMP_HPP

#include "contrail/detail/dump_file.hpp"
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

  explicit dump_turn(process_state& process) : process_(process), taken_(take()) {}
  /// For start, which no signal handler calls.
  dump_turn(process_state& process, wait_tag) : process_(process), taken_(true) {
    while (!take()) sched_yield();
  }
  ~dump_turn() {
    if (taken_) process_.dumping.store_release(0);
  }
  dump_turn(const dump_turn&) = delete;
  dump_turn& operator=(const dump_turn&) = delete;
  bool taken() const { return taken_; }

 private:
  bool take() {
    uint64_t expected = 0;
    return process_.dumping.compare_exchange(expected, 1);
  }

  process_state& process_;
  bool taken_;
};

inline uint64_t window_ns(const process_state& process, duration last) {
  const uint64_t limit = process.window_ns.load_relaxed();
  const uint64_t wanted = static_cast<uint64_t>(last.ns);
  return limit != 0 && (wanted == 0 || wanted > limit) ? limit : wanted;
}

inline error negative_window() { return {error_code::bad_option, "dump_options.last must not be negative."}; }

/// "<what> (<the system's reason>): <path>": the path comes last, since it may be longer than the message.
inline error file_error(const char* what, const char* path, int number) {
  char message[sizeof(error)];
  text_writer writer(message, sizeof message);
  writer.add(what).add(" (");
  if (const char* known = errno_text(number)) {
    writer.add(known);
  } else {
    writer.add("system error ").add(static_cast<uint64_t>(number));
  }
  writer.add("): ").add(path);
  return {error_code::file, message};
}

inline int write_to_descriptor(void* context, const void* bytes, size_t size) {
  return write_all(*static_cast<int*>(context), bytes, size);
}

/// Every dump goes through here. `write` is called with pieces of the dump, in order.
// Async-signal-safe, as far as `sink` is.
inline error dump_to(const dump_sink& sink, duration last, uint32_t signal, const char* where) {
  if (last.ns < 0) return negative_window();
  process_state* process = joined_process();
  if (process == nullptr || process->recording.load_acquire() == 0) return not_running();
  const dump_turn turn(*process);
  if (!turn.taken()) {
    return {error_code::busy, "Another dump is being written; try again when it is done."};
  }
  process->dump_count.fetch_add_relaxed(1);
  if (const int failed = write_dump(*process, *current_image(*process), {window_ns(*process, last), signal}, sink)) {
    return file_error("Could not write the dump", where, failed);
  }
  return {};
}

// Async-signal-safe.
inline error dump_to_path(const char* pattern, duration last, uint32_t signal) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr || process->recording.load_acquire() == 0) return not_running();
  const char* executable = current_image(*process)->super->executable;
  for (const char* at = executable; *at != '\0'; ++at) {
    if (*at == '/') executable = at + 1;
  }
  const uint64_t pid = static_cast<uint64_t>(getpid());
  const uint64_t sequence = process->dump_count.load_relaxed() + 1;
  char path[longest_path_bytes];
  const path_values values{pid, kernel_clock_ns(CLOCK_REALTIME) / 1'000'000'000U, sequence, executable};
  if (error failed = expand_path(pattern, values, path)) return failed;

  replacing_file file(path, pid, sequence);
  if (!file.is_open()) return file_error("Could not create the dump", path, file.error());
  int descriptor = file.descriptor();
  if (error failed = dump_to({write_to_descriptor, &descriptor}, last, signal, path)) return failed;
  if (const int failed = file.commit()) return file_error("Could not finish the dump", path, failed);
  return {};
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
