// SPDX-License-Identifier: MIT
#include "contrail/detail/crash_stack.hpp"

#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <sys/resource.h>

#include <fstream>
#include <thread>

using namespace contrail::detail;

namespace {

uint32_t tid_of_an_ended_thread() {
  uint32_t tid = 0;
  std::thread([&] { tid = current_tid(); }).join();
  while (is_thread_alive(tid)) sched_yield();  // the kernel takes its time
  return tid;
}

}  // namespace

TEST_CASE("A pool hands out stacks of at least 64 KiB that do not overlap and may be written to their last byte") {
  stack_pool* const pool = make_stack_pool();
  REQUIRE(pool != nullptr);
  CHECK(pool->count == most_stacks);
  CHECK(pool->stride - pool->guard_bytes >= smallest_stack_bytes);
  for (uint64_t number = 1; number <= 3; ++number) {
    REQUIRE(take_stack(*pool, current_tid()) == number);
    char* const stack = pool->first + (number - 1) * pool->stride + pool->guard_bytes;
    stack[0] = stack[pool->stride - pool->guard_bytes - 1] = 1;
  }
}

TEST_CASE("A stack whose thread ended is handed out again, one of a live thread never") {
  stack_pool* const pool = make_stack_pool();
  REQUIRE(pool != nullptr);
  pool->count = 3;
  for (uint64_t number = 1; number <= 3; ++number) REQUIRE(take_stack(*pool, current_tid()) == number);
  CHECK(take_stack(*pool, current_tid()) == no_stack);
  pool->owners[1].store_relaxed(tid_of_an_ended_thread());
  CHECK(take_stack(*pool, current_tid()) == 2);
  CHECK(take_stack(*pool, current_tid()) == no_stack);
}

#if !CONTRAIL_TESTS_SANITIZED  // sanitizers take terabytes
TEST_CASE("A pool is smaller where address space is short, and there is none where it is used up") {
  const auto with_room_for = [](uint64_t bytes) {
    return status_of_child([&] {
      uint64_t pages = 0;
      std::ifstream("/proc/self/statm") >> pages;
      const rlimit limit{pages * 4096 + bytes, RLIM_INFINITY};
      if (setrlimit(RLIMIT_AS, &limit) != 0) return 100;
      const stack_pool* const pool = make_stack_pool();
      return pool == nullptr ? 1 : pool->count < most_stacks && pool->count >= fewest_stacks ? 2 : 3;
    });
  };
  CHECK(with_room_for(200U << 20) == 2);
  CHECK(with_room_for(1U << 20) == 1);
}
#endif
