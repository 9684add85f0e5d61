// SPDX-License-Identifier: MIT
// What a window lets through: records that ended within it, to the tick, of every thread, and nothing older.
#include "support/trace.hpp"

#include <atomic>
#include <thread>

namespace {

using namespace std::chrono_literals;

/// At least that long, by the clock that records use; returns how long it was.
std::chrono::nanoseconds spend(std::chrono::nanoseconds time) {
  const auto begin = std::chrono::steady_clock::now();
  auto now = begin;
  while (now < begin + time) now = std::chrono::steady_clock::now();
  return now - begin;
}

/// Windows are this long: a preemption of the test must not be longer.
constexpr auto window = 100ms;

/// Instants named "tick" every 200 us for a while.
void tick_for(std::chrono::nanoseconds time) {
  for (int i = 0; time > 0ns; ++i) {
    TRACE_INSTANT("tick", "number", i);
    time -= spend(200us);
  }
}

}  // namespace

TEST_CASE("A dump of the last moments holds what ended in them, to the tick") {
  const running_recorder recorder;
  tick_for(3 * window);
  const dump_reader::dump windowed = dump_now({.last = window});
  const dump_reader::dump everything = dump_now();

  const uint64_t window_ticks = static_cast<uint64_t>(0.1 * static_cast<double>(windowed.super.tick_hz));
  const uint64_t begin = windowed.super.dump.ticks - windowed.super.cutoff_ticks;
  CHECK(begin <= window_ticks + 1);
  CHECK(begin >= window_ticks - 1);
  CHECK(windowed.super.window_ns == 100'000'000);

  std::vector<uint64_t> expected, got;
  for (const auto& record : everything.records("tick")) {
    if (record.end >= windowed.super.cutoff_ticks) expected.push_back(record.payload.at(0));
  }
  for (const auto& record : windowed.records("tick")) got.push_back(record.payload.at(0));
  CHECK(got == expected);
  CHECK(got.size() > 10);
  CHECK(got.size() <= 500);
  CHECK(everything.records("tick").size() > got.size() + 10);
}

TEST_CASE("The converter shows exactly the window's records") {
  const running_recorder recorder;
  tick_for(2 * window);
  const std::string bytes = dump_bytes({.last = window});
  const dump_reader::dump decoded = dump_reader::read(bytes);
  const trace converted = convert(bytes);
  CHECK(converted.all("tick").size() == decoded.records("tick").size());
  CHECK(converted.events.size() == decoded.records("tick").size());
  CHECK(converted.events.back().start_ns <= 100'000'000);
}

TEST_CASE("A region belongs to the window in which it ended, however long ago it began") {
  const running_recorder recorder;
  {
    TRACE_REGION("over before");
    spend(1ms);
  }
  {
    TRACE_REGION("long");
    {
      TRACE_REGION("inner, over before");
      spend(1ms);
    }
    spend(2 * window);
    TRACE_INSTANT("recent");
  }
  const trace converted = convert_now({.last = window});
  CHECK(converted.events.size() == 2);
  CHECK(converted.one("long").length_ns() > 200'000'000);
  CHECK(converted.all("recent").size() == 1);
}

TEST_CASE("The window of the options limits every dump, and a dump's own window can only be shorter") {
  const running_recorder recorder({.memory = 4 << 20, .window = window});
  tick_for(2 * window);
  const dump_reader::dump all = dump_now();
  CHECK(all.super.window_ns == 100'000'000);
  CHECK(all.records("tick").size() <= 500);
  CHECK(all.records("tick").size() > 10);
  CHECK(dump_now({.last = 1h}).super.window_ns == 100'000'000);
  const dump_reader::dump shorter = dump_now({.last = 5ms});
  CHECK(shorter.super.window_ns == 5'000'000);
  CHECK(shorter.records("tick").size() <= 25);
}

TEST_CASE("A window longer than the recording holds all of it") {
  const running_recorder recorder;
  TRACE_INSTANT("first");
  TRACE_INSTANT("second");
  CHECK(convert_now({.last = 1h}).events.size() == 2);
  CHECK(convert_now({.last = std::chrono::hours::max()}).events.size() == 2);
}

TEST_CASE("A thread that was quiet during the window has no records in it, and its name is kept") {
  const running_recorder recorder;
  std::atomic<bool> done{false};
  std::thread quiet([&] {
    TRACE_THREAD_NAME("quiet one");
    TRACE_INSTANT("long ago");
    while (!done) std::this_thread::sleep_for(1ms);
  });
  spend(2 * window);
  TRACE_INSTANT("now");
  const dump_reader::dump windowed = dump_now({.last = window});
  done = true;
  quiet.join();
  CHECK(windowed.records("now").size() == 1);
  CHECK(windowed.records("long ago").empty());
}

TEST_CASE("Old chunks of a long recording are left out of a windowed dump") {
  const running_recorder recorder;
  for (int i = 0; i < 50'000; ++i) TRACE_INSTANT("old", "number", i);
  spend(2 * window);
  TRACE_INSTANT("new");
  const std::string recent = dump_bytes({.last = window}), all = dump_bytes();
  CHECK(all.size() > 50'000 * 16);
  CHECK(recent.size() < 100'000);
  CHECK(convert(recent).json() == std::vector<std::string>{R"({"ph":"i","cat":"default","name":"new","s":"t"})"});
}

TEST_CASE("Converting with --last counts back from the dump") {
  const running_recorder recorder;
  TRACE_INSTANT("old");
  spend(2 * window);
  TRACE_INSTANT("new");
  const std::string bytes = dump_bytes();
  CHECK(convert(bytes).events.size() == 2);
  CHECK(convert(bytes, "--last 100ms").json() ==
        std::vector<std::string>{R"({"ph":"i","cat":"default","name":"new","s":"t"})"});
}
