// SPDX-License-Identifier: MIT
// start_from, without the variable: CONTRAIL_NO_ENV.
#define CONTRAIL_NO_ENV
#include "support/converted.hpp"

#include <contrail/env.hpp>

#include <csignal>
#include <fstream>

using contrail::error_code;
using contrail::start_from;

namespace {

struct stopping {
  ~stopping() { flight_recorder::stop(); }
};

std::string refusal(const char* text) {
  const contrail::error failed = start_from(text);
  CHECK(flight_recorder::status().state == contrail::recorder_state::off);
  CHECK((failed.code() == error_code::bad_option || failed.code() == error_code::path));
  return failed.message();
}

contrail::options options_of(const char* text) {
  static contrail::detail::start_request wanted;
  wanted = {};
  const contrail::error failed = contrail::detail::read_start_text(text, wanted);
  INFO(failed.message());
  REQUIRE_FALSE(failed);
  return wanted.recorder;
}

}  // namespace

TEST_CASE("CONTRAIL_NO_ENV leaves the variable alone") {
  setenv("CONTRAIL", "on", 1);
  { TRACE_REGION("hit"); }
  CHECK(flight_recorder::status().state == contrail::recorder_state::off);
  unsetenv("CONTRAIL");
}

TEST_CASE("a text starts the recorder, with dumps at signals") {
  const temporary_folder folder;
  const stopping stops;
  REQUIRE_FALSE(start_from(("memory=4M,signal=USR1:" + folder / "one" + ",signal=12:" + folder / "two").c_str()));
  CHECK(flight_recorder::status().memory_bytes == 4 << 20);
  { TRACE_REGION("hit"); }
  std::raise(SIGUSR1);
  std::raise(SIGUSR2);
  CHECK(converted(folder / "one").named("hit").size() == 1);
  CHECK(converted(folder / "two").named("hit").size() == 1);
  CHECK(start_from("on").code() == error_code::already_running);
}

TEST_CASE("a text overrides the defaults that come with it, and nothing else") {
  const stopping stops;
  REQUIRE_FALSE(start_from("window=5s", {.memory = 2 << 20, .window = contrail::duration(1)}));
  CHECK(flight_recorder::status().memory_bytes == 2 << 20);
  CHECK(contrail::detail::joined_process()->window_ns.load_relaxed() == 5'000'000'000);
}

TEST_CASE("a text may be empty, and have spaces around its items") {
  CHECK(options_of("").memory == 32 << 20);
  CHECK(options_of(" , on ,, memory=1M ,").memory == 1 << 20);
}

TEST_CASE("times and sizes of a text have units") {
  CHECK(options_of("window=250ms").window.ns == 250'000'000);
  CHECK(options_of("window=1.5s").window.ns == 1'500'000'000);
  CHECK(options_of("window=2m").window.ns == 120'000'000'000);
  CHECK(options_of("window=.5us").window.ns == 500);
  CHECK(options_of("memory=1048576").memory == 1 << 20);
  CHECK(options_of("memory=1.5M").memory == 3 << 19);
  CHECK(options_of("memory=2GiB").memory == 2ULL << 30);
  CHECK(options_of("keep_files=7").keep_files == 7);
  CHECK(options_of("prefault,follow_fork").prefault);
  CHECK(options_of("prefault,follow_fork").follow_fork);
  CHECK(std::string(options_of("categories=net;db*").filter.categories) == "net,db*");
}

TEST_CASE("a text with a mistake starts nothing and says which item is wrong") {
  for (const char* const text : {"window=5", "window=s", "window=0s", "window=5s5", "window=-1s", "window=1e9s",
                                 "window=99999999999h", "window=18446744073709551616ns", "window=.s", "window=1..5s"}) {
    CHECK(refusal(text) == '"' + std::string(text) +
                               "\" is no time: write a number above 0 with ns, us, ms, s, m or h, such as window=5s.");
  }
  for (const char* const text :
       {"memory=0", "memory=64", "memory=17G", "memory=M", "memory=64 M", "memory=99999999999999999999G"}) {
    CHECK(refusal(text) == '"' + std::string(text) + "\" is no size: write 1M to 16G, such as memory=64M.");
  }
  CHECK(refusal("keep_files=65") == "\"keep_files=65\" is no number of files: write 0 to 64.");
  CHECK(refusal("keep_files=1.5") == "\"keep_files=1.5\" is no number of files: write 0 to 64.");
  CHECK(refusal("on=1") == "\"on=1\" is wrong: it takes no value.");
  CHECK(refusal("memory=1M,window") == "\"window\" needs a value after '='.");
  CHECK(refusal("signal=USR2") == "\"signal=USR2\" needs a signal and a path, such as signal=USR2:dump-%n.contrail.");
  CHECK(refusal("signal=KILL:x") == "\"KILL\" is no signal to dump at: write a name such as USR2, or a number.");
  CHECK(refusal("signal=9:x") == "\"9\" is no signal to dump at: write a name such as USR2, or a number.");
  CHECK(refusal("signal=65:x") == "\"65\" is no signal to dump at: write a name such as USR2, or a number.");
  CHECK(refusal("file=%x") == "The path %x has an unknown placeholder: %p, %t, %n, %e and %% exist.");
  CHECK(refusal("signal=USR2:") == "The path is empty: name a file.");
  CHECK(refusal(nullptr) == "There is no text that says what to start.");
  CHECK(refusal(std::string(4096, 'x').c_str()) == "The text that says what to start is longer than 4095 bytes.");
  CHECK(refusal(std::string(300, 'x').c_str()).substr(0, 99) == '"' + std::string(80, 'x') + "…\" is unknown: o");
  CHECK(refusal(("names=" + std::string(256, 'x')).c_str()).find("is too long: a filter has 255") != std::string::npos);
}

TEST_CASE("a signal that takes no handler stops what the text has started") {
  CHECK(refusal("memory=1M,signal=32:x") ==
        "The system takes no handler for that signal: use another one, such as SIGUSR2.");
}
