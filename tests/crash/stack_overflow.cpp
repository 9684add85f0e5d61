// SPDX-License-Identifier: MIT
// Threads whose stack overflows leave a dump, since each that records has an alternate signal stack, and stacks of
// threads that ended are used again.
#include "support/crash_child.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <thread>
#include <vector>

namespace {

__attribute__((noinline)) int overflow(volatile int* depth) {
  volatile char room[512];
  *depth = *depth + 1;
  room[0] = 1;
  return *depth < 0 ? 0 : overflow(depth) + room[0];
}
void overflow_now() {
  volatile int depth = 0;
  overflow(&depth);
}

stack_t current_stack() {
  stack_t there{};
  sigaltstack(nullptr, &there);
  return there;
}
bool has_stack() { return (current_stack().ss_flags & SS_DISABLE) == 0; }

/// Records for some time epochs of the recorder.
void record_a_while() {
  for (const double end = now_seconds() + 0.05; now_seconds() < end;) TRACE_INSTANT("a while");
}

CHILD(main_overflows) {
  record_and_watch();
  TRACE_REGION("overflows");
  overflow_now();
}

CHILD(main_overflows_and_never_recorded) {
  record_and_watch();
  overflow_now();
}

CHILD(main_never_recorded_and_has_no_stack) {
  record_and_watch({.caller_stack = false});
  require_in_child(!has_stack(), "a stack nevertheless");
  overflow_now();
}

CHILD(a_worker_overflows) {
  record_and_watch();
  std::thread([] {
    TRACE_REGION("overflows");
    overflow_now();
  }).join();
}

CHILD(a_thread_with_a_small_stack_overflows) {
  record_and_watch();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, static_cast<size_t>(PTHREAD_STACK_MIN));
  pthread_t thread;
  const auto run = [](void*) -> void* {
    TRACE_REGION("overflows");
    overflow_now();
    return nullptr;
  };
  require_in_child(pthread_create(&thread, &attributes, run, nullptr) == 0, "no thread");
  pthread_join(thread, nullptr);
}

CHILD(a_thread_that_was_there_before_overflows) {
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
  int ready[2], go[2];
  require_in_child(pipe(ready) == 0 && pipe(go) == 0, "no pipe");
  std::thread thread([&] {
    TRACE_REGION("overflows");
    TRACE_INSTANT("first");
    char byte = 0;
    require_in_child(write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1, "no byte");
    require_in_child(!has_stack(), "a stack too early");
    record_a_while();
    overflow_now();
  });
  char byte = 0;
  require_in_child(read(ready[0], &byte, 1) == 1, "no byte");
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path()), "not installed");
  require_in_child(write(go[1], &byte, 1) == 1, "no byte");
  thread.join();
}

CHILD(a_thread_that_first_recorded_in_a_handler_overflows) {
  record_and_watch();
  std::signal(SIGUSR1, [](int) { TRACE_INSTANT("in a handler"); });
  std::thread([] {
    pthread_kill(pthread_self(), SIGUSR1);
    require_in_child(!has_stack(), "the kernel did not undo it");
    TRACE_REGION("overflows");
    record_a_while();
    overflow_now();
  }).join();
}

CHILD(a_stack_of_its_own_stays) {
  record_and_watch();
  std::thread([] {
    std::vector<char> own(256 << 10);
    stack_t stack{};
    stack.ss_sp = own.data();
    stack.ss_size = own.size();
    sigaltstack(&stack, nullptr);
    record_a_while();
    require_in_child(current_stack().ss_sp == own.data(), "replaced");
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, nullptr);
    require_in_child(!has_stack(), "not disabled");
    record_a_while();
    require_in_child(has_stack(), "none afterwards");
  }).join();
  _exit(42);
}

CHILD(stores_below_its_alternate_stack) {
  record_and_watch();
  TRACE_REGION("crashes");
  char* const stack = static_cast<char*>(current_stack().ss_sp);
  std::fprintf(stderr, "%p\n", static_cast<void*>(stack - 1));
  require_in_child(current_stack().ss_size >= 64 << 10, "too small");
  store_to(stack);  // its own
  store_to(stack - 1);
}

CHILD(tells_how_much_stack_the_dump_took) {
  std::signal(SIGSEGV, [](int) {
    const char* at = static_cast<const char*>(current_stack().ss_sp);
    const char* const end = at + current_stack().ss_size;
    while (at != end && *at == 0) ++at;
    _exit(static_cast<int>((end - at) >> 10));
  });
  record_and_watch();
  std::thread([] {
    TRACE_REGION("overflows");
    overflow_now();
  }).join();
}

size_t count_mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) ++count;
  return count;
}

CHILD(ten_thousand_threads_come_and_go) {
  record_and_watch();
  size_t early = 0;
  constexpr int together = 8;
  const int rounds = CONTRAIL_TESTS_SANITIZED ? 50 : 10'000 / together;
  for (int i = 0; i < rounds; ++i) {
    std::thread threads[together];
    for (auto& thread : threads) {
      thread = std::thread([] {
        TRACE_REGION("short");
        require_in_child(has_stack(), "no stack");
      });
    }
    for (auto& thread : threads) thread.join();
    if (i == rounds / 10) early = count_mappings();
  }
  const auto& pool = *reinterpret_cast<contrail::detail::stack_pool*>(contrail::detail::joined_process()->stacks.value);
  std::fprintf(stderr, "%llu stacks, %zu mappings, then %zu\n", static_cast<unsigned long long>(pool.taken.value), early,
               count_mappings());
  require_in_child(pool.taken.value <= 64, "stacks leak");
  require_in_child(count_mappings() <= early + 64, "mappings leak");
  _exit(42);
}

CHILD(a_forked_child_keeps_its_stack) {
  record_and_watch();
  TRACE_REGION("before the fork");
  const stack_t before = current_stack();
  const pid_t child = fork();
  if (child == 0) {
    require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
    void* there = nullptr;
    std::thread([&] {
      TRACE_INSTANT("attaches");
      there = current_stack().ss_sp;
    }).join();
    require_in_child(current_stack().ss_sp == before.ss_sp, "lost");
    require_in_child(there != before.ss_sp, "two threads have one stack");
    TRACE_REGION("overflows");
    overflow_now();
  }
  int status = 0;
  waitpid(child, &status, 0);
  _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV ? 42 : 43);
}

}  // namespace

TEST_CASE("a thread whose stack overflows leaves a dump, whatever thread it is") {
  if (!stacks_may_overflow) return;
  for (const char* name : {"main_overflows", "a_worker_overflows", "a_thread_with_a_small_stack_overflows",
                           "a_thread_that_was_there_before_overflows",
                           "a_thread_that_first_recorded_in_a_handler_overflows"}) {
    INFO(name);
    const crash_outcome left = run_child(name);
    CHECK(left.signal == SIGSEGV);
    const auto dump = left.dump();
    CHECK(dump.super.crash.signal == SIGSEGV);
    CHECK(dump.super.crash.code > 0);
    CHECK(dump.open_names() == std::vector<std::string>{"overflows"});
  }
}

TEST_CASE("the thread that asks for dumps of crashes has an alternate stack without a record") {
  if (!stacks_may_overflow) return;
  const crash_outcome left = run_child("main_overflows_and_never_recorded");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.dump().super.crash.signal == SIGSEGV);
}

TEST_CASE("an overflow without an alternate stack ends the process as ever") {
  const crash_outcome left = run_child("main_never_recorded_and_has_no_stack");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.bytes.empty());
}

TEST_CASE("an alternate stack of the program's own is not replaced") { CHECK(run_child("a_stack_of_its_own_stays").code == 42); }

TEST_CASE("below an alternate stack lies a guard page") {
  const crash_outcome left = run_child("stores_below_its_alternate_stack");
  CHECK(left.signal == SIGSEGV);
  const auto dump = left.dump();
  CHECK(dump.super.crash.address == std::strtoull(left.said.c_str(), nullptr, 16));
  CHECK(dump.super.crash.code == SEGV_ACCERR);
}

TEST_CASE("the dump takes less than half of an alternate stack") {
  if (CONTRAIL_TESTS_SANITIZED) return;
  const crash_outcome left = run_child("tells_how_much_stack_the_dump_took");
  CHECK(left.code > 4);
  CHECK(left.code < 32);
  left.dump();
}

TEST_CASE("threads that come and go use the same alternate stacks") {
  const crash_outcome left = run_child("ten_thousand_threads_come_and_go");
  INFO(left.said);
  CHECK(left.code == 42);
}

TEST_CASE("a forked child keeps its alternate stack to itself") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // ThreadSanitizer allows no threads in a forked child
  const crash_outcome left = run_child("a_forked_child_keeps_its_stack");
  INFO(left.said);
  CHECK(left.code == 42);
  CHECK(left.dump().open_names() == std::vector<std::string>{"overflows"});
}
