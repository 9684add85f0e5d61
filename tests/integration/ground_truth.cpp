// SPDX-License-Identifier: MIT
// A program computes, sleeps, waits and blocks, and looks at the clock before and after each begin and each end. The
// trace must have each begin and end between these two looks: to the tick where the reader tells ticks, and in the JSON
// as exactly as the anchors are. However noisy the machine is, it cannot come between.
#include "contrail/blocking.hpp"
#include "contrail/reader.hpp"
#include "support/trace.hpp"

#include <atomic>
#include <condition_variable>
#include <map>
#include <thread>

namespace {

int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// A look at both clocks. Reading the kernel's also keeps what is before it from what is behind it.
struct look {
  int64_t ns;
  uint64_t ticks;
};
look look_now() {
  const int64_t ns = monotonic_ns();
  const look seen{ns, contrail::detail::now_ticks(*contrail::detail::joined_process())};
  static_cast<void>(monotonic_ns());
  return seen;
}

/// A moment of which only this is known.
struct moment {
  look before, after;
};

/// What the program did, as it saw that itself.
struct amount {
  moment begin, end;
  uint64_t tid = 0;
};

uint64_t own_tid() { return static_cast<uint64_t>(gettid()); }

/// Runs `region`, which calls what it is given when it has begun, and then ends.
template <class Region>
amount measured(Region&& region) {
  amount seen;
  seen.tid = own_tid();
  seen.begin.before = look_now();
  region([&](auto&& work) {
    seen.begin.after = look_now();
    work();
    seen.end.before = look_now();
  });
  seen.end.after = look_now();
  return seen;
}

void compute() {
  volatile uint64_t sum = 0;
  for (uint64_t i = 0; i < 300'000; ++i) sum = sum + i;
}

/// Whether a thread of this process sleeps, as it does when it waits.
bool sleeps(uint64_t tid) {
  std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t at = line.rfind(')');
  return at != std::string::npos && line[at + 2] == 'S';
}

/// Another thread does `wait`, which lasts until this one does `release`. It began before it was seen asleep, and
/// cannot end before the release.
template <class Wait, class Release>
amount waited(Wait&& wait, Release&& release) {
  amount seen;
  std::atomic<uint64_t> tid{0};
  std::thread waiting([&] {
    TRACE_INSTANT("waiter");
    seen.begin.before = look_now();
    tid = own_tid();
    wait();
    seen.end.after = look_now();
  });
  while (tid == 0 || !sleeps(tid)) std::this_thread::yield();
  seen.begin.after = look_now();
  compute();
  seen.end.before = look_now();
  release();
  waiting.join();
  seen.tid = tid;
  return seen;
}

/// A slice, or a pair of asynchronous events, of the trace.
struct row {
  uint64_t tid;
  int64_t start_ns, end_ns;
  std::string json;
};

std::vector<row> rows_of(const trace& converted, const std::string& name) {
  std::vector<row> rows;
  std::map<std::string, size_t> open;
  for (const trace_event& event : converted.all(name)) {
    const size_t at = event.json.find("\"id\":");
    const size_t end = event.json.find_first_of(",}", at);
    const std::string id = at == std::string::npos ? "" : event.json.substr(at, end - at);
    if (event.phase == 'e') {
      rows[open.at(id)].end_ns = event.start_ns;
      continue;
    }
    if (event.phase == 'b') open[id] = rows.size();
    rows.push_back({event.tid, event.start_ns, event.end_ns, event.json});
  }
  return rows;
}

/// How far two moments of the converter may be from CLOCK_MONOTONIC as it is read: an anchor pairs the counter with
/// that clock within the time that it takes to read both, which is 1024 ticks or the best of four tries; the moments
/// lie between two anchors; and between these the kernel may steer its clock, by at most 500 ppm.
int64_t anchor_error_ns(int64_t length_ns) {
  int64_t fastest_ns = 1'000'000;
  for (int i = 0; i < 100; ++i) {
    const int64_t before = monotonic_ns();
    for (int clock = 0; clock < 3; ++clock) static_cast<void>(monotonic_ns());
    fastest_ns = std::min(fastest_ns, monotonic_ns() - before);
  }
  return 2 * (1000 + 4 * fastest_ns) + std::max<int64_t>(length_ns, 0) / 1000;
}

/// One recording, all of what was measured in it, and the dump.
class ground_truth {
 public:
  ground_truth() {
    zero_.before = look_now();
    TRACE_INSTANT("zero");
    zero_.after = look_now();
  }
  void add(const std::string& name, const amount& seen) { seen_[name].push_back(seen); }

  trace check() {
    const std::string bytes = dump_bytes();
    const contrail::reader reader(bytes.data(), bytes.size());
    const trace converted = convert(bytes);
    const int64_t zero_ns = converted.one("zero").start_ns;
    for (const auto& [name, amounts] : seen_) {
      INFO(name);
      std::vector<contrail::event> events;
      for (const contrail::event& e : reader) {
        if (e.name() == name) events.push_back(e);
      }
      const std::vector<row> rows = rows_of(converted, name);
      CHECK(events.size() == amounts.size());
      REQUIRE(rows.size() == amounts.size());
      for (size_t i = 0; i < rows.size() && i < events.size(); ++i) check_one(amounts[i], rows[i], events[i], zero_ns);
    }
    return converted;
  }

 private:
  void check_one(const amount& seen, const row& found, const contrail::event& event, int64_t zero_ns) {
    CHECK(found.tid == seen.tid);
    check_ticks(seen.begin, event.start_ticks());
    check_ticks(seen.end, event.end_ticks());

    const int64_t shortest = seen.end.before.ns - seen.begin.after.ns;
    const int64_t longest = seen.end.after.ns - seen.begin.before.ns;
    const int64_t took = found.end_ns - found.start_ns;
    CHECK(took >= shortest - anchor_error_ns(longest));
    CHECK(took <= longest + anchor_error_ns(longest));
    // Where it stands in the trace.
    const int64_t start = found.start_ns - zero_ns, since = seen.begin.after.ns - zero_.before.ns;
    CHECK(start >= seen.begin.before.ns - zero_.after.ns - anchor_error_ns(since));
    CHECK(start <= since + anchor_error_ns(since));
  }
  static void check_ticks(const moment& seen, uint64_t ticks) {
    CHECK(seen.before.ticks <= ticks);
    CHECK(ticks <= seen.after.ticks);
  }

  running_recorder recorder_;
  moment zero_;
  std::map<std::string, std::vector<amount>> seen_;
};

bool has(const row& found, const std::string& text) { return found.json.find(text) != std::string::npos; }

row one(const trace& converted, const std::string& name) {
  const std::vector<row> rows = rows_of(converted, name);
  REQUIRE(rows.size() == 1);
  return rows.front();
}

}  // namespace

TEST_CASE("what a program computed is in its region, and its parts are in theirs") {
  ground_truth truth;
  truth.add("all of it", measured([&](auto&& begun) {
    TRACE_REGION("all of it");
    begun([&] {
      for (int i = 0; i < 20; ++i) {
        truth.add("compute", measured([&](auto&& part_begun) {
          TRACE_REGION("compute", "part", i);
          part_begun(compute);
        }));
      }
    });
  }));
  truth.check();
}

TEST_CASE("what a program slept is blocked on sleep, for no less than it asked for") {
  ground_truth truth;
  truth.add("nap", measured([&](auto&& begun) {
    TRACE_BLOCKED(sleep, "nap");
    begun([] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); });
  }));
  const row found = one(truth.check(), "nap");
  CHECK(has(found, "\"blocked on\":\"sleep\""));
  CHECK(found.end_ns - found.start_ns >= 5'000'000 - anchor_error_ns(5'000'000));
}

TEST_CASE("the wait for a lock is as long as it was held, and for whom") {
  ground_truth truth;
  contrail::mutex held{"held"};
  contrail::shared_mutex table{"table"};
  held.lock();
  truth.add("wait for mutex", waited([&] { std::lock_guard lock(held); }, [&] { held.unlock(); }));
  table.lock();
  truth.add("wait to share mutex", waited([&] { std::shared_lock lock(table); }, [&] { table.unlock(); }));
  table.lock_shared();
  truth.add("wait for shared mutex", waited([&] { std::lock_guard lock(table); }, [&] { table.unlock_shared(); }));
  const trace found = truth.check();
  const std::string me = "\"held by\":" + std::to_string(gettid());
  for (const char* name : {"wait for mutex", "wait to share mutex"}) CHECK(has(one(found, name), me));
  for (const char* name : {"wait for mutex", "wait to share mutex", "wait for shared mutex"}) {
    CHECK(has(one(found, name), "\"blocked on\":\"sync\""));
  }
}

TEST_CASE("the wait for a condition lasts until it is notified") {
  ground_truth truth;
  contrail::mutex lock{"lock"};
  contrail::condition_variable changed{"changed"};
  bool ready = false;
  const amount seen = waited(
      [&] {
        std::unique_lock held(lock);
        changed.wait(held, [&] { return ready; });
      },
      [&] {
        std::lock_guard held(lock);
        ready = true;
        changed.notify_one();
      });
  // Waits may end for no reason, and then go on.
  const std::vector<row> rows = rows_of(convert_now(), "wait for condition");
  REQUIRE_FALSE(rows.empty());
  if (rows.size() == 1) truth.add("wait for condition", seen);
  const trace found = truth.check();
  const int64_t took = rows.back().end_ns - rows.front().start_ns;
  CHECK(took >= seen.end.before.ns - seen.begin.after.ns - anchor_error_ns(took));
  for (const row& wait : rows) {
    CHECK(wait.tid == seen.tid);
    CHECK(has(wait, "\"blocked on\":\"sync\""));
  }
}

TEST_CASE("what a program waited for a pipe is blocked on what it said") {
  ground_truth truth;
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const auto write_one = [&] { REQUIRE(write(ends[1], "x", 1) == 1); };
  int bytes_read = 0;
  const auto read_one = [&] {
    char byte = 0;
    bytes_read += static_cast<int>(read(ends[0], &byte, 1));
  };
  truth.add("read a file", waited([&] { TRACE_BLOCKED(io, "read a file"); read_one(); }, write_one));
  truth.add("receive", waited([&] { TRACE_BLOCKED(net, "receive"); read_one(); }, write_one));
  truth.add("call", waited([&] { TRACE_BLOCKED(syscall, "call"); read_one(); }, write_one));
  CHECK(bytes_read == 3);
  close(ends[0]);
  close(ends[1]);
  const trace found = truth.check();
  CHECK(has(one(found, "read a file"), "\"blocked on\":\"io\""));
  CHECK(has(one(found, "receive"), "\"blocked on\":\"net\""));
  CHECK(has(one(found, "call"), "\"blocked on\":\"syscall\""));
}

TEST_CASE("a task and an asynchronous span last from one thread's begin to the other one's end") {
  ground_truth truth;
  amount job, download;
  job.tid = download.tid = own_tid();
  job.begin.before = look_now();
  TRACE_TASK(task, "job");
  job.begin.after = download.begin.before = look_now();
  TRACE_ASYNC(span, "download");
  download.begin.after = look_now();
  compute();
  std::thread([&, task = std::move(task), span = std::move(span)]() mutable {
    TRACE_INSTANT("other thread");
    compute();
    job.end.before = look_now();
    task.end();
    job.end.after = look_now();
    compute();
    download.end.before = look_now();
    span.end();
    download.end.after = look_now();
  }).join();
  truth.add("job", job);
  truth.add("download", download);
  truth.check();
}

TEST_CASE("a counter has each value when the program set it") {
  ground_truth truth;
  std::vector<moment> set;
  for (int i = 0; i < 50; ++i) {
    const look before = look_now();
    TRACE_COUNTER("level", i * i);
    set.push_back({before, look_now()});
    truth.add("level", {set.back(), set.back(), own_tid()});
  }
  const std::vector<row> rows = rows_of(truth.check(), "level");
  for (size_t i = 0; i < rows.size(); ++i) CHECK(has(rows[i], "{\"value\":" + std::to_string(i * i) + "}"));
}

TEST_CASE("a frame lasts from one mark to the next") {
  ground_truth truth;
  std::vector<moment> marks;
  for (int i = 0; i < 20; ++i) {
    const look before = look_now();
    TRACE_FRAME("frame");
    marks.push_back({before, look_now()});
    compute();
  }
  const std::vector<row> rows = rows_of(truth.check(), "frame");
  REQUIRE(rows.size() == marks.size() - 1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t longest = marks[i + 1].after.ns - marks[i].before.ns, took = rows[i].end_ns - rows[i].start_ns;
    CHECK(took >= marks[i + 1].before.ns - marks[i].after.ns - anchor_error_ns(longest));
    CHECK(took <= longest + anchor_error_ns(longest));
    CHECK(has(rows[i], "\"frame\":" + std::to_string(i + 1) + "}"));
  }
}
