// SPDX-License-Identifier: MIT
// A hundred libraries that use contrail, opened late: each needs 8 bytes of the static thread-local storage that the C
// library keeps for such libraries, and a thread's first touch of them may be in a signal handler, where nothing may
// allocate.
#include "support/heap_watch.hpp"

#include "catch.hpp"
#include "contrail/contrail.hpp"
#include "opened_plugin.hpp"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

namespace {

using contrail::flight_recorder;
constexpr int many = 100;

struct running_recorder {
  running_recorder() { REQUIRE_FALSE(flight_recorder::start({.memory = 32 << 20})); }
  ~running_recorder() { flight_recorder::stop(); }
};

/// Copies of one library: each is another library to the dynamic linker, with thread-local storage of its own.
class copied_plugins {
 public:
  copied_plugins() {
    for (int i = 0; i < many; ++i) {
      const std::string name = "copy_" + std::to_string(i);
      std::filesystem::copy_file(PLUGIN_FOLDER "/libplugin_hidden_one.so", path(i),
                                 std::filesystem::copy_options::overwrite_existing);
      plugins_.push_back(std::make_unique<opened_plugin>(name));
    }
  }
  ~copied_plugins() {
    plugins_.clear();
    for (int i = 0; i < many; ++i) std::filesystem::remove(path(i));
  }
  copied_plugins(const copied_plugins&) = delete;
  copied_plugins& operator=(const copied_plugins&) = delete;

  const std::vector<std::unique_ptr<opened_plugin>>& all() const { return plugins_; }

 private:
  static std::string path(int i) { return PLUGIN_FOLDER "/libplugin_copy_" + std::to_string(i) + ".so"; }
  std::vector<std::unique_ptr<opened_plugin>> plugins_;
};

std::atomic<const copied_plugins*> handled{nullptr};
std::atomic<int> rounds{0};

void trace_in_all_plugins(int) {
  const heap_watch::scope watch;
  for (const auto& plugin : handled.load()->all()) (*plugin)->trace(1);
  rounds.fetch_add(1);
}

}  // namespace

TEST_CASE("a hundred libraries open, record on threads from before and after, and close") {
  running_recorder recorder;
  std::atomic<int> step{0};
  uint64_t dropped = 1;
  std::thread older([&] {
    while (step.load() != 1) std::this_thread::yield();
    for (const auto& plugin : handled.load()->all()) (*plugin)->trace(1);
    step = 2;
  });
  {
    const copied_plugins plugins;
    handled = &plugins;
    step = 1;
    while (step.load() != 2) std::this_thread::yield();
    older.join();
    for (const auto& plugin : plugins.all()) (*plugin)->trace(1);
    const auto status = flight_recorder::status();
    CHECK(status.records == 2 * many * 6);
    dropped = status.dropped;
    for (const auto& plugin : plugins.all()) CHECK(plugin->close());
  }
  CHECK(dropped == 0);
  REQUIRE_FALSE(flight_recorder::dump("plugin_limits.contrail"));
  CHECK(dump_has("plugin_limits.contrail", "'hidden_one region' 'hidden_one instant'"));
}

TEST_CASE("thread-local storage of late libraries is first touched in a signal handler without the heap") {
  running_recorder recorder;
  const uint64_t records_before = flight_recorder::status().records;  // open chunks of the test before
  struct sigaction action {};
  action.sa_handler = trace_in_all_plugins;
  struct sigaction before {};
  sigaction(SIGUSR1, &action, &before);
  std::atomic<bool> stop{false};
  std::thread older([&] {
    while (!stop) usleep(100);  // where ThreadSanitizer lets signals in
  });
  {
    const copied_plugins plugins;
    handled = &plugins;
    rounds = 0;
    pthread_kill(older.native_handle(), SIGUSR1);
    while (rounds != 1) std::this_thread::yield();
    CHECK(heap_watch::calls == 0);
    std::thread([] { raise(SIGUSR1); }).join();  // a thread that begins afterwards
    CHECK(rounds == 2);
    CHECK(heap_watch::calls == 0);
    CHECK(flight_recorder::status().records == records_before + 2 * many * 6);
    CHECK(flight_recorder::status().dropped == 0);
    stop = true;
    older.join();
  }
  sigaction(SIGUSR1, &before, nullptr);
}
