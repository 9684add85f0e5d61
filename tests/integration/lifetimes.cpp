// SPDX-License-Identifier: MIT
// Regions and records in every order of life: before main, after exit, in destructors of threads and of the program,
// and regions that are nested deeply, left by exceptions and jumps, and carried from thread to thread, at random.
#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <coroutine>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using contrail::detail::drop_reason;

void trace(const char* where) { TRACE_INSTANT("traced", "where", where); }

std::vector<std::string> traced(const dump_reader::dump& dump) {
  std::vector<std::string> found;
  for (const auto& r : dump.records("traced")) {
    const char* const bytes = reinterpret_cast<const char*>(r.payload.data());
    found.emplace_back(bytes + 2, static_cast<unsigned char>(bytes[0]));
  }
  return found;
}
using names = std::vector<std::string>;

// ---- before main -------------------------------------------------------------------------------------------------

/// Started by a static constructor, before those of this file's other objects.
struct started_before_main {
  contrail::error failed;
  started_before_main() {
    trace("before the start");
    failed = flight_recorder::start({.memory = 1 << 20});
    trace("in the constructor that starts");
  }
} started;

std::string last_dump;

struct lives_as_the_program {
  lives_as_the_program() { trace("in a constructor"); }
  ~lives_as_the_program() {
    trace("in a destructor");
    if (!last_dump.empty()) contrail_dump(last_dump.c_str());
  }
} whole_life;

/// Ends that recording, so that each case has its own.
struct dumped_before_main {
  std::string bytes;
  dumped_before_main() {
    trace("in the last constructor");
    if (!flight_recorder::dump(bytes)) flight_recorder::stop();
  }
} dumped;

struct lives_as_the_thread {
  ~lives_as_the_thread() { trace("as the first thread ends"); }
};
thread_local lives_as_the_thread of_the_thread;

}  // namespace

TEST_CASE("a recorder that a static constructor starts has what follows before main") {
  REQUIRE_FALSE(started.failed);
  CHECK(traced(dump_reader::read(dumped.bytes)) ==
        names{"in the constructor that starts", "in a constructor", "in the last constructor"});
}

TEST_CASE("what destructors of the first thread and of static objects trace at exit can be dumped by the last of them") {
  temporary_folder folder;
  last_dump = folder / "last";
  const int status = status_of_child([] {
    if (flight_recorder::start({.memory = 2 << 20})) return 1;
    static_cast<void>(&of_the_thread);
    std::atexit([] { trace("atexit"); });
    trace("in main");
    std::exit(3);
    return 2;
  });
  CHECK(status == 3);
  std::ifstream file(last_dump, std::ios::binary);
  const auto dump = dump_reader::read({std::istreambuf_iterator<char>(file), {}});
  last_dump.clear();
  CHECK(traced(dump) == names{"in main", "as the first thread ends", "atexit", "in a destructor"});
}

TEST_CASE("every round of a thread's destructors may trace, also for the first time") {
  running_recorder recorder({.memory = 3 << 20});
  static pthread_key_t key;
  static std::atomic<int> rounds;
  rounds = 0;
  // A value that is set again calls the destructor again, PTHREAD_DESTRUCTOR_ITERATIONS times.
  REQUIRE(pthread_key_create(&key, [](void* value) {
            TRACE_REGION("in a key's destructor");
            trace("key");
            if (++rounds < 3) pthread_setspecific(key, value);
          }) == 0);
  std::thread([] { pthread_setspecific(key, &key); }).join();
  pthread_key_delete(key);
  const auto dump = dump_now();
  CHECK(rounds == 3);
  CHECK(traced(dump) == names{"key", "key", "key"});
  CHECK(dump.records("in a key's destructor").size() == 3);
  CHECK(dump.dropped() == 0);
  CHECK(dump.open_names().empty());
}

// ---- regions in random order -------------------------------------------------------------------------------------

namespace {

uint64_t checksum(uint64_t n) {
  const uint64_t x = n * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

/// A region that outlives the scope that began it, to be ended by anybody.
struct held {
  contrail::region region;
  explicit held(uint64_t n)
      : region(contrail::detail::begin_region_var(CONTRAIL_DETAIL_SITE("lived", "n", n, "check", checksum(n)), "lived",
                                                  "n", n, "check", checksum(n))) {}
};

/// What the threads hand to each other, and which regions were begun, ended, and jumped over.
struct shared_state {
  std::mutex mutex;
  std::vector<std::unique_ptr<held>> carried;
  std::atomic<uint64_t> next{1}, jumped{0};
};

class living_thread {
 public:
  living_thread(shared_state& shared, uint64_t seed) : shared_(shared), random_(seed * 2 + 1) {}

  void run(unsigned steps) {
    for (unsigned i = 0; i < steps; ++i) {
      switch (next_random() % 8) {
        case 0: nest(1 + next_random() % 90, false); break;
        case 1: carry(); break;
        case 2: end_carried(); break;
        case 3: jump_over(1 + next_random() % 5); break;
        case 4:
          try {
            nest(1 + next_random() % 90, true);
          } catch (int) {
          }
          break;
        default: nest(1 + next_random() % 4, false);
      }
    }
  }

 private:
  uint64_t next_random() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_;
  }

  __attribute__((noinline)) void nest(uint64_t depth, bool throws) {
    const uint64_t n = shared_.next++;
    TRACE_REGION("lived", "n", n, "check", checksum(n));
    if (depth != 0) {
      nest(depth - 1, throws);
    } else if (throws) {
      throw 1;
    }
    if (depth % 16 == 3) end_carried();
  }

  void carry() {
    auto one = std::make_unique<held>(shared_.next++);
    const std::lock_guard<std::mutex> lock(shared_.mutex);
    shared_.carried.push_back(std::move(one));
  }

  void end_carried() {
    std::unique_ptr<held> one;
    {
      const std::lock_guard<std::mutex> lock(shared_.mutex);
      if (shared_.carried.empty()) return;
      const size_t at = next_random() % shared_.carried.size();
      one = std::move(shared_.carried[at]);
      shared_.carried.erase(shared_.carried.begin() + static_cast<long>(at));
    }
    one.reset();
  }

  __attribute__((noinline)) void open_and_jump(uint64_t depth) {
    const uint64_t n = shared_.next++;
    ++shared_.jumped;
    TRACE_REGION("jumped over", "n", n);
    if (depth != 0) return open_and_jump(depth - 1);
    if (jumps_) std::longjmp(place_, 1);
  }
  __attribute__((noinline)) void jump_over(uint64_t depth) {
    if (setjmp(place_) == 0) open_and_jump(depth);
  }

  shared_state& shared_;
  uint64_t random_;
  std::jmp_buf place_;
  volatile bool jumps_ = true;  // else the compiler sees a function that never returns
};

}  // namespace

TEST_CASE("regions in random lives are there once and whole, or counted") {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    running_recorder recorder({.memory = 32 << 20});
    shared_state shared;
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] { living_thread(shared, 4 * seed + t).run(1500); });
    }
    for (std::thread& thread : threads) thread.join();
    shared.carried.clear();
    INFO("seed " << seed);
    const auto dump = dump_now();
    REQUIRE(dump_reader::check_chains(dump) == 0);  // nothing was overwritten
    std::vector<char> seen(shared.next);
    uint64_t count = 0;
    for (const auto& record : dump.records("lived")) {
      REQUIRE(record.payload.size() == 2);
      const uint64_t n = record.payload[0];
      REQUIRE(record.payload[1] == checksum(n));
      REQUIRE(n < shared.next);
      REQUIRE_FALSE(seen[n]);
      seen[n] = 1;
      ++count;
    }
    CHECK(dump.records("jumped over").empty());
    const uint64_t ended = shared.next - 1 - shared.jumped;
    CHECK(count <= ended);
    // Counted are also regions that found no place and were jumped over.
    CHECK(count + dump.dropped() >= ended);
    CHECK(count + dump.dropped() <= ended + shared.jumped);
    CHECK(dump.dropped(drop_reason::no_chunk) + dump.dropped(drop_reason::no_slot) == 0);
    if (seed == 1) WARN(ended << " regions, " << count << " recorded, " << dump.dropped() << " counted, "
                              << shared.jumped << " jumped over");
  }
}

namespace {

/// Regions around a suspension, and after it.
struct task {
  struct promise_type {
    task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

task hop(uint64_t n, unsigned hops) {
  TRACE_REGION("whole coroutine", "n", n, "check", checksum(n));
  for (unsigned i = 0; i < hops; ++i) {
    TRACE_REGION("one hop", "n", n, "check", checksum(n));
    co_await std::suspend_always{};
  }
}

/// Runs coroutines on four threads, and checks that each of their regions is there once or counted. Returns how many
/// were counted: a suspended coroutine holds frames of the thread that ran it last.
uint64_t hop_at_random(uint64_t tasks, unsigned hops) {
  running_recorder recorder({.memory = 16 << 20});
  std::mutex mutex;
  std::vector<task> ready;
  for (uint64_t n = 0; n < tasks; ++n) ready.push_back(hop(n, hops));
  std::vector<task> all = ready;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      uint64_t random = 77 + t;
      for (;;) {
        task one{};
        {
          const std::lock_guard<std::mutex> lock(mutex);
          if (ready.empty()) return;
          random = random * 6364136223846793005 + 1442695040888963407;
          const size_t at = (random >> 33) % ready.size();
          one = ready[at];
          ready[at] = ready.back();
          ready.pop_back();
        }
        one.handle.resume();
        if (one.handle.done()) continue;
        const std::lock_guard<std::mutex> lock(mutex);
        ready.push_back(one);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const task& each : all) {
    while (!each.handle.done()) each.handle.resume();  // when the others had none left for a moment
    each.handle.destroy();
  }
  const auto dump = dump_now();
  REQUIRE(dump_reader::check_chains(dump) == 0);
  uint64_t count = 0;
  for (const char* name : {"whole coroutine", "one hop"}) {
    std::map<uint64_t, unsigned> found;
    for (const auto& record : dump.records(name)) {
      REQUIRE(record.payload.at(1) == checksum(record.payload[0]));
      ++found[record.payload[0]];
      ++count;
    }
    for (const auto& [n, times] : found) CHECK(times <= (name[0] == 'w' ? 1 : hops));
  }
  CHECK(count + dump.dropped() == tasks * (1 + hops));
  CHECK(dump.open_names().empty());
  return dump.dropped();
}

}  // namespace

TEST_CASE("a coroutine that hops between threads records each of its regions") { CHECK(hop_at_random(1, 2000) == 0); }

TEST_CASE("of coroutines that threads run by turns each region is there once or counted") {
  for (int i = 0; i < 10; ++i) {
    hop_at_random(300, 6);
    hop_at_random(20, 100);
  }
}
