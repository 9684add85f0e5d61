// SPDX-License-Identifier: MIT
// From the moment of a crash to the end of the process nothing calls the heap: who crashed may have broken it, or hold
// its lock.
#include "support/crash_child.hpp"

#include <atomic>
#include <exception>
#include <thread>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void __libc_free(void*);
}

namespace {
std::atomic<bool> crashed{false};
[[maybe_unused]] void note_call() {  // unused where a sanitizer has the heap
  if (crashed) _exit(97);
}
}  // namespace

#if !CONTRAIL_TESTS_SANITIZED
#define WATCHED 1
extern "C" {
void* malloc(size_t size) {
  note_call();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  note_call();
  return __libc_calloc(count, size);
}
void* realloc(void* at, size_t size) {
  note_call();
  return __libc_realloc(at, size);
}
void free(void* at) {
  if (at != nullptr) note_call();
  __libc_free(at);
}
}
#else
#define WATCHED 0
#endif

namespace {

__attribute__((noinline)) int overflow(volatile int* depth) {
  volatile char room[512];
  *depth = *depth + 1;
  room[0] = 1;
  return *depth < 0 ? 0 : overflow(depth) + room[0];
}

void record_some() {
  TRACE_REGION("region", "text", "something");
  for (int i = 0; i < 5000; ++i) TRACE_LOG("{} of {}", i, "many");
}

CHILD(faults) {
  record_and_watch();
  record_some();
  TRACE_REGION("crashes");
  crashed = true;
  store_to(nullptr);
}

CHILD(aborts) {
  record_and_watch();
  record_some();
  TRACE_REGION("crashes");
  crashed = true;
  std::abort();
}

CHILD(overflows_on_a_thread) {
  record_and_watch();
  std::thread([] {
    record_some();
    TRACE_REGION("crashes");
    crashed = true;
    volatile int depth = 0;
    overflow(&depth);
  }).join();
}

CHILD(terminates) {
  // The C++ runtime's own handler allocates, to print the exception.
  std::set_terminate([] { std::abort(); });
  record_and_watch();
  record_some();
  TRACE_REGION("crashes");
  crashed = true;
  std::terminate();
}

CHILD(crashes_within_a_dump) {
  record_and_watch({.watchdog = contrail::duration(100'000'000)});
  record_some();
  TRACE_REGION("crashes");
  auto& process = *contrail::detail::joined_process();
  process.dumping.store_relaxed(1);  // as of a dump under way
  crashed = true;
  store_to(nullptr);
}

CHILD(has_nowhere_to_dump) {
  record_and_watch();
  require_in_child(!flight_recorder::dump_on_crash("/nowhere/at/all"), "refused");
  crashed = true;
  store_to(nullptr);
}

CHILD(calls_the_heap) {
  crashed = true;
  void* volatile memory = malloc(10);
  free(memory);
}

}  // namespace

TEST_CASE("the heap's calls are noticed") { CHECK(run_child("calls_the_heap").code == (WATCHED ? 97 : 0)); }

TEST_CASE("a crash never calls the heap") {
  const struct {
    const char* child;
    int signal;
  } cases[] = {{"faults", SIGSEGV},     {"aborts", SIGABRT},
               {"terminates", SIGABRT}, {"overflows_on_a_thread", SIGSEGV},
               {"crashes_within_a_dump", SIGSEGV}};
  for (const auto& at : cases) {
    INFO(at.child);
    if (!stacks_may_overflow && at.child == std::string("overflows_on_a_thread")) continue;
    const crash_outcome left = run_child(at.child);
    CHECK(left.code == 0);
    CHECK(left.signal == at.signal);
    CHECK(left.dump().open_names() == std::vector<std::string>{"crashes"});
  }
  CHECK(run_child("has_nowhere_to_dump").signal == SIGSEGV);
}
