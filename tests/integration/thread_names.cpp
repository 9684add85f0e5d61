// SPDX-License-Identifier: MIT
// What threads are called in the trace: by TRACE_THREAD_NAME, else by the system's name for them.
#include "support/trace.hpp"

#include <pthread.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

namespace {

using namespace std::chrono_literals;

uint64_t own_tid() { return static_cast<uint64_t>(syscall(SYS_gettid)); }

/// The name that the trace's metadata gives a thread.
std::string name_in(const std::string& json, uint64_t tid) {
  const std::string pattern = "\"tid\":" + std::to_string(tid) + ",\"name\":\"thread_name\",\"args\":{\"name\": \"";
  const size_t at = json.find(pattern);
  if (at == std::string::npos) return "(not in the trace)";
  const size_t begin = at + pattern.size();
  return json.substr(begin, json.find('"', begin) - begin);
}

/// Runs `work` on a thread of its own; returns what the trace calls it.
template <class Work>
std::string name_of_thread(Work&& work) {
  uint64_t tid = 0;
  std::thread([&] {
    tid = own_tid();
    work();
  }).join();
  return name_in(convert_now().text, tid);
}

}  // namespace

TEST_CASE("A named thread shows its name, whether it is given before or after its first record") {
  const running_recorder recorder;
  CHECK(name_of_thread([] {
          TRACE_THREAD_NAME("worker");
          TRACE_INSTANT("x");
        }) == "worker");
  CHECK(name_of_thread([] {
          TRACE_INSTANT("x");
          TRACE_THREAD_NAME("late");
        }) == "late");
}

TEST_CASE("The last name given counts") {
  const running_recorder recorder;
  CHECK(name_of_thread([] {
          TRACE_THREAD_NAME("first");
          TRACE_INSTANT("x");
          TRACE_THREAD_NAME(std::string("second"));
          TRACE_INSTANT("x");
        }) == "second");
}

TEST_CASE("A name keeps 31 bytes") {
  const running_recorder recorder;
  CHECK(name_of_thread([] {
          TRACE_THREAD_NAME("0123456789012345678901234567890123456789");
          TRACE_INSTANT("x");
        }) == "0123456789012345678901234567890");
}

TEST_CASE("An unnamed thread shows the system's name for it") {
  const running_recorder recorder;
  CHECK(name_of_thread([] {
          pthread_setname_np(pthread_self(), "sys-name");
          TRACE_INSTANT("x");
        }) == "sys-name");
}

TEST_CASE("An unnamed thread that runs shows the name that the system has for it when the dump is made") {
  const running_recorder recorder;
  std::atomic<uint64_t> tid{0};
  std::atomic<bool> done{false};
  std::thread thread([&] {
    TRACE_INSTANT("x");
    pthread_setname_np(pthread_self(), "renamed");
    tid = own_tid();
    while (!done) std::this_thread::sleep_for(1ms);
  });
  while (tid == 0) std::this_thread::sleep_for(1ms);
  const std::string bytes = dump_bytes();
  done = true;
  thread.join();
  CHECK(name_in(convert(bytes).text, tid) == "renamed");
}

TEST_CASE("A given name is not replaced by the system's") {
  const running_recorder recorder;
  CHECK(name_of_thread([] {
          TRACE_THREAD_NAME("given");
          pthread_setname_np(pthread_self(), "sys-name");
          TRACE_INSTANT("x");
        }) == "given");
}

TEST_CASE("Two threads of one name are two threads") {
  const running_recorder recorder;
  for (int i = 0; i < 2; ++i) {
    std::thread([] {
      TRACE_THREAD_NAME("twin");
      TRACE_INSTANT("x");
    }).join();
  }
  const trace converted = convert_now();
  REQUIRE(converted.all("x").size() == 2);
  CHECK(converted.all("x")[0].tid != converted.all("x")[1].tid);
  for (const trace_event& event : converted.all("x")) CHECK(name_in(converted.text, event.tid) == "twin");
}

TEST_CASE("Records of a thread that ended keep its name") {
  const running_recorder recorder;
  uint64_t tid = 0;
  std::thread([&] {
    tid = own_tid();
    TRACE_THREAD_NAME("gone");
    TRACE_INSTANT("x");
  }).join();
  for (int i = 0; i < 100; ++i) {
    std::thread([] {
      TRACE_THREAD_NAME("later");
      TRACE_INSTANT("y");
    }).join();
  }
  const trace converted = convert_now();
  CHECK(converted.one("x").tid == tid);
  CHECK(name_in(converted.text, tid) == "gone");
  CHECK(converted.all("y").size() == 100);
}
