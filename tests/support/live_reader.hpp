// SPDX-License-Identifier: MIT
// Decodes the image file of a process that is gone into the same structures as a dump, as strictly.
#ifndef CONTRAIL_TESTS_LIVE_READER_HPP
#define CONTRAIL_TESTS_LIVE_READER_HPP

#include "support/dump_reader.hpp"

#include <map>

namespace dump_reader {

/// Whose cursor tells an open chunk's end.
inline const image::lane* writer_of(const std::vector<image::thread_slot>& slots, const image::chunk& head) {
  const uint64_t slot = head.writer.value & 0xffff'ffff, lane = head.tid_lane.value >> 32;
  require(slot < slots.size() && lane < image::lane_count, "a chunk is nobody's");
  return slots[slot].state.value >> 8 == head.writer.value >> 32 ? &slots[slot].lanes[lane] : nullptr;
}

/// In `torn` are the chunks of which no end can be told, since they were changing hands.
inline dump read_live(const std::string& bytes) {
  dump result{};
  result.super = take<image::superblock>(bytes, 0);
  const image::superblock& super = result.super;
  require(std::memcmp(bytes.data(), "\x89" "CTRL\r\n\x1a", 8) == 0, "the magic is wrong");
  require(super.version_major == 1 && super.kind == image::image_kind::live, "this is no live image of version 1");
  require(super.storage == image::image_storage::file && super.image_bytes == bytes.size(), "this is not the whole file");
  std::vector<image::thread_slot> slots(super.slot_count);
  for (uint64_t i = 0; i < super.slot_count; ++i) {
    slots[i] = take<image::thread_slot>(bytes, super.slots_offset + i * super.slot_bytes);
    if ((slots[i].state.value & 0xff) != static_cast<uint64_t>(image::slot_state::live)) continue;
    slot found{i, slots[i].state.value >> 8, slots[i].tid_index.value & 0xffff'ffff, padded_name(slots[i].name), 0, {}};
    require(slots[i].tid_index.value >> 32 == i, "a slot does not know its index");
    for (const image::lane& lane : slots[i].lanes) found.dropped += lane.dropped.value;
    for (unsigned k = 0; k < image::frame_count; ++k) {
      const image::frame& at = slots[i].frames[k];
      const uint64_t start = at.start_ticks.value, site = (start << image::duration_shift) - at.word.value;
      if (!image::is_region(start) || site > image::site_word_mask || at.word.value == 0) continue;
      open_region open{k, (site & 3) == 2 ? site >> 6 : site >> 2, start, {}};
      for (const auto& word : at.payload) open.payload.push_back(word.value);
      found.open.push_back(open);
    }
    result.slots.push_back(found);
  }
  for (uint64_t id = 0; id < super.binding_index_count; ++id) {
    const auto entry = take<uint32_t>(bytes, super.binding_index_offset + 4 * id);
    if (entry == 0) continue;
    require(entry <= super.bindings_bytes, "a binding lies outside of the arena");
    read_binding(bytes, super.bindings_offset + entry - 1, result);
    require(result.bindings.count(id == 0 ? image::overflow_id : id) != 0, "a binding has another id");
  }
  for (uint64_t i = 0; i < super.chunk_count; ++i) {
    const uint64_t state = take<uint64_t>(bytes, super.chunk_states_offset + 8 * i);
    const auto phase = static_cast<image::chunk_state>(state & 3);
    if (phase == image::chunk_state::free) continue;
    if (phase == image::chunk_state::taking) {
      ++result.torn;
      continue;
    }
    const uint64_t at = super.chunks_offset + i * super.chunk_bytes;
    const auto head = take<image::chunk>(bytes, at);
    require(head.ticket.value == state >> 2, "a chunk's header has another ticket than its state");
    uint64_t end = head.extent.value & 0xffff'ffff;
    const bool is_sealed = end != 0;
    if (!is_sealed) {
      require(phase == image::chunk_state::open, "a sealed chunk has no end");
      const image::lane* const writer = writer_of(slots, head);
      end = writer == nullptr ? 0 : writer->cursor.value - super.base_address - at;
      if (end < image::chunk_header_bytes || end > image::chunk_bytes) {
        ++result.torn;
        continue;
      }
    }
    require(end >= image::chunk_header_bytes && end <= image::chunk_bytes && end % 8 == 0, "an extent is impossible");
    chunk found{state >> 2, head.writer.value & 0xffff'ffff, head.writer.value >> 32, head.tid_lane.value & 0xffff'ffff,
                head.tid_lane.value >> 32, head.words_before.value, head.records_before.value,
                (end - image::chunk_header_bytes) / 8, padded_name(head.thread_name), {}};
    std::vector<uint64_t> words(found.words);
    for (size_t k = 0; k < words.size(); ++k) words[k] = head.words[k].value;
    read_records(words, head.epoch_base.value, found);
    require(!is_sealed || head.extent.value >> 32 == found.records.size(), "a sealed chunk's count of records is wrong");
    for (const record& r : found.records) require(result.bindings.count(r.id) != 0, "a record's id has no binding");
    result.chunks.push_back(found);
  }
  std::sort(result.chunks.begin(), result.chunks.end(),
            [](const chunk& a, const chunk& b) { return a.ticket < b.ticket; });
  return result;
}

}  // namespace dump_reader

#endif
