// SPDX-License-Identifier: MIT
// What triggers see where all budgets are of a time epoch or more: they read only chunks with a region as long.
#include "support/looker.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace {

using contrail::detail::condition_kind;
using contrail::detail::epoch_ticks;

/// Nanoseconds of some time epochs, or somewhat more.
uint64_t epochs(uint64_t count) {
  return count * epoch_ticks * 1'000'000'000 / contrail::detail::joined_process()->tick_hz.load_relaxed() * 21 / 20;
}

void record_short(int count) {
  for (int i = 0; i < count; ++i) TRACE_REGION("short", "i", i);
}

/// More than a recorder of 1 MiB holds.
void overwrite_all() { record_short(200'000); }

}  // namespace

TEST_CASE("regions over a budget of time epochs are seen among others, whatever their form") {
  const running_recorder recorder({.memory = 32 << 20});
  looker watch = latency("long*", epochs(2));
  watch.look();
  for (int i = 0; i < 3; ++i) {
    record_short(700);
    {
      TRACE_REGION("long");
      spin(epochs(3));
    }
    CHECK(watch.fired() == 1);
    CHECK(watch.text().rfind("long took ", 0) == 0);
    record_short(1);
    CHECK(watch.fired() == 0);
    {
      TRACE_REGION("long with a text", "text", "some text of some length");
      spin(epochs(3));
    }
    {
      TRACE_REGION("long with a text", "text", "more of it");
      record_short(2'000);  // in other chunks than it begins in
      spin(epochs(3));
      record_short(2'000);
    }
    {
      TRACE_REGION_VAR(region, "long with fields");
      region.set("text", "some text of some length");
      spin(epochs(3));
      TRACE_REGION_VAR(around, "long and not nested");
      spin(epochs(3));
      region.end();
    }
    record_short(2'000);
    CHECK(watch.fired() == 4);
  }
  CHECK(watch.watch->missed() == 0);
}

TEST_CASE("a region over its budget that another thread ended is seen, whether that thread had recorded or not") {
  const running_recorder recorder;
  looker watch = latency("long", epochs(2));
  watch.look();
  for (const bool is_attached : {false, true}) {
    TRACE_REGION_VAR(region, "long");
    spin(epochs(3));
    std::thread([&region, is_attached] {
      if (is_attached) record_short(1);
      region.end();
    }).join();
    CHECK(watch.fired() == 1);
    CHECK(watch.fired() == 0);
  }
}

TEST_CASE("what is overwritten before a look is not missed where no region in it was over a budget") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("", an_hour);
  watch.look();
  overwrite_all();
  watch.look();
  overwrite_all();
  CHECK_FALSE(watch.look());
  CHECK(watch.watch->missed() == 0);
}

TEST_CASE("what is overwritten before a look is missed where a region in it was over a budget") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("long", epochs(2));
  watch.look();
  {
    TRACE_REGION("long");
    spin(epochs(3));
  }
  overwrite_all();
  CHECK(watch.fired() == 0);
  CHECK(watch.watch->missed() > 0);
}

TEST_CASE("what is overwritten before a look is not missed where its long regions were within all budgets") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("", an_hour);
  watch.look();
  {
    TRACE_REGION("long");
    spin(epochs(3));
  }
  overwrite_all();
  watch.look();
  CHECK(watch.watch->missed() == 0);
}

TEST_CASE("a watch knows nothing of the one before it") {
  const running_recorder recorder({.memory = 1 << 20});
  {
    looker before = latency("", epochs(2));
    before.look();
    TRACE_REGION("long");
    spin(epochs(3));
  }
  looker watch = latency("", an_hour);
  watch.look();
  overwrite_all();
  watch.look();
  CHECK(watch.watch->missed() == 0);
}

TEST_CASE("a session that has the marks of a watch before it counts all losses") {
  using namespace contrail::detail;
  const running_recorder recorder({.memory = 1 << 20});
  latency("", an_hour).look();
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  session_marks* marks = nullptr;
  {
    const control_lock lock(process);
    marks = claim_marks(image);
    REQUIRE(marks != nullptr);
    CHECK(marks->next == nullptr);
    begin_marks(process, image, *marks, false);
  }
  overwrite_all();
  CHECK((marks->lost.load_relaxed() & lost_mask) > 100'000);
  marks->in_use.store_release(0);
}

TEST_CASE("a counter beside a budget of time epochs is read in every chunk") {
  const running_recorder recorder;
  looker watch = latency("", an_hour);
  watch.add(condition_kind::counter, "level", 0, 10);
  watch.look();
  TRACE_COUNTER("level", 11);
  CHECK(watch.fired() == 1);
}

TEST_CASE("a watch of a predicate alone reads and misses nothing") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch;
  watch.add(condition_kind::predicate, "never", 0, 0, [](void*) { return false; });
  watch.look();
  overwrite_all();
  CHECK_FALSE(watch.look());
  CHECK(watch.watch->missed() == 0);
}

TEST_CASE("beside writers every region over a budget of time epochs is seen once") {
  const running_recorder recorder({.memory = 32 << 20});  // nothing is overwritten
  looker watch = latency("long", epochs(2));
  watch.look();
  constexpr int count = 20, writers = 3;
  std::atomic<int> running{writers};
  std::vector<std::thread> threads;
  for (int i = 0; i < writers; ++i) {
    threads.emplace_back([&running] {
      for (int k = 0; k < count; ++k) {
        record_short(1'000);
        TRACE_REGION("long");
        spin(epochs(3));
      }
      --running;
    });
  }
  uint64_t seen = 0;
  while (running.load() != 0) seen += watch.fired();
  for (auto& thread : threads) thread.join();
  seen += watch.fired();
  CHECK(seen == uint64_t{writers} * count);
  CHECK(watch.watch->missed() == 0);
}

TEST_CASE("two watches with other budgets each see their own regions") {
  const running_recorder recorder;
  looker less = latency("", epochs(2)), more = latency("", an_hour), all = latency("long", 1);
  less.look();
  more.look();
  all.look();
  {
    TRACE_REGION("long");
    spin(epochs(3));
  }
  CHECK(less.fired() >= 1);
  CHECK(more.fired() == 0);
  CHECK(all.fired() == 1);
}
