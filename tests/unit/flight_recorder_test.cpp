// SPDX-License-Identifier: MIT
#include "contrail/flight_recorder.hpp"

#include "support/recorder.hpp"

#include <atomic>
#include <thread>

namespace network {
TRACE_CATEGORY("net");
void trace() {
  TRACE_REGION("send");
  TRACE_INSTANT("arrived");
}
}  // namespace network

namespace {

using namespace std::chrono_literals;
using contrail::error_code;
using contrail::recorder_state;

void trace() {
  TRACE_REGION("plain");
  TRACE_INSTANT("instant", "n", 1);
}

}  // namespace

TEST_CASE("without a recorder macros do nothing and functions say what to do") {
  trace();
  CHECK(flight_recorder::status().state == recorder_state::off);
  CHECK(flight_recorder::status().records == 0);
  std::string bytes;
  for (const contrail::error& failed :
       {flight_recorder::dump("x"), flight_recorder::dump(1), flight_recorder::dump(bytes), flight_recorder::stop(),
        flight_recorder::set_filter({})}) {
    CHECK(failed.code() == error_code::not_running);
    CHECK(std::string(failed.message()).find("start()") != std::string::npos);
  }
  CHECK(bytes.empty());
  CHECK(contrail_dump("x") == static_cast<int>(error_code::not_running));
}

TEST_CASE("a second start says that a recorder runs and changes nothing") {
  running_recorder recorder;
  trace();
  const contrail::error failed = flight_recorder::start({.memory = 8 << 20});
  CHECK(failed.code() == error_code::already_running);
  CHECK(std::string(failed.message()).find("runs already") != std::string::npos);
  CHECK(flight_recorder::status().records == 2);
  CHECK(flight_recorder::status().memory_bytes == 4 << 20);
}

TEST_CASE("options that cannot be used are refused") {
  CHECK(flight_recorder::start({.memory = 1000}).code() == error_code::bad_option);
  CHECK(flight_recorder::start({.memory = uint64_t{1} << 40}).code() == error_code::bad_option);
  CHECK(flight_recorder::start({.window = -1s}).code() == error_code::bad_option);
  const std::string long_filter(300, 'x');
  CHECK(flight_recorder::start({.filter = {.names = long_filter.c_str()}}).code() == error_code::bad_option);
  CHECK(flight_recorder::status().state == recorder_state::off);
}

TEST_CASE("the status counts records, drops, threads and call sites exactly") {
  running_recorder recorder({.memory = 5 << 20});  // in an image of its own
  CHECK(flight_recorder::status().records == 0);
  for (int i = 0; i < 5000; ++i) trace();
  std::thread([] {
    for (int i = 0; i < 500; ++i) trace();
  }).join();
  const auto status = flight_recorder::status();
  CHECK(status.state == recorder_state::recording);
  CHECK(status.records == 11000);
  CHECK(status.dropped == 0);
  CHECK(status.threads == 2);
  CHECK(status.used_bytes % 8192 == 0);
  CHECK(status.used_bytes >= 5000 * 24);
  CHECK(status.used_bytes <= status.memory_bytes);
  CHECK(status.memory_bytes == 5 << 20);
  CHECK(dump_now().record_count() == 11000);
}

TEST_CASE("a restart in the same memory forgets the records before it") {
  { running_recorder recorder; }
  const uint64_t sites = [] {
    running_recorder recorder;
    for (int i = 0; i < 3; ++i) trace();
    return flight_recorder::status().call_sites;
  }();
  running_recorder recorder;
  CHECK(flight_recorder::status().call_sites == sites);
  for (int i = 0; i < 5; ++i) trace();
  const auto dump = dump_now();
  CHECK(dump.records("plain").size() == 5);
  CHECK(dump.records("instant").size() == 5);
}

TEST_CASE("a restart with other memory begins an image of its own") {
  contrail::region* open = nullptr;
  alignas(contrail::region) unsigned char storage[sizeof(contrail::region)];
  {
    running_recorder recorder({.memory = 2 << 20});
    trace();
    const auto make = [] { return ::contrail::detail::begin_region_var(CONTRAIL_DETAIL_SITE("across"), "across"); };
    open = new (storage) contrail::region(make());
  }
  running_recorder recorder({.memory = 3 << 20});
  trace();
  open->end();  // of the image before: dropped
  for (int i = 0; i < 4; ++i) trace();
  const auto dump = dump_now();
  CHECK(dump.records("plain").size() == 5);
  CHECK(dump.record_count() == 10);
  CHECK(dump.open_names().empty());
  CHECK(flight_recorder::status().memory_bytes == 3 << 20);
}

TEST_CASE("a dump reaches back as far as asked for") {
  running_recorder recorder;
  trace();
  std::this_thread::sleep_for(60ms);
  trace();
  CHECK(dump_now().records("plain").size() == 2);
  CHECK(dump_now({.last = 30ms}).records("plain").size() == 1);
  CHECK(dump_now({.last = 1h}).records("plain").size() == 2);
  CHECK(dump_now({.last = std::chrono::hours::max()}).records("plain").size() == 2);
}

TEST_CASE("the window of the options limits every dump") {
  running_recorder recorder({.memory = 4 << 20, .window = 30ms});
  trace();
  std::this_thread::sleep_for(60ms);
  trace();
  CHECK(dump_now().records("plain").size() == 1);
  CHECK(dump_now({.last = 1h}).records("plain").size() == 1);
  CHECK(dump_now().super.window_ns == 30'000'000);
}

TEST_CASE("filters by category and name take effect at once, also for sites in use") {
  running_recorder recorder;
  const auto counts = [](const char* categories, const char* names) {
    REQUIRE_FALSE(flight_recorder::set_filter({.categories = categories, .names = names}));
    const auto before = dump_now();
    for (int i = 0; i < 3; ++i) {
      trace();
      network::trace();
    }
    const auto after = dump_now();
    std::string text;
    for (const char* name : {"plain", "instant", "send", "arrived"}) {
      text += std::to_string(after.records(name).size() - before.records(name).size());
    }
    return text;
  };
  CHECK(counts(nullptr, nullptr) == "3333");
  CHECK(counts("net", nullptr) == "0033");
  CHECK(counts("-net", nullptr) == "3300");
  CHECK(counts(nullptr, "s*,-send,p?ain") == "3000");
  CHECK(counts("net", "-arr*") == "0030");
  CHECK(counts("nothing", "") == "0000");
  CHECK(counts("", "") == "3333");
  CHECK(flight_recorder::set_filter({.names = std::string(256, 'a').c_str()}).code() == error_code::bad_option);
  CHECK(counts("", "") == "3333");
}

TEST_CASE("a region in flight outlives the filter that would exclude it") {
  running_recorder recorder;
  {
    TRACE_REGION("in flight");
    REQUIRE_FALSE(flight_recorder::set_filter({.names = "-in flight"}));
  }
  { TRACE_REGION("in flight"); }
  CHECK(dump_now().records("in flight").size() == 1);
}

TEST_CASE("two dumps at once: the second says busy and the first is whole") {
  running_recorder recorder;
  for (int i = 0; i < 1000; ++i) trace();
  struct container : std::string {
    void resize(size_t size) {
      std::string::resize(size);
      std::string other;
      if (tries++ == 0) second = flight_recorder::dump(other);
    }
    int tries = 0;
    contrail::error second;
  } bytes;
  REQUIRE_FALSE(flight_recorder::dump(bytes));
  CHECK(bytes.second.code() == error_code::busy);
  CHECK(dump_reader::read(bytes).records("plain").size() == 1000);
  CHECK(dump_now().records("plain").size() == 1000);
}

TEST_CASE("a dump goes into any empty container of bytes") {
  running_recorder recorder;
  trace();
  std::vector<unsigned char> bytes;
  REQUIRE_FALSE(flight_recorder::dump(bytes));
  CHECK(dump_reader::read({bytes.begin(), bytes.end()}).records("plain").size() == 1);
}

TEST_CASE("a string that holds a path is not taken for memory to dump into") {
  running_recorder recorder;
  std::string path = "dump.contrail";
  CHECK(flight_recorder::dump(path).code() == error_code::bad_option);
  CHECK(path == "dump.contrail");
}

TEST_CASE("a container that throws leaves a recorder that dumps") {
  running_recorder recorder;
  struct container : std::string {
    void resize(size_t) { throw std::bad_alloc(); }
  } bytes;
  CHECK_THROWS_AS(flight_recorder::dump(bytes), std::bad_alloc);
  dump_now();
}

TEST_CASE("open regions are in a dump with the arguments they have so far") {
  running_recorder recorder;
  TRACE_REGION("outer", "n", uint64_t{42});
  TRACE_REGION_VAR(inner, "inner");
  inner.set("status", uint64_t{0x1234});
  const auto dump = dump_now();
  REQUIRE(dump.open_names() == std::vector<std::string>{"outer", "inner"});
  const auto& open = dump.slots.at(0).open;
  CHECK(open[0].payload[0] == 42);
  CHECK(std::memcmp(&open[1].payload[1], "status\x34\x12", 8) == 0);
  CHECK(dump.records("outer").empty());
}

TEST_CASE("threads may record while another one stops and starts the recorder and sets filters") {
  std::atomic<bool> done{false};
  std::vector<std::thread> writers;
  REQUIRE_FALSE(flight_recorder::start({.memory = 1 << 20}));
  for (uint64_t t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      for (uint64_t i = 0; !done; ++i) {
        TRACE_REGION("writer", "t", t, "i", i, "sum", t + i);
        TRACE_INSTANT("writer instant", "t", t, "i", i, "sum", t + i);
        { TRACE_REGION("inner"); }
      }
    });
  }
  std::string failure;
  for (unsigned round = 0; round < 40 && failure.empty(); ++round) {
    if (round % 3 == 0) flight_recorder::set_filter({.names = round % 2 == 0 ? "-inner" : ""});
    std::this_thread::sleep_for(1ms);
    try {
      const auto dump = dump_now();
      dump_reader::check_chains(dump);
      for (const char* name : {"writer", "writer instant"}) {
        for (const auto& r : dump.records(name)) {
          dump_reader::require(r.payload.size() == 3 && r.payload[0] + r.payload[1] == r.payload[2], "altered");
        }
      }
    } catch (const std::runtime_error& error) {
      failure = error.what();
    }
    flight_recorder::stop();
    // Two sizes that alternate make a new image each time; the same size twice goes on in the old one.
    if (flight_recorder::start({.memory = (1U << 20) + (round / 2 % 2) * 65536})) failure = "start failed";
  }
  done = true;
  for (std::thread& writer : writers) writer.join();
  flight_recorder::stop();
  CHECK(failure == "");
}
