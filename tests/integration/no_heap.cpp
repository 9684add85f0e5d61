// SPDX-License-Identifier: MIT
// Recording, attaching, binding, dumping and the status never call the heap: here every call of it is counted.
#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>

#include <atomic>
#include <csignal>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void __libc_free(void*);
}

namespace {
std::atomic<long> watched_tid{0};
std::atomic<unsigned> heap_calls{0};
[[maybe_unused]] void note_call() {  // unused where a sanitizer has the heap
  if (watched_tid.load() != 0 && watched_tid.load() == static_cast<long>(gettid())) ++heap_calls;
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

/// Counts the heap calls of the running thread in its scope.
struct watch {
  watch() {
    heap_calls = 0;
    watched_tid = gettid();
  }
  ~watch() { watched_tid = 0; }
};

void trace(const char* text) {
  TRACE_REGION("region", "text", text, "n", 1);
  TRACE_INSTANT("instant");
  TRACE_LOG("{} and {}", text, 2);
  TRACE_COUNTER("counter", 3);
  TRACE_REGION_VAR(r, "variable");
  r.set("key", text);
}

std::string dump_path;

void* attach_and_trace(void*) {
  const watch scope;
  trace("attached");
  TRACE_THREAD_NAME("name");
  for (int i = 0; i < 20'000; ++i) trace("rolls chunks");
  return nullptr;
}

}  // namespace

TEST_CASE("the heap's calls are counted") {
  const watch scope;
  void* volatile memory = malloc(10);
  free(memory);
  CHECK(heap_calls >= (WATCHED ? 2U : 0U));
}

TEST_CASE("attaching, binding, recording and rolling chunks do not call the heap") {
  running_recorder recorder({.memory = 1 << 20});
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, attach_and_trace, nullptr) == 0);
  pthread_join(thread, nullptr);
  CHECK(heap_calls == 0);
  CHECK(dump_now().records("counter").size() > 100);
}

TEST_CASE("dumps, the status and a dump in a signal handler do not call the heap") {
  running_recorder recorder({.memory = 1 << 20});
  temporary_folder folder;
  dump_path = folder / "dump-%p-%n-%t-%e";
  trace("before");
  REQUIRE_FALSE(flight_recorder::dump_on_signal(SIGUSR2, dump_path.c_str()));
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  unsigned failures = 0;
  {
    const watch scope;
    failures += contrail_dump(dump_path.c_str()) != 0;
    failures += flight_recorder::dump(null).code() != contrail::error_code::none;
    failures += flight_recorder::status().records == 0;
    std::raise(SIGUSR2);
  }
  close(null);
  CHECK(failures == 0);
  CHECK(heap_calls == 0);
}
