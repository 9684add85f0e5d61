// SPDX-License-Identifier: MIT
// Recording, attaching, binding, dumping and the status never call the heap: here every call of it is counted.
#include "support/heap_watch.hpp"
#include "support/recorder.hpp"

#include <fcntl.h>
#include <pthread.h>

#include <csignal>

namespace {

using heap_watch::calls;

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
  const heap_watch::scope watch;
  trace("attached");
  TRACE_THREAD_NAME("name");
  for (int i = 0; i < 20'000; ++i) trace("rolls chunks");
  return nullptr;
}

}  // namespace

TEST_CASE("the heap's calls are counted") {
  const heap_watch::scope watch;
  void* volatile memory = malloc(10);
  free(memory);
  CHECK(calls >= (heap_watch::possible ? 2U : 0U));
}

TEST_CASE("attaching, binding, recording and rolling chunks do not call the heap") {
  running_recorder recorder({.memory = 1 << 20});
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, attach_and_trace, nullptr) == 0);
  pthread_join(thread, nullptr);
  CHECK(calls == 0);
  CHECK(dump_now().records("counter").size() > 100);
}

TEST_CASE("a thread whose first record is in a signal handler does not call the heap, nor when others attach and end") {
  running_recorder recorder({.memory = 1 << 20});
  struct sigaction action {};
  action.sa_handler = [](int) {
    const heap_watch::scope watch;
    trace("first, in a handler");
  };
  struct sigaction before {};
  sigaction(SIGUSR1, &action, &before);
  for (int i = 0; i < 30; ++i) {  // more threads than slots: those of ended ones are found
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, [](void*) -> void* { return pthread_kill(pthread_self(), SIGUSR1), nullptr; },
                           nullptr) == 0);
    pthread_join(thread, nullptr);
    CHECK(calls == 0);
  }
  sigaction(SIGUSR1, &before, nullptr);
  CHECK(dump_now().records("counter").size() == 30);
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
    const heap_watch::scope watch;
    failures += contrail_dump(dump_path.c_str()) != 0;
    failures += flight_recorder::dump(null).code() != contrail::error_code::none;
    failures += flight_recorder::status().records == 0;
    failures += contrail_dump("/no/such/folder/dump") == 0;  // errors have sentences, made without the heap
    std::raise(SIGUSR2);
  }
  close(null);
  CHECK(failures == 0);
  CHECK(calls == 0);
}
