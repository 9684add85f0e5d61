// SPDX-License-Identifier: MIT
// Macros work from before main until after exit, in thread-local destructors, and in forked children, which record
// nothing until they start a recorder of their own. Each case runs in a process of its own.
#include "support/recorder.hpp"

#include <fcntl.h>

#include <fstream>
#include <iterator>
#include <thread>

namespace {

using contrail::recorder_state;

void trace(const char* where) { TRACE_INSTANT("traced", "where", where); }

struct before_main {
  before_main() { trace("a constructor before main"); }
  ~before_main() { trace("a destructor after main"); }
} traced_before_main;

/// How often `where` was traced, by the text in the payload.
size_t count(const dump_reader::dump& dump, const std::string& where) {
  size_t found = 0;
  for (const auto& r : dump.records("traced")) {
    const std::string bytes(reinterpret_cast<const char*>(r.payload.data()), r.payload.size() * 8);
    found += bytes.substr(2, where.size()) == where && bytes[0] == static_cast<char>(where.size());
  }
  return found;
}
size_t count_in_file(const std::string& path, const std::string& where) {
  std::ifstream file(path, std::ios::binary);
  return count(dump_reader::read({std::istreambuf_iterator<char>(file), {}}), where);
}

std::string late_dump;

struct traced_at_thread_end {
  ~traced_at_thread_end() {
    TRACE_REGION("in a destructor");
    trace("a thread-local destructor");
  }
};
thread_local traced_at_thread_end at_thread_end;

}  // namespace

TEST_CASE("macros before main do nothing and do no harm") {
  running_recorder recorder;
  trace("main");
  const auto dump = dump_now();
  CHECK(count(dump, "main") == 1);
  CHECK(count(dump, "a constructor before main") == 0);
}

TEST_CASE("macros work in thread-local destructors") {
  running_recorder recorder;
  std::thread([] { static_cast<void>(&at_thread_end); }).join();
  CHECK(count(dump_now(), "a thread-local destructor") == 1);
}

TEST_CASE("macros and dumps work in atexit handlers and static destructors") {
  temporary_folder folder;
  late_dump = folder / "late";
  const int status = status_of_child([&] {
    if (flight_recorder::start({.memory = 1 << 20})) return 1;
    std::atexit([] {
      trace("atexit");
      contrail_dump(late_dump.c_str());
    });
    trace("main");
    std::exit(7);
    return 0;
  });
  CHECK(status == 7);
  CHECK(count_in_file(late_dump, "main") == 1);
  CHECK(count_in_file(late_dump, "atexit") == 1);
}

TEST_CASE("a forked child records nothing, and the parent's image is its own") {
  running_recorder recorder;
  trace("before");
  TRACE_REGION_VAR(open, "open");
  const int status = status_of_child([&] {
    trace("child");
    open.set("key", 1);
    open.end();
    for (int i = 0; i < 10'000; ++i) trace("child");
    if (flight_recorder::status().state != recorder_state::off) return 1;
    if (contrail_dump("x") != static_cast<int>(contrail::error_code::not_running)) return 2;
    if (!flight_recorder::set_filter({}) || !flight_recorder::stop()) return 3;
    return 0;
  });
  CHECK(status == 0);
  trace("after");
  const auto dump = dump_now();
  CHECK(dump.records("traced").size() == 2);
  CHECK(count(dump, "child") == 0);
  CHECK(dump.open_names() == std::vector<std::string>{"open"});
  CHECK(dump.dropped() == 0);
}

TEST_CASE("a forked child that starts has a recorder of its own") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = folder / "child";
  trace("parent");
  const int status = status_of_child([&] {
    TRACE_REGION("begun in the child before its start");
    if (flight_recorder::start({.memory = 4 << 20})) return 1;
    trace("child");
    std::thread([] { trace("child"); }).join();
    if (flight_recorder::status().records != 2) return 2;
    return contrail_dump(path.c_str());
  });
  CHECK(status == 0);
  CHECK(count_in_file(path, "child") == 2);
  CHECK(count_in_file(path, "parent") == 0);
  CHECK(count(dump_now(), "parent") == 1);
  CHECK(count(dump_now(), "child") == 0);
}

TEST_CASE("a process may fork while its threads record and dump") {
  running_recorder recorder({.memory = 1 << 20});
  std::atomic<bool> done{false};
  std::thread writer([&] {
    while (!done) trace("writer");
  });
  std::thread dumper([&] {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    while (!done) static_cast<void>(flight_recorder::dump(null));
    close(null);
  });
  for (int i = 0; i < 30; ++i) {
    const int status = status_of_child([] {
      if (flight_recorder::start({.memory = 1 << 20})) return 1;
      trace("child");
      std::string bytes;
      if (flight_recorder::dump(bytes)) return 2;
      return count(dump_reader::read(bytes), "child") == 1 ? 0 : 3;
    });
    REQUIRE(status == 0);
  }
  done = true;
  writer.join();
  dumper.join();
}
