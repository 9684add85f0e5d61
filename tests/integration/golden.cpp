// SPDX-License-Identifier: MIT
// Golden dumps read as docs/format.md says, by the tests' own strict reader, and by contrail/reader.hpp; tests/python
// converts them.
#include "contrail/reader.hpp"
#include "support/dump_reader.hpp"

#include "catch.hpp"

#include <glob.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string_view>

namespace {

std::string golden(const char* name) {
  const std::string here = __FILE__;
  return here.substr(0, here.rfind("integration/")) + "golden/" + name;
}

std::string bytes_of(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

using contrail::event;
using contrail::event_form;

/// A golden dump's events by name.
struct golden_events {
  std::string bytes;
  contrail::reader all;
  std::multimap<std::string_view, event> named;

  explicit golden_events(const char* name) : bytes(bytes_of(golden(name))), all(bytes.data(), bytes.size()) {
    REQUIRE(all);
    CHECK(all.warnings().empty());
    for (const event& e : all) named.emplace(e.name(), e);
  }
  event one(std::string_view name) const {
    INFO(name);
    REQUIRE(named.count(name) == 1);
    return named.find(name)->second;
  }
};

}  // namespace

TEST_CASE("the golden dump of tasks reads as it was written") {
  const golden_events found("v1.2-tasks.contrail");
  CHECK(found.all.info().trigger == "the golden dump is due");
  const event order = found.one("order"), cook = found.one("cook"), delivery = found.one("delivery");
  CHECK(order.form() == event_form::span);
  CHECK(order.span().parent == 0);
  CHECK(order.fields().find("number")->value().as_int() == 7);
  CHECK(cook.span().parent == order.span().id);
  CHECK(cook.span().from == order.span().own);
  CHECK(cook.span().begin_tid == order.thread().tid);
  CHECK(cook.thread().name == "kitchen");
  CHECK(delivery.span().parent == order.span().id);
  CHECK(delivery.span().own == 0);
  const contrail::event_span joined = found.one("of another process").span();
  CHECK(joined.trace_high == 0x0af7'6519'16cd'43dd);
  CHECK(joined.trace_low == 0x8448'eb21'1c80'319c);
  CHECK(joined.from == 0xb7ad'6b71'6920'3331);
  CHECK(found.one("of none").span().from == 0);
  for (const char* open : {"open task", "open span"}) CHECK(found.one(open).form() == event_form::open_span);
  CHECK(found.named.count("stock") == 2);
  CHECK(found.named.count("display") == 3);
  const contrail::event_fields sent = found.one("send").fields(), received = found.one("receive").fields();
  const contrail::event_field* const leaves = sent.find("to");
  const contrail::event_field* const arrives = received.find("from");
  REQUIRE((leaves != nullptr && arrives != nullptr));
  CHECK(leaves->value().as_uint() == arrives->value().as_uint());
}

TEST_CASE("the golden stream of open tasks reads as it was written") {
  const golden_events found("v1.2-open.contrail");
  CHECK(found.one("job").form() == event_form::open_span);
  CHECK(found.one("part").form() == event_form::span);
  CHECK(found.one("request").form() == event_form::span);
  CHECK(found.one("part").span().parent == found.one("job").span().id);
}

TEST_CASE("every golden dump of version 1 can be read") {
  const std::string pattern = golden("v1*.contrail");
  glob_t found{};
  REQUIRE(glob(pattern.c_str(), 0, nullptr, &found) == 0);
  size_t records = 0;
  for (size_t i = 0; i < found.gl_pathc; ++i) {
    INFO(found.gl_pathv[i]);
    const std::string bytes = bytes_of(found.gl_pathv[i]);
    if (bytes.at(__builtin_offsetof(contrail::detail::superblock, kind)) != 2) continue;  // a stream
    const auto dump = dump_reader::read(bytes);
    dump_reader::check_chains(dump);
    CHECK(dump.bindings.size() > 1);
    CHECK_FALSE(dump.slots.empty());
    records += dump.record_count();
  }
  CHECK(found.gl_pathc >= 7);
  CHECK(records > 50);
  globfree(&found);
}
