// SPDX-License-Identifier: MIT
// What was recorded is what the reader tells; what is no dump, or a part of one, is told as such.
#include <contrail/contrail.hpp>
#include <contrail/reader.hpp>

#include "catch.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

using contrail::event_form;
using contrail::event_kind;
using contrail::field_type;
using contrail::flight_recorder;

namespace shop {
TRACE_CATEGORY("shop");
enum class payment : uint8_t { cash, card };
struct order {
  int number;
  double price;
  payment paid_by;
};
TRACE_EVENT_TYPE(order, number, price, paid_by);
}  // namespace shop

namespace {

/// Records while `body` runs, and gives the dump made at its end.
template <class Body>
std::string dump_of(const Body& body) {
  std::string bytes;
  REQUIRE_FALSE(flight_recorder::start({.memory = 1 << 20}));
  body(bytes);
  if (bytes.empty()) REQUIRE_FALSE(flight_recorder::dump(bytes));
  REQUIRE_FALSE(flight_recorder::stop());
  return bytes;
}

std::vector<contrail::event> named(const contrail::reader& reader, std::string_view name) {
  std::vector<contrail::event> found;
  std::copy_if(reader.begin(), reader.end(), std::back_inserter(found),
               [&](const contrail::event& e) { return e.name() == name; });
  return found;
}

contrail::event only(const contrail::reader& reader, std::string_view name) {
  const std::vector<contrail::event> found = named(reader, name);
  REQUIRE(found.size() == 1);
  return found[0];
}

}  // namespace

TEST_CASE("each kind of event has its name, category, kind and fields") {
  const std::string bytes = dump_of([](std::string&) {
    TRACE_THREAD_NAME("till");
    TRACE_REGION("sell", "items", 3, "to", "somebody");
    TRACE_INSTANT("types", "i8", int8_t{-5}, "u64", ~0ULL, "half", 0.5F, "yes", true, "list",
                  (std::array<int, 3>{1, -2, 3}));
    TRACE_COUNTER("queue", -8);
    TRACE_LOG("{} of {}", 1, "two");
    TRACE_EMIT(shop::order{7, 2.5, shop::payment::card});
  });
  const contrail::reader reader(bytes.data(), bytes.size());
  REQUIRE(reader);
  CHECK(reader.warnings().empty());
  CHECK(reader.losses().empty());
  CHECK(reader.info().is_dump);
  CHECK(reader.info().pid == static_cast<uint32_t>(getpid()));

  const contrail::event region = only(reader, "sell");
  CHECK(region.form() == event_form::region);
  CHECK(region.kind() == event_kind::region);
  CHECK(region.thread().name == "till");
  CHECK(region.duration_ns() >= 0);
  CHECK(region.binding().file.find("reader_test.cpp") != std::string_view::npos);
  const contrail::event_fields of_region = region.fields();
  REQUIRE(of_region.size() == 2);
  CHECK(of_region[0].name == "items");
  CHECK(of_region[0].value().as_int() == 3);
  CHECK(of_region.find("to")->value().text == "somebody");
  CHECK(of_region.find("from") == nullptr);

  const contrail::event_fields types = only(reader, "types").fields();
  CHECK(types.find("i8")->value().as_int() == -5);
  CHECK(types.find("u64")->value().as_uint() == ~0ULL);
  CHECK(types.find("u64")->value().to_string() == "18446744073709551615");
  CHECK(types.find("half")->type == field_type::float32);
  CHECK(types.find("half")->value().as_double() == 0.5);
  CHECK(types.find("yes")->value().as_bool());
  REQUIRE(types.find("list")->values.size() == 3);
  CHECK(types.find("list")->values[1].as_int() == -2);

  const contrail::event counter = only(reader, "queue");
  CHECK(counter.kind() == event_kind::counter);
  CHECK(counter.form() == event_form::point);
  CHECK(counter.fields()[0].value().as_int() == -8);

  const contrail::event log = only(reader, "{} of {}");
  CHECK(log.kind() == event_kind::log);
  CHECK(log.fields().size() == 2);

  const contrail::event order = only(reader, "shop::order");
  CHECK(order.kind() == event_kind::event_type);
  CHECK(order.category() == "shop");
  const contrail::event_fields of_order = order.fields();
  CHECK(of_order.find("price")->value().as_double() == 2.5);
  CHECK(of_order.find("paid_by")->value().is_named);
  CHECK(of_order.find("paid_by")->value().text == "card");
}

TEST_CASE("regions come in the order in which they began, the outer one first") {
  const std::string bytes = dump_of([](std::string&) {
    TRACE_REGION("outer");
    { TRACE_REGION("first"); }
    { TRACE_REGION("second"); }
  });
  const contrail::reader reader(bytes.data(), bytes.size());
  std::vector<std::string_view> names;
  for (const contrail::event& e : reader) names.push_back(e.name());
  CHECK(names == std::vector<std::string_view>{"outer", "first", "second"});
  CHECK(only(reader, "outer").start_ns() == 0);
  CHECK(only(reader, "outer").end_ns() >= only(reader, "second").end_ns());
}

TEST_CASE("a region that has not ended is open, and tells what was set at run time") {
  const std::string bytes = dump_of([](std::string& dump) {
    TRACE_REGION_VAR(region, "running", "n", 1);
    region.set("status", "half way");
    REQUIRE_FALSE(flight_recorder::dump(dump));
  });
  const contrail::reader reader(bytes.data(), bytes.size());
  const contrail::event running = only(reader, "running");
  CHECK(running.form() == event_form::open_region);
  CHECK(reader.threads()[0].open == 1);
  CHECK(running.end_ns() == reader.info().now_ns);
  const contrail::event_fields fields = running.fields();
  CHECK(fields.find("n")->value().as_int() == 1);
  REQUIRE(fields.find("status") != nullptr);
  CHECK(fields.find("status")->is_dynamic);
  CHECK(fields.find("status")->value().text == "half way");
}

TEST_CASE("each thread has its own events") {
  const std::string bytes = dump_of([](std::string&) {
    TRACE_INSTANT("here");
    std::thread([] {
      TRACE_THREAD_NAME("other");
      TRACE_INSTANT("there");
    }).join();
  });
  const contrail::reader reader(bytes.data(), bytes.size());
  CHECK(reader.threads().size() == 2);
  CHECK(only(reader, "there").thread().name == "other");
  CHECK(only(reader, "here").thread().tid != only(reader, "there").thread().tid);
}

TEST_CASE("nanoseconds are those of the wall") {
  using clock = std::chrono::steady_clock;
  clock::duration outside{};
  const std::string bytes = dump_of([&](std::string&) {
    const auto before = clock::now();
    {
      TRACE_REGION("busy");
      const auto until = clock::now() + std::chrono::milliseconds(5);
      while (clock::now() < until) {
      }
    }
    outside = clock::now() - before;
  });
  const contrail::reader reader(bytes.data(), bytes.size());
  const int64_t measured = only(reader, "busy").duration_ns();
  // 1 % for the clock's rate, which so short a recording cannot measure better.
  CHECK(measured >= 5'000'000 * 99 / 100);
  CHECK(measured <= std::chrono::nanoseconds(outside).count() * 101 / 100);
}

TEST_CASE("what is no dump has nothing to read and says why") {
  std::string other = dump_of([](std::string&) {});
  other[offsetof(contrail::detail::superblock, version_major)] = 9;
  const std::string inputs[] = {"", "hello", std::string(5000, '\0'), other, other.substr(0, 9), other.substr(0, 4095)};
  for (const std::string& input : inputs) {
    const contrail::reader reader(input.data(), input.size());
    CHECK_FALSE(reader);
    CHECK_FALSE(reader.reason().empty());
    CHECK(reader.begin() == reader.end());
    CHECK(reader.bindings().empty());
    CHECK(reader.info().pid == 0);
  }
}

TEST_CASE("of a dump that was cut anywhere the rest is read, with a warning") {
  const std::string whole = dump_of([](std::string&) {
    for (int i = 0; i < 50; ++i) TRACE_INSTANT("step", "i", i);
  });
  size_t most = 0;
  for (size_t size = 4096; size < whole.size(); size += 40) {
    const std::vector<char> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    const contrail::reader reader(part.data(), part.size());
    REQUIRE(reader);
    CHECK_FALSE(reader.warnings().empty());
    const size_t found = static_cast<size_t>(std::distance(reader.begin(), reader.end()));
    CHECK(found >= most);
    most = std::max(most, found);
  }
  CHECK(most == 50);
}

TEST_CASE("an id without a binding is named after its number") {
  std::string bytes = dump_of([](std::string&) { TRACE_INSTANT("will be lost"); });
  uint64_t at;
  std::memcpy(&at, &bytes[offsetof(contrail::detail::superblock, bindings_offset)], sizeof(at));
  bytes[at + offsetof(contrail::detail::binding, bytes)] ^= 1;  // no multiple of 8: damaged
  const contrail::reader reader(bytes.data(), bytes.size());
  REQUIRE(reader);
  CHECK(reader.warnings().size() == 2);
  REQUIRE(std::distance(reader.begin(), reader.end()) == 1);
  CHECK(reader.begin()->kind() == event_kind::unknown);
  CHECK(reader.begin()->name().substr(0, 9) == "unknown #");
}
