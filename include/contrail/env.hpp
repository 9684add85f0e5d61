// SPDX-License-Identifier: MIT
// Opt-in: starts the recorder as a text says, which may come from the environment.
//
//   #include <contrail/env.hpp>    // in one translation unit of the program, which needs no other change
//
//   $ CONTRAIL="window=5s,memory=64M,signal=USR2:dump-%n.contrail,crash=crash-%p.contrail,categories=net;db*" ./program
//
// The variable is read once, when the first call site is hit or flight_recorder::start is called, and not in a process
// that runs with more rights than its user. A mistake in it is one line on stderr. CONTRAIL_NO_ENV, defined before this
// header, leaves start_from and no variable.
#ifndef CONTRAIL_ENV_HPP
#define CONTRAIL_ENV_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED && defined(CONTRAIL_MACROS_ONLY)
#error "contrail/env.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

#include "contrail/detail/start_text.hpp"

#if CONTRAIL_DETAIL_ENABLED

#include <sys/auxv.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Asks for the dumps that a text names. Held: control.
template <class T>
inline error place_dumps(process_state& process, const start_request& wanted) {
  for (unsigned i = 0; i < wanted.signal_count; ++i) {
    if (error failed = place_signal_dump(wanted.signals[i].number, wanted.signals[i].path, {})) return failed;
  }
  if (wanted.crash_path == nullptr) return {};
  uint64_t signals = 0;
  if (error failed = check_crash_dump(wanted.crash_path, {}, signals)) return failed;
  return place_crash_dump<T>(process, wanted.crash_path, {}, signals);
}

template <class T>
inline error begin_as_text_says(process_state& process, const start_request& wanted) {
  if (error failed = begin_recording<T>(process, wanted.recorder)) return failed;
  return place_dumps<T>(process, wanted);
}

/// Keeps everything loaded that handlers need. Not while a lock of ours is held: the dynamic linker has its own.
inline void pin_handlers(process_state& process) {
  pin_starter(process);
  pin_object(reinterpret_cast<const void*>(&on_dump_signal));
}

}  // namespace detail

/// Starts the recorder as `text` says: items `key=value` with commas between them, of which each overrides `defaults`.
/// window=5s memory=64M file=PATH keep_files=4 prefault follow_fork thread_states are members of options;
/// categories=net;db* and names=... are its filter, with ';' between globs; signal=USR2:PATH is dump_on_signal, and
/// crash=PATH dump_on_crash; `on` is no more than a word. Fails as these functions do; with a mistake in the text
/// before anything is changed.
template <class T = void>
inline error start_from(const char* text, const options& defaults = {}) {
  using namespace detail;
  link_object();
  exit_note<T>::require();
  start_request wanted;
  wanted.recorder = defaults;
  if (text == nullptr) return {error_code::bad_option, "There is no text that says what to start."};
  if (error failed = read_start_text(text, wanted)) return failed;
  if (error failed = flight_recorder::start(wanted.recorder)) return failed;
  process_state& process = *join_process();
  pin_handlers(process);
  error failed;
  {
    const control_lock lock(process);
    failed = place_dumps<T>(process, wanted);
  }
  if (failed) flight_recorder::stop();
  return failed;
}

#ifndef CONTRAIL_NO_ENV

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The variable's value; null where there is none, or where the process has rights that its user has not. getenv is not
/// async-signal-safe, as C libraries may lock; this reads the same list, and what changes it meanwhile does as much
/// harm.
// Async-signal-safe.
inline const char* contrail_variable() {
  if (getauxval(AT_SECURE) != 0 || environ == nullptr) return nullptr;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (__builtin_strncmp(*entry, "CONTRAIL=", 9) == 0) return (*entry)[9] == '\0' ? nullptr : *entry + 9;
  }
  return nullptr;
}

/// In slow_half. Reads the variable, the first time. Held: control.
// Async-signal-safe.
template <class T>
bool start_from_environment(process_state& process, const options& defaults) {
  if (process.environment.load_relaxed() != environment_unread) return false;
  process.environment.store_relaxed(environment_read);
  const char* const text = contrail_variable();
  if (text == nullptr) return false;
  start_request wanted;
  wanted.recorder = defaults;
  error failed = read_start_text(text, wanted);
  if (!failed) failed = begin_as_text_says<T>(process, wanted);
  if (failed) {
    char line[sizeof(error) + 64];
    text_writer writer(line, sizeof line);
    writer.add("contrail: in the environment variable CONTRAIL: ");
    for (const char* at = failed.message(); *at != '\0'; ++at) writer.add(*at >= 0 && *at < ' ' ? '?' : *at);
    writer.add('\n');
    const write_signal_hold no_death_by_writing;
    write_all(STDERR_FILENO, line, writer.size());
  }
  return process.recording.load_relaxed() != 0;
}

enum class first_hit { later, off, on };

/// At a first hit. It may be in a signal handler, so it does not wait for what this very thread may hold.
// Async-signal-safe.
template <class T>
first_hit look_at_environment(process_state& process) {
  if (process.recording.load_acquire() != 0) return first_hit::on;
  if (process.environment.load_acquire() != environment_unread) return first_hit::off;
  uint64_t free = 0;
  const uint64_t own = current_tid();
  if (!process.control.compare_exchange(free, own)) return first_hit::later;
  // Somebody else may have started it just now.
  if (process.recording.load_relaxed() == 0 && start_from_environment<T>(process, {})) {
    process.environment.store_relaxed(environment_started);
  }
  give_control(process, own);
  return process.recording.load_acquire() != 0 ? first_hit::on : first_hit::off;
}

/// Stands for claim_frame until the first start.
// Async-signal-safe.
template <class T>
claim claim_at_first_hit(caller from, call_site& site, uint64_t stack_pointer) {
  const errno_keeper keep;
  // Read first, as in resolve_site: a start after this makes the word stored below stale.
  const uint64_t epoch = from.object->epoch.load_acquire();
  const first_hit found = look_at_environment<T>(*joined_process());
  if (found == first_hit::on) return claim_frame(from, site, stack_pointer);
  if (found == first_hit::off) site.word.store_release(epoch + site_off);
  return {nullptr, 0};
}

// Async-signal-safe.
template <class T>
open_span begin_span_at_first_hit(caller from, call_site& site, const task_context* parent, const atomic_word* payload,
                                  unsigned form) {
  const errno_keeper keep;
  const uint64_t epoch = from.object->epoch.load_acquire();
  const first_hit found = look_at_environment<T>(*joined_process());
  if (found == first_hit::on) return begin_span_slowly(from, site, parent, payload, form);
  if (found == first_hit::off) site.word.store_release(epoch + site_off);
  return {};
}

// Async-signal-safe.
template <class T>
void name_thread_at_first_hit(caller from, const char* name, size_t size) {
  const errno_keeper keep;
  if (look_at_environment<T>(*joined_process()) == first_hit::on) name_thread_slowly(from, name, size);
}

template <class T>
CONTRAIL_DETAIL_HIDDEN inline constexpr slow_half functions_of_first_hit{
    claim_at_first_hit<T>,       end_region_slowly, roll_chunk_slowly,        write_point_slowly,
    name_thread_at_first_hit<T>, begin_span_at_first_hit<T>, end_span_slowly, set_current_task_slowly,
    take_in_object,              start_from_environment<T>};

/// Sends the first call site that is hit the slow way: call sites that find another epoch than the one they were made
/// with ask what to do. Where nothing is asked for, each asks once, and costs then what a site costs that is off.
template <class T>
struct environment_hook {
  __attribute__((constructor(101), used)) static void on_load() {
    link_object();
    exit_note<T>::require();
    process_state* const process = join_process();
    if (process == nullptr || process->slow_table.load_acquire() != 0) return;
    // Here, as neither may be called in a signal handler.
    pin_handlers(*process);
    const control_lock lock(*process);
    if (process->slow_table.load_relaxed() != 0 || at_fork(before_fork, after_fork, after_fork_in_child) != 0) return;
    process->slow_table.store_release(reinterpret_cast<uint64_t>(&functions_of_first_hit<T>));
    begin_epoch(*process);
  }
};
[[maybe_unused]] static constexpr void (*environment_is_hooked)() = &environment_hook<void>::on_load;

}  // namespace detail

#endif

CONTRAIL_DETAIL_NAMESPACE_END

#else

namespace contrail {
inline namespace disabled_v0 {

/// See contrail/env.hpp. Fails here with error_code::compiled_out or not_supported.
inline error start_from(const char*, const options& = {}) { return detail::nothing_records(); }

}  // namespace disabled_v0
}  // namespace contrail

#endif

#endif
