// SPDX-License-Identifier: MIT
// Tasks and asynchronous spans in streams: those that are still open when one ends, however it ends, and each only
// once.
#include "contrail/reader.hpp"
#include "contrail/session.hpp"
#include "support/converted.hpp"
#include "support/trace.hpp"

#include <fcntl.h>
#include <poll.h>

#include <chrono>
#include <csignal>
#include <map>
#include <string>
#include <thread>

namespace {

using contrail::event_form;
using contrail::session;

/// How often a task or span of each name is in a stream: as a record, and as open.
struct found_spans {
  std::map<std::string, int> ended, open;
  uint64_t lost = 0;
  size_t warnings = 0;

  explicit found_spans(const std::string& bytes) {
    const contrail::reader reader(bytes.data(), bytes.size());
    if (!reader) return;
    for (const contrail::event& e : reader) {
      if (e.form() == event_form::span) ++ended[std::string(e.name())];
      if (e.form() == event_form::open_span) ++open[std::string(e.name())];
    }
    for (const contrail::recording_loss& loss : reader.losses()) lost += loss.count;
    warnings = reader.warnings().size();
  }
};

std::string path_with(const temporary_folder& folder) { return folder / "stream.contrail"; }

void start(session& of, const contrail::session_options& wanted) {
  const contrail::error failed = of.start(wanted);
  INFO(failed.message());
  REQUIRE_FALSE(failed);
}

using counts = std::map<std::string, int>;

/// Where a task or span begins in the converted trace, which shows each by a pair of events.
std::string begin_of(const trace& converted, const std::string& name) {
  const std::vector<trace_event> found = converted.all(name);
  INFO(name << " in\n" << converted.text);
  REQUIRE(found.size() == 2);
  CHECK(found[1].phase == 'e');
  return found[0].json;
}

}  // namespace

TEST_CASE("A stream shows the tasks and spans that are open when it ends, and those that ended once") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = path_with(folder);
  TRACE_TASK(before, "begun before", "n", 1);
  TRACE_TASK(across, "across the start");
  session s;
  // No look between the first and the last one.
  start(s, {.file = path.c_str(), .interval = std::chrono::hours(1)});
  across.end();
  { TRACE_TASK(within, "within"); }
  const contrail::task_scope scope(before);
  TRACE_TASK(child, "open child", "n", 2);
  TRACE_ASYNC(span, "open span", "text", "abc");
  CHECK(s.stop().lost_records == 0);
  const found_spans found(text_of(path));
  CHECK(found.ended == counts{{"across the start", 1}, {"within", 1}});
  CHECK(found.open == counts{{"begun before", 1}, {"open child", 1}, {"open span", 1}});
  CHECK(found.warnings == 0);

  const trace converted = convert_file(path);
  CHECK(begin_of(converted, "begun before").find("\"n\":1") != std::string::npos);
  const std::string child_json = begin_of(converted, "open child");
  CHECK(child_json.find("\"unfinished\":true") != std::string::npos);
  CHECK(child_json.find("\"parent\":\"begun before 0x") != std::string::npos);
  CHECK(begin_of(converted, "open span").find("\"text\":\"abc\"") != std::string::npos);
}

TEST_CASE("A task that a look met open and that ended later is only a record, also where another one took its entry") {
  running_recorder recorder({.memory = 1 << 20});  // 32 entries
  temporary_folder folder;
  const std::string path = path_with(folder);
  session s;
  start(s, {.file = path.c_str(), .interval = std::chrono::milliseconds(1)});
  for (int i = 0; i < 80; ++i) {
    TRACE_TASK(order, "order", "i", i);
    for (const uint64_t before = s.status().bytes; s.status().bytes == before;) std::this_thread::yield();
  }
  TRACE_TASK(last, "last");
  CHECK(s.stop().lost_records == 0);
  const found_spans found(text_of(path));
  CHECK(found.ended == counts{{"order", 80}});
  CHECK(found.open == counts{{"last", 1}});
}

TEST_CASE("A stream of a killed process shows the tasks that were open at its last look") {
  temporary_folder folder;
  const std::string path = path_with(folder);
  const int status = status_of_child([&] {
    if (flight_recorder::start()) return 1;
    session s;
    if (s.start({.file = path.c_str(), .interval = std::chrono::milliseconds(1)})) return 2;
    TRACE_TASK(ended, "ended");
    TRACE_TASK(open, "open", "n", 5);
    ended.end();
    const auto is_there = [&] {
      found_spans found(text_of(path));
      return found.open["open"] == 1 && found.ended["ended"] == 1;
    };
    for (int i = 0; i < 20'000 && !is_there(); ++i) usleep(1000);
    kill(getpid(), SIGKILL);
    return 3;
  });
  REQUIRE(status == 1000 + SIGKILL);
  const found_spans found(text_of(path));
  CHECK(found.ended == counts{{"ended", 1}});
  CHECK(found.open == counts{{"open", 1}});
  CHECK(found.warnings == 1);  // it has no end
  const trace converted = convert_file(path, "", 1);
  CHECK(begin_of(converted, "open").find("\"n\":5") != std::string::npos);
}

TEST_CASE("A task whose record was lost is not shown as open") {
  running_recorder recorder({.memory = 1 << 20});
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  TRACE_TASK(task, "lost");
  session s;
  // The first look sees it open; the last one comes with stop.
  start(s, {.descriptor = ends[1], .interval = std::chrono::hours(1)});
  const auto record = [](int count) {
    for (int i = 0; i < count; ++i) TRACE_INSTANT("filler", "i", i);
  };
  // Until the session waits for somebody to read.
  for (pollfd full{ends[1], POLLOUT, 0}; poll(&full, 1, 0) != 0;) record(100);
  record(100'000);
  task.end();
  record(200'000);
  std::string bytes;
  std::thread reader([&] {
    char part[65536];
    for (ssize_t size; (size = read(ends[0], part, sizeof part)) > 0;) bytes.append(part, static_cast<size_t>(size));
  });
  const contrail::session_result result = s.stop();
  close(ends[1]);
  reader.join();
  close(ends[0]);
  CHECK(result.lost_records > 0);
  found_spans found(bytes);
  CHECK(found.lost == result.lost_records + result.dropped_records);
  CHECK(found.open == counts{});
  CHECK(found.warnings == 0);
}
