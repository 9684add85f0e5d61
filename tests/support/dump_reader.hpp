// SPDX-License-Identifier: MIT
// Decodes a dump for tests, strictly: whatever does not follow docs/format.md throws. Independent of the writer's code;
// it shares only the structures of detail/image.hpp.
#ifndef CONTRAIL_TESTS_DUMP_READER_HPP
#define CONTRAIL_TESTS_DUMP_READER_HPP

#include "contrail/detail/image.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace dump_reader {

namespace image = contrail::detail;

/// A region or a point.
struct record {
  enum kind_type { point, region, async_region, span } kind;
  bool is_long;  ///< written in a long form
  uint64_t id;
  uint64_t start, end;  ///< ticks; equal for points
  uint64_t tid;         ///< of an async region: the thread that began it
  std::vector<uint64_t> payload;
};

struct chunk {
  uint64_t ticket, slot, generation, tid, lane, words_before, records_before, words;
  std::string thread_name;
  std::vector<record> records;
  unsigned epoch_words = 0, anchors = 0;
};

struct open_region {
  unsigned frame;
  uint64_t id, start;
  std::vector<uint64_t> payload;
};

struct slot {
  uint64_t index, generation, tid;
  std::string name;
  uint64_t dropped;
  std::vector<open_region> open;
};

struct binding {
  contrail::detail::binding_kind kind;
  unsigned flags;
  uint64_t type_id;
  std::string name, category, file, function;
  std::vector<std::string> fields;
};

struct CONTRAIL_DETAIL_HIDDEN dump {
  image::superblock super;
  image::end_of_dump end;
  std::vector<slot> slots;
  std::map<uint64_t, binding> bindings;
  std::vector<chunk> chunks;  ///< by ticket
  unsigned torn = 0;

  const std::string& name_of(const record& r) const {
    const auto found = bindings.find(r.id);
    if (found == bindings.end()) throw std::runtime_error("a record's id has no binding");
    return found->second.name;
  }
  /// All records of that name since the start, within the window, in the order in which they ended.
  std::vector<record> records(const std::string& name) const {
    std::vector<record> result;
    for (const chunk& c : chunks) {
      for (const record& r : c.records) {
        if (name_of(r) == name && r.end >= super.cutoff_ticks) result.push_back(r);
      }
    }
    std::stable_sort(result.begin(), result.end(), [](const record& a, const record& b) { return a.end < b.end; });
    return result;
  }
  size_t record_count() const {
    size_t count = 0;
    for (const chunk& c : chunks) count += c.records.size();
    return count;
  }
  /// Names of the regions that were open, outer first, thread by thread.
  std::vector<std::string> open_names() const {
    std::vector<std::string> names;
    for (const slot& s : slots) {
      for (const open_region& o : s.open) {
        if (o.start >= super.start.ticks) names.push_back(bindings.at(o.id).name);  // not of a recording before
      }
    }
    return names;
  }
  uint64_t dropped(image::drop_reason reason) const { return super.dropped[static_cast<unsigned>(reason)].value; }
  uint64_t dropped() const {
    uint64_t sum = 0;
    for (const auto& count : super.dropped) sum += count.value;
    return sum;
  }
};

inline void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

template <class T>
T take(const std::string& bytes, uint64_t at) {
  require(at <= bytes.size() && sizeof(T) <= bytes.size() - at, "the dump is too short");
  T result;
  std::memcpy(static_cast<void*>(&result), bytes.data() + at, sizeof result);
  return result;
}

inline std::string text_at(const std::string& bytes, uint64_t at, uint64_t size) {
  require(at <= bytes.size() && size <= bytes.size() - at, "a string lies outside of the dump");
  return bytes.substr(at, size);
}

inline std::string padded_name(const image::atomic_word* words) {
  char characters[image::thread_name_bytes + 1] = {};
  std::memcpy(characters, words, image::thread_name_bytes);
  return characters;
}

/// Returns the entry's size in bytes.
inline uint64_t read_binding(const std::string& bytes, uint64_t at, dump& to) {
  const auto head = take<image::binding>(bytes, at);
  require(head.bytes >= sizeof head && head.bytes % 8 == 0, "a binding has an impossible size");
  require(head.id != 0 && to.bindings.count(head.id) == 0, "two bindings have one id");
  uint64_t text = at + sizeof head + head.field_count * sizeof(image::binding_field) +
                  head.enumerator_count * sizeof(image::binding_enumerator);
  const auto next_text = [&](uint64_t size) {
    text += size;
    return text_at(bytes, text - size, size);
  };
  binding entry{head.kind, head.flags, head.type_id, {}, {}, {}, {}, {}};
  entry.name = next_text(head.name_bytes);
  entry.category = next_text(head.category_bytes);
  entry.file = next_text(head.file_bytes);
  entry.function = next_text(head.function_bytes);
  for (unsigned i = 0; i < head.field_count; ++i) {
    const auto field = take<image::binding_field>(bytes, at + sizeof head + i * sizeof(image::binding_field));
    require(field.type >= 1 && field.type <= 20 && field.count != 0, "a field has an unknown type or no element");
    entry.fields.push_back(next_text(field.name_bytes));
  }
  require(text <= at + head.bytes, "a binding's strings are longer than the binding");
  to.bindings.emplace(head.id, entry);
  return head.bytes;
}

inline void read_records(const std::vector<uint64_t>& words, uint64_t epoch_base, chunk& to) {
  uint64_t epoch = epoch_base;
  require(epoch % image::epoch_ticks == 0, "an epoch's base is no multiple of its length");
  const uint64_t time_mask = image::epoch_ticks - 1;
  for (size_t at = 0; at < words.size();) {
    const uint64_t word = words[at++];
    const auto payload = [&](size_t count) {
      require(count <= words.size() - at, "a record is longer than its chunk");
      at += count;
      return std::vector<uint64_t>(words.begin() + static_cast<long>(at - count), words.begin() + static_cast<long>(at));
    };
    require(word != 0, "a word is zero where a record should begin");
    const uint64_t end = epoch + (word >> image::end_time_shift);
    const uint64_t start = end - (word >> image::duration_shift & time_mask);
    switch (static_cast<image::record_tag>(word & 3)) {
      case image::record_tag::point:
        require((word >> 26 & 0x7fff) == 0, "a point has bits set that must be 0");
        to.records.push_back({record::point, false, word >> 2 & 0xffff, end, end, 0, payload(word >> 18 & 0xff)});
        break;
      case image::record_tag::region:
        to.records.push_back({record::region, false, word >> 2 & 0xffff, start, end, 0, {}});
        break;
      case image::record_tag::region_payload:
        to.records.push_back({record::region, false, word >> 6 & 0xfff, start, end, 0, payload(word >> 2 & 0xf)});
        break;
      case image::record_tag::long_form: {
        const auto form = static_cast<image::long_form>(word >> 2 & 0xf);
        if (form == image::long_form::epoch) {
          require((word & time_mask) >> 6 == 0 && (word & ~time_mask) >= epoch, "an epoch word is damaged");
          epoch = word & ~time_mask;
          ++to.epoch_words;
          break;
        }
        require(word >> 32 == 0, "a long form has bits set that must be 0");
        const uint64_t id = word >> 16 & 0xffff;
        std::vector<uint64_t> rest = payload(word >> 6 & 0x3ff);
        if (form == image::long_form::anchor) {
          require(rest.size() == 4, "an anchor has not 4 words");
          ++to.anchors;
          break;
        }
        if (form == image::long_form::current_task) {
          require(rest.size() == 2, "a change of the current task has not 2 words");
          break;
        }
        if (form == image::long_form::span) {
          require(rest.size() > image::span_words, "a span is too short");
          require(rest[0] >= rest[1 + image::span_start], "a span ends before it begins");
          to.records.push_back({record::span, true, id, rest[1 + image::span_start], rest[0], rest[1 + image::span_tid],
                                {rest.begin() + 1 + image::span_words, rest.end()}});
          break;
        }
        const bool is_async = form == image::long_form::async_region;
        require(form == image::long_form::region || is_async, "an unknown long form");
        require(rest.size() >= (is_async ? 3U : 2U) && rest[0] <= rest[1], "a long region is damaged");
        to.records.push_back({is_async ? record::async_region : record::region, true, id, rest[0], rest[1],
                              is_async ? rest[2] : 0,
                              std::vector<uint64_t>(rest.begin() + (is_async ? 3 : 2), rest.end())});
        break;
      }
    }
  }
}

inline chunk read_chunk(const std::string& bytes, uint64_t at) {
  const auto head = take<image::chunk>(bytes, at);
  const uint64_t extent = head.extent.value;
  require(extent >= image::chunk_header_bytes && extent <= image::chunk_bytes && extent % 8 == 0,
          "a chunk's extent is impossible");
  chunk result{head.ticket.value,        head.writer.value & 0xffff'ffff, head.writer.value >> 32,
               head.tid_lane.value & 0xffff'ffff, head.tid_lane.value >> 32, head.words_before.value,
               head.records_before.value, (extent - image::chunk_header_bytes) / 8, padded_name(head.thread_name), {}};
  require(result.lane < image::lane_count, "a chunk's lane is impossible");
  std::vector<uint64_t> words(result.words);
  for (size_t i = 0; i < words.size(); ++i) words[i] = head.words[i].value;
  read_records(words, head.epoch_base.value, result);
  for (size_t i = extent - image::chunk_header_bytes; i < image::chunk_words * 8; ++i) {
    require(bytes[at + image::chunk_header_bytes + i] == 0, "a chunk is not zero behind its extent");
  }
  return result;
}

inline slot read_slot(const image::thread_slot& from) {
  slot result{from.tid_index.value >> 32, from.state.value >> 8, from.tid_index.value & 0xffff'ffff,
              padded_name(from.name), 0, {}};
  for (const image::lane& lane : from.lanes) result.dropped += lane.dropped.value;
  for (unsigned i = 0; i < image::frame_count; ++i) {
    const image::frame& at = from.frames[i];
    const uint64_t word = at.word.value;
    if (word == 0) continue;
    require(word != image::frame_busy, "a busy frame is in the dump");
    const uint64_t start = at.start_ticks.value;
    const uint64_t site = ((start << image::duration_shift) - word) & 0x3ffff;
    open_region open{i, (site & 3) == 2 ? site >> 6 : site >> 2, start, {}};
    for (const auto& payload_word : at.payload) open.payload.push_back(payload_word.value);
    result.open.push_back(open);
  }
  return result;
}

inline dump read(const std::string& bytes) {
  dump result{};
  result.super = take<image::superblock>(bytes, 0);
  const image::superblock& super = result.super;
  require(std::memcmp(bytes.data(), "\x89" "CTRL\r\n\x1a", 8) == 0, "the magic is wrong");
  require(super.version_major == 1 && super.kind == image::image_kind::dump, "this is no dump of version 1");
  require(super.tick_hz > 100'000, "the tick rate is impossible");
  for (uint64_t i = 0; i < super.slot_count; ++i) {
    const auto from = take<image::thread_slot>(bytes, super.slots_offset + i * super.slot_bytes);
    if (from.state.value != 0) result.slots.push_back(read_slot(from));
  }
  uint64_t at = super.bindings_offset;
  while (at < super.bindings_offset + super.bindings_bytes) at += read_binding(bytes, at, result);
  require(at == super.bindings_offset + super.bindings_bytes && at == super.chunks_offset, "the bindings' size is wrong");
  at = super.late_bindings_offset;
  const uint64_t chunks_end = super.chunks_offset + super.chunk_count * uint64_t{super.chunk_bytes};
  require(at == chunks_end + super.switches_bytes, "the chunks' size is wrong");
  require(super.switches_bytes == 0 || super.switches_offset == chunks_end, "the switches' place is wrong");
  while (take<image::binding>(bytes, at).kind != image::binding_kind::end_of_dump) at += read_binding(bytes, at, result);
  result.end = take<image::end_of_dump>(bytes, at);
  require(result.end.total_bytes == bytes.size() && at + sizeof(image::end_of_dump) == bytes.size(), "the end is wrong");

  for (uint64_t i = 0; i < super.chunk_count; ++i) {
    const uint64_t chunk_at = super.chunks_offset + i * super.chunk_bytes;
    if (take<image::chunk>(bytes, chunk_at).ticket.value == 0) {
      ++result.torn;
      continue;
    }
    result.chunks.push_back(read_chunk(bytes, chunk_at));
  }
  require(result.torn == result.end.chunks_torn && result.chunks.size() == result.end.chunks_written,
          "the end's counts of chunks are wrong");
  std::sort(result.chunks.begin(), result.chunks.end(),
            [](const chunk& a, const chunk& b) { return a.ticket < b.ticket; });
  for (const chunk& c : result.chunks) {
    for (const record& r : c.records) {
      const auto found = result.bindings.find(r.id);
      require(found != result.bindings.end(), "a record's id has no binding");
      const image::binding_kind kind = found->second.kind;
      const bool is_region = r.kind == record::region || r.kind == record::async_region;
      const bool is_span = kind == image::binding_kind::task || kind == image::binding_kind::async_span;
      require(kind == image::binding_kind::overflow ||
                  ((kind == image::binding_kind::region) == is_region && is_span == (r.kind == record::span)),
              "a record is of another kind than its binding");
    }
  }
  return result;
}

/// A chain of chunks is one lane's writing; each begins where the one before ended, or after a counted gap, and its
/// records are in the order in which they ended. Returns the words that are missing between the chunks.
inline uint64_t check_chains(const dump& of) {
  std::map<std::vector<uint64_t>, const chunk*> last;
  uint64_t missing = 0;
  for (const chunk& c : of.chunks) {
    uint64_t end = 0;
    for (const record& r : c.records) {
      require(r.start <= r.end && r.end >= end, "records of a chunk are out of order");
      end = r.end;
    }
    const chunk*& before = last[{c.slot, c.generation, c.lane}];
    if (before != nullptr) {
      require(before->tid == c.tid, "a lane changed its thread");
      require(c.words_before >= before->words_before + before->words, "a lane's words are there twice");
      const uint64_t gap = c.words_before - before->words_before - before->words;
      const uint64_t records = before->records_before + before->records.size();
      require(c.records_before >= records && (gap != 0 || c.records_before == records),
              "a lane's count of records is wrong");
      missing += gap;
    }
    before = &c;
  }
  return missing;
}

}  // namespace dump_reader

#endif
