// SPDX-License-Identifier: MIT
// Child processes that crash, and what is left of them: how they ended, what they said, and their dump.
//
//   CHILD(stores_to_null) {
//     record_and_watch();
//     store_to(nullptr);
//   }
//   TEST_CASE("...") {
//     const crash_outcome left = run_child("stores_to_null");
//     CHECK(left.signal == SIGSEGV);
//   }
//
// A child is this program once more, which runs one CHILD before main: a fresh process, without the signal handlers of
// the test framework. Nothing of it outlives 5 seconds.
#ifndef CONTRAIL_TESTS_CRASH_CHILD_HPP
#define CONTRAIL_TESTS_CRASH_CHILD_HPP

#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>

// Sanitizers would handle the signals themselves, and give threads stacks of their own. Not inline: the runtime has
// weak definitions.
#define CONTRAIL_TESTS_LEAVE_SIGNALS                                                                              \
  "handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0:handle_sigtrap=0:use_sigaltstack=0:" \
  "allow_user_segv_handler=1"
extern "C" {
__attribute__((used, visibility("default"))) const char* __asan_default_options() {
  return CONTRAIL_TESTS_LEAVE_SIGNALS ":detect_leaks=0";
}
__attribute__((used, visibility("default"))) const char* __tsan_default_options() {
  return CONTRAIL_TESTS_LEAVE_SIGNALS;
}
__attribute__((used, visibility("default"))) const char* __ubsan_default_options() {
  return CONTRAIL_TESTS_LEAVE_SIGNALS;
}
}

// ---- in the child ------------------------------------------------------------------------------------------------

inline const char* child_variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// A number that the test gave the child.
inline long child_argument() { return std::strtol(child_variable("CONTRAIL_TEST_ARGUMENT"), nullptr, 10); }

struct child_entry {
  child_entry(const char* name, void (*run)()) {
    if (std::strcmp(child_variable("CONTRAIL_TEST_CHILD"), name) != 0) return;
    char byte;
    if (const char* const gate = std::getenv("CONTRAIL_TEST_GATE")) {
      while (read(std::atoi(gate), &byte, 1) < 0 && errno == EINTR) {
      }
    }
    run();
    _exit(0);
  }
};

#define CHILD(name)                                 \
  static void child_##name();                       \
  static const child_entry entry_##name(#name, child_##name); \
  static void child_##name()

inline const char* crash_dump_path() { return child_variable("CONTRAIL_TEST_DUMP"); }

/// Ends the child with a status that no test expects.
inline void require_in_child(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s\n", what);
  _exit(99);
}

/// Starts the recorder and asks for a dump of crashes.
inline void record_and_watch(const contrail::crash_options& wanted = {},
                             const contrail::options& recorder = {.memory = 1 << 20}) {
  contrail::error failed = flight_recorder::start(recorder);
  if (!failed) failed = flight_recorder::dump_on_crash(crash_dump_path(), wanted);
  require_in_child(!failed, failed.message());
}

/// ThreadSanitizer's own code is in the middle of something when a stack overflows, and fills an alternate stack.
inline constexpr bool stacks_may_overflow = !CONTRAIL_DETAIL_THREAD_SANITIZER;

/// A real fault, of which compilers and sanitizers know nothing.
inline void store_to(void* address) {
#if defined(__x86_64__)
  asm volatile("movb $1, (%0)" : : "r"(address) : "memory");
#else
  asm volatile("strb wzr, [%0]" : : "r"(address) : "memory");
#endif
}

// ---- in the test -------------------------------------------------------------------------------------------------

struct crash_outcome {
  int signal = 0;   ///< that ended it
  int code = 0;     ///< of its exit
  bool hung = false;
  std::string said;  ///< on stderr
  std::string bytes; ///< of the dump; empty without one

  dump_reader::dump dump() const {
    INFO(said);
    REQUIRE_FALSE(bytes.empty());
    return dump_reader::read(bytes);
  }
};

inline std::string bytes_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline double now_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

inline pid_t start_child(const char* name, const temporary_folder& folder, long argument = 0) {
  const std::string dump = folder / "dump", said = folder / "stderr", number = std::to_string(argument);
  const pid_t child = fork();
  if (child != 0) return child;
  setenv("CONTRAIL_TEST_CHILD", name, 1);
  setenv("CONTRAIL_TEST_DUMP", dump.c_str(), 1);
  setenv("CONTRAIL_TEST_ARGUMENT", number.c_str(), 1);
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  dup2(open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDERR_FILENO);
  sigset_t mask;
  sigemptyset(&mask);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  for (const int fatal : {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS}) signal(fatal, SIG_DFL);
  execl("/proc/self/exe", "/proc/self/exe", nullptr);
  _exit(98);
}

inline crash_outcome end_of_child(pid_t child, const temporary_folder& folder) {
  crash_outcome left;
  const double give_up = now_seconds() + 5 * (CONTRAIL_TESTS_SANITIZED ? 4 : 1);
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now_seconds() < give_up) usleep(500);
  if (ended == 0) {
    left.hung = true;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  left.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  left.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  left.said = bytes_of_file(folder / "stderr");
  left.bytes = bytes_of_file(folder / "dump");
  return left;
}

inline crash_outcome run_child(const char* name, long argument = 0) {
  const temporary_folder folder;
  crash_outcome left = end_of_child(start_child(name, folder, argument), folder);
  INFO(name << ": " << left.said);
  CHECK_FALSE(left.hung);
  CHECK(left.code < 98);
  return left;
}

#endif
