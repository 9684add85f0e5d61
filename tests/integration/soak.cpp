// SPDX-License-Identifier: MIT
// A process that lives: rounds of 1,000 threads that come, record and go, under dumps in a loop, to files and to
// memory. Its memory and its descriptors stay as they are. 20 seconds; 5 minutes with CONTRAIL_TEST_LENGTH=long.
#include "support/recorder.hpp"
#include "support/sanitized.hpp"
#include "support/test_length.hpp"

#include <dirent.h>
#include <pthread.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr uint64_t threads_a_round = 1'000, records_each = 30;
constexpr size_t at_a_time = 25;

uint64_t checksum(uint64_t thread, uint64_t n) {
  const uint64_t x = (thread << 32 ^ n) * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

void live(uint64_t thread) {
  if (thread % 3 == 0) TRACE_THREAD_NAME("soaked");
  TRACE_REGION("whole life", "thread", thread);
  for (uint64_t n = 0; n < records_each; ++n) {
    TRACE_REGION("soak", "thread", thread, "n", n, "check", checksum(thread, n));
    TRACE_INSTANT("text", "text", std::string(n, 'x'));
  }
}

/// Throws when a record is altered, missing without being counted, there twice or out of order.
void check(const dump_reader::dump& dump) {
  dump_reader::check_chains(dump);
  std::map<uint64_t, uint64_t> next;
  for (const auto& record : dump.records("soak")) {
    dump_reader::require(record.payload.size() == 3, "a record was altered");
    const uint64_t thread = record.payload[0], n = record.payload[1];
    dump_reader::require(record.payload[2] == checksum(thread, n), "a record was altered");
    dump_reader::require(next.count(thread) == 0 || next[thread] == n, "a record is missing, there twice or out of order");
    next[thread] = n + 1;
  }
}

uint64_t resident_kib() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 1024;
}

unsigned open_descriptors() {
  unsigned count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

void run_round(uint64_t first) {
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < threads_a_round; ++i) {
    if (threads.size() == at_a_time) {
      for (std::thread& thread : threads) thread.join();
      threads.clear();
    }
    threads.emplace_back(live, first + i);
  }
  for (std::thread& thread : threads) thread.join();
}

/// Dumps in a loop and checks every tenth: reading one takes far longer than writing it.
struct dumper {
  std::atomic<uint64_t> dumps{0};
  std::atomic<bool> failed{false}, paused{false}, is_paused{false}, done{false};
  std::string failure;

  void run(const std::string& path) {
    while (!done && !failed) {
      while (paused && !done) {
        is_paused = true;
        std::this_thread::yield();
      }
      is_paused = false;
      try {
        once(path);
      } catch (const std::exception& error) {
        failure = error.what();
        failed = true;
      }
    }
    is_paused = true;
  }

 private:
  void once(const std::string& path) {
    const uint64_t number = ++dumps;
    if (number % 10 != 0) {
      dump_reader::require(!flight_recorder::dump(path.c_str()), "a dump failed");
      return;
    }
    std::string bytes;
    dump_reader::require(!flight_recorder::dump(bytes), "a dump failed");
    check(dump_reader::read(bytes));
  }
};

}  // namespace

TEST_CASE("threads that come and go under dumps for a long time take no more memory and no more descriptors") {
  const auto time = by_test_length(5s, 20s, 300s);
  running_recorder recorder({.memory = 4 << 20});
  temporary_folder folder;
  const std::string path = folder / "soak";
  dumper dumps;
  std::thread dumping([&] { dumps.run(path); });

  // The heap keeps what the reader of dumps gave back, more or less of it: so halves are compared, by their most.
  const auto begin = std::chrono::steady_clock::now();
  const uint64_t warm_up = 10;
  uint64_t rounds = 0, most_kib[2] = {};
  unsigned most_descriptors[2] = {}, measured[2] = {};
  while ((measured[1] < 10 || std::chrono::steady_clock::now() < begin + time) && !dumps.failed) {
    run_round(rounds++ * threads_a_round);
    if (rounds < warm_up) continue;
    // Between dumps, which have a descriptor and their reader's memory.
    dumps.paused = true;
    while (!dumps.is_paused && !dumps.failed) std::this_thread::yield();
    const unsigned half = measured[0] >= 10 && std::chrono::steady_clock::now() > begin + time / 2 ? 1 : 0;
    ++measured[half];
    most_kib[half] = std::max(most_kib[half], resident_kib());
    most_descriptors[half] = std::max(most_descriptors[half], open_descriptors());
    dumps.paused = false;
    while (dumps.is_paused && !dumps.failed) std::this_thread::yield();
  }
  dumps.done = true;
  dumping.join();
  CHECK(dumps.failure == "");
  CHECK(dumps.dumps > rounds);
  CHECK(most_descriptors[1] == most_descriptors[0]);
  if (!CONTRAIL_TESTS_SANITIZED) CHECK(most_kib[1] < most_kib[0] + 2 * 1024);
  CHECK(flight_recorder::status().dropped == 0);
  CHECK(flight_recorder::status().threads <= 32);
  const auto last = dump_now();
  check(last);
  CHECK(last.records("soak").back().payload.at(0) >= rounds * threads_a_round - at_a_time);
  WARN(rounds * threads_a_round << " threads, " << dumps.dumps << " dumps, at most " << most_kib[0] << " KiB in the first half and "
                                << most_kib[1] << " KiB in the second, " << most_descriptors[1] << " descriptors");
}
