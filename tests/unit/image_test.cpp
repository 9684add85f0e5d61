// SPDX-License-Identifier: MIT
// The format's words and limits, as docs/format.md states them.
#include "catch.hpp"

#include "contrail/detail/image.hpp"

#include <cstring>
#include <string>

using namespace contrail::detail;

TEST_CASE("An image begins with eight bytes that no text file and no program begins with") {
  const uint64_t magic = ~complement_of_image_magic;
  char bytes[8];
  std::memcpy(bytes, &magic, sizeof magic);
  CHECK(std::string(bytes, 8) == "\x89" "CTRL\r\n\x1a");
}

TEST_CASE("A long form's header holds its form, id and length apart") {
  const uint64_t word = long_header(long_form::async_region, 0xfffe, 0x3ff);
  CHECK((word & 3) == static_cast<uint64_t>(record_tag::long_form));
  CHECK((word >> 2 & 0xf) == static_cast<uint64_t>(long_form::async_region));
  CHECK((word >> 6 & 0x3ff) == 0x3ff);
  CHECK((word >> 16 & 0xffff) == 0xfffe);
  CHECK(word >> 32 == 0);
  CHECK(long_header(long_form::region, 1, 2) == 0x1'0000 + (2 << 6) + (2 << 2) + 3);
}

TEST_CASE("An epoch's word is its base with a tag in the bits that a base leaves") {
  const uint64_t base = 12345 * epoch_ticks;
  const uint64_t word = epoch_word(base);
  CHECK((word & ~(epoch_ticks - 1)) == base);
  CHECK((word & (epoch_ticks - 1)) == 3);
}

TEST_CASE("The fields of short records fill a word without overlap") {
  // tag 2, id 16, duration 23, time 23: plain regions; the payload's length takes 4 bits of the id.
  CHECK(id_shift + 16 == duration_shift);
  CHECK(payload_region_id_shift + 12 == duration_shift);
  CHECK(duration_shift + epoch_bits == end_time_shift);
  CHECK(end_time_shift + epoch_bits == 64);
  CHECK(max_payload_region_id < 1ULL << (duration_shift - payload_region_id_shift));
  CHECK(max_short_region_words < 1U << (payload_region_id_shift - id_shift));
  CHECK(max_id < overflow_id);
  CHECK(overflow_id < 1ULL << 16);
}

TEST_CASE("The longest record of each kind fits into an empty chunk and into its length's bits") {
  CHECK(1 + max_point_words <= chunk_words);
  CHECK(4 + frame_payload_words <= chunk_words);
  CHECK(4 + frame_payload_words < 1U << 10);
}

TEST_CASE("A frame's word gives its region's site back, and is never that of a dump's free frame") {
  for (const uint64_t start : {uint64_t{0}, uint64_t{1}, epoch_ticks, ~uint64_t{0}}) {
    for (const uint64_t id : {uint64_t{1}, uint64_t{2}, max_payload_region_id, max_id, overflow_id}) {
      for (const uint64_t site : {id << 2 | 1, (id & 0xfff) << 6 | 2, id << 2 | 3}) {
        const uint64_t word = (start << duration_shift) - site;
        CHECK(word != 0);
        CHECK((((start << duration_shift) - word) & site_word_mask) == site);
      }
    }
  }
}

TEST_CASE("A frame's start tells a region from a free frame, a point in progress and the stack's end") {
  for (const uint64_t start : {uint64_t{1}, epoch_ticks, uint64_t{1} << 48, point_mark - 1}) CHECK(is_region(start));
  for (const uint64_t stack_pointer : {uint64_t{0}, uint64_t{1} << 12, (uint64_t{1} << 56) - 8}) {
    CHECK_FALSE(is_region(point_mark | stack_pointer));
    CHECK(static_cast<int64_t>(point_mark | stack_pointer) > static_cast<int64_t>(site_word_mask));
  }
  CHECK_FALSE(is_region(0));
  CHECK_FALSE(is_region(frame_busy));
  CHECK(static_cast<int64_t>(frame_busy) > static_cast<int64_t>(site_word_mask));
}

TEST_CASE("A frame holds the region that it was given and no other one") {
  const uint64_t site = 5 << 2 | 1;
  frame at{};
  CHECK(is_free(at));
  CHECK_FALSE(holds_region(at, 0));
  at.start_ticks.store_relaxed(1000);
  at.word.store_relaxed((1000 << duration_shift) - site);
  CHECK_FALSE(is_free(at));
  CHECK(holds_region(at, (1000 << duration_shift) - site));
  CHECK_FALSE(holds_region(at, (1001 << duration_shift) - site));
  at.start_ticks.store_relaxed(1001);  // the next region of this frame, whose word is not stored yet
  CHECK_FALSE(holds_region(at, (1000 << duration_shift) - site));
  set_free(at);
  CHECK_FALSE(holds_region(at, (1000 << duration_shift) - site));
}

TEST_CASE("Lanes' stacks lie one after the other, each with an end") {
  unsigned at = 0;
  for (unsigned lane = 0; lane < lane_count; ++lane) {
    CHECK(first_frame[lane] == at);
    at += lane_depth[lane] + 1;
  }
  CHECK(at == frame_count);
}
