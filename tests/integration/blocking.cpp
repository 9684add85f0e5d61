// SPDX-License-Identifier: MIT
// The locks of contrail/blocking.hpp: they lock, and of waits only real ones are recorded, with who held the lock.
#include "contrail/blocking.hpp"
#include "support/trace.hpp"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace {

/// Whether a thread of this process sleeps, as it does when it waits for a lock.
bool sleeps(uint64_t tid) {
  std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t at = line.rfind(')');
  return at != std::string::npos && line[at + 2] == 'S';
}

/// Runs `locked` on another thread while this one holds `lock`, which is given up only when that thread waits.
template <class Hold, class Release, class Wait>
uint64_t contend(Hold&& hold, Release&& release, Wait&& wait) {
  std::atomic<uint64_t> tid{0};
  hold();
  std::thread waiting([&] {
    TRACE_INSTANT("waiter");
    tid = static_cast<uint64_t>(gettid());
    wait();
  });
  while (tid == 0 || !sleeps(tid)) std::this_thread::yield();
  release();
  waiting.join();
  return tid;
}

bool has(const trace_event& event, const std::string& text) { return event.json.find(text) != std::string::npos; }

std::string held_by_me() { return "\"held by\":" + std::to_string(gettid()); }

}  // namespace

namespace {

/// g++ warns, and the build fails, if one of these were less visible than a class of a program.
struct has_members {
  contrail::mutex lock{"member"};
  contrail::shared_mutex shared{"member"};
  contrail::condition_variable condition{"member"};
  contrail::task open;
};

}  // namespace

TEST_CASE("locks and tasks may be members of classes") {
  has_members all;
  std::scoped_lock lock(all.lock, all.shared);
  CHECK_FALSE(all.open);
}

TEST_CASE("a mutex that is free leaves no record") {
  running_recorder recorder;
  contrail::mutex free{"free"};
  for (int i = 0; i < 10; ++i) {
    std::lock_guard lock(free);
  }
  CHECK(free.try_lock());
  CHECK_FALSE([&] {
    bool taken = true;
    std::thread([&] { taken = free.try_lock(); }).join();
    return taken;
  }());
  free.unlock();
  CHECK(convert_now().all("wait for mutex").empty());
}

TEST_CASE("a wait for a mutex is a region that says for which, and who held it") {
  running_recorder recorder;
  TRACE_INSTANT("holder");
  contrail::mutex busy{"accounts"};
  const uint64_t waiter = contend([&] { busy.lock(); }, [&] { busy.unlock(); }, [&] {
    std::lock_guard lock(busy);
    TRACE_INSTANT("locked");
  });
  const trace found = convert_now();
  const trace_event wait = found.one("wait for mutex");
  CHECK(wait.tid == waiter);
  CHECK(has(wait, "\"mutex\":\"accounts\""));
  CHECK(has(wait, held_by_me()));
  CHECK(has(wait, "\"blocked on\":\"sync\""));
  CHECK(found.one("locked").start_ns >= wait.end_ns);
}

TEST_CASE("a shared mutex is shared without a record, and waits both ways are recorded") {
  running_recorder recorder;
  TRACE_INSTANT("holder");
  contrail::shared_mutex busy{"table"};
  busy.lock_shared();
  CHECK(busy.try_lock_shared());
  busy.unlock_shared();
  CHECK_FALSE(busy.try_lock());
  busy.unlock_shared();
  contend([&] { busy.lock(); }, [&] { busy.unlock(); }, [&] { std::shared_lock lock(busy); });
  contend([&] { busy.lock_shared(); }, [&] { busy.unlock_shared(); }, [&] { std::unique_lock lock(busy); });
  const trace found = convert_now();
  CHECK(has(found.one("wait to share mutex"), held_by_me()));
  CHECK(has(found.one("wait for shared mutex"), "\"held by\":0"));
  CHECK(has(found.one("wait for shared mutex"), "\"mutex\":\"table\""));
}

TEST_CASE("a wait for a condition is recorded if it waits, and gives the mutex back") {
  running_recorder recorder;
  contrail::mutex lock{"queue"};
  contrail::condition_variable filled{"filled"};
  bool full = false;
  {
    std::unique_lock held(lock);
    full = true;
    filled.wait(held, [&] { return full; });
    CHECK(held.owns_lock());
    CHECK(filled.wait_for(held, std::chrono::seconds(0), [&] { return full; }));
  }
  CHECK(convert_now().all("wait for condition").empty());
  full = false;
  contend([] {},
          [&] {
            std::lock_guard held(lock);
            full = true;
            filled.notify_all();
          },
          [&] {
            std::unique_lock held(lock);
            filled.wait(held, [&] { return full; });
          });
  const trace found = convert_now();
  REQUIRE_FALSE(found.all("wait for condition").empty());
  CHECK(has(found.all("wait for condition").front(), "\"condition\":\"filled\""));
  std::unique_lock held(lock);
  CHECK(filled.wait_for(held, std::chrono::milliseconds(1)) == std::cv_status::timeout);
  CHECK_FALSE(filled.wait_for(held, std::chrono::milliseconds(1), [] { return false; }));
  bool was_free = true;
  std::thread([&] { was_free = lock.try_lock(); }).join();
  CHECK_FALSE(was_free);
}

TEST_CASE("a wait for a time in floating point is no shorter than that") {
  contrail::mutex lock{"queue"};
  contrail::condition_variable filled{"filled"};
  std::unique_lock held(lock);
  const std::chrono::duration<float> time(0.001F);
  for (int i = 0; i < 20; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    if (filled.wait_for(held, time) == std::cv_status::timeout) CHECK(std::chrono::steady_clock::now() - begin >= time);
  }
}

TEST_CASE("threads that compete for a mutex count right, with and without a recorder") {
  contrail::mutex lock;
  std::optional<running_recorder> recorder;
  for (const bool records : {false, true}) {
    if (records) recorder.emplace();
    uint64_t count = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20'000; ++i) {
          std::lock_guard held(lock);
          ++count;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(count == 80'000);
  }
}
