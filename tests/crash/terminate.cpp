// SPDX-License-Identifier: MIT
// std::terminate leaves a dump of its own, whoever called it and whatever handler was there.
#include "support/crash_child.hpp"

#include <exception>
#include <stdexcept>
#include <thread>

namespace {

namespace image = contrail::detail;

CHILD(throws_what_nobody_catches) {
  record_and_watch();
  TRACE_REGION("outer");
  {
    TRACE_REGION("ended");
  }
  TRACE_REGION("inner");
  throw std::runtime_error("nobody catches this");
}

CHILD(throws_on_a_thread) {
  record_and_watch();
  TRACE_REGION("main waits");
  std::thread([] {
    TRACE_THREAD_NAME("thrower");
    TRACE_REGION("throws");
    throw 1;
  }).join();
}

void throws(bool does) {
  if (does) throw 1;
}
void (*volatile may_throw)(bool) = throws;  // compilers warn about a throw that they see

void may_not_throw(bool does) noexcept { may_throw(does); }

CHILD(throws_out_of_noexcept) {
  record_and_watch();
  TRACE_REGION("promises");
  try {
    may_not_throw(child_argument() == 0);
  } catch (...) {
    _exit(1);
  }
}

CHILD(calls_terminate_itself) {
  record_and_watch();
  std::terminate();
}

CHILD(has_an_earlier_handler) {
  std::set_terminate([] { _exit(std::ifstream(crash_dump_path()) ? 42 : 43); });
  record_and_watch();
  throw 1;
}

std::terminate_handler previous = nullptr;
CHILD(has_a_later_handler) {
  record_and_watch();
  previous = std::set_terminate([] {
    std::fputs("later\n", stderr);
    previous();
  });
  throw 1;
}

CHILD(has_a_handler_that_aborts_on_its_own) {
  std::set_terminate([] {
    std::signal(SIGABRT, SIG_DFL);
    std::abort();
  });
  record_and_watch();
  throw 1;
}

CHILD(leaves_terminate_out) {
  record_and_watch({.terminate = false});
  throw 1;
}

CHILD(asks_for_terminate_only) {
  record_and_watch({.signals = {}});
  throw 1;
}

CHILD(asks_twice) {
  record_and_watch();
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path()), "refused");
  throw 1;
}

}  // namespace

TEST_CASE("an exception that nobody catches leaves a dump with the regions that it did not leave") {
  const crash_outcome left = run_child("throws_what_nobody_catches");
  CHECK(left.signal == SIGABRT);
  CHECK(left.said.find("nobody catches this") != std::string::npos);
  const auto dump = left.dump();
  CHECK(dump.super.crash.cause == image::crash_cause::terminate);
  CHECK(dump.super.crash.signal == 0);
  CHECK(dump.super.crash.tid == dump.super.pid);
  CHECK(dump.super.dump_sequence == 1);
  CHECK(dump.open_names() == std::vector<std::string>{"outer", "inner"});
  CHECK(dump.records("ended").size() == 1);
}

TEST_CASE("an exception that leaves a thread leaves a dump that names the thread") {
  const crash_outcome left = run_child("throws_on_a_thread");
  CHECK(left.signal == SIGABRT);
  const auto dump = left.dump();
  CHECK(dump.super.crash.cause == image::crash_cause::terminate);
  CHECK(dump.super.crash.tid != dump.super.pid);
  CHECK(dump.open_names() == std::vector<std::string>{"main waits", "throws"});
}

TEST_CASE("whatever calls std::terminate leaves one dump, and the process aborts as before") {
  for (const char* name : {"throws_out_of_noexcept", "calls_terminate_itself", "asks_for_terminate_only", "asks_twice",
                           "has_a_handler_that_aborts_on_its_own"}) {
    INFO(name);
    const crash_outcome left = run_child(name);
    CHECK(left.signal == SIGABRT);
    const auto dump = left.dump();
    CHECK(dump.super.crash.cause == image::crash_cause::terminate);
    CHECK(dump.super.dump_sequence == 1);
  }
}

TEST_CASE("an earlier handler of std::terminate is called after the dump, and may end the process") {
  const crash_outcome left = run_child("has_an_earlier_handler");
  CHECK(left.code == 42);
  CHECK(left.dump().super.crash.cause == image::crash_cause::terminate);
}

TEST_CASE("a later handler of std::terminate may call ours") {
  const crash_outcome left = run_child("has_a_later_handler");
  CHECK(left.signal == SIGABRT);
  CHECK(left.said.find("later\n") == 0);
  CHECK(left.dump().super.crash.cause == image::crash_cause::terminate);
}

TEST_CASE("where std::terminate is left out, the abort leaves the dump") {
  const crash_outcome left = run_child("leaves_terminate_out");
  CHECK(left.signal == SIGABRT);
  const auto dump = left.dump();
  CHECK(dump.super.crash.cause == image::crash_cause::signal);
  CHECK(dump.super.crash.signal == SIGABRT);
}
