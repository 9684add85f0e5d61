// SPDX-License-Identifier: MIT
// Crash dumps that fail: the dump faults itself, gets stuck, has nowhere to go, or finds another dump under way. The
// process dies of its first signal all the same, in bounded time.
#include "support/crash_child.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

namespace {

namespace image = contrail::detail;

/// What a write of the dump meets, as on a file system that hangs or fails.
std::atomic<void (*)()> at_write{nullptr};

void die_in_time() { alarm(4); }

}  // namespace

extern "C" ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (descriptor > 2) {
    if (void (*const meet)() = at_write.exchange(nullptr)) meet();
  }
  return syscall(SYS_write, descriptor, bytes, size);
}

namespace {

/// Makes the recorder's chunks unreadable, as a stray munmap would.
void damage_image() {
  const auto& view = *image::current_image(*image::joined_process());
  mprotect(view.chunks, view.chunk_count * image::chunk_bytes, PROT_NONE);
}

void fill_some_chunks() {
  for (int i = 0; i < 5000; ++i) TRACE_INSTANT("something");
}

CHILD(aborts_with_a_damaged_image) {
  record_and_watch();
  fill_some_chunks();
  damage_image();
  std::abort();
}

CHILD(faults_with_a_damaged_image) {
  record_and_watch();
  fill_some_chunks();
  damage_image();
  store_to(nullptr);
}

CHILD(terminates_with_a_damaged_image) {
  record_and_watch();
  fill_some_chunks();
  damage_image();
  throw 1;
}

CHILD(has_an_earlier_handler_and_a_damaged_image) {
  std::signal(SIGSEGV, [](int) { _exit(42); });
  record_and_watch();
  fill_some_chunks();
  damage_image();
  store_to(nullptr);
}

CHILD(has_a_dump_that_hangs) {
  die_in_time();
  record_and_watch({.watchdog = contrail::duration(100'000'000)});
  at_write = [] {
    for (;;) pause();
  };
  if (child_argument() == 0) store_to(nullptr);
  if (child_argument() == SIGABRT) std::abort();
  throw 1;
}

CHILD(has_a_dump_that_never_ends) {
  die_in_time();
  record_and_watch({.watchdog = contrail::duration(100'000'000)});
  at_write = [] {
    for (;;) asm volatile("");
  };
  store_to(nullptr);
}

CHILD(is_sent_more_signals_while_it_dumps) {
  record_and_watch();
  TRACE_REGION("crashes");
  at_write = [] {
    kill(getpid(), SIGSEGV);
    kill(getpid(), SIGABRT);
  };
  store_to(nullptr);
}

CHILD(aborts_while_it_dumps) {
  record_and_watch();
  at_write = [] { std::abort(); };
  store_to(nullptr);
}

CHILD(crashes_within_a_dump) {
  record_and_watch();
  TRACE_REGION("crashes");
  at_write = [] { store_to(reinterpret_cast<void*>(0x50)); };
  const std::string other = std::string(crash_dump_path()) + ".other";
  flight_recorder::dump(other.c_str());
}

CHILD(crashes_beside_a_dump_that_hangs) {
  die_in_time();
  record_and_watch();
  TRACE_REGION("crashes");
  static std::atomic<bool> hangs{false};
  at_write = [] {
    hangs = true;
    for (;;) pause();
  };
  std::thread dumper([] {
    const std::string other = std::string(crash_dump_path()) + ".other";
    flight_recorder::dump(other.c_str());
  });
  while (!hangs) sched_yield();
  store_to(nullptr);
}

CHILD(has_no_folder_for_its_dump) {
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
  require_in_child(!flight_recorder::dump_on_crash("/nowhere/at/all/dump"), "not installed");
  store_to(nullptr);
}

/// Has an earlier handler for the crash if `argument` is not 0.
void watch_for_exit() {
  if (child_argument() != 0) std::signal(SIGSEGV, [](int) { _exit(42); });
}

CHILD(has_nobody_to_tell) {
  watch_for_exit();
  int ends[2];
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
  require_in_child(!flight_recorder::dump_on_crash("/nowhere/at/all/dump"), "not installed");
  require_in_child(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) >= 0, "no pipe");
  close(ends[0]);
  store_to(nullptr);
}

CHILD(has_no_room_to_tell) {
  int ends[2];
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
  require_in_child(!flight_recorder::dump_on_crash("/nowhere/at/all/dump", {.watchdog = contrail::duration(100'000'000)}),
                   "not installed");
  require_in_child(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) >= 0, "no pipe");
  const char bytes[4096] = {};
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (syscall(SYS_write, ends[1], bytes, sizeof bytes) > 0) {
  }
  fcntl(ends[1], F_SETFL, 0);
  store_to(nullptr);
}

CHILD(may_write_no_file_of_that_size) {
  watch_for_exit();
  record_and_watch();
  fill_some_chunks();
  const rlimit little{10'000, 10'000};
  setrlimit(RLIMIT_FSIZE, &little);
  store_to(nullptr);
}

CHILD(survives_a_dump_that_faults) {
  std::signal(SIGABRT, [](int) {});
  record_and_watch();
  fill_some_chunks();
  damage_image();
  std::raise(SIGABRT);
  const auto& view = *image::current_image(*image::joined_process());
  mprotect(view.chunks, view.chunk_count * image::chunk_bytes, PROT_READ | PROT_WRITE);
  std::thread([] {
    const contrail::error failed = flight_recorder::dump((std::string(crash_dump_path()) + ".other").c_str());
    require_in_child(!failed, failed.message());
  }).join();
  store_to(nullptr);
}

}  // namespace

TEST_CASE("a dump that faults is given up, and the process dies of its first signal") {
  const struct {
    const char* child;
    int signal;
  } cases[] = {{"aborts_with_a_damaged_image", SIGABRT},
               {"faults_with_a_damaged_image", SIGSEGV},
               {"terminates_with_a_damaged_image", SIGABRT}};
  for (const auto& at : cases) {
    INFO(at.child);
    const crash_outcome left = run_child(at.child);
    CHECK(left.signal == at.signal);
    CHECK(left.bytes.empty());
    CHECK(left.said.find("contrail: The dump of this crash failed by a fault of its own.\n") == 0);
  }
  const crash_outcome earlier = run_child("has_an_earlier_handler_and_a_damaged_image");
  CHECK(earlier.code == 42);
}

TEST_CASE("a dump that is stuck is given up, and the process dies of its first signal") {
  const struct {
    const char* child;
    long argument;
    int signal;
  } cases[] = {{"has_a_dump_that_hangs", 0, SIGSEGV},
               {"has_a_dump_that_hangs", SIGABRT, SIGABRT},
               {"has_a_dump_that_hangs", -1, SIGABRT},
               {"has_a_dump_that_never_ends", 0, SIGSEGV}};
  for (const auto& at : cases) {
    INFO(at.child << " " << at.argument);
    const crash_outcome left = run_child(at.child, at.argument);
    CHECK(left.signal == at.signal);
    CHECK(left.bytes.empty());
    CHECK(left.said.find("contrail: The dump of this crash took too long and was given up.\n") == 0);
  }
}

TEST_CASE("fatal signals that are sent while the dump is written do not end it") {
  const crash_outcome left = run_child("is_sent_more_signals_while_it_dumps");
  CHECK(left.signal == SIGSEGV);
  const auto dump = left.dump();
  CHECK(dump.super.crash.signal == SIGSEGV);
  CHECK(dump.super.crash.code == SEGV_MAPERR);
  CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
}

TEST_CASE("an abort within the dump ends the dump, and the process by its first signal") {
  const crash_outcome left = run_child("aborts_while_it_dumps");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.bytes.empty());
}

TEST_CASE("a crash within a dump leaves a dump") {
  const crash_outcome left = run_child("crashes_within_a_dump");
  CHECK(left.signal == SIGSEGV);
  const auto dump = left.dump();
  CHECK(dump.super.crash.address == 0x50);
  CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
}

TEST_CASE("a crash beside a dump of another thread that hangs leaves a dump") {
  const crash_outcome left = run_child("crashes_beside_a_dump_that_hangs");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.dump().open_names() == std::vector<std::string>{"crashes"});
}

TEST_CASE("a dump that cannot be written is told on stderr") {
  const crash_outcome folder = run_child("has_no_folder_for_its_dump");
  CHECK(folder.signal == SIGSEGV);
  CHECK(folder.said == "contrail: Could not create the dump (no such file or directory): /nowhere/at/all/dump\n");
  CHECK(run_child("may_write_no_file_of_that_size", 1).code == 42);
  const crash_outcome size = run_child("may_write_no_file_of_that_size");
  CHECK(size.signal == SIGSEGV);
  CHECK(size.bytes.empty());
  CHECK(size.said.find("contrail: Could not write the dump (the file would be too large): ") == 0);
}

TEST_CASE("where nobody reads what is said of a dump that fails, the process dies all the same, by its own signal or handler") {
  CHECK(run_child("has_nobody_to_tell").signal == SIGSEGV);
  CHECK(run_child("has_nobody_to_tell", 1).code == 42);
  CHECK(run_child("has_no_room_to_tell").signal == SIGSEGV);
}

TEST_CASE("dumps work again after one that faulted in a crash that was survived") {
  const crash_outcome left = run_child("survives_a_dump_that_faults");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.dump().super.crash.signal == SIGSEGV);
}
