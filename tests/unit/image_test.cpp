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

TEST_CASE("A frame that is in use can be told from a free and a busy one whatever its region") {
  // word = (start << 18) - site: no site word makes it 0 or all ones for any start.
  for (const uint64_t start : {uint64_t{0}, uint64_t{1}, epoch_ticks, ~uint64_t{0}}) {
    for (const uint64_t id : {uint64_t{1}, uint64_t{2}, max_payload_region_id, max_id, overflow_id}) {
      for (const uint64_t site : {id << 2 | 1, (id & 0xfff) << 6 | 2, id << 2 | 3}) {
        const uint64_t word = (start << duration_shift) - site;
        CHECK(word != 0);
        CHECK(word != frame_busy);
        CHECK((((start << duration_shift) - word) & 0x3ffff) == site);
      }
    }
  }
}

TEST_CASE("Lanes' stacks lie one after the other, each with an end") {
  unsigned at = 0;
  for (unsigned lane = 0; lane < lane_count; ++lane) {
    CHECK(first_frame[lane] == at);
    at += lane_depth[lane] + 1;
  }
  CHECK(at == frame_count);
}
