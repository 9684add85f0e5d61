// SPDX-License-Identifier: MIT
// A child process that another process leads through its code instruction by instruction, by ptrace. Between any two
// the parent looks at memory that both share: at what would be left if the child died there.
#ifndef CONTRAIL_TESTS_STEPPER_HPP
#define CONTRAIL_TESTS_STEPPER_HPP

#include "support/sanitized.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace stepper {

/// Memory that child and parent share.
template <class T>
T* shared_object() {
  void* at = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::runtime_error("no memory to share");
  return new (at) T();
}

/// Set by the child while it wants to be stepped.
inline volatile uint64_t* stepping = nullptr;

/// In the child: the calling thread is led by steps from here on.
inline void begin() {
  static thread_local bool is_traced = false;
  if (!is_traced && ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(77);
  is_traced = true;
  *stepping = 1;
  raise(SIGTRAP);
}
/// In the child: it runs freely again.
inline void end() { *stepping = 0; }

struct result {
  uint64_t points = 0;
  int status = 0;     ///< of the child, as waitpid tells
  std::string error;  ///< what `check` threw, and where
};

/// Both on one processor: a step takes half the time that way.
class one_processor {
 public:
  one_processor() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
  }
  ~one_processor() { sched_setaffinity(0, sizeof before_, &before_); }
  one_processor(const one_processor&) = delete;
  one_processor& operator=(const one_processor&) = delete;

 private:
  cpu_set_t before_;
};

inline std::string instruction_of(pid_t tid) {
#if defined(__x86_64__)
  user_regs_struct registers{};
  if (ptrace(PTRACE_GETREGS, tid, nullptr, &registers) != 0) return "";
  char text[64];
  std::snprintf(text, sizeof text, " at instruction %#llx", registers.rip);
  return text;
#else
  static_cast<void>(tid);
  return "";
#endif
}

/// Runs `work` in a child and calls `check(points)` after each of the instructions that it wants stepped.
template <class Work, class Check>
result run(Work&& work, Check&& check) {
  if (stepping == nullptr) stepping = shared_object<uint64_t>();
  *stepping = 0;
  const one_processor here;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    work();
    _exit(0);
  }
  result done;
  while (true) {
    int status = 0;
    const pid_t tid = waitpid(-1, &status, __WALL);
    if (tid < 0 && errno == EINTR) continue;
    if (tid < 0) throw std::runtime_error("waitpid failed");
    if (!WIFSTOPPED(status)) {
      if (tid != child) continue;
      done.status = status;
      return done;
    }
    int signal = WSTOPSIG(status);
    if (signal == SIGTRAP) {
      ptrace(PTRACE_SETOPTIONS, tid, nullptr, PTRACE_O_EXITKILL);
      signal = 0;
      while (*stepping != 0) {
        if (ptrace(PTRACE_SINGLESTEP, tid, nullptr, signal) != 0) throw std::runtime_error("a step failed");
        while (waitpid(tid, &status, __WALL) < 0 && errno == EINTR) {
        }
        if (!WIFSTOPPED(status)) break;
        signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        try {
          check(done.points);
        } catch (const std::exception& wrong) {
          done.error = wrong.what() + instruction_of(tid) + ", point " + std::to_string(done.points);
          kill(child, SIGKILL);
          // Any: a thread that is traced has to be waited for before its process is.
          while (waitpid(-1, &done.status, __WALL) != child || WIFSTOPPED(done.status)) {
          }
          return done;
        }
        ++done.points;
      }
      if (!WIFSTOPPED(status)) {
        if (tid == child) {
          done.status = status;
          return done;
        }
        continue;
      }
    }
    ptrace(PTRACE_CONT, tid, nullptr, signal);
  }
}

/// Why nothing can be stepped here, or null.
inline const char* impossible() {
#if CONTRAIL_TESTS_SANITIZED
  return "a sanitizer's own code would be stepped through";
#else
  const result tried = run([] { begin(), end(); }, [](uint64_t) {});
  if (tried.points > 0 && WIFEXITED(tried.status) && WEXITSTATUS(tried.status) == 0) return nullptr;
  return "ptrace is not permitted here, or does not step";
#endif
}

}  // namespace stepper

#endif
