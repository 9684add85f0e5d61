// SPDX-License-Identifier: MIT
// Records as a trigger needs them: when they began and ended, and their first number.
#ifndef CONTRAIL_DETAIL_WATCH_RECORDS_HPP
#define CONTRAIL_DETAIL_WATCH_RECORDS_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED

#include <stdio.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// A record in a copy of a piece of its chunk.
struct seen_record {
  uint64_t id, start, end;  ///< of a point start and end are equal
  bool is_region;
  bool is_async;  ///< a region that another thread ended than began it
  const atomic_word* payload;
  unsigned words;
};

/// Visits the records of a piece of a chunk, from `words` to `end`. `epoch_base` is the time base of the first one, and
/// then of what follows the last.
template <class Visit>
inline void read_records(const atomic_word* words, const atomic_word* end, uint64_t& epoch_base, Visit&& visit) {
  const atomic_word* at = words;
  while (at < end) {
    const uint64_t word = at->value;
    const uint64_t duration = word >> duration_shift & (epoch_ticks - 1);
    seen_record record{word >> id_shift & 0xffff, 0, epoch_base + (word >> end_time_shift), true, false, at + 1, 0};
    bool is_record = true;
    switch (static_cast<record_tag>(word & 3)) {
      case record_tag::point:
        record.words = static_cast<unsigned>(word >> duration_shift & 0xff);
        record.start = record.end;
        record.is_region = false;
        break;
      case record_tag::region: record.start = record.end - duration; break;
      case record_tag::region_payload:
        record.id = word >> payload_region_id_shift & max_payload_region_id;
        record.words = static_cast<unsigned>(word >> id_shift & 0xf);
        record.start = record.end - duration;
        break;
      case record_tag::long_form: {
        record.id = word >> 16 & 0xffff;
        record.words = static_cast<unsigned>(word >> 6 & 0x3ff);
        const long_form form = long_form_of(word);
        if (form == long_form::epoch) {
          record.words = 0;
          epoch_base = word & ~(epoch_ticks - 1);
        }
        const unsigned skip = form == long_form::point ? 1 : form == long_form::region ? 2 : 3;
        is_record = (form == long_form::region || form == long_form::async_region || form == long_form::point) &&
                    record.words >= skip && at + record.words < end;
        if (!is_record) break;
        record.is_region = form != long_form::point;
        record.is_async = form == long_form::async_region;
        record.start = at[1].value;
        record.end = record.is_region ? at[2].value : record.start;
        record.payload += skip;
        at += skip;
        record.words -= skip;
        break;
      }
    }
    at += 1 + record.words;
    if (is_record && at <= end) visit(record);
  }
}

inline text name_of(const binding& entry) {
  const char* const strings = reinterpret_cast<const char*>(&entry + 1) + entry.field_count * sizeof(binding_field) +
                              entry.enumerator_count * sizeof(binding_enumerator);
  return {strings, entry.name_bytes};
}

/// The first field of a payload as a number; false when it is none.
inline bool number_of(const binding& entry, const seen_record& record, double& value) {
  if (entry.field_count == 0 || record.words == 0) return false;
  const binding_field& field = *reinterpret_cast<const binding_field*>(&entry + 1);
  const auto as = [&](auto number) {
    if (field.offset + sizeof number > record.words * 8) return false;
    memcpy(&number, reinterpret_cast<const char*>(record.payload) + field.offset, sizeof number);
    value = static_cast<double>(number);
    return true;
  };
  switch (static_cast<field_type>(field.type)) {
    case field_type::boolean: return as(uint8_t{});
    case field_type::character: return as(char{});
    case field_type::int8: return as(int8_t{});
    case field_type::uint8: return as(uint8_t{});
    case field_type::int16: return as(int16_t{});
    case field_type::uint16: return as(uint16_t{});
    case field_type::int32: return as(int32_t{});
    case field_type::uint32: return as(uint32_t{});
    case field_type::int64: return as(int64_t{});
    case field_type::uint64: return as(uint64_t{});
    case field_type::float32: return as(float{});
    case field_type::float64: return as(double{});
    default: return false;
  }
}

/// "12.5 ms" into `to`.
inline const char* brief_time(char (&to)[32], uint64_t ns) {
  const double value = static_cast<double>(ns);
  if (ns >= 1'000'000'000) snprintf(to, sizeof to, "%.4g s", value / 1e9);
  else if (ns >= 1'000'000) snprintf(to, sizeof to, "%.4g ms", value / 1e6);
  else snprintf(to, sizeof to, "%.4g us", value / 1e3);
  return to;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
