// SPDX-License-Identifier: MIT
// From a chunk's words to records.
#ifndef CONTRAIL_DETAIL_READER_RECORDS_HPP
#define CONTRAIL_DETAIL_READER_RECORDS_HPP

#include "contrail/detail/reader_bytes.hpp"

#include <algorithm>
#include <utility>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

/// A record, in ticks. A payload stands in the input.
struct reader_record {
  static constexpr uint16_t open_mark = 0x8000;

  uint64_t start, end;
  uint64_t payload_at;
  uint16_t id;
  uint16_t words;  ///< of the payload, with open_mark if the region has not ended
  uint32_t tid;    ///< of an async region: who began it
  static constexpr uint64_t span_words_before = 8 * (span_words - span_id);  ///< bytes before the payload of a span

  bool is_open() const { return (words & open_mark) != 0; }
  uint64_t payload_bytes() const { return 8 * uint64_t{words & 0x3ffU}; }
};

/// In the order in which they were written.
struct reader_records {
  std::vector<reader_record> regions, points, asyncs, spans;
  std::vector<clock_anchor> anchors;
  std::vector<std::pair<uint64_t, uint64_t>> switches;  ///< ticks, the thread's current task from then on

  size_t count() const { return regions.size() + points.size() + asyncs.size() + spans.size(); }
};

struct reader_chunk {
  uint64_t at, end;  ///< in the input; what lies behind `end` is no record
  uint64_t ticket, records_before, epoch_base, sealed_ticks;
  uint64_t writer_generation;
  uint32_t writer_index, tid, lane;
  clock_anchor anchor;
  std::string_view thread_name;
};

inline constexpr uint64_t anchor_word = long_header(long_form::anchor, 0, 4);

/// Ticks between which the times of a chunk's records lie.
struct record_bounds {
  uint64_t earliest;  ///< when the recording began: no region of it began before
  uint64_t oldest;    ///< end of a record
  uint64_t latest;
};

/// A long form whose words are all there; false for a time that cannot be, or too few words.
inline bool decode_long_form(const untrusted_bytes& data, uint64_t word, uint64_t at, const record_bounds& bounds,
                             reader_records& out) {
  constexpr uint8_t fixed_words[] = {0, 4, 2, 1, 3, 1 + span_words, 2};
  const unsigned form = word >> 2 & 15, words = word >> 6 & 1023;
  if (form >= sizeof(fixed_words)) return true;  // of a newer minor version
  const unsigned fixed = fixed_words[form];
  if (words < fixed) return false;
  const auto id = static_cast<uint16_t>(word >> 16);
  const uint64_t first = data.u64(at), second = data.u64(at + 8), payload_at = at + 8 * uint64_t{fixed};
  const auto payload_words = static_cast<uint16_t>(words - fixed);
  if (form == static_cast<unsigned>(long_form::anchor)) {
    if (word == anchor_word) out.anchors.push_back(data.anchor(at));
    return true;
  }
  if (form == static_cast<unsigned>(long_form::span)) {  // the end comes first
    if (second > first || first < bounds.oldest || first > bounds.latest) return false;
    out.spans.push_back({std::max(second, std::min(bounds.earliest, first)), first, payload_at, id, payload_words, 0});
    return true;
  }
  if (form == static_cast<unsigned>(long_form::current_task)) {
    if (first < bounds.oldest || first > bounds.latest) return false;
    out.switches.emplace_back(first, second);
    return true;
  }
  if (form == static_cast<unsigned>(long_form::point)) {
    if (first < bounds.oldest || first > bounds.latest) return false;
    out.points.push_back({first, first, payload_at, id, payload_words, 0});
    return true;
  }
  if (first > second || second < bounds.oldest || second > bounds.latest) return false;
  // A region cannot have begun before the recording did.
  const uint64_t begin = std::max(first, std::min(bounds.earliest, second));
  const bool is_async = form == static_cast<unsigned>(long_form::async_region);
  (is_async ? out.asyncs : out.regions)
      .push_back({begin, second, payload_at, id, payload_words, is_async ? data.u32(at + 16) : 0});
  return true;
}

/// Appends a chunk's records; false when it is damaged: then those before the damage.
inline bool decode_chunk(const untrusted_bytes& data, const reader_chunk& chunk, uint64_t earliest, uint64_t latest,
                         reader_records& out) {
  uint64_t base = chunk.epoch_base, at = chunk.at + chunk_header_bytes;
  // A chunk that was opened before the recording began can hold records of an earlier one.
  const record_bounds bounds{earliest, base >= earliest ? earliest : 0, latest};
  if (at < chunk.end && (base == 0 || base > latest)) return false;
  while (at < chunk.end) {
    const uint64_t word = data.u64(at);
    at += 8;
    const uint64_t left = (chunk.end - at) / 8;
    const uint64_t end = base + (word >> end_time_shift), duration = word >> duration_shift & (epoch_ticks - 1);
    unsigned words = 0;
    switch (static_cast<record_tag>(word & 3)) {
      case record_tag::region:
        out.regions.push_back({end - duration, end, 0, static_cast<uint16_t>(word >> id_shift), 0, 0});
        break;
      case record_tag::region_payload:
        words = word >> 2 & 15;
        if (words > left) return false;
        out.regions.push_back({end - duration, end, at, static_cast<uint16_t>(word >> payload_region_id_shift & 0xfff),
                               static_cast<uint16_t>(words), 0});
        break;
      case record_tag::point:
        words = word >> duration_shift & 0xff;
        if (words > left || word == 0) return false;
        out.points.push_back({end, end, at, static_cast<uint16_t>(word >> id_shift), static_cast<uint16_t>(words), 0});
        break;
      case record_tag::long_form:
        if ((word >> 2 & 15) == static_cast<unsigned>(long_form::epoch)) {
          base = word & ~(epoch_ticks - 1);
          if (base == 0 || base > latest) return false;
          break;
        }
        words = word >> 6 & 1023;
        if (words > left || !decode_long_form(data, word, at, bounds, out)) return false;
        break;
    }
    at += 8 * uint64_t{words};
  }
  return true;
}

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
