// SPDX-License-Identifier: MIT
// Eight threads write while another dumps in a loop, in memory so small that chunks are recycled all the time. Nothing
// that is in a dump may be altered, out of order, or there twice; what is missing must be counted.
#include "support/recorder.hpp"

#include <pthread.h>

#include <atomic>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr unsigned writers = 8;

uint64_t checksum(uint64_t thread, uint64_t sequence) {
  uint64_t x = (thread << 56 ^ sequence) * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

/// Every third record is an instant, every third a region with arguments, every third a nested pair with a text.
void write_records(uint64_t thread, uint64_t first, uint64_t count) {
  for (uint64_t sequence = first; sequence < first + count; ++sequence) {
    if (sequence % 3 == 0) {
      TRACE_INSTANT("numbered", "thread", thread, "sequence", sequence, "check", checksum(thread, sequence));
    } else if (sequence % 3 == 1) {
      TRACE_REGION("numbered region", "thread", thread, "sequence", sequence, "check", checksum(thread, sequence));
    } else {
      // The tail of the text varies the record's length, so that chunks end in every way.
      TRACE_INSTANT("numbered text", "thread", thread, "sequence", sequence, "check", checksum(thread, sequence),
                    "text", std::string(sequence % 61, 'x'));
    }
    TRACE_REGION("plain");
  }
}

/// Checks all numbered records of a dump; returns how many there are.
uint64_t check(const dump_reader::dump& dump) {
  dump_reader::check_chains(dump);
  struct position {
    uint64_t sequence, words_before_next;
  };
  std::map<uint64_t, position> last;
  uint64_t count = 0;
  for (const dump_reader::chunk& chunk : dump.chunks) {
    const uint64_t key = chunk.slot | chunk.generation << 16 | chunk.lane << 48;
    bool follows = last.count(key) != 0 && last[key].words_before_next == chunk.words_before;
    for (const dump_reader::record& record : chunk.records) {
      if (record.payload.size() < 3) continue;
      const uint64_t thread = record.payload[0], sequence = record.payload[1];
      dump_reader::require(record.payload[2] == checksum(thread, sequence), "a record was altered");
      if (last.count(key) != 0) {
        dump_reader::require(sequence > last[key].sequence, "a record is there twice or out of order");
        dump_reader::require(!follows || sequence == last[key].sequence + 1, "a record is missing and was not counted");
      }
      last[key].sequence = sequence;
      follows = true;
      ++count;
    }
    if (last.count(key) != 0) last[key].words_before_next = chunk.words_before + chunk.words;
  }
  return count;
}

}  // namespace

TEST_CASE("records stay whole, single and in order while threads write and another one dumps") {
  running_recorder recorder({.memory = 1 << 20});
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> written[writers]{};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < writers; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t at = 0; !stop; at += 300) {
        write_records(t, at, 300);
        written[t] = at + 300;
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + 2s;
  unsigned dumps = 0, torn = 0;
  uint64_t seen = 0;
  std::string failure;
  while (std::chrono::steady_clock::now() < end && failure.empty()) {
    try {
      const dump_reader::dump dump = dump_now();
      seen += check(dump);
      torn += dump.torn;
    } catch (const std::runtime_error& error) {
      failure = error.what();
    }
    ++dumps;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failure == "");
  CHECK(dumps > 3);
  CHECK(seen > 1000);

  // At rest nothing is torn, and each writer's newest record is there.
  const dump_reader::dump dump = dump_now();
  check(dump);
  CHECK(dump.torn == 0);
  CHECK(dump.dropped() == 0);
  std::map<uint64_t, uint64_t> newest;
  for (const auto& chunk : dump.chunks) {
    for (const auto& record : chunk.records) {
      if (record.payload.size() >= 3) newest[record.payload[0]] = std::max(newest[record.payload[0]], record.payload[1]);
    }
  }
  uint64_t total = 0;
  for (uint64_t t = 0; t < writers; ++t) {
    CHECK(newest[t] + 1 == written[t]);
    total += 2 * written[t];
  }
  CHECK(total > dump.record_count());  // chunks were recycled
  WARN(dumps << " dumps, " << seen << " records checked, " << total << " written, " << torn << " chunks torn");
}
