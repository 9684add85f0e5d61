// SPDX-License-Identifier: MIT
// Triggers, from the condition to the converted dump.
#include "support/converted.hpp"

#include <contrail/trigger.hpp>

#include <dirent.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <memory>
#include <set>
#include <thread>

using contrail::duration;
using contrail::error_code;
using contrail::trigger;

namespace {

constexpr duration an_hour{3'600'000'000'000};
constexpr duration soon{1'000'000};

template <class Holds>
void wait_until(Holds&& holds) {
  while (!holds()) sched_yield();
}

std::set<std::string> files_in(const temporary_folder& folder) {
  std::set<std::string> names;
  DIR* const open = opendir(folder.path().c_str());
  while (const dirent* entry = readdir(open)) {
    if (entry->d_name[0] != '.') names.insert(entry->d_name);
  }
  closedir(open);
  return names;
}

void fire_and_wait(trigger& watchdog, const char* what) {
  const uint64_t before = watchdog.status().dumps;
  watchdog.fire(what);
  wait_until([&] { return watchdog.status().dumps == before + 1; });
}

}  // namespace

TEST_CASE("a dump names its trigger: in info, in the metadata and as a global instant") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  trigger watchdog({.path = path.c_str(), .look_every = soon});
  REQUIRE_FALSE(watchdog.latency("hangs", duration(2'000'000)));
  REQUIRE_FALSE(watchdog.start());
  {
    TRACE_REGION("hangs");
    wait_until([&] { return watchdog.status().dumps == 1; });
  }
  const std::string json = folder / "json", info = folder / "info";
  REQUIRE(run_converter("convert '" + path + "' -o -", json) == 0);
  const std::string text = text_of(json);
  const size_t at = text.find("\"name\":\"trigger: hangs is open for ");
  REQUIRE(at != std::string::npos);
  CHECK(text.find("\"s\":\"g\"", at) < text.find('\n', at));
  CHECK(text.find("\"trigger\": \"hangs is open for ") != std::string::npos);
  REQUIRE(run_converter("info '" + path + "'", info) == 0);
  CHECK(text_of(info).find("\ntrigger    hangs is open for ") != std::string::npos);
  CHECK(converted(path).one("hangs").find("\"unfinished\":true") != std::string::npos);
}

TEST_CASE("a thread that stalls is in the dump, with what it does") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  trigger watchdog({.path = path.c_str(), .look_every = soon});
  REQUIRE_FALSE(watchdog.stall(duration(2'000'000), "waits for ever"));
  REQUIRE_FALSE(watchdog.start());
  {
    TRACE_REGION("waits for ever");
    wait_until([&] { return watchdog.status().dumps == 1; });
  }
  const std::string json = folder / "json";
  REQUIRE(run_converter("convert '" + path + "' -o -", json) == 0);
  CHECK(text_of(json).find("\"name\":\"trigger: thread " + std::to_string(getpid()) + " ended no region for ") !=
        std::string::npos);
  CHECK(converted(path).one("waits for ever").find("\"unfinished\":true") != std::string::npos);
}

TEST_CASE("a dump that no trigger made names none") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump", json = folder / "json";
  REQUIRE_FALSE(flight_recorder::dump(path.c_str()));
  REQUIRE(run_converter("convert '" + path + "' -o -", json) == 0);
  CHECK(text_of(json).find("\"trigger\"") == std::string::npos);
}

TEST_CASE("a dump has what came after the trigger fired, as far as asked for") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  static std::atomic<int> looks;
  const auto count_looks = [](void*) { return ++looks < 0; };
  trigger watchdog({.path = path.c_str(), .last = an_hour, .after = an_hour, .look_every = soon});
  REQUIRE_FALSE(watchdog.predicate("never", count_looks));
  REQUIRE_FALSE(watchdog.start());
  { TRACE_REGION("before"); }
  watchdog.fire("now");
  wait_until([&] { return watchdog.status().fired == 1; });
  const int since = looks;
  wait_until([&] { return looks > since + 2; });
  CHECK(watchdog.status().dumps == 0);
  { TRACE_REGION("after"); }
  watchdog.stop();  // does not wait for the rest of the hour
  CHECK(watchdog.status().dumps == 1);
  const converted trace(path);
  CHECK(trace.named("before").size() == 1);
  CHECK(trace.named("after").size() == 1);
  // The moment is that of firing.
  const double fired = trace.number("trigger: now", "ts"), after = trace.number("after", "ts");
  CHECK(fired < after);
  CHECK(fired > trace.number("before", "ts"));
}

TEST_CASE("triggers dump no more often than asked for, and count what they leave out") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump-%n";
  trigger watchdog({.path = path.c_str(), .at_most_every = an_hour, .look_every = an_hour});
  REQUIRE_FALSE(watchdog.start());
  fire_and_wait(watchdog, "one");
  for (uint64_t i = 2; i <= 5; ++i) {
    watchdog.fire("more");
    wait_until([&] { return watchdog.status().fired == i; });
  }
  watchdog.stop();
  CHECK(watchdog.status().dumps == 1);
  CHECK(watchdog.status().suppressed == 4);
  CHECK(files_in(folder).size() == 1);
}

TEST_CASE("the newest dumps stay, and nothing else is removed") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump-%n";
  std::ofstream(folder / "dump-999") << "not a dump";
  REQUIRE_FALSE(flight_recorder::dump((folder / "dump-%n").c_str()));  // by no trigger
  const std::set<std::string> others = files_in(folder);
  trigger watchdog({.path = path.c_str(), .at_most_every = duration(0), .keep = 2, .look_every = soon});
  REQUIRE_FALSE(watchdog.start());
  std::set<std::string> expected;
  for (int i = 0; i < 5; ++i) {
    const std::set<std::string> before = files_in(folder);
    fire_and_wait(watchdog, "again");
    if (i < 3) continue;
    for (const std::string& name : files_in(folder)) {
      if (before.count(name) == 0) expected.insert(name);
    }
  }
  watchdog.stop();
  expected.insert(others.begin(), others.end());
  CHECK(files_in(folder) == expected);
}

TEST_CASE("dumps have no more bytes than asked for, but for the newest") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump-%n";
  for (const uint64_t room : {uint64_t{1}, uint64_t{100'000}}) {
    trigger watchdog(
        {.path = path.c_str(), .at_most_every = duration(0), .keep = 0, .keep_bytes = room, .look_every = soon});
    REQUIRE_FALSE(watchdog.start());
    for (int i = 0; i < 5; ++i) fire_and_wait(watchdog, "again");
    watchdog.stop();
    uint64_t bytes = 0;
    for (const std::string& name : files_in(folder)) bytes += text_of(folder / name.c_str()).size();
    if (room == 1) {
      CHECK(files_in(folder).size() == 1);
    } else {
      CHECK(files_in(folder).size() > 1);
      CHECK(files_in(folder).size() < 5);
      CHECK(bytes <= room);
    }
  }
}

namespace {
trigger* of_the_handler;
}

TEST_CASE("records that were overwritten before a trigger looked are in its status, and its dump says so") {
  const running_recorder recorder({.memory = 1 << 20});
  const temporary_folder folder;
  const std::string path = folder / "dump", info = folder / "info";
  static std::atomic<int> looks, asked, answered;
  trigger watchdog({.path = path.c_str(), .look_every = soon});
  REQUIRE_FALSE(watchdog.latency("never", duration(1)));
  REQUIRE_FALSE(watchdog.predicate("the test", [](void*) {
    ++looks;
    if (asked == 0) return false;
    answered = 1;
    wait_until([] { return asked == 2; });
    return true;
  }));
  REQUIRE_FALSE(watchdog.start());
  wait_until([] { return looks > 1; });  // so one look is over
  asked = 1;
  wait_until([] { return answered == 1; });
  for (int i = 0; i < 200'000; ++i) TRACE_INSTANT("filler", "i", i);  // while it cannot look
  asked = 2;
  wait_until([&] { return watchdog.status().dumps == 1; });
  const uint64_t missed = watchdog.status().missed_records;
  CHECK(missed > 100'000);
  CHECK(missed < 200'000);
  REQUIRE(run_converter("info '" + path + "'", info) == 0);
  CHECK(text_of(info).find("\ntrigger    the test holds; missed " + std::to_string(missed) + " records\n") !=
        std::string::npos);
  watchdog.stop();
  for (int i = 0; i < 200'000; ++i) TRACE_INSTANT("filler", "i", i);
  CHECK(watchdog.status().missed_records == missed);
}

TEST_CASE("a signal handler may fire a trigger") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  trigger watchdog({.path = path.c_str(), .look_every = an_hour});
  REQUIRE_FALSE(watchdog.start());
  of_the_handler = &watchdog;
  std::signal(SIGUSR1, [](int) { of_the_handler->fire("a signal"); });
  std::raise(SIGUSR1);
  wait_until([&] { return watchdog.status().dumps == 1; });
  std::signal(SIGUSR1, SIG_DFL);
  CHECK(converted(path).named("trigger: a signal").size() == 1);
}

TEST_CASE("a scope over its own budget fires at once, and one within does not") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  trigger watchdog({.path = path.c_str(), .look_every = an_hour});
  REQUIRE_FALSE(watchdog.start());
  { const contrail::latency_budget budget(watchdog, "too slow", an_hour); }
  { const contrail::latency_budget budget(watchdog, "slow", duration(-1)); }
  wait_until([&] { return watchdog.status().dumps == 1; });
  CHECK(watchdog.status().fired == 1);
  CHECK(converted(path).named("trigger: slow").size() == 1);
}

TEST_CASE("a trigger may be there before the recorder, and says what went wrong") {
  const temporary_folder folder;
  const std::string path = folder / "dump";
  trigger watchdog({.path = path.c_str(), .at_most_every = duration(0), .look_every = soon});
  REQUIRE_FALSE(watchdog.counter("queue", 10));
  REQUIRE_FALSE(watchdog.start());
  watchdog.fire("too early");
  wait_until([&] { return watchdog.status().failed == 1; });
  CHECK(watchdog.status().last_failure.code() == error_code::not_running);
  const running_recorder recorder;
  // A counter that was over its limit before the recording was watched counts from its next value on.
  wait_until([&] {
    TRACE_COUNTER("queue", 11);
    return watchdog.status().dumps == 1;
  });
  CHECK(converted(path).named("trigger: queue is 11, over 10").size() == 1);
}

TEST_CASE("two triggers that fire at once both dump") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string one = folder / "one", two = folder / "two";
  trigger first({.path = one.c_str(), .look_every = soon}), second({.path = two.c_str(), .look_every = soon});
  REQUIRE_FALSE(first.start());
  REQUIRE_FALSE(second.start());
  first.fire("both");
  second.fire("both");
  wait_until([&] { return first.status().dumps == 1 && second.status().dumps == 1; });
  CHECK(first.status().failed == 0);
  CHECK(second.status().failed == 0);
}

TEST_CASE("a forked child may destroy its parent's trigger") {
  const running_recorder recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  auto watchdog = std::make_unique<trigger>(contrail::trigger_options{.path = path.c_str(), .look_every = soon});
  REQUIRE_FALSE(watchdog->start());
  CHECK(status_of_child([&] {
          watchdog.reset();
          return 7;
        }) == 7);
  fire_and_wait(*watchdog, "the parent");
}

TEST_CASE("what a trigger cannot do is said in a sentence") {
  const auto message = [](const contrail::error& failed) { return std::string(failed.message()); };
  trigger watchdog({.path = "dump-%n", .look_every = an_hour});
  CHECK(message(watchdog.latency("x", {})) == "The budget of a region must be above 0.");
  CHECK(message(watchdog.stall({})) == "The time after which a thread has stalled must be above 0.");
  CHECK(message(watchdog.predicate("x", nullptr)) == "The predicate is null.");
  CHECK(message(watchdog.counter(nullptr, 1)) ==
        "The names of a trigger's condition are missing, or longer than 255 bytes.");
  for (int i = 0; i < 15; ++i) CHECK_FALSE(watchdog.counter("x", i));
  CHECK(message(watchdog.counter("x", 1)) == "A trigger takes 15 conditions: use another one for more.");
  REQUIRE_FALSE(watchdog.start());
  CHECK(watchdog.start().code() == error_code::already_running);
  CHECK(message(watchdog.counter("x", 1)) == "This trigger is started already: add conditions before.");
  CHECK(message(trigger({.path = "%x"}).start()) ==
        "The path %x has an unknown placeholder: %p, %t, %n, %e and %% exist.");
  CHECK(trigger({.path = nullptr}).start().code() == error_code::path);
  CHECK(message(trigger({.look_every = duration(0)}).start()) ==
        "The times in trigger_options must not be negative, and look_every not 0.");
}
