// SPDX-License-Identifier: MIT
// What triggers see of a recorder, look by look.
#include "support/looker.hpp"
#include "support/sanitized.hpp"

#include <sys/syscall.h>

#include <atomic>
#include <thread>

namespace {

using contrail::detail::condition_kind;

bool begins_with(const std::string& text, const char* begin) { return text.rfind(begin, 0) == 0; }

}  // namespace

TEST_CASE("a region over its budget is seen once, as it ended") {
  const running_recorder recorder;
  looker watch = latency("slow*,-slow.not", 1);
  CHECK_FALSE(watch.look());
  { TRACE_REGION("slow one", "text", "some text"); }
  CHECK(watch.fired() == 1);
  CHECK(begins_with(watch.text(), "slow one took "));
  CHECK(watch.text().find("us on thread " + std::to_string(getpid()) + ", more than 0.001 us") != std::string::npos);
  CHECK(watch.fired() == 0);
  { TRACE_REGION("slow.not"); }
  { TRACE_REGION("other"); }
  TRACE_INSTANT("slow instant");
  CHECK(watch.fired() == 0);
}

TEST_CASE("a region within its budget is not seen") {
  const running_recorder recorder;
  looker watch = latency("", an_hour);
  CHECK_FALSE(watch.look());
  { TRACE_REGION("quick"); }
  TRACE_REGION("open");
  CHECK_FALSE(watch.look());
}

TEST_CASE("what was recorded before the first look is not seen") {
  const running_recorder recorder;
  for (int i = 0; i < 10'000; ++i) TRACE_REGION("before");  // some chunks
  looker watch = latency("", 1);
  CHECK_FALSE(watch.look());
  { TRACE_REGION("after"); }
  CHECK(watch.fired() == 1);
  CHECK(begins_with(watch.text(), "after took"));
}

TEST_CASE("every record is seen exactly once, whatever its form, across chunks and time epochs") {
  const running_recorder recorder;
  looker watch = latency("", 1);
  watch.look();
  uint64_t recorded = 0, seen = 0;
  for (int i = 0; i < 20'000; ++i) {
    { TRACE_REGION("plain"); }
    { TRACE_REGION("fixed", "a", i, "b", 2.5); }
    { TRACE_REGION("text", "t", "some text of some length"); }
    TRACE_LOG("not a region: {}", i);
    recorded += 3;
    if (i % 701 == 0) seen += watch.fired();
    if (i % 5000 == 0) {
      TRACE_REGION("longer than a time epoch, and in the long form");
      ++recorded;
      spin(10'000'000);
    }
  }
  seen += watch.fired();
  CHECK(flight_recorder::status().dropped == 0);
  CHECK(seen == recorded);
}

TEST_CASE("a region that is open beyond its budget is seen once, and not again as it ends") {
  const running_recorder recorder;
  looker watch = latency("hangs", 1'000'000);
  watch.look();
  {
    TRACE_REGION("around it");
    TRACE_REGION("hangs");
    TRACE_REGION("inside it");
    spin(2'000'000);
    CHECK(watch.fired() == 1);
    CHECK(begins_with(watch.text(), "hangs is open for "));
    CHECK(watch.fired() == 0);
  }
  CHECK(watch.fired() == 0);
}

TEST_CASE("a region that was reported while it was open is not so again when another thread ends it") {
  const running_recorder recorder;
  looker watch = latency("travels", 1);
  watch.look();
  TRACE_REGION_VAR(region, "travels");
  CHECK(watch.fired() == 1);
  std::thread([&region] { region.end(); }).join();
  CHECK(watch.fired() == 0);
}

TEST_CASE("a counter fires as it rises above its limit, and again after it fell") {
  const running_recorder recorder;
  looker watch;
  watch.add(condition_kind::counter, "queue,load", 0, 2.5);
  watch.look();
  const auto sees = [&watch](auto value) {
    TRACE_COUNTER("queue", value);
    return watch.fired();
  };
  CHECK(sees(2) == 0);
  CHECK(sees(3) == 1);
  CHECK(watch.text() == "queue is 3, over 2.5");
  CHECK(sees(4) == 0);
  CHECK(sees(-5) == 0);
  CHECK(sees(uint8_t{200}) == 1);
  CHECK(sees(false) == 0);
  CHECK(sees(2.75) == 1);
  CHECK(watch.text() == "queue is 2.75, over 2.5");
  CHECK(sees(2.25f) == 0);
  CHECK(sees(~uint64_t{0}) == 1);
  CHECK(sees(int64_t{-1}) == 0);
  TRACE_COUNTER("load", 7);
  TRACE_COUNTER("another", 7);
  CHECK(watch.fired() == 1);
  CHECK(watch.text() == "load is 7, over 2.5");
}

TEST_CASE("a thread that ends no region while one is open has stalled, once each time") {
  const running_recorder recorder;
  looker watch;
  watch.add(condition_kind::stall, "-waits", 3'000'000);
  watch.look();
  spin(4'000'000);
  CHECK(watch.fired() == 0);  // none is open
  TRACE_REGION("loop");
  for (int i = 0; i < 8; ++i) {
    TRACE_REGION("step");
    spin(1'000'000);
    if (i == 6) break;
  }
  // The last of them ended just now, so it is quiet since then and not since the loop began.
  CHECK(watch.fired() == 0);
  {
    TRACE_REGION("hangs");
    spin(4'000'000);
    CHECK(watch.fired() == 1);
    CHECK(begins_with(watch.text(), ("thread " + std::to_string(getpid()) + " ended no region for ").c_str()));
    CHECK(watch.text().find(", in hangs") != std::string::npos);
    CHECK(watch.fired() == 0);
  }
  {
    TRACE_REGION("waits");
    spin(4'000'000);
    CHECK(watch.fired() == 0);
  }
}

TEST_CASE("a thread is not said to have stalled before it was watched") {
  const running_recorder recorder;
  TRACE_REGION("loop");
  { TRACE_REGION("step"); }
  spin(4'000'000);
  looker watch;
  watch.add(condition_kind::stall, "", 3'000'000);
  CHECK(watch.fired() == 0);
}

TEST_CASE("threads that come and go in the same slots are each seen once, to their last record") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("", 1);
  watch.look();
  for (int i = 0; i < 40; ++i) {  // the recorder has room for 8 of them
    std::thread([&] {
      { TRACE_REGION("first"); }
      CHECK(watch.fired() == 1);
      {
        TRACE_REGION("open");
        CHECK(watch.fired() == 1);
      }
      TRACE_REGION("last");
    }).join();
    CHECK(watch.fired() == 1);
    for (int idle = 0; idle < 4; ++idle) CHECK(watch.fired() == 0);
  }
  CHECK(watch.watch->missed() == 0);
  CHECK(flight_recorder::status().dropped == 0);
}

TEST_CASE("a region that was reported while it was open is not so again when another thread has its slot") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("", 1);
  watch.look();
  std::thread([&] {
    TRACE_REGION("open");
    CHECK(watch.fired() == 1);
  }).join();
  for (int i = 0; i < 8; ++i) std::thread([] { TRACE_REGION("in the slots of the recorder, which are 8"); }).join();
  CHECK(watch.fired() == 8);
}

TEST_CASE("a counter's values are seen in order, also where chunks were taken again between two looks") {
  for (unsigned more = 0; more < 6; ++more) {
    const running_recorder recorder({.memory = 1 << 20});
    const auto count = [](int value) { TRACE_COUNTER("level", value); };
    looker watch;
    watch.add(condition_kind::counter, "level", 0, 100);
    count(1);
    watch.look();
    const auto& image = *contrail::detail::current_image(*contrail::detail::joined_process());
    const uint64_t last = image.super->next_ticket.load_relaxed() + image.chunk_count + more;
    while (image.super->next_ticket.load_relaxed() < last) count(1);
    count(1000);
    CHECK(watch.fired() == 1);
    count(1000);
    CHECK(watch.fired() == 0);
  }
}

#if !CONTRAIL_TESTS_SANITIZED  // their runtimes do not bear a thread that is gone at once
TEST_CASE("what a thread left open as it ended is watched on") {
  const running_recorder recorder;
  looker watch = latency("left open", 100'000'000);
  watch.look();
  std::thread([] {
    TRACE_REGION("left open");
    syscall(SYS_exit, 0);
  }).join();
  uint64_t seen = 0;
  for (int idle = 0; idle < 9; ++idle) seen += watch.fired();
  spin(120'000'000);
  CHECK(seen + watch.fired() == 1);
}
#endif

TEST_CASE("a predicate fires as it comes to hold") {
  static bool holds;
  holds = false;
  looker watch;
  watch.add(condition_kind::predicate, "disk full", 0, 0, [](void*) { return holds; });
  CHECK(watch.fired() == 0);
  holds = true;
  CHECK(watch.fired() == 1);
  CHECK(watch.text() == "disk full holds");
  CHECK(watch.note.ticks != 0);
  CHECK(watch.fired() == 0);
  holds = false;
  CHECK(watch.fired() == 0);
  holds = true;
  CHECK(watch.fired() == 1);
}

TEST_CASE("of conditions that come to hold at once all count and the first is noted") {
  const running_recorder recorder;
  looker watch = latency("a", 1);
  watch.add(condition_kind::latency, "b", 1);
  watch.look();
  { TRACE_REGION("b"); }
  { TRACE_REGION("a"); }
  CHECK(watch.fired() == 2);
  CHECK(begins_with(watch.text(), "b took"));
}

TEST_CASE("a watch beside writers that overtake it has seen each record, or counts it") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("", 1);
  watch.look();
  constexpr int count = 100'000, writers = 3;
  std::atomic<int> running{writers};
  std::vector<std::thread> threads;
  for (int i = 0; i < writers; ++i) {
    threads.emplace_back([&running] {
      for (int k = 0; k < count; ++k) TRACE_REGION("region", "k", k);
      --running;
    });
  }
  uint64_t seen = 0, looks = 1;
  for (; running.load() != 0; ++looks) seen += watch.fired();
  for (auto& thread : threads) thread.join();
  seen += watch.fired();
  const uint64_t found = seen + watch.watch->missed() + flight_recorder::status().dropped;
  CHECK(found >= uint64_t{writers} * count);
  CHECK(found <= uint64_t{writers} * (count + looks));  // what a look found open may be missed as a record
}

TEST_CASE("a watch goes on in the next recording, of the same image and of another one") {
  looker watch = latency("", 1);
  for (const uint64_t memory : {4U << 20, 4U << 20, 2U << 20}) {
    const running_recorder recorder({.memory = memory});
    watch.look();
    { TRACE_REGION("one"); }
    CHECK(watch.fired() == 1);
    CHECK(begins_with(watch.text(), "one took"));
  }
  { TRACE_REGION("off"); }
  CHECK(watch.fired() == 0);
}

TEST_CASE("what was overwritten before a look is counted, to the record") {
  const running_recorder recorder({.memory = 1 << 20});
  { TRACE_REGION("before"); }
  looker watch = latency("", 1);
  watch.look();
  uint64_t recorded = 0, seen = 0;
  const auto record = [&recorded](int count) {
    for (int i = 0; i < count; ++i) {
      const contrail::task_scope bookkeeping(contrail::task_context{});  // words that are no records
      TRACE_REGION("region", "i", i);
      ++recorded;
    }
  };
  record(100);  // some of an open chunk is seen, and the rest of it overwritten
  seen += watch.fired();
  CHECK(seen == 100);
  CHECK(watch.watch->missed() == 0);
  record(200'000);
  seen += watch.fired();
  CHECK(watch.watch->missed() > 0);
  CHECK(seen + watch.watch->missed() == recorded);
  CHECK(flight_recorder::status().dropped == 0);

  // A thread that is gone at the next look, with all of its chunks.
  std::thread([] {
    for (int i = 0; i < 10; ++i) TRACE_REGION("of another thread");
  }).join();
  recorded += 10;
  record(200'000);
  seen += watch.fired();
  CHECK(seen + watch.watch->missed() == recorded);

  const uint64_t missed = watch.watch->missed();
  watch.watch->leave();
  record(200'000);
  CHECK(watch.watch->missed() == missed);
}

TEST_CASE("a watch beside writers that overtake it sees nothing that was not recorded") {
  const running_recorder recorder({.memory = 1 << 20});
  looker watch = latency("", an_hour);
  watch.add(condition_kind::counter, "", 0, 1000);
  watch.look();
  std::atomic<bool> stops{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&stops] {
      for (int value = 0; !stops.load(); value = (value + 1) % 1000) {
        TRACE_REGION("region", "value", value);
        TRACE_COUNTER("counter", value);
        TRACE_REGION("inner", "text", "something");
      }
    });
  }
  uint64_t fired = 0;
  const uint64_t wanted = 3 * contrail::detail::joined_process()->tick_hz.load_relaxed() / 10;
  for (const uint64_t begin = contrail::detail::hardware_ticks();
       contrail::detail::hardware_ticks() - begin < wanted;) {
    fired += watch.fired();
  }
  stops = true;
  for (auto& thread : threads) thread.join();
  INFO(watch.text());
  CHECK(fired == 0);
  CHECK(watch.watch->missed() > 0);
}
