// SPDX-License-Identifier: MIT
#include "contrail/detail/binding.hpp"

#include "support/recorder.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace {

using namespace contrail::detail;

image_view& image() { return *current_image(*joined_process()); }

contrail::descriptor named(const char* name) {
  contrail::descriptor what{};
  what.kind = binding_kind::instant;
  what.name = name;
  return what;
}

void trace_first(uint64_t n) {
  TRACE_REGION("first", "n", n);
  TRACE_INSTANT("first instant", "n", n);
}
void trace_second(uint64_t n) {
  TRACE_REGION("second", "n", n);
  TRACE_INSTANT("second instant", "n", n);
}

}  // namespace

TEST_CASE("equal descriptors share an id, and different ones do not") {
  running_recorder recorder;
  const std::string copy = "a name";
  const uint64_t id = bind(image(), named("a name"));
  CHECK(bind(image(), named(copy.c_str())) == id);
  CHECK(bind(image(), named("another name")) != id);
  contrail::descriptor other = named("a name");
  other.line = 5;
  CHECK(bind(image(), other) != id);
  other = named("a name");
  other.kind = binding_kind::counter;
  CHECK(bind(image(), other) != id);
}

TEST_CASE("threads that bind the same at the same time get ids of the same content") {
  running_recorder recorder({.memory = 3 << 20});
  for (int round = 0; round < 50; ++round) {
    const std::string name = "round " + std::to_string(round);
    std::atomic<int> ready{0};
    uint64_t ids[4];
    std::vector<std::thread> threads;
    for (uint64_t& id : ids) {
      threads.emplace_back([&] {
        ++ready;
        while (ready != 4) {
        }
        id = bind(image(), named(name.c_str()));
      });
    }
    for (std::thread& thread : threads) thread.join();
    const auto dump = dump_now();
    for (const uint64_t id : ids) CHECK(dump.bindings.at(id).name == name);
    CHECK(bind(image(), named(name.c_str())) == bind(image(), named(name.c_str())));
  }
}

TEST_CASE("when ids run out, sites share the overflow id and are still recorded") {
  running_recorder recorder({.memory = 1 << 20});
  trace_first(1);
  for (int i = 0; bind(image(), named(("name " + std::to_string(i)).c_str())) != overflow_id; ++i) CHECK(i < 256);
  trace_first(2);
  trace_second(3);
  trace_second(4);
  const auto dump = dump_now();
  CHECK(dump.dropped() == 0);
  CHECK(dump.records("first").size() == 2);
  CHECK(dump.records("first instant").size() == 2);
  CHECK(dump.records("second").empty());
  const auto overflowed = dump.records(dump.bindings.at(overflow_id).name);
  REQUIRE(overflowed.size() == 4);
  for (const auto& r : overflowed) CHECK(r.payload.at(0) >= 3);
  CHECK(dump.bindings.at(overflow_id).kind == binding_kind::overflow);
}

TEST_CASE("when space runs out, sites share the overflow id") {
  running_recorder recorder({.memory = (1 << 20) + (1 << 16)});
  const std::string long_name(1000, 'x');
  uint64_t overflowed = 0;
  for (int i = 0; i < 100; ++i) overflowed += bind(image(), named((std::to_string(i) + long_name).c_str())) == overflow_id;
  CHECK(overflowed > 30);
  CHECK(overflowed < 90);
  dump_now();
}

TEST_CASE("very long names are cut, and the binding says so") {
  running_recorder recorder({.memory = 3 << 20});
  const std::string name(5000, 'n');
  const uint64_t id = bind(image(), named(name.c_str()));
  CHECK(bind(image(), named(name.c_str())) == id);
  const auto dump = dump_now();
  CHECK(dump.bindings.at(id).name == std::string(longest_name_bytes, 'n'));
  CHECK((dump.bindings.at(id).flags & binding_flag_cut) != 0);
}

TEST_CASE("ids above 4095 put regions with arguments into the long form") {
  running_recorder recorder({.memory = 32 << 20});
  image().super->next_id.store_relaxed(4095);
  for (uint64_t n = 0; n < 4; ++n) trace_first(n);
  for (uint64_t n = 0; n < 4; ++n) trace_second(n);
  const auto dump = dump_now();
  for (const char* name : {"first", "second"}) {
    const auto records = dump.records(name);
    REQUIRE(records.size() == 4);
    for (uint64_t n = 0; n < 4; ++n) {
      CHECK(records[n].payload.at(0) == n);
      CHECK(records[n].is_long == (records[n].id > 4095));
    }
  }
  CHECK(dump.records("first")[0].id == 4095);
  CHECK(dump.records("second")[0].id > 4095);
  CHECK(dump.records("second instant").size() == 4);
}

TEST_CASE("bindings made while the chunks are copied are in the dump") {
  running_recorder recorder({.memory = 5 << 20});
  { TRACE_REGION("before"); }
  struct container : std::string {
    void resize(size_t size) {
      std::string::resize(size);
      trace_first(1);
      trace_second(2);
    }
  } bytes;
  REQUIRE_FALSE(flight_recorder::dump(bytes));
  const auto dump = dump_reader::read(bytes);  // throws when an id is not bound
  CHECK(dump.records("before").size() == 1);
}
