// SPDX-License-Identifier: MIT
// Dumps on a signal.
#ifndef CONTRAIL_DETAIL_DUMP_SIGNAL_HPP
#define CONTRAIL_DETAIL_DUMP_SIGNAL_HPP

#include "contrail/detail/dump.hpp"

#include <signal.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr unsigned most_signal_dumps = 8;

/// What to do at one signal. Written before the handler is installed, constant afterwards but for the path's place.
struct signal_dump {
  atomic_word signal;  ///< 0: unused
  atomic_word last_ns;
  struct sigaction before;
  char path[2][longest_path_bytes];
  atomic_word path_in_use;  ///< which of the two; a new path goes into the other one first
};

CONTRAIL_DETAIL_HIDDEN inline constinit signal_dump signal_dumps[most_signal_dumps]{};

/// Dumps, then calls the handler that was there before; a signal's default action is not taken. A failure is told on
/// stderr, since a handler has nobody to return it to.
// Async-signal-safe.
inline void on_dump_signal(int signal, siginfo_t* info, void* context) {
  const errno_keeper keep;
  for (signal_dump& wanted : signal_dumps) {
    if (wanted.signal.load_acquire() != static_cast<uint64_t>(signal)) continue;
    const duration last{static_cast<int64_t>(wanted.last_ns.load_relaxed())};
    const char* const path = wanted.path[wanted.path_in_use.load_acquire()];
    if (error failed = dump_to_path(path, last, static_cast<uint32_t>(signal))) {
      char line[sizeof(error) + 16];
      text_writer text(line, sizeof line);
      text.add("contrail: ").add(failed.message()).add('\n');
      const write_signal_hold no_death_by_writing;
      write_all(STDERR_FILENO, line, text.size());
    }
    if ((wanted.before.sa_flags & SA_SIGINFO) != 0 && wanted.before.sa_sigaction != nullptr) {
      wanted.before.sa_sigaction(signal, info, context);
    } else if (wanted.before.sa_handler != SIG_DFL && wanted.before.sa_handler != SIG_IGN) {
      wanted.before.sa_handler(signal);
    }
    return;
  }
}

inline bool is_fault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGTRAP ||
         signal == SIGSYS;
}

inline error check_signal_dump(int signal, const char* path, duration last) {
  if (last.ns < 0) return negative_window();
  char ignored[longest_path_bytes];
  if (error failed = expand_path(path, {1, 1, 1, "e"}, ignored)) return failed;
  if (is_fault(signal)) {
    return {error_code::bad_option,
            "A dump on a fault such as SIGSEGV would repeat for ever, since the fault comes back: use another signal."};
  }
  return {};
}

/// Held: control.
inline error place_signal_dump(int signal, const char* path, duration last) {
  signal_dump* place = nullptr;
  for (signal_dump& at : signal_dumps) {
    const uint64_t used_for = at.signal.load_relaxed();
    if (used_for == static_cast<uint64_t>(signal)) {
      place = &at;
      break;
    }
    if (used_for == 0 && place == nullptr) place = &at;
  }
  if (place == nullptr) {
    return {error_code::bad_option, "Eight signals have a dump already: contrail has no room for another one."};
  }
  const uint64_t other = 1 - place->path_in_use.load_relaxed();
  text_writer(place->path[other], longest_path_bytes).add(path);
  place->last_ns.store_relaxed(static_cast<uint64_t>(last.ns));
  place->path_in_use.store_release(other);

  struct sigaction action {};
  action.sa_sigaction = on_dump_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  struct sigaction there {};
  if (sigaction(signal, nullptr, &there) != 0) {
    return {error_code::bad_option, "The system takes no handler for that signal: use another one, such as SIGUSR2."};
  }
  if (place->signal.load_relaxed() != 0) {
    if ((there.sa_flags & SA_SIGINFO) != 0 && there.sa_sigaction == on_dump_signal) return {};
    // Ours over it again would call each other for ever if that handler calls the one that it found.
    return {error_code::bad_option,
            "The program has put another handler over contrail's for that signal: call contrail_dump in that handler."};
  }
  place->before = there;
  place->signal.store_release(static_cast<uint64_t>(signal));
  if (sigaction(signal, &action, nullptr) != 0) {
    place->signal.store_release(0);
    return {error_code::bad_option, "The system takes no handler for that signal: use another one, such as SIGUSR2."};
  }
  return {};
}

inline error install_signal_dump(int signal, const char* path, duration last) {
  if (error failed = check_signal_dump(signal, path, last)) return failed;
  process_state* process = join_process();
  if (process == nullptr) return incompatible();
  // The handler's code must outlive dlclose of the library that asked for it. Before the lock, since the dynamic linker
  // has one of its own.
  pin_object(reinterpret_cast<const void*>(&on_dump_signal));
  const control_lock lock(*process);
  return place_signal_dump(signal, path, last);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
