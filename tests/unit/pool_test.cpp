// SPDX-License-Identifier: MIT
#include "contrail/detail/pool.hpp"

#include "support/recorder.hpp"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace {

using namespace contrail::detail;

/// An image of its own whose chunks nobody else takes.
struct pool_recorder : running_recorder {
  pool_recorder() : running_recorder({.memory = (1U << 20) + 65536 * ++count}) {}
  static inline uint64_t count = 0;
  image_view& image = *current_image(*joined_process());
};

/// No lane's newest chunk, so that the floor does not keep it.
void no_owner(chunk& to) { to.writer.store_relaxed(0xffff'ffff); }
atomic_word taking;
chunk* take(image_view& image) { return take_chunk(image, true, taking, no_owner); }
void seal(image_view& image, chunk& done) { seal_chunk(image, done, chunk_header_bytes, 0, 1); }

}  // namespace

TEST_CASE("every chunk is given once, and then none") {
  pool_recorder recorder;
  std::set<chunk*> taken;
  for (uint64_t i = 0; i < recorder.image.chunk_count; ++i) taken.insert(take(recorder.image));
  CHECK(taken.size() == recorder.image.chunk_count);
  CHECK(taken.count(nullptr) == 0);
  CHECK(take(recorder.image) == nullptr);
}

TEST_CASE("the oldest sealed chunk is recycled first, under a greater ticket") {
  pool_recorder recorder;
  std::vector<chunk*> all;
  for (uint64_t i = 0; i < recorder.image.chunk_count; ++i) all.push_back(take(recorder.image));
  for (chunk* each : {all[7], all[3], all[50]}) seal(recorder.image, *each);
  const uint64_t newest = all.back()->ticket.load_relaxed();
  CHECK(take(recorder.image) == all[3]);
  CHECK(take(recorder.image) == all[7]);
  CHECK(take(recorder.image) == all[50]);
  CHECK(all[3]->ticket.load_relaxed() > newest);
  CHECK(all[50]->ticket.load_relaxed() > all[7]->ticket.load_relaxed());
}

TEST_CASE("a chunk that is sealed while it is copied by a dump is whole") {
  pool_recorder recorder;
  chunk* const mine = take(recorder.image);
  alignas(64) static chunk copy;
  const uint64_t index = static_cast<uint64_t>(mine - recorder.image.chunks);
  seal(recorder.image, *mine);
  CHECK(copy_chunk(copy, recorder.image, index));
  CHECK(copy.ticket.load_relaxed() == mine->ticket.load_relaxed());
  recorder.image.chunk_states[index].store_relaxed(state_word(ticket_of(123456), chunk_state::taking));
  CHECK_FALSE(copy_chunk(copy, recorder.image, index));
  CHECK(copy.ticket.load_relaxed() == 0);
}

TEST_CASE("threads that take and seal never own the same chunk") {
  pool_recorder recorder;
  std::vector<std::atomic<int>> owners(recorder.image.chunk_count);
  std::atomic<bool> twice{false};
  std::atomic<uint64_t> takes{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        chunk* const mine = take(recorder.image);
        if (mine == nullptr) continue;
        std::atomic<int>& owner = owners[static_cast<size_t>(mine - recorder.image.chunks)];
        if (++owner != 1) twice = true;
        ++takes;
        --owner;
        seal(recorder.image, *mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_FALSE(twice);
  CHECK(takes > 1000);
}

TEST_CASE("a noisy thread does not take a quiet one's newest history") {
  pool_recorder recorder;
  std::atomic<int> step{0};
  std::thread quiet([&] {
    for (uint64_t i = 0; i < 1100; ++i) {  // a sealed chunk and an open one
      TRACE_REGION("quiet");
    }
    step = 1;
    while (step != 2) usleep(100);
  });
  while (step != 1) usleep(100);
  for (uint64_t i = 0; i < 500'000; ++i) {
    TRACE_REGION("noisy");
  }
  const auto dump = dump_now();
  CHECK(dump.records("quiet").size() == 1100);
  CHECK(dump.records("noisy").size() < 400'000);
  CHECK(dump.dropped() == 0);
  step = 2;
  quiet.join();
  // Its thread has ended: what it left may go.
  for (int round = 0; round < 3; ++round) {
    std::thread([] { TRACE_REGION("other"); }).join();
    for (uint64_t i = 0; i < 200'000; ++i) {
      TRACE_REGION("noisy");
    }
  }
  CHECK(dump_now().dropped() == 0);
}

TEST_CASE("when no chunk can be had, records are dropped and counted, and later ones are kept") {
  pool_recorder recorder;
  std::vector<chunk*> all;
  while (chunk* each = take(recorder.image)) all.push_back(each);
  const auto trace = [](uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; ++i) {
      TRACE_INSTANT("numbered", "n", i);
      TRACE_REGION("region");
    }
  };
  trace(0, 500);
  CHECK(dump_now().record_count() == 0);
  CHECK(dump_now().dropped(drop_reason::no_chunk) == 1000);
  CHECK(flight_recorder::status().dropped == 1000);
  for (chunk* each : all) seal(recorder.image, *each);
  usleep(5000);  // until a chunk is looked for again
  trace(500, 10);
  const auto dump = dump_now();
  CHECK(dump.records("numbered").size() == 10);
  CHECK(dump.records("region").size() == 10);
  CHECK(dump.dropped() == 1000);
}

TEST_CASE("a thread that finds only its own chunks goes on in them") {
  pool_recorder recorder;
  for (uint64_t i = 0; i < 1100; ++i) {
    TRACE_REGION("first");
  }
  while (take(recorder.image) != nullptr) {
  }
  for (uint64_t i = 0; i < 5000; ++i) {
    TRACE_INSTANT("numbered", "n", i);
  }
  const auto dump = dump_now();
  CHECK(dump.dropped() == 0);
  CHECK(dump.records("numbered").size() > 400);
  CHECK(dump.records("numbered").back().payload.at(0) == 4999);
}
