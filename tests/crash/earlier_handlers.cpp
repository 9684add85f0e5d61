// SPDX-License-Identifier: MIT
// Signal handlers of the program's own: those that were there before ours are called afterwards as the kernel would
// have called them, those installed later may call ours, and a crash that one of them survives is not the last one
// dumped.
#include "support/crash_child.hpp"

#include <setjmp.h>
#include <sys/mman.h>

#include <thread>

namespace {

namespace image = contrail::detail;

using handler = void (*)(int, siginfo_t*, void*);

struct sigaction install(int signal, handler function, int flags = 0) {
  struct sigaction action {}, before {};
  action.sa_sigaction = function;
  action.sa_flags = SA_SIGINFO | flags;
  sigaddset(&action.sa_mask, SIGUSR1);
  sigaction(signal, &action, &before);
  return before;
}

void say(const char* what) { static_cast<void>(!write(STDERR_FILENO, what, std::strlen(what))); }

bool has_dump() { return access(crash_dump_path(), R_OK) == 0; }

bool is_blocked(int signal) {
  sigset_t mask;
  sigprocmask(SIG_BLOCK, nullptr, &mask);
  return sigismember(&mask, signal) != 0;
}

void die_of(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(signal);
}

CHILD(has_an_earlier_handler) {
  install(SIGSEGV, [](int signal, siginfo_t* info, void* context) {
    const bool good = info->si_addr == reinterpret_cast<void*>(0x30) && context != nullptr && is_blocked(SIGSEGV) &&
                      is_blocked(SIGUSR1) && !is_blocked(SIGUSR2) && has_dump();
    say(good ? "earlier" : "wrong");
    die_of(signal);
  });
  record_and_watch();
  TRACE_REGION("crashes");
  store_to(reinterpret_cast<void*>(0x30));
}

CHILD(has_an_earlier_handler_of_one_argument) {
  std::signal(SIGABRT, [](int signal) {
    say(signal == SIGABRT ? "earlier" : "wrong");
    // Returns: abort ends the process itself.
  });
  record_and_watch();
  std::abort();
}

CHILD(has_an_earlier_handler_for_once) {
  install(SIGSEGV, [](int, siginfo_t*, void*) { say("once "); }, static_cast<int>(SA_RESETHAND));
  record_and_watch();
  store_to(nullptr);  // again after the handler, and then by the default action
}

CHILD(has_an_earlier_handler_that_crashes) {
  install(SIGABRT, [](int, siginfo_t*, void*) {
    say("crashes ");
    store_to(nullptr);
  });
  record_and_watch();
  std::abort();
}

CHILD(has_an_earlier_handler_that_repeats_its_crash) {
  install(SIGSEGV, [](int, siginfo_t*, void*) {
    say("crashes ");
    store_to(nullptr);
  });
  record_and_watch();
  store_to(nullptr);
}

sigjmp_buf recovery;
CHILD(recovers_by_a_jump) {
  install(SIGSEGV, [](int, siginfo_t*, void*) { siglongjmp(recovery, 1); });
  record_and_watch();
  if (sigsetjmp(recovery, 1) == 0) store_to(reinterpret_cast<void*>(0x10));
  std::signal(SIGSEGV, SIG_DFL);
  say(has_dump() ? "dumped " : "nothing ");
  TRACE_REGION("crashes again");
  std::raise(SIGABRT);
}

void* page = nullptr;
CHILD(recovers_by_a_repair) {
  install(SIGSEGV, [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); });
  record_and_watch();
  page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  store_to(page);
  say(has_dump() ? "dumped " : "nothing ");
  mprotect(page, 4096, PROT_READ);
  store_to(page);
  std::string now;
  require_in_child(!flight_recorder::dump(now), "no dump");
  require_in_child(dump_reader::read(now).super.crash.cause == image::crash_cause::none, "a crash in a dump of none");
  TRACE_REGION("crashes again");
  std::abort();
}

CHILD(recovers_and_crashes_on_another_thread) {
  install(SIGSEGV, [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); });
  record_and_watch();
  page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  store_to(page);
  say("dumped ");
  std::thread([] {
    TRACE_REGION("crashes again");
    std::abort();
  }).join();
}

sigjmp_buf way_out;

[[noreturn]] __attribute__((noinline)) void abort_deep_in_the_stack() {
  volatile char deep[65536];
  for (size_t i = 0; i < sizeof deep; ++i) deep[i] = 1;
  std::abort();
}

/// Without an alternate stack, so that the second crash's handler is deeper than the first one's was.
CHILD(recovers_by_a_jump_and_crashes_deeper) {
  install(SIGSEGV, [](int, siginfo_t*, void*) { siglongjmp(way_out, 1); });
  record_and_watch({.caller_stack = false});
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
  if (sigsetjmp(way_out, 1) == 0) store_to(nullptr);
  say("dumped ");
  TRACE_REGION("crashes again");
  abort_deep_in_the_stack();
}

CHILD(recovers_and_crashes_on_a_thread_beside) {
  install(SIGSEGV, [](int, siginfo_t*, void*) { siglongjmp(way_out, 1); });
  record_and_watch();
  if (sigsetjmp(way_out, 1) == 0) store_to(nullptr);
  say("dumped ");
  std::thread([] {
    TRACE_REGION("crashes again");
    std::abort();
  }).join();
}

CHILD(ignores_what_is_sent) {
  std::signal(SIGSEGV, SIG_IGN);
  record_and_watch();
  std::raise(SIGSEGV);
  _exit(has_dump() ? 43 : 42);
}

CHILD(ignores_what_it_cannot) {
  std::signal(SIGSEGV, SIG_IGN);
  record_and_watch();
  store_to(nullptr);
}

CHILD(ignores_aborts) {
  std::signal(SIGABRT, SIG_IGN);
  record_and_watch();
  std::abort();
}

struct sigaction replaced;
CHILD(has_a_later_handler_that_calls_ours) {
  record_and_watch();
  replaced = install(SIGSEGV, [](int signal, siginfo_t* info, void* context) {
    say("later ");
    replaced.sa_sigaction(signal, info, context);
    say(has_dump() ? "dumped " : "nothing ");
  }, static_cast<int>(child_argument()));
  if ((child_argument() & SA_RESTART) != 0) std::raise(SIGSEGV);
  store_to(nullptr);
}

CHILD(has_a_later_handler_that_calls_nobody) {
  record_and_watch();
  install(SIGSEGV, [](int, siginfo_t*, void*) { _exit(42); });
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path()), "refused");
  store_to(nullptr);
}

CHILD(lost_our_handler_and_asks_again) {
  record_and_watch();
  std::signal(SIGSEGV, SIG_DFL);
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path()), "refused");
  store_to(nullptr);
}

CHILD(asks_twice) {
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
  require_in_child(!flight_recorder::dump_on_crash("/nowhere/at/all", {.last = contrail::duration(1)}), "refused");
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path()), "refused");
  TRACE_REGION("crashes");
  store_to(nullptr);
}

}  // namespace

TEST_CASE("an earlier handler is called after the dump, with its arguments and its mask") {
  const crash_outcome left = run_child("has_an_earlier_handler");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.said == "earlier");
  CHECK(left.dump().super.crash.address == 0x30);
}

TEST_CASE("an earlier handler of one argument is called after the dump") {
  const crash_outcome left = run_child("has_an_earlier_handler_of_one_argument");
  CHECK(left.signal == SIGABRT);
  CHECK(left.said == "earlier");
  CHECK(left.dump().super.crash.signal == SIGABRT);
}

TEST_CASE("an earlier handler that was to be called once is called once") {
  const crash_outcome left = run_child("has_an_earlier_handler_for_once");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.said == "once ");
  CHECK(left.dump().super.crash.signal == SIGSEGV);
}

TEST_CASE("an earlier handler that crashes leaves the first dump, and ends the process by its own signal") {
  for (const char* name : {"has_an_earlier_handler_that_crashes", "has_an_earlier_handler_that_repeats_its_crash"}) {
    INFO(name);
    const crash_outcome left = run_child(name);
    CHECK(left.signal == SIGSEGV);
    CHECK(left.said == "crashes ");
    const auto dump = left.dump();
    CHECK(dump.super.dump_sequence == 1);
    CHECK(dump.super.crash.signal == (name[sizeof "has_an_earlier_handler_that_" - 1] == 'c' ? SIGABRT : SIGSEGV));
  }
}

TEST_CASE("a crash after one that an earlier handler survived leaves a dump of its own") {
  for (const char* name : {"recovers_by_a_jump", "recovers_by_a_repair", "recovers_and_crashes_on_another_thread",
                           "recovers_by_a_jump_and_crashes_deeper", "recovers_and_crashes_on_a_thread_beside"}) {
    INFO(name);
    const crash_outcome left = run_child(name);
    CHECK(left.signal == SIGABRT);
    CHECK(left.said == "dumped ");
    const auto dump = left.dump();
    CHECK(dump.super.crash.signal == SIGABRT);
    CHECK(dump.open_names() == std::vector<std::string>{"crashes again"});
  }
}

TEST_CASE("a signal that the program ignores is no crash, unless it is a fault") {
  CHECK(run_child("ignores_what_is_sent").code == 42);
  const crash_outcome fault = run_child("ignores_what_it_cannot");
  CHECK(fault.signal == SIGSEGV);
  CHECK(fault.dump().super.crash.signal == SIGSEGV);
  const crash_outcome aborted = run_child("ignores_aborts");
  CHECK(aborted.signal == SIGABRT);
  CHECK(aborted.dump().super.crash.signal == SIGABRT);
}

TEST_CASE("a later handler may call ours, whatever its flags, and the process dies when it returns") {
  for (const int flags : {0, SA_NODEFER, SA_ONSTACK, SA_ONSTACK | SA_RESTART, SA_NODEFER | SA_RESTART}) {
    const crash_outcome left = run_child("has_a_later_handler_that_calls_ours", flags);
    CHECK(left.signal == SIGSEGV);
    CHECK(left.said == "later dumped ");
    CHECK(left.dump().super.crash.signal == SIGSEGV);
  }
}

TEST_CASE("a later handler that does not call ours has the last word") {
  const crash_outcome left = run_child("has_a_later_handler_that_calls_nobody");
  CHECK(left.code == 42);
  CHECK(left.bytes.empty());
}

TEST_CASE("a second call brings our handler back, and replaces path and options") {
  const crash_outcome back = run_child("lost_our_handler_and_asks_again");
  CHECK(back.signal == SIGSEGV);
  CHECK(back.dump().super.crash.signal == SIGSEGV);
  const crash_outcome left = run_child("asks_twice");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.said.empty());
  const auto dump = left.dump();
  CHECK(dump.super.window_ns == 0);
  CHECK(dump.super.dump_sequence == 1);
}
