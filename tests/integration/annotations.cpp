// SPDX-License-Identifier: MIT
// Flows, blocked regions, frames and counters of several series, as the converter shows them.
#include "support/trace.hpp"

#include <thread>

namespace {

bool has(const trace_event& event, const std::string& text) { return event.json.find(text) != std::string::npos; }

std::string hex(uint64_t id) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(id));
  return text;
}

}  // namespace

TEST_CASE("a flow leaves one region and arrives in others, on any thread") {
  running_recorder recorder;
  const contrail::flow parcel = contrail::flow::begin(), other = contrail::flow::begin();
  REQUIRE(parcel.id != 0);
  REQUIRE(parcel.id != other.id);
  { TRACE_REGION("send", "n", 1, "to", parcel.out()); }
  std::thread([&] { TRACE_REGION("receive", "from", parcel.in()); }).join();
  { TRACE_REGION("receive too", "from", parcel.in(), "what", "text"); }
  const trace found = convert_now();
  const std::string bind = "\"bind_id\":\"" + hex(parcel.id) + "\"";
  CHECK(has(found.one("send"), bind + ",\"flow_out\":true"));
  CHECK(has(found.one("send"), "\"args\":{\"n\":1,\"to\":\"" + hex(parcel.id) + "\"}"));
  CHECK(has(found.one("receive"), bind + ",\"flow_in\":true"));
  CHECK(has(found.one("receive too"), bind + ",\"flow_in\":true"));
}

TEST_CASE("an instant with a flow is shown as an empty slice, which arrows can lead to") {
  running_recorder recorder;
  const contrail::flow first = contrail::flow::begin(), second = contrail::flow::begin();
  {
    TRACE_REGION("join", "first", first.in());
    TRACE_INSTANT("point", "to", second.out(), "n", 2);
    TRACE_INSTANT("plain");
  }
  const trace found = convert_now();
  CHECK(has(found.one("join"), "\"bind_id\":\"" + hex(first.id) + "\",\"flow_in\":true"));
  CHECK(found.one("point").phase == 'X');
  CHECK(found.one("point").length_ns() == 0);
  CHECK(has(found.one("point"), "\"bind_id\":\"" + hex(second.id) + "\",\"flow_out\":true"));
  CHECK(found.one("point").start_ns >= found.one("join").start_ns);
  CHECK(found.one("point").end_ns <= found.one("join").end_ns);
  CHECK(found.one("plain").phase == 'i');
}

TEST_CASE("a flow that began while nothing recorded leads nowhere") {
  const contrail::flow none = contrail::flow::begin();
  CHECK(none.id == 0);
  running_recorder recorder;
  { TRACE_REGION("send", "to", none.out()); }
  CHECK_FALSE(has(convert_now().one("send"), "bind_id"));
}

TEST_CASE("a blocked region says what its thread waited for, with and without arguments") {
  running_recorder recorder;
  { TRACE_BLOCKED(sync, "lock"); }
  { TRACE_BLOCKED(net, "receive", "bytes", 12); }
  { TRACE_BLOCKED(syscall, "ioctl"); }
  { TRACE_BLOCKED(io, "read", "path", "/tmp/x"); }
  { TRACE_BLOCKED(sleep, "pause"); }
  { TRACE_REGION("busy"); }
  const trace found = convert_now();
  CHECK(has(found.one("lock"), "\"args\":{\"blocked on\":\"sync\"}"));
  CHECK(has(found.one("receive"), "\"args\":{\"bytes\":12,\"blocked on\":\"net\"}"));
  CHECK(has(found.one("ioctl"), "\"args\":{\"blocked on\":\"syscall\"}"));
  CHECK(has(found.one("read"), "\"args\":{\"path\":\"/tmp/x\",\"blocked on\":\"io\"}"));
  CHECK(has(found.one("pause"), "\"args\":{\"blocked on\":\"sleep\"}"));
  CHECK_FALSE(has(found.one("busy"), "args"));
}

TEST_CASE("frames lie between their marks, numbered, whichever threads marked them") {
  running_recorder recorder;
  for (int i = 0; i < 3; ++i) {
    TRACE_FRAME("game");
  }
  std::thread([] { TRACE_FRAME("game"); }).join();
  TRACE_FRAME("alone");
  const trace found = convert_now();
  std::vector<trace_event> begins;
  for (const trace_event& event : found.all("game")) {
    if (event.phase == 'b') begins.push_back(event);
  }
  REQUIRE(begins.size() == 3);
  for (size_t i = 0; i < begins.size(); ++i) {
    CHECK(has(begins[i], "\"args\":{\"frame\":" + std::to_string(i + 1) + "}"));
  }
  CHECK(found.all("alone").empty());
}

TEST_CASE("a frame has the arguments of the mark where it began") {
  running_recorder recorder;
  for (int i = 0; i < 3; ++i) {
    TRACE_FRAME("game", "turn", 10 * i, "player", "blue");
  }
  const trace found = convert_now();
  std::vector<trace_event> begins;
  for (const trace_event& event : found.all("game")) {
    if (event.phase == 'b') begins.push_back(event);
  }
  REQUIRE(begins.size() == 2);
  CHECK(has(begins[0], "\"args\":{\"turn\":0,\"player\":\"blue\",\"frame\":1}"));
  CHECK(has(begins[1], "\"args\":{\"turn\":10,\"player\":\"blue\",\"frame\":2}"));
}

TEST_CASE("a counter of several series is one track with each under its key") {
  running_recorder recorder;
  TRACE_COUNTER("memory", "used", 3, "free", 4.5, "delta", std::chrono::milliseconds(2));
  TRACE_COUNTER("single", 7);
  const trace found = convert_now();
  CHECK(has(found.one("memory"), "\"args\":{\"used\":3,\"free\":4.5,\"delta\":2000000}"));
  CHECK(has(found.one("single"), "\"args\":{\"value\":7}"));
  CHECK(found.one("memory").phase == 'C');
}
