// SPDX-License-Identifier: MIT
// Dumps over HTTP, without a framework: what http_trace answers, and how many threads may ask.
#include "support/converted.hpp"

#include <contrail/http.hpp>

#include <atomic>
#include <fstream>
#include <thread>

using contrail::http_answer;
using contrail::http_trace;

namespace {

http_answer ask(std::string_view query) {
  http_answer got;
  int calls = 0;
  http_trace(query, [&](http_answer&& answer) {
    got = std::move(answer);
    ++calls;
  });
  CHECK(calls == 1);
  return got;
}

std::string header(const http_answer& answer, const std::string& name) {
  for (const contrail::http_header& each : answer.headers) {
    if (each.name == name) return each.value;
  }
  return {};
}

converted trace_of(const http_answer& answer) {
  const temporary_folder folder;
  std::ofstream(folder / "dump", std::ios::binary) << answer.body;
  return converted(folder / "dump");
}

void until_taken(const contrail::detail::atomic_word& turn) {
  while (turn.load_acquire() == 0) sched_yield();
}

}  // namespace

TEST_CASE("a query without parameters gets all that memory holds, as a file to save") {
  const running_recorder recorder;
  { TRACE_REGION("work"); }
  const http_answer answer = ask("");
  CHECK(answer.status == 200);
  CHECK(header(answer, "Content-Type") == "application/octet-stream");
  const std::string disposition = header(answer, "Content-Disposition");
  CHECK(disposition.rfind("attachment; filename=\"", 0) == 0);
  CHECK(disposition.find("-" + std::to_string(getpid()) + "-") != std::string::npos);
  CHECK(disposition.substr(disposition.size() - 10) == ".contrail\"");
  CHECK(trace_of(answer).named("work").size() == 1);
}

TEST_CASE("last is a window up to now") {
  const running_recorder recorder;
  { TRACE_REGION("before"); }
  const uint64_t begin = contrail::detail::kernel_clock_ns(CLOCK_MONOTONIC);
  while (contrail::detail::kernel_clock_ns(CLOCK_MONOTONIC) - begin < 5'000'000) {
  }
  TRACE_REGION("open");
  const http_answer answer = ask("other=1&last=5ms");
  REQUIRE(answer.status == 200);
  const converted trace = trace_of(answer);
  CHECK(trace.named("before").empty());
  CHECK(trace.named("open").size() == 1);
  CHECK(trace_of(ask("last=1h")).named("before").size() == 1);
}

TEST_CASE("seconds is a window from now on") {
  const running_recorder recorder;
  { TRACE_REGION("before"); }
  http_answer answer;
  std::atomic<bool> done{false};
  std::thread request([&] {
    answer = ask("seconds=0.05");
    done = true;
  });
  until_taken(contrail::detail::http_waiting);
  while (!done) {
    TRACE_REGION("meanwhile");
    sched_yield();
  }
  request.join();
  REQUIRE(answer.status == 200);
  const converted trace = trace_of(answer);
  CHECK(trace.named("before").empty());
  CHECK_FALSE(trace.named("meanwhile").empty());
}

TEST_CASE("a bad value is refused with 400 and says what is right") {
  const running_recorder recorder;
  for (const char* const query : {"last=",
                                  "last",
                                  "last=x",
                                  "last=0",
                                  "last=0.0s",
                                  "last=-1s",
                                  "last=5 s",
                                  "last=1d",
                                  "last=25h",
                                  "last=1.2.3s",
                                  "last=.",
                                  "last=1e3s",
                                  "last=99999999999999999999s",
                                  "last=1s%00",
                                  "last=5s&seconds=5",
                                  "seconds=",
                                  "seconds=-1",
                                  "seconds=86401",
                                  "seconds=nan",
                                  "?last=%",
                                  "l%61st=x"}) {
    INFO(query);
    const http_answer answer = ask(query);
    CHECK(answer.status == 400);
    CHECK(header(answer, "Content-Type") == "text/plain; charset=utf-8");
    CHECK(answer.body.back() == '\n');
  }
  CHECK(ask("last=x").body == "last takes a time above 0 and up to a day: last=5s, last=250ms, last=2m.\n");
  for (const char* const query : {"last=5", "?last=5s", "last=+5s", "last=1.5s", "last=.5ms", "last=24h", "last=%35s",
                                  "x&last=5s&last=x", "&&", "lastly=x"}) {
    INFO(query);
    CHECK(ask(query).status == (std::string(query) == "last=+5s" ? 400 : 200));
  }
}

TEST_CASE("without a recorder the answer is 503 and says what to do") {
  for (const char* const query : {"", "last=5s", "seconds=1"}) {
    const http_answer answer = ask(query);
    CHECK(answer.status == 503);
    CHECK(answer.body == "No flight recorder runs: call contrail::flight_recorder::start() first.\n");
  }
}

TEST_CASE("while a dump is being sent others are told to come back") {
  const running_recorder recorder;
  http_trace("", [](http_answer&& answer) {
    CHECK(answer.status == 200);
    const http_answer other = ask("last=5s");
    CHECK(other.status == 429);
    CHECK(header(other, "Retry-After") == "1");
    CHECK(other.body == "Another dump is on its way; try again when it is done.\n");
  });
  CHECK(ask("").status == 200);
}

TEST_CASE("one request waits for its seconds, others get their windows meanwhile, and it can be cancelled") {
  const running_recorder recorder;
  std::atomic<bool> stops{false};
  http_answer answer;
  std::thread request([&] {
    http_trace(
        "seconds=3600", [&](http_answer&& got) { answer = std::move(got); }, [&] { return stops.load(); });
  });
  until_taken(contrail::detail::http_waiting);
  CHECK(ask("seconds=1").status == 429);
  CHECK(ask("last=5s").status == 200);
  stops = true;
  request.join();
  CHECK(answer.status == 503);
  CHECK(answer.body == "The request was cancelled.\n");
  CHECK(ask("seconds=0.001").status == 200);
}

TEST_CASE("a recorder that stops while a request waits makes it 503 at once") {
  auto recorder = std::make_unique<running_recorder>();
  http_answer answer;
  std::thread request([&] { answer = ask("seconds=3600"); });
  until_taken(contrail::detail::http_waiting);
  recorder.reset();
  request.join();
  CHECK(answer.status == 503);
}

TEST_CASE("what a sink returns is ignored") {
  const running_recorder recorder;
  int status = 0;
  http_trace("", [&](const http_answer& answer) { return status = answer.status; });
  CHECK(status == 200);
}

#if defined(__cpp_exceptions)
TEST_CASE("a sink that throws leaves the way free for the next request") {
  const running_recorder recorder;
  CHECK_THROWS_AS(http_trace("", [](http_answer&&) { throw 7; }), int);
  CHECK(ask("").status == 200);
}
#endif

TEST_CASE("a child that was forked during a request is served") {
  const running_recorder recorder({.memory = 1 << 20, .follow_fork = true});
  int status = 0;
  http_trace("", [&](http_answer&&) { status = status_of_child([] { return ask("").status == 200 ? 7 : 1; }); });
  CHECK(status == 7);
  CHECK(ask("").status == 200);
}

TEST_CASE("a thousand threads that ask at once each get one answer, and one dump is in memory at a time") {
  const running_recorder recorder({.memory = 1 << 20});
  std::atomic<int> dumps{0}, most{0}, given{0}, refused{0}, other{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  std::vector<std::string> bodies(1000);
  for (int i = 0; i < 1000; ++i) {
    threads.emplace_back([&, i] {
      go.wait(false);
      TRACE_REGION("request", "thread", i);
      http_trace("last=5s", [&](http_answer&& answer) {
        if (answer.status == 200) {
          const int now = ++dumps;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          bodies[static_cast<size_t>(i)] = std::move(answer.body);
          ++given;
          --dumps;
        } else {
          ++(answer.status == 429 ? refused : other);
        }
      });
    });
  }
  go = true;
  go.notify_all();
  for (auto& thread : threads) thread.join();
  CHECK(given + refused == 1000);
  CHECK(other == 0);
  CHECK(given > 0);
  CHECK(most == 1);
  for (const std::string& body : bodies) {
    if (!body.empty()) CHECK_NOTHROW(dump_reader::read(body));
  }
}
