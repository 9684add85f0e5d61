// SPDX-License-Identifier: MIT
// The flight recorder: start, stop, status, dumps, filters.
//
//   contrail::flight_recorder::start({.memory = 64 << 20});
//   ...
//   if (auto failed = contrail::flight_recorder::dump("app-%p.contrail", {.last = 5s})) puts(failed.message());
#ifndef CONTRAIL_FLIGHT_RECORDER_HPP
#define CONTRAIL_FLIGHT_RECORDER_HPP

#include "contrail/detail/crash.hpp"
#include "contrail/detail/dump.hpp"
#include "contrail/detail/dump_signal.hpp"
#include "contrail/detail/fork.hpp"
#include "contrail/options.hpp"

/// Writes a dump as flight_recorder::dump does, for debuggers (`call contrail_dump("now.contrail")`) and other
/// languages. Returns 0, or the number of an error_code. Part of every program that calls flight_recorder::start.
// Async-signal-safe.
extern "C" int contrail_dump(const char* path);

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Keeps the objects loaded that others depend on from the first start on: the state's, and this one, which has the
/// slow half, the fork hook, and a function that only debuggers call and that this keeps in the program.
inline void pin_starter(process_state& process) {
  pin_object(reinterpret_cast<const void*>(&after_fork_in_child));
  pin_object(reinterpret_cast<const void*>(&contrail_dump));
  pin_object(&process);
}

inline error store_filter(process_state& process, const filter_options& wanted) {
  const char* const categories = wanted.categories == nullptr ? "" : wanted.categories;
  const char* const names = wanted.names == nullptr ? "" : wanted.names;
  const size_t categories_size = strlen(categories);
  const size_t names_size = strlen(names);
  if (categories_size >= filter_bytes || names_size >= filter_bytes) {
    return {error_code::bad_option, "A filter is longer than 255 bytes: use fewer or shorter globs."};
  }
  process.categories.store(categories, categories_size);
  process.names.store(names, names_size);
  return {};
}

/// Begins to record. Held: control, and the turn to dump.
template <class>
inline error begin_recording(process_state& process, const options& wanted) {
  if (wanted.memory < smallest_image_bytes || wanted.memory > largest_image_bytes) {
    return {error_code::bad_option, "options.memory must lie between 1 MiB and 16 GiB."};
  }
  if (wanted.window.ns < 0) return {error_code::bad_option, "options.window must not be negative."};
  if (error failed = check_follow(wanted)) return failed;
  if (error failed = store_filter(process, wanted.filter)) return failed;

  image_view* image = current_image(process);
  const bool reuse = image != nullptr && process.forked.load_relaxed() == 0 &&
                     image->image_bytes == divide(wanted.memory).image_bytes && is_where_wanted(*image, wanted);
  if (reuse) {
    start_clock(process, *image->super);
    image->super->ended = image_end::none;
    image->super->crash.cause = crash_cause::none;
    for (atomic_word& count : image->super->dropped) count.store_relaxed(0);
  } else {
    if (!has_slow_half(process)) {
      // A table that waits for the environment came with the hook.
      if (process.slow_table.load_relaxed() == 0 && at_fork(before_fork, after_fork, after_fork_in_child) != 0) {
        return {error_code::out_of_memory, "The system gave no memory to watch for forks: free some, and start again."};
      }
      process.slow_table.store_release(reinterpret_cast<uint64_t>(&slow_functions));
    }
    process.hardware_clock.store_relaxed(hardware_clock_is_trusted());
    error failed;
    image_view* fresh = make_image(process, wanted, image == nullptr ? 1 : image->generation + 1, failed);
    if (fresh == nullptr) return failed;
    process.image.store_release(reinterpret_cast<uint64_t>(fresh));
    if (image != nullptr) retire_image(*image);
    process.forked.store_relaxed(0);
    image = fresh;
  }
  for (const type_range* types = process.objects; types != nullptr; types = types->next) {
    bind_types(*image, *types);
  }
  begin_thread_states(process, *image->super, wanted.thread_states);
  process.window_ns.store_relaxed(static_cast<uint64_t>(wanted.window.ns));
  process.follow_fork.store_relaxed(follow_flags(wanted));
  process.recordings.fetch_add_relaxed(1);
  process.recording.store_release(1);
  begin_epoch(process);
  return {};
}

}  // namespace detail

/// The flight recorder of this process, as contrail::flight_recorder: there is one, whichever shared object asks.
///
/// All functions may be called from any thread. `start`, `stop` and `set_filter` take a short lock and may allocate
/// address space: not in signal handlers. The dump functions are async-signal-safe, and never make a thread that
/// records wait.
// A template, so that translation units that only record do not compile it.
template <class T = void>
class CONTRAIL_DETAIL_HIDDEN basic_flight_recorder {
 public:
  basic_flight_recorder() = delete;

  /// Begins to record. Fails with already_running when a recorder runs, with bad_option, out_of_memory or incompatible,
  /// and with options::file also with path or file. Creates no thread. A second start after stop with the same memory
  /// and file goes on in the same image.
  static error start(const options& wanted = {}) {
    using namespace detail;
    link_object();
    exit_note<T>::require();
    process_state* process = join_process();
    if (process == nullptr) return incompatible();
    const auto refused = [] {
      return error{error_code::already_running,
                   "A flight recorder runs already: stop it first, or use set_filter to change what it records."};
    };
    // Without waiting for a dump.
    if (process->recording.load_acquire() != 0 && process->environment.load_relaxed() != environment_started) {
      return refused();
    }
    // Before the lock, since the dynamic linker has one of its own, under which objects link themselves.
    if (!has_slow_half(*process)) pin_starter(*process);
    if (wanted.thread_states != nullptr) pin_object(wanted.thread_states);
    // A dump that began before the last stop may still be copying; nobody may rewrite what it reads.
    const dump_turn turn(*process, dump_turn::wait);
    const control_lock lock(*process);
    if (process->recording.load_relaxed() != 0) {
      // The program did not know: it gets what it wanted, as the environment wants it.
      if (process->environment.load_relaxed() == environment_started) {
        process->environment.store_relaxed(environment_read);
        return {};
      }
      return refused();
    }
    if (const slow_half* const waiting = reinterpret_cast<const slow_half*>(process->slow_table.load_relaxed());
        waiting != nullptr && waiting->start_from_environment != nullptr &&
        waiting->start_from_environment(*process, wanted)) {
      return {};
    }
    return begin_recording<T>(*process, wanted);
  }

  /// Ends recording; call sites cost as much as filtered ones from now on. What was recorded can no longer be dumped.
  /// Memory stays mapped for the next start. Fails with not_running.
  static error stop() {
    using namespace detail;
    object_link<T>::require();
    process_state* process = join_process();
    if (process == nullptr) return not_running();
    const control_lock lock(*process);
    if (process->recording.load_relaxed() == 0) return not_running();
    process->recording.store_release(0);
    begin_epoch(*process);
    end_thread_states(*process);
    note_end(*process, image_end::stopped);
    return {};
  }

  /// What the recorder holds. Never fails; all zero when nothing records.
  // Async-signal-safe.
  static recorder_status status() {
    using namespace detail;
    object_link<T>::require();
    recorder_status result;
    process_state* process = joined_process();
    if (process == nullptr || process->recording.load_acquire() == 0) return result;
    const image_view& image = *current_image(*process);
    result.state = recorder_state::recording;
    result.memory_bytes = image.image_bytes;
    result.threads = image.super->attached_slots.load_relaxed();
    const uint64_t bound = image.super->next_id.load_relaxed() - 1;
    result.call_sites = bound < image.id_count ? bound : image.id_count;
    for (const atomic_word& count : image.super->dropped) result.dropped += count.load_relaxed();
    const uint64_t start = process->start_ticks.load_relaxed();
    for (uint64_t i = 0; i < image.chunk_count; ++i) count_chunk(image, i, start, result);
    const uint64_t overwritten = image.super->overwritten_ticks.load_relaxed();
    const uint64_t complete_since = overwritten > start ? overwritten : start;
    const uint64_t now = now_ticks(*process);
    const detail::uint128 ns =
        static_cast<detail::uint128>(now - complete_since) * 1'000'000'000U / process->tick_hz.load_relaxed();
    result.window_ns = static_cast<uint64_t>(ns);
    return result;
  }

  /// Writes a dump to a file. The path may hold %p (pid), %t (seconds since 1970), %n (number of the dump),
  /// %e (executable's name) and %%. The file appears complete or not at all; an older one of that name stays whole
  /// until then. Mode 0600. Fails with not_running, busy, path or file.
  // Async-signal-safe.
  static error dump(const char* path, const dump_options& wanted = {}) {
    detail::object_link<T>::require();
    return detail::dump_to_path(path, wanted.last, 0);
  }

  /// Writes a dump to an open descriptor: a file, a pipe, a socket. What a failed dump wrote is no dump.
  // Async-signal-safe.
  static error dump(int descriptor, const dump_options& wanted = {}) {
    detail::object_link<T>::require();
    const detail::errno_keeper keep;
    return detail::dump_to({detail::write_to_descriptor, &descriptor}, wanted.last, 0, "the descriptor");
  }

  /// Writes a dump into an empty container of bytes such as std::string or std::vector<char>. A container that holds
  /// something is refused with bad_option: it may be meant as a path. Allocates: not in signal handlers.
  template <class Bytes>
    requires requires(Bytes& bytes) {
      bytes.resize(bytes.size());
      bytes.data();
    }
  static error dump(Bytes& bytes, const dump_options& wanted = {}) {
    static_assert(sizeof(*bytes.data()) == 1, "contrail: a dump goes into a container of bytes.");
    detail::object_link<T>::require();
    if (bytes.size() != 0) {
      return {error_code::bad_option,
              "A dump into memory needs an empty container; to write a file, pass its path as const char*."};
    }
    const auto append = [](void* context, const void* from, size_t size) {
      Bytes& to = *static_cast<Bytes*>(context);
      const size_t before = to.size();
      to.resize(before + size);
      detail::memcpy(to.data() + before, from, size);
      return 0;
    };
    return detail::dump_to({append, &bytes}, wanted.last, 0, "memory");
  }

  /// Writes a dump to `path` whenever the process receives `signal`, such as SIGUSR2. The handler that was installed
  /// before is called afterwards. At most 8 signals for each shared object; the path is copied. Fails with bad_option
  /// or path, and with incompatible.
  static error dump_on_signal(int signal, const char* path, const dump_options& wanted = {}) {
    detail::object_link<T>::require();
    return detail::install_signal_dump(signal, path, wanted.last);
  }

  /// Writes a dump to `path` when the process crashes: by a fatal signal or std::terminate. Earlier handlers are called
  /// afterwards, and the process dies as it would have. Each thread that records gets an alternate signal stack, unless
  /// it has one. A second call replaces path and options. Fails with bad_option, path, out_of_memory or incompatible.
  static error dump_on_crash(const char* path, const crash_options& wanted = {}) {
    detail::object_link<T>::require();
    return detail::install_crash_dump(path, wanted);
  }

  /// Replaces the filter. Takes effect at each call site's next hit; regions in flight end as they began.
  static error set_filter(const filter_options& wanted) {
    using namespace detail;
    object_link<T>::require();
    process_state* process = join_process();
    if (process == nullptr) return not_running();
    const control_lock lock(*process);
    if (process->recording.load_relaxed() == 0) return not_running();
    if (error failed = store_filter(*process, wanted)) return failed;
    begin_epoch(*process);
    return {};
  }

 private:
  /// Adds what one chunk holds to the status.
  static void count_chunk(const detail::image_view& image, uint64_t index, uint64_t start,
                          recorder_status& result) {
    using namespace detail;
    const uint64_t before = image.chunk_states[index].load_acquire();
    if (state_of(before) != chunk_state::open && state_of(before) != chunk_state::sealed) return;
    const chunk& at = image.chunks[index];
    const uint64_t sealed = at.sealed_ticks.load_relaxed();
    if (sealed != 0 && sealed < start) return;
    uint64_t records = extent_records(at.extent.load_relaxed());
    if (state_of(before) == chunk_state::open) {
      const lane* owner = lane_of(image, at);
      if (owner == nullptr || owner->chunk.load_relaxed() != reinterpret_cast<uint64_t>(&at)) return;
      records = owner->words_before.load_relaxed() + words_in_chunk(*owner) - owner->extra_words.load_relaxed() -
                at.records_before.load_relaxed();
    }
    if (image.chunk_states[index].load_acquire() != before) return;
    result.used_bytes += chunk_bytes;
    // The counts of an open chunk change one after the other while its thread writes.
    if (records <= chunk_words) result.records += records;
  }
};

using flight_recorder = basic_flight_recorder<>;

CONTRAIL_DETAIL_NAMESPACE_END

extern "C" inline int contrail_dump(const char* path) {
  return static_cast<int>(contrail::detail::dump_to_path(path, {}, 0).code());
}

#endif
