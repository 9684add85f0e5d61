// SPDX-License-Identifier: MIT
// Dumps of crashes: fatal signals and std::terminate.
//
// The first thread that crashes owns the dump, the others wait for it to end the process. A fault of the dump itself
// and the watchdog arrive as signals on the owner's stack, above the dump, and leave it by siglongjmp. After the dump,
// done or not, everything happens that would have happened without contrail: earlier handlers run, and the process dies
// of the signal that it would have died of.
#ifndef CONTRAIL_DETAIL_CRASH_HPP
#define CONTRAIL_DETAIL_CRASH_HPP

#include "contrail/detail/crash_stack.hpp"
#include "contrail/detail/dump.hpp"

#include <setjmp.h>
#include <signal.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr int fatal_signals[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
inline constexpr uint64_t terminate_bit = 1;  ///< in sets of signals, where a signal is the bit of its number

/// What the owner of the crash does: it dumps, or has dumped and passes the crash on.
enum crash_phase : uint64_t { crash_dumps = 1, crash_passes = 2 };

/// One for the process, in the object that first asked for dumps of crashes.
struct crash_state {
  atomic_word wanted;     ///< set of signals
  atomic_word installed;  ///< set of signals whose handler was ours at some time
  atomic_word last_ns;
  atomic_word watchdog_ns;
  atomic_word owner;  ///< name of the owner's turn_holder; 0: nobody crashed
  atomic_word phase;  ///< crash_phase of the owner
  atomic_word timer;  ///< id of its watchdog's timer plus 1; 0: none
  atomic_word path_in_use;
  char path[2][longest_path_bytes];
  struct sigaction before[32];
  void (*on_signal)(int, siginfo_t*, void*);
  void (*on_terminate)();
  void (*terminate_before)();
  sigjmp_buf escape;  ///< out of the dump
};

CONTRAIL_DETAIL_HIDDEN inline constinit crash_state own_crash_state{};

// std::set_terminate, without <exception>; null in a program without the C++ runtime.
void (*set_terminate_handler(void (*handler)()) noexcept)() __asm__("_ZSt13set_terminatePFvvE")
    __attribute__((weak, visibility("default")));

/// Calls sigprocmask for all signals but the fatal ones, or for these only.
inline void mask_signals(int how, bool fatal, sigset_t* before) {
  sigset_t set;
  fatal ? sigemptyset(&set) : sigfillset(&set);
  for (const int signal : fatal_signals) fatal ? sigaddset(&set, signal) : sigdelset(&set, signal);
  sigprocmask(how, &set, before);
}

/// On stderr, if that takes it at once: nobody may be reading there.
inline void tell_crash(const char* message) {
  char line[sizeof(error) + 16];
  text_writer text(line, sizeof line);
  text.add("contrail: ").add(message).add('\n');
  struct {
    int file;
    short wanted, found;
  } can_write{STDERR_FILENO, 4, 0};  // pollfd and POLLOUT
  const timespec at_once{};
  if (syscall(SYS_ppoll, &can_write, 1, &at_once, nullptr, 0) != 1) return;
  const ssize_t ignored = write(STDERR_FILENO, line, text.size());
  static_cast<void>(ignored);
}

/// Makes the kernel send `signal` to this thread when the crash dump takes too long. timer_create itself may allocate.
template <class = void>
inline void set_watchdog(crash_state& state, uint32_t tid, int signal) {
  int timer = 0;
  // The kernel's sigevent; libraries differ in what they call the tid. With 4, SIGEV_THREAD_ID, the signal comes to
  // this thread: another one may be waiting for it.
  const struct {
    void* value;
    int signal, notify;
    uint32_t tid, rest[11];
  } event{&state, signal, 4, tid, {}};
  const uint64_t ns = state.watchdog_ns.load_relaxed();
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  when.it_value.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) return;
  state.timer.store_relaxed(static_cast<uint64_t>(timer) + 1);
  syscall(SYS_timer_settime, timer, 0, &when, nullptr);
}

inline bool is_watchdog(const crash_state& state, const siginfo_t& info) {
  return info.si_code == SI_TIMER && info.si_value.sival_ptr == &state;
}

// What follows are templates, so that translation units that ask for no dumps of crashes get away with less: 2 ms.

/// Notes the crash in the live image, for those who find it in a file or a core, then dumps.
template <class = void>
inline void note_and_dump(crash_state& state, process_state& process, const crash_note& note) {
  if (process.recording.load_acquire() == 0) return;
  superblock& super = *current_image(process)->super;
  if (super.pid != static_cast<uint32_t>(getpid())) return;  // a child of vfork: it is its parent that records
  crash_note& live = super.crash;
  memcpy(&live.signal, &note.signal, sizeof note - __builtin_offsetof(crash_note, signal));
  crash_cause cause = note.cause;
  __atomic_store(&live.cause, &cause, __ATOMIC_RELEASE);
  const duration last{static_cast<int64_t>(state.last_ns.load_relaxed())};
  if (error failed = dump_to_path(state.path[state.path_in_use.load_acquire()], last, note.signal, &note)) {
    tell_crash(failed.message());
  }
}

/// Writes the dump; the caller owns the crash. Always returns, also when the dump faults or gets stuck.
template <class = void>
__attribute__((noinline)) inline void dump_crash(crash_state& state, crash_note& note) {
  process_state* const process = joined_process();
  if (process == nullptr) return;
  const write_signal_hold no_death_by_writing;
  uint64_t name[thread_name_bytes / 8];
  read_system_thread_name(name);
  memcpy(note.thread, name, sizeof note.thread);
  // Fatal signals are let in: else a fault of the dump would end the process by its own signal, and the watchdog wait.
  sigset_t before;
  mask_signals(SIG_SETMASK, false, &before);
  const int left_by = sigsetjmp(state.escape, 0);
  if (left_by == 0) {
    state.phase.store_release(crash_dumps);
    set_watchdog(state, note.tid, note.signal != 0 ? static_cast<int>(note.signal) : SIGABRT);
    note_and_dump(state, *process, note);
  } else {
    tell_crash(left_by == SI_TIMER ? "The dump of this crash took too long and was given up."
                                   : "The dump of this crash failed by a fault of its own.");
    uint64_t holder = process->dumping.load_acquire();
    if (tid_of_holder(holder) == note.tid) process->dumping.compare_exchange(holder, 0);
  }
  // It must not fire later; if it does now, the dump is there all the same, or given up already.
  if (const uint64_t timer = state.timer.load_relaxed()) syscall(SYS_timer_delete, static_cast<int>(timer - 1));
  state.timer.store_relaxed(0);
  state.phase.store_release(crash_passes);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

/// Makes this thread the owner of the crash. False when another one is, or when this is a crash of an earlier handler
/// that the crash was passed to: then there is nothing to dump, or no hope.
template <class = void>
inline bool own_crash(crash_state& state, const turn_holder& self) {
  constexpr uint64_t second = 1'000'000'000;
  const uint64_t begin = kernel_clock_ns(CLOCK_MONOTONIC);
  uint64_t found = 0;
  while (!state.owner.compare_exchange(found, self.name())) {
    if (tid_of_holder(found) == tid_of_holder(self.name())) {
      // An earlier handler that jumped out leaves the crash owned; one that crashed is still there.
      if (!is_gone(found, self.name())) return false;
    } else if (is_thread_alive(tid_of_holder(found))) {
      const bool dumps = state.phase.load_acquire() == crash_dumps;
      if (kernel_clock_ns(CLOCK_MONOTONIC) - begin < (dumps ? state.watchdog_ns.load_relaxed() + second : second)) {
        const timespec pause{0, 1'000'000};
        nanosleep(&pause, nullptr);
        found = 0;
      } else if (dumps) {
        return false;
      }
    }
  }
  state.phase.store_release(crash_passes);
  return true;
}

/// Does what would have happened without contrail.
template <class = void>
inline void pass_on(crash_state& state, const turn_holder& self, int signal, siginfo_t* info, void* context) {
  struct sigaction& before = state.before[signal];
  const struct sigaction action = before;
  const unsigned flags = static_cast<unsigned>(action.sa_flags);  // SA_RESETHAND is unsigned
  const bool takes_info = (flags & SA_SIGINFO) != 0;
  bool survived = !takes_info && action.sa_handler == SIG_IGN && info->si_code <= 0;
  if (takes_info || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)) {
    if ((flags & SA_RESETHAND) != 0) {
      before.sa_flags = 0;
      before.sa_handler = SIG_DFL;
    }
    // The mask that the kernel would have given it.
    sigset_t own;
    sigemptyset(&own);
    if ((flags & SA_NODEFER) == 0) sigaddset(&own, signal);
    sigprocmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
    sigprocmask(SIG_BLOCK, &action.sa_mask, nullptr);
    sigprocmask(SIG_BLOCK, &own, nullptr);
    takes_info ? action.sa_sigaction(signal, info, context) : action.sa_handler(signal);
    // Many return to the default action: then the fault that comes again ends the process, and the crash stays owned.
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL) return;
    survived = true;
  }
  if (survived) {
    uint64_t mine = self.name();
    if (!state.owner.compare_exchange(mine, 0)) return;
    const process_state* const process = joined_process();
    if (process == nullptr || process->recording.load_relaxed() == 0) return;
    superblock& super = *current_image(*process)->super;
    crash_cause none = crash_cause::none;
    if (super.pid == static_cast<uint32_t>(getpid())) __atomic_store(&super.crash.cause, &none, __ATOMIC_RELAXED);
    return;
  }
  // The default action, when the handler returns: what was interrupted is then what a core file shows. The signal is
  // sent as it came, since not every one comes again by itself as a fault does.
  struct sigaction fatal {};
  sigaction(signal, &fatal, nullptr);
  mask_signals(SIG_BLOCK, true, nullptr);
  syscall(SYS_rt_tgsigqueueinfo, getpid(), current_tid(), signal, info);
}

// Async-signal-safe.
template <class = void>
inline void on_crash_signal(int signal, siginfo_t* info, void* context) {
  const errno_keeper keep;
  crash_state& state = own_crash_state;
  const turn_holder self;
  const uint32_t tid = tid_of_holder(self.name());
  if (tid_of_holder(state.owner.load_acquire()) == tid && state.phase.load_acquire() == crash_dumps) {
    // Somebody who sends one more fatal signal must not end the dump.
    if (info->si_code == SI_USER || info->si_code == SI_QUEUE) return;
    siglongjmp(state.escape, is_watchdog(state, *info) ? SI_TIMER : 1);
  }
  if (is_watchdog(state, *info)) return;  // it fired as the dump ended
  const struct sigaction& before = state.before[signal];
  // What is sent and ignored is no crash. But abort raises SIGABRT, and ends the process whether that is ignored or
  // not.
  const bool is_abort = signal == SIGABRT && info->si_code == SI_TKILL && info->si_pid == getpid();
  const bool is_ignored = (before.sa_flags & SA_SIGINFO) == 0 && before.sa_handler == SIG_IGN && info->si_code <= 0 && !is_abort;
  if (!is_ignored && (state.wanted.load_relaxed() >> signal & 1) != 0 && own_crash(state, self)) {
    crash_note note{crash_cause::signal, static_cast<uint32_t>(signal), info->si_code, tid, 0, 0, 0, {}};
    if (info->si_code > 0) note.address = reinterpret_cast<uint64_t>(info->si_addr);
    else note.sender = static_cast<uint32_t>(info->si_pid);
    dump_crash(state, note);
  }
  pass_on(state, self, signal, info, context);
}

/// std::terminate's handler. The abort that follows finds the crash owned, and dumps no more.
template <class = void>
inline void on_crash_terminate() {
  crash_state& state = own_crash_state;
  const turn_holder self;
  if ((state.wanted.load_relaxed() & terminate_bit) != 0 && own_crash(state, self)) {
    crash_note note{crash_cause::terminate, 0, 0, tid_of_holder(self.name()), 0, 0, 0, {}};
    dump_crash(state, note);
  }
  if (state.terminate_before != nullptr) state.terminate_before();
  __builtin_abort();
}

/// Puts our handler before the one that is there. One that somebody installed over ours stays: if it calls ours, ours
/// must not call it.
template <class = void>
inline void install_crash_handler(crash_state& state, int signal) {
  struct sigaction there {};
  if (sigaction(signal, nullptr, &there) != 0) return;
  const bool is_handler =
      (there.sa_flags & SA_SIGINFO) != 0 || (there.sa_handler != SIG_DFL && there.sa_handler != SIG_IGN);
  if ((state.installed.load_relaxed() >> signal & 1) != 0 && is_handler) return;
  state.before[signal] = there;
  struct sigaction ours {};
  ours.sa_sigaction = state.on_signal;
  // A system call that the signal interrupts goes on where it would have without ours.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (is_handler ? there.sa_flags & SA_RESTART : SA_RESTART);
  sigfillset(&ours.sa_mask);
  sigaction(signal, &ours, nullptr);
  state.installed.fetch_add_relaxed((state.installed.load_relaxed() >> signal & 1) != 0 ? 0 : uint64_t{1} << signal);
}

/// The signals and std::terminate that `wanted` names, as crash_state::wanted has them, into `signals`.
inline error check_crash_dump(const char* path, const crash_options& wanted, uint64_t& signals) {
  if (wanted.last.ns < 0) return {error_code::bad_option, "crash_options.last must not be negative."};
  if (wanted.watchdog.ns <= 0) return {error_code::bad_option, "crash_options.watchdog must be positive."};
  char ignored[longest_path_bytes];
  if (error failed = expand_path(path, {1, 1, 1, "e"}, ignored)) return failed;
  signals = wanted.terminate ? terminate_bit : 0;
  for (const int signal : wanted.signals) {
    bool is_fatal = signal == 0;
    for (const int known : fatal_signals) is_fatal = is_fatal || signal == known;
    if (!is_fatal) {
      return {error_code::bad_option, "crash_options.signals takes SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and "
                                      "SIGSYS: for another signal use dump_on_signal."};
    }
    if (signal != 0) signals |= uint64_t{1} << signal;
  }
  return {};
}

/// Held: control.
template <class = void>
inline error place_crash_dump(process_state& process, const char* path, const crash_options& wanted, uint64_t signals) {
  if (process.stacks.load_relaxed() == 0) {
    stack_pool* const stacks = make_stack_pool();
    if (stacks == nullptr) {
      return {error_code::out_of_memory, "The system gave no address space for alternate signal stacks."};
    }
    process.stacks.store_release(reinterpret_cast<uint64_t>(stacks));
  }
  if (process.crash.load_relaxed() == 0) {
    own_crash_state.on_signal = on_crash_signal<>;
    own_crash_state.on_terminate = on_crash_terminate<>;
    process.crash.store_release(reinterpret_cast<uint64_t>(&own_crash_state));
  }
  crash_state& state = *reinterpret_cast<crash_state*>(process.crash.load_relaxed());
  const uint64_t other = 1 - state.path_in_use.load_relaxed();
  text_writer(state.path[other], longest_path_bytes).add(path);
  state.path_in_use.store_release(other);
  state.last_ns.store_relaxed(static_cast<uint64_t>(wanted.last.ns));
  state.watchdog_ns.store_relaxed(static_cast<uint64_t>(wanted.watchdog.ns));
  state.wanted.store_release(signals);
  for (const int signal : fatal_signals) {
    if ((signals >> signal & 1) != 0) install_crash_handler(state, signal);
  }
  if (wanted.terminate && set_terminate_handler != nullptr && state.terminate_before == nullptr) {
    state.terminate_before = set_terminate_handler(state.on_terminate);
  }
  atomic_word number;
  if (wanted.caller_stack) keep_stack(process, number);
  return {};
}

template <class = void>
inline error install_crash_dump(const char* path, const crash_options& wanted) {
  uint64_t signals = 0;
  if (error failed = check_crash_dump(path, wanted, signals)) return failed;
  process_state* const process = join_process();
  if (process == nullptr) return incompatible();
  // As in install_signal_dump.
  pin_object(reinterpret_cast<const void*>(&on_crash_signal<>));
  const control_lock lock(*process);
  return place_crash_dump(*process, path, wanted, signals);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
