// SPDX-License-Identifier: MIT
// How the memory is divided, and what stands in the superblock.
#include "support/recorder.hpp"

#include "contrail/detail/start.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

using namespace contrail::detail;

namespace {

constexpr uint64_t mebibyte = 1 << 20;

/// Whether the parts follow each other within the image and are aligned as their types ask for.
void check_layout(uint64_t bytes) {
  INFO(bytes << " bytes");
  const image_layout layout = divide(bytes);
  REQUIRE(layout.image_bytes <= bytes);
  REQUIRE(bytes - layout.image_bytes < sizeof(thread_slot));
  REQUIRE(sizeof(superblock) + sizeof(image_view) <= layout.slots_offset);
  REQUIRE(layout.slots_offset % alignof(thread_slot) == 0);
  REQUIRE(layout.slots_offset + layout.slot_count * sizeof(thread_slot) <= layout.index_offset);
  REQUIRE(layout.index_offset % sizeof(uint32_t) == 0);
  REQUIRE(layout.index_offset + (layout.id_count + 1) * sizeof(uint32_t) <= layout.hashes_offset);
  REQUIRE(layout.hashes_offset % sizeof(atomic_word) == 0);
  REQUIRE(layout.hashes_offset + layout.hash_count * sizeof(atomic_word) <= layout.arena_offset);
  REQUIRE(layout.arena_offset % alignof(binding) == 0);
  REQUIRE(layout.arena_offset + layout.arena_bytes <= layout.states_offset);
  REQUIRE(layout.states_offset % sizeof(atomic_word) == 0);
  REQUIRE(layout.states_offset + layout.chunk_count * sizeof(atomic_word) <= layout.scratch_offset);
  REQUIRE(layout.scratch_offset % alignof(thread_slot) == 0);
  REQUIRE(layout.scratch_offset + layout.scratch_bytes <= layout.chunks_offset);
  REQUIRE(layout.chunks_offset % chunk_bytes == 0);
  REQUIRE(layout.chunks_offset + layout.chunk_count * chunk_bytes <= layout.image_bytes);
  // Nothing worth a chunk is left over.
  REQUIRE(layout.image_bytes - layout.chunks_offset - layout.chunk_count * chunk_bytes < chunk_bytes);
  // A dump has room for what it copies at a time.
  REQUIRE(layout.scratch_bytes >= layout.chunk_count * sizeof(uint32_t) + sizeof(superblock) + sizeof(thread_slot));
  REQUIRE((layout.hash_count & (layout.hash_count - 1)) == 0);
  REQUIRE(layout.hash_count > layout.id_count);
  REQUIRE(layout.id_count <= max_id);
  REQUIRE(layout.arena_bytes < std::numeric_limits<uint32_t>::max());
}

}  // namespace

TEST_CASE("The parts of an image of any size follow each other and fit") {
  for (uint64_t bytes = smallest_image_bytes; bytes <= largest_image_bytes; bytes = bytes * 5 / 4 + 12345) {
    check_layout(bytes);
  }
  check_layout(smallest_image_bytes);
  check_layout(largest_image_bytes);
}

TEST_CASE("Records get most of the memory, threads an eighth") {
  for (const uint64_t size : {mebibyte, 32 * mebibyte, 256 * mebibyte}) {
    const image_layout layout = divide(size);
    CHECK(layout.slot_count * sizeof(thread_slot) == size / 8);
    CHECK(layout.chunk_count * chunk_bytes > size * 7 / 10);
  }
  CHECK(divide(32 * mebibyte).slot_count == 256);
  CHECK(divide(32 * mebibyte).id_count == 8192);
  CHECK(divide(largest_image_bytes).id_count == max_id);
}

TEST_CASE("The superblock of a dump tells who recorded, since when and by which clock") {
  const uint64_t before = kernel_clock_ns(CLOCK_REALTIME);
  const running_recorder recorder({.memory = 4 << 20, .window = std::chrono::seconds(3)});
  const superblock super = dump_now().super;
  const uint64_t after = kernel_clock_ns(CLOCK_REALTIME);
  CHECK(super.version_major == format_major);
  CHECK(super.version_minor == format_minor);
  CHECK(super.superblock_bytes == sizeof(superblock));
  CHECK(super.pid == static_cast<uint32_t>(getpid()));
  CHECK(std::string(super.executable).find("start") != std::string::npos);
  char host[64] = {};
  gethostname(host, sizeof host - 1);
  CHECK(std::string(super.host) == host);
  CHECK(super.image_bytes == 4 << 20);
  CHECK(super.window_ns == 3'000'000'000);
  CHECK(super.start.realtime_ns >= before);
  CHECK(super.start.realtime_ns <= super.ready.realtime_ns);
  CHECK(super.ready.realtime_ns <= super.dump.realtime_ns);
  CHECK(super.dump.realtime_ns <= after);
  CHECK(super.start.ticks < super.ready.ticks);
  CHECK(super.ready.ticks < super.dump.ticks);
  CHECK(super.dump_signal == 0);
  if (super.source == clock_source::monotonic) {
    CHECK(super.start.ticks <= super.start.monotonic_ns);
  } else {
    // The rate holds within a percent over a longer time than it was measured in.
    const double seconds = static_cast<double>(super.dump.monotonic_ns - super.start.monotonic_ns) / 1e9;
    const double hz = static_cast<double>(super.dump.ticks - super.start.ticks) / seconds;
    CHECK(hz > 0.97 * static_cast<double>(super.tick_hz));
    CHECK(hz < 1.03 * static_cast<double>(super.tick_hz));
  }
}

TEST_CASE("Dumps are numbered") {
  const running_recorder recorder;
  const uint32_t first = dump_now().super.dump_sequence;
  CHECK(dump_now().super.dump_sequence == first + 1);
}

TEST_CASE("A tick rate is measured between two anchors, and an impossible one is replaced") {
  CHECK(estimate_tick_hz({1000, 0, 0, 0}, {151'000, 50'000, 0, 0}) == 3'000'000'000);
  CHECK(estimate_tick_hz({0, 7, 0, 0}, {100, 7, 0, 0}) == 1'000'000'000);
}

TEST_CASE("A text that is longer than its field is cut and terminated") {
  char field[8];
  std::fill(std::begin(field), std::end(field), 'x');
  copy_text(field, "long text");
  CHECK(std::string(field) == "long te");
  copy_text(field, "ab");
  CHECK(std::string(field, 8) == std::string("ab\0\0\0\0\0\0", 8));
}
