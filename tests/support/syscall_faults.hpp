// SPDX-License-Identifier: MIT
// Makes system calls of a child process fail: a parent that traces it replaces the result of the n-th call. What runs
// between begin() and end() in the child is the attempt; what follows runs untraced and looks at the damage. x86-64
// only.
#ifndef CONTRAIL_TESTS_SYSCALL_FAULTS_HPP
#define CONTRAIL_TESTS_SYSCALL_FAULTS_HPP

#include "support/sanitized.hpp"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace syscall_faults {

#if defined(__x86_64__) && !CONTRAIL_TESTS_SANITIZED
inline constexpr bool possible = true;
#else
inline constexpr bool possible = false;  // a sanitizer's own system calls would fail, which it does not survive
#endif

enum class extent {
  once,          ///< only the n-th call
  same_kind,     ///< and all later ones of that kind, as on a full disk
  everything,    ///< and all later ones of any kind
  half_written,  ///< the n-th call succeeds, and writes half of what it was given
};

struct fault {
  unsigned nth;
  int error;
  extent reach;
};

struct outcome {
  int status = -1;             ///< exit status of the child, 1000 + signal when a signal ended it
  unsigned calls = 0;          ///< in the attempt
  long first_failed = -1;      ///< the number of the system call; -1: the attempt made fewer
  bool unlink_failed = false;  ///< so that a temporary file may be left
  bool hung() const { return status == 1000 + SIGALRM; }
};

inline constexpr long end_marker = 0x5afe;  // no system call has this number
inline constexpr unsigned most_seconds = 5;

/// In the child: faults from here on. A hang ends the child.
inline void begin() {
  alarm(most_seconds);
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  syscall(SYS_tgkill, getpid(), gettid(), SIGSTOP);  // raise would be followed by a system call of its own
}
/// In the child: no faults any more.
inline void end() {
  syscall(end_marker);
  alarm(4 * most_seconds);
}

#if defined(__x86_64__)

/// Calls that are not the attempt's own, that cannot fail, or whose result nobody can receive.
inline bool is_spared(const user_regs_struct& registers) {
  switch (static_cast<long>(registers.orig_rax)) {
    case SYS_getpid:
    case SYS_gettid:
    case SYS_geteuid:
    case SYS_sched_yield:
    case SYS_futex:  // fails only where its caller is wrong, and the C library ends the process then
    case SYS_rt_sigreturn:
    case SYS_exit:
    case SYS_exit_group: return true;
    case SYS_tgkill: return registers.rdx != 0;  // how a test raises a signal; 0 only asks whether a thread lives
    default: return false;
  }
}

/// The child's exit status, 1000 + signal when a signal ended it.
inline int status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 1000 + WTERMSIG(wait_status);
}

inline int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// Follows a child that stopped in begin(), and makes its calls fail.
class injector {
 public:
  injector(pid_t child, const fault& wanted) : child_(child), wanted_(wanted) {}

  outcome run() {
    int status = wait_for(child_);
    if (WIFSTOPPED(status)) {
      ptrace(PTRACE_SETOPTIONS, child_, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
      status = follow();
    }
    result_.status = status_of(status);
    return result_;
  }

 private:
  int follow() {
    long signal = 0;
    bool entering = true;
    while (true) {
      ptrace(PTRACE_SYSCALL, child_, nullptr, signal);
      const int status = wait_for(child_);
      if (!WIFSTOPPED(status)) return status;
      signal = 0;
      if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
        signal = WSTOPSIG(status);
        continue;
      }
      user_regs_struct registers{};
      ptrace(PTRACE_GETREGS, child_, nullptr, &registers);
      if (entering && static_cast<long>(registers.orig_rax) == end_marker) {
        ptrace(PTRACE_DETACH, child_, nullptr, nullptr);
        return wait_for(child_);
      }
      if (entering) {
        arguments_ = registers;
        enter(registers);
      } else if (changed_ || failing_) {
        // The caller's code may use its arguments again.
        registers.rdi = arguments_.rdi;
        registers.rdx = arguments_.rdx;
        if (failing_) registers.rax = static_cast<unsigned long long>(-static_cast<long long>(wanted_.error));
        ptrace(PTRACE_SETREGS, child_, nullptr, &registers);
        changed_ = failing_ = false;
      }
      entering = !entering;
    }
  }

  void enter(user_regs_struct& registers) {
    if (is_spared(registers)) return;
    const long number = static_cast<long>(registers.orig_rax);
    const unsigned index = result_.calls++;
    if (index < wanted_.nth) return;
    if (index == wanted_.nth) result_.first_failed = number;
    if (wanted_.reach == extent::half_written) {
      if (index != wanted_.nth || (number != SYS_write && number != SYS_pwrite64)) return;
      registers.rdx = (registers.rdx + 1) / 2;
      changed_ = true;
      ptrace(PTRACE_SETREGS, child_, nullptr, &registers);
      return;
    }
    failing_ = index == wanted_.nth || wanted_.reach == extent::everything ||
               (wanted_.reach == extent::same_kind && number == result_.first_failed);
    if (!failing_) return;
    result_.unlink_failed = result_.unlink_failed || number == SYS_unlink || number == SYS_unlinkat;
    // Linux closes the descriptor whatever close returns; all others do nothing when they fail.
    if (number == SYS_close) return;
    if (number == SYS_brk) {
      registers.rdi = 0;  // brk has no errors: it answers with where the heap ends, as it does to 0
      changed_ = true;
      failing_ = false;
    } else {
      registers.orig_rax = ~0ULL;
    }
    ptrace(PTRACE_SETREGS, child_, nullptr, &registers);
  }

  pid_t child_;
  fault wanted_;
  outcome result_;
  user_regs_struct arguments_{};  ///< as the call was made
  bool changed_ = false;          ///< an argument of the call that is under way
  bool failing_ = false;          ///< its result is to be replaced
};

/// Runs `work`, which calls begin() and end(), in a child with that fault.
template <class Work>
outcome run(const fault& wanted, Work&& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    // The test framework's own handlers would report, and allocate, in the middle of a broken heap.
    for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGILL, SIGTERM}) std::signal(signal, SIG_DFL);
    try {
      _exit(work());
    } catch (const std::exception& thrown) {
      std::fprintf(stderr, "in a child: %s\n", thrown.what());
      _exit(97);
    }
  }
  return injector(child, wanted).run();
}

/// Runs this program again with these arguments, in a process without the vDSO: its clocks are system calls, as in
/// sandboxes and under some tools. Returns the exit status.
inline int run_again_without_vdso(char* const* arguments) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execv("/proc/self/exe", arguments);
    _exit(126);
  }
  if (const int status = wait_for(child); !WIFSTOPPED(status)) return status_of(status);
  user_regs_struct registers{};
  ptrace(PTRACE_GETREGS, child, nullptr, &registers);
  // On the stack of a fresh process: argc, argv, null, the environment, null, the auxiliary vector.
  unsigned long long at = registers.rsp;
  const auto word = [&](unsigned long long address) { return ptrace(PTRACE_PEEKDATA, child, address, nullptr); };
  at += 8 * (static_cast<unsigned long long>(word(at)) + 2);
  while (word(at) != 0) at += 8;
  for (at += 8; word(at) != AT_NULL; at += 16) {
    if (word(at) == AT_SYSINFO_EHDR) ptrace(PTRACE_POKEDATA, child, at, AT_IGNORE);
  }
  ptrace(PTRACE_DETACH, child, nullptr, nullptr);
  return status_of(wait_for(child));
}

#else

template <class Work>
outcome run(const fault&, Work&&) {
  return {};
}
inline int run_again_without_vdso(char* const*) { return -1; }

#endif

}  // namespace syscall_faults

#endif
