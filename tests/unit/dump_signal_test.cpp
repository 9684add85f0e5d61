// SPDX-License-Identifier: MIT
// Dumps on signals: what is written, what the program's own handlers see, and what is refused. Handlers stay for the
// rest of a process, so each case runs in a child of its own.
#include "support/recorder.hpp"

#include <fcntl.h>
#include <pthread.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <iterator>
#include <thread>

#if defined(__has_feature)
#define CONTRAIL_TESTS_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define CONTRAIL_TESTS_THREAD_SANITIZER 0
#endif

using contrail::error_code;

namespace {

using namespace std::chrono_literals;

volatile std::sig_atomic_t handled = 0;
void on_signal(int signal) { handled = signal; }

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

/// The exit code of a child's step that was not as expected.
#define REQUIRE_STEP(number, condition) \
  if (!(condition)) return number

}  // namespace

TEST_CASE("A signal writes a dump that names it, and a plain handler of the program is called after it") {
  const temporary_folder folder;
  const std::string path = folder / "dump";
  const int status = status_of_child([&] {
    REQUIRE_STEP(1, !flight_recorder::start({.memory = 1 << 20}));
    std::signal(SIGUSR1, on_signal);
    REQUIRE_STEP(2, !flight_recorder::dump_on_signal(SIGUSR1, path.c_str()));
    TRACE_INSTANT("before the signal");
    std::raise(SIGUSR1);
    REQUIRE_STEP(3, handled == SIGUSR1);
    return 0;
  });
  CHECK(status == 0);
  const dump_reader::dump dump = dump_reader::read(content_of(path));
  CHECK(dump.super.dump_signal == SIGUSR1);
  CHECK(dump.records("before the signal").size() == 1);
}

TEST_CASE("A signal that would have ended the program, or was ignored, writes a dump and nothing else happens") {
  const temporary_folder folder;
  for (const auto before : {SIG_DFL, SIG_IGN}) {
    const std::string path = folder / (before == SIG_IGN ? "ignored" : "default");
    CHECK(status_of_child([&] {
            REQUIRE_STEP(1, !flight_recorder::start({.memory = 1 << 20}));
            std::signal(SIGUSR2, before);
            REQUIRE_STEP(2, !flight_recorder::dump_on_signal(SIGUSR2, path.c_str()));
            std::raise(SIGUSR2);
            return 7;
          }) == 7);
    CHECK(exists(path));
  }
}

TEST_CASE("Each of a process's signals has its own path and window, and every dump its own number") {
  const temporary_folder folder;
  const std::string one = folder / "one-%n", two = folder / "two-%n";
  const int status = status_of_child([&] {
    REQUIRE_STEP(1, !flight_recorder::start({.memory = 1 << 20, .window = 1h}));
    REQUIRE_STEP(2, !flight_recorder::dump_on_signal(SIGUSR1, one.c_str()));
    REQUIRE_STEP(3, !flight_recorder::dump_on_signal(SIGUSR2, two.c_str(), {.last = 2s}));
    std::raise(SIGUSR1);
    std::raise(SIGUSR2);
    std::raise(SIGUSR1);
    return 0;
  });
  CHECK(status == 0);
  CHECK(dump_reader::read(content_of(folder / "one-1")).super.window_ns == 3'600'000'000'000);
  CHECK(dump_reader::read(content_of(folder / "two-2")).super.window_ns == 2'000'000'000);
  CHECK(dump_reader::read(content_of(folder / "one-3")).super.dump_sequence == 3);
}

TEST_CASE("A dump whose signal has no recorder to dump says so on stderr, and goes on with the program") {
  const temporary_folder folder;
  const std::string path = folder / "dump", errors = folder / "stderr";
  const int status = status_of_child([&] {
    REQUIRE_STEP(1, !flight_recorder::dump_on_signal(SIGUSR1, path.c_str()));
    const int file = open(errors.c_str(), O_CREAT | O_WRONLY, 0600);
    dup2(file, STDERR_FILENO);
    errno = 1234;
    std::raise(SIGUSR1);
    REQUIRE_STEP(2, errno == 1234);
    REQUIRE_STEP(3, !exists(path));
    // Asked for before start, it works after it.
    REQUIRE_STEP(4, !flight_recorder::start({.memory = 1 << 20}));
    std::raise(SIGUSR1);
    return 0;
  });
  CHECK(status == 0);
  CHECK(content_of(errors) ==
        "contrail: No flight recorder runs: call contrail::flight_recorder::start() first.\n");
  CHECK(exists(path));
}

TEST_CASE("A dump that cannot be written says why on stderr") {
  const temporary_folder folder;
  const std::string path = folder / "no/folder/dump", errors = folder / "stderr";
  const int status = status_of_child([&] {
    REQUIRE_STEP(1, !flight_recorder::start({.memory = 1 << 20}));
    REQUIRE_STEP(2, !flight_recorder::dump_on_signal(SIGUSR1, path.c_str()));
    dup2(open(errors.c_str(), O_CREAT | O_WRONLY, 0600), STDERR_FILENO);
    std::raise(SIGUSR1);
    return 0;
  });
  CHECK(status == 0);
  CHECK(content_of(errors) ==
        "contrail: Could not create the dump (no such file or directory): " + path + "\n");
}

TEST_CASE("Eight signals may have a dump, a ninth is refused, and one of the eight may be changed") {
  const int status = status_of_child([] {
    for (int i = 0; i < 8; ++i) REQUIRE_STEP(1, !flight_recorder::dump_on_signal(SIGRTMIN + i, "x"));
    const contrail::error failed = flight_recorder::dump_on_signal(SIGRTMIN + 8, "x");
    REQUIRE_STEP(2, failed.code() == error_code::bad_option);
    REQUIRE_STEP(3, std::string(failed.message()).find("Eight signals") == 0);
    struct sigaction now {};
    sigaction(SIGRTMIN + 8, nullptr, &now);
    REQUIRE_STEP(4, now.sa_handler == SIG_DFL);
    REQUIRE_STEP(5, !flight_recorder::dump_on_signal(SIGRTMIN, "y"));
    return 0;
  });
  CHECK(status == 0);
}

TEST_CASE("What cannot work is refused, and leaves the signal as it was") {
  const int status = status_of_child([] {
    std::signal(SIGUSR1, on_signal);
    REQUIRE_STEP(1, flight_recorder::dump_on_signal(SIGUSR1, "").code() == error_code::path);
    REQUIRE_STEP(2, flight_recorder::dump_on_signal(SIGUSR1, nullptr).code() == error_code::path);
    REQUIRE_STEP(3, flight_recorder::dump_on_signal(SIGUSR1, "%z").code() == error_code::path);
    REQUIRE_STEP(4, flight_recorder::dump_on_signal(SIGUSR1, "x", {.last = -1s}).code() == error_code::bad_option);
    REQUIRE_STEP(5, flight_recorder::dump_on_signal(SIGSTOP, "x").code() == error_code::bad_option);
    REQUIRE_STEP(6, flight_recorder::dump_on_signal(0, "x").code() == error_code::bad_option);
    REQUIRE_STEP(7, flight_recorder::dump_on_signal(-1, "x").code() == error_code::bad_option);
    REQUIRE_STEP(8, flight_recorder::dump_on_signal(1000, "x").code() == error_code::bad_option);
    struct sigaction now {};
    sigaction(SIGUSR1, nullptr, &now);
    REQUIRE_STEP(9, now.sa_handler == on_signal);
    return 0;
  });
  CHECK(status == 0);
}

// ThreadSanitizer delays handlers, and does not follow threads of a forked child.
#if !defined(__SANITIZE_THREAD__) && !CONTRAIL_TESTS_THREAD_SANITIZER

TEST_CASE("The handler interrupts no system call that can go on, and runs on an alternate stack where there is one") {
  const temporary_folder folder;
  const std::string path = folder / "dump";
  const int status = status_of_child([&] {
    REQUIRE_STEP(1, !flight_recorder::start({.memory = 1 << 20}));
    REQUIRE_STEP(2, !flight_recorder::dump_on_signal(SIGUSR1, path.c_str()));
    struct sigaction now {};
    sigaction(SIGUSR1, nullptr, &now);
    REQUIRE_STEP(3, (now.sa_flags & SA_RESTART) != 0 && (now.sa_flags & SA_ONSTACK) != 0);
    int ends[2];
    REQUIRE_STEP(4, pipe(ends) == 0);
    const pthread_t reader = pthread_self();
    std::thread other([&] {
      std::this_thread::sleep_for(20ms);
      pthread_kill(reader, SIGUSR1);
      while (!exists(path)) std::this_thread::sleep_for(1ms);
      if (write(ends[1], "x", 1) != 1) std::abort();
    });
    char byte = 0;
    REQUIRE_STEP(5, read(ends[0], &byte, 1) == 1 && byte == 'x');
    other.join();
    return 0;
  });
  CHECK(status == 0);
}

TEST_CASE("A handler may be called at any moment of another thread's recording and dumping") {
  const temporary_folder folder;
  const std::string path = folder / "dump";
  const int status = status_of_child([&] {
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);  // "Another dump is being written" is an answer too
    REQUIRE_STEP(1, !flight_recorder::start({.memory = 1 << 20}));
    REQUIRE_STEP(2, !flight_recorder::dump_on_signal(SIGUSR1, path.c_str()));
    const pthread_t victim = pthread_self();
    std::thread other([&] {
      for (int i = 0; i < 50; ++i) {
        pthread_kill(victim, SIGUSR1);
        std::this_thread::sleep_for(500us);
      }
    });
    for (int i = 0; i < 100; ++i) {
      for (int k = 0; k < 1000; ++k) {
        TRACE_REGION("region", "k", k);
      }
      std::string bytes;
      if (const contrail::error failed = flight_recorder::dump(bytes)) {
        REQUIRE_STEP(3, failed.code() == error_code::busy);
      } else {
        dump_reader::read(bytes);
      }
    }
    other.join();
    std::raise(SIGUSR1);
    dump_reader::read(content_of(path));
    return flight_recorder::status().dropped == 0 ? 0 : 4;
  });
  CHECK(status == 0);
}

#endif

TEST_CASE("contrail_dump returns the number of the error") {
  const temporary_folder folder;
  const std::string path = folder / "dump";
  CHECK(contrail_dump(path.c_str()) == static_cast<int>(error_code::not_running));
  const running_recorder recorder;
  TRACE_INSTANT("here");
  CHECK(contrail_dump("%z") == static_cast<int>(error_code::path));
  CHECK(contrail_dump(nullptr) == static_cast<int>(error_code::path));
  CHECK(contrail_dump((folder / "no/dump").c_str()) == static_cast<int>(error_code::file));
  CHECK(contrail_dump(path.c_str()) == 0);
  CHECK(dump_reader::read(content_of(path)).records("here").size() == 1);
}
