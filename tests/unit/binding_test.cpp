// SPDX-License-Identifier: MIT
#include "contrail/detail/binding.hpp"

#include "support/recorder.hpp"

#include <atomic>
#include <thread>
#include <utility>
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

/// A call site of its own for each number.
template <unsigned N>
void trace_site() {
  TRACE_REGION("site", "n", N);
  TRACE_INSTANT("instant", "n", N);
}
template <unsigned... N>
void trace_sites(std::integer_sequence<unsigned, N...>) {
  (trace_site<N>(), ...);
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
  trace_sites(std::make_integer_sequence<unsigned, 150>{});  // 300 sites in an image of 256 ids
  trace_sites(std::make_integer_sequence<unsigned, 150>{});
  const auto dump = dump_now();
  CHECK(dump.dropped() == 0);
  size_t records = 0, overflowed = 0;
  for (const auto& chunk : dump.chunks) {
    for (const auto& r : chunk.records) {
      ++records;
      overflowed += r.id == overflow_id;
      CHECK(r.payload.size() == 1);
    }
  }
  CHECK(records == 600);
  CHECK(overflowed > 80);
  CHECK(overflowed < 300);
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
  image().super->next_id.store_relaxed(4094);
  trace_sites(std::make_integer_sequence<unsigned, 4>{});
  trace_sites(std::make_integer_sequence<unsigned, 4>{});
  const auto dump = dump_now();
  const auto sites = dump.records("site");
  REQUIRE(sites.size() == 8);
  for (size_t i = 0; i < 8; ++i) {
    CHECK(sites[i].is_long == (sites[i].id > 4095));
    CHECK((sites[i].payload.at(0) & 0xffff'ffff) == i % 4);
  }
  CHECK(sites[0].id == 4094);
  CHECK(sites[3].id == 4100);
  CHECK(dump.records("instant").size() == 8);
}

TEST_CASE("bindings made while the chunks are copied are in the dump") {
  running_recorder recorder({.memory = 5 << 20});
  { TRACE_REGION("before"); }
  struct container : std::string {
    void resize(size_t size) {
      std::string::resize(size);
      trace_sites(std::make_integer_sequence<unsigned, 3>{});
    }
  } bytes;
  REQUIRE_FALSE(flight_recorder::dump(bytes));
  const auto dump = dump_reader::read(bytes);  // throws when an id is not bound
  CHECK(dump.records("before").size() == 1);
}
