// SPDX-License-Identifier: MIT
// The one recorder of the process: how its parts find it, and what they share.
#include "support/recorder.hpp"

#include "contrail/detail/process.hpp"

#include <cstring>
#include <thread>
#include <vector>

using namespace contrail::detail;

TEST_CASE("The program has joined before main, and every call gives the same state") {
  REQUIRE(joined_process() != nullptr);
  CHECK(join_process() == joined_process());
  CHECK(joined_process() == &own_object().process);
}

TEST_CASE("The note leads to this program's root") {
  const object_root* found = nullptr;
  CHECK(for_each_object(find_root, &found) == 1);
  CHECK(found == &own_object());
  CHECK(found->layout == layout_version);
}

TEST_CASE("A new epoch differs from all before and reaches the code's own copy") {
  process_state& process = *join_process();
  const control_lock lock(process);
  std::vector<uint64_t> seen;
  for (int i = 0; i < 5; ++i) {
    begin_epoch(process);
    const uint64_t epoch = process.epoch.load_acquire();
    CHECK(epoch % epoch_step == 0);
    CHECK(epoch != 0);
    CHECK(own_object().epoch.load_acquire() == epoch);
    for (const uint64_t other : seen) CHECK(other != epoch);
    seen.push_back(epoch);
  }
}

TEST_CASE("A list of globs comes back as it was stored, and always ends") {
  filter_list list{};
  char got[filter_bytes];
  for (const size_t size : {size_t{0}, size_t{1}, size_t{8}, size_t{254}, size_t{255}}) {
    const std::string text(size, 'x');
    list.store(text.c_str(), text.size());
    list.load(got);
    CHECK(std::string(got) == text);
  }
  list.store("short", 5);
  list.load(got);
  CHECK(std::string(got) == "short");
}

TEST_CASE("The control lock lets in one at a time") {
  process_state& process = *join_process();
  constexpr int rounds = 20'000;
  int count = 0;  // not atomic: the lock is what keeps it whole
  const auto add = [&] {
    for (int i = 0; i < rounds; ++i) {
      const control_lock lock(process);
      ++count;
    }
  };
  std::thread other(add);
  add();
  other.join();
  CHECK(count == 2 * rounds);
}

TEST_CASE("An anchor's clocks were read at one moment") {
  process_state& process = *join_process();
  const uint64_t before = now_ticks(process), before_ns = kernel_clock_ns(CLOCK_MONOTONIC);
  const clock_anchor anchor = take_anchor(process);
  const uint64_t after = now_ticks(process), after_ns = kernel_clock_ns(CLOCK_MONOTONIC);
  CHECK(anchor.ticks >= before);
  CHECK(anchor.ticks <= after);
  CHECK(anchor.monotonic_ns >= before_ns);
  CHECK(anchor.monotonic_ns <= after_ns);
  CHECK(anchor.boottime_ns >= anchor.monotonic_ns);
  CHECK(anchor.realtime_ns > 1'600'000'000ULL * 1'000'000'000ULL);
}

TEST_CASE("Without a trusted counter ticks are the nanoseconds of the monotonic clock") {
  process_state& process = *join_process();
  const uint64_t before = process.hardware_clock.load_relaxed();
  process.hardware_clock.store_relaxed(0);
  const uint64_t begin = kernel_clock_ns(CLOCK_MONOTONIC);
  const uint64_t now = now_ticks(process);
  const uint64_t end = kernel_clock_ns(CLOCK_MONOTONIC);
  process.hardware_clock.store_relaxed(before);
  CHECK(begin <= now);
  CHECK(now <= end);
}

TEST_CASE("Pinning accepts any address, also one of no object") {
  int local = 0;
  pin_object(&local);
  pin_object(nullptr);
  pin_object(reinterpret_cast<const void*>(&begin_epoch));
}
