// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "contrail/contrail.hpp"

#include <string>

using contrail::task_context;

namespace {

constexpr const char* good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

std::string written(const task_context& context) {
  char text[contrail::traceparent_bytes + 1] = "?";
  context.write_traceparent(text);
  return text;
}

}  // namespace

TEST_CASE("a traceparent is read at compile time, and written as it was") {
  constexpr task_context found = task_context::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  static_assert(found.trace_high == 0x0af7651916cd43dd && found.trace_low == 0x8448eb211c80319c);
  static_assert(found.span == 0xb7ad6b7169203331 && found.id == 0 && found);
  CHECK(written(found) == good);
}

TEST_CASE("a traceparent that was not sampled, or is of a later version, is read all the same") {
  std::string text = good;
  text.back() = '0';
  CHECK(task_context::from_traceparent(text.c_str()).span == 0xb7ad6b7169203331);
  text = std::string("cc") + (good + 2) + "-what the future will bring";
  CHECK(task_context::from_traceparent(text.c_str()).span == 0xb7ad6b7169203331);
}

TEST_CASE("a malformed traceparent is empty") {
  const std::string text = good;
  CHECK_FALSE(task_context::from_traceparent(nullptr));
  for (size_t size = 0; size < text.size(); ++size) {
    INFO(size);
    CHECK_FALSE(task_context::from_traceparent(text.substr(0, size).c_str()));
    for (const char wrong : {'g', 'A', ' ', '/', ':', '`', '\x01', '\xff'}) {
      std::string other = text;
      other[size] = wrong;
      CHECK_FALSE(task_context::from_traceparent(other.c_str()));
    }
  }
  CHECK_FALSE(task_context::from_traceparent((text + "x").c_str()));
  CHECK_FALSE(task_context::from_traceparent((text + "-x").c_str()));  // version 0 has no more
  CHECK_FALSE(task_context::from_traceparent(("ff" + text.substr(2)).c_str()));
  CHECK_FALSE(task_context::from_traceparent("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
  CHECK_FALSE(task_context::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"));
}

TEST_CASE("an empty context writes an empty text, and says so") {
  char text[contrail::traceparent_bytes + 1] = "?";
  CHECK_FALSE(task_context{}.write_traceparent(text));
  CHECK(std::string(text).empty());
}
