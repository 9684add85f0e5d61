// SPDX-License-Identifier: MIT
// A dump, a stream or a live image as its parts: superblock, thread slots, bindings, and which chunks hold what. The
// order of the checks is that of tools/contrail.py, so that both say the same of a damaged input.
#ifndef CONTRAIL_DETAIL_READER_IMAGE_HPP
#define CONTRAIL_DETAIL_READER_IMAGE_HPP

#include "contrail/detail/reader_bindings.hpp"
#include "contrail/detail/reader_clock.hpp"
#include "contrail/detail/reader_records.hpp"
#include "contrail/detail/reader_stream.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

struct reader_slot {
  uint64_t at;  ///< in the input
  uint64_t frames_at, frames, frame_step;
  std::array<uint64_t, lane_count> dropped_before;  ///< of a stream: by lane, when the session began
  uint64_t generation, attach_ticks;
  uint32_t tid, index;
  std::string_view name;
};

class reader_image {
 public:
  explicit reader_image(const untrusted_bytes& data) : data_(data), input_bytes_(data.size()) {
    if (!read_superblock()) return;
    if (is_stream_) read_stream();
    cut_ = std::max(start().ticks, is_dump_ ? in_superblock(offsetof(superblock, cutoff_ticks)) : 0);
    if (!is_stream_) {
      read_slots();
      read_spans();
      read_chunks();
      read_bindings();
    }
    make_clock();
    const uint64_t hour = 3600 * tick_hz_;
    // No record can be much younger than the newest clock reading; a damaged time would stretch the whole trace.
    latest_ = saturating_add(clock_.last().ticks, hour);
  }

  const untrusted_bytes& data() const { return data_; }
  const std::string& reason() const { return reason_; }  ///< empty if it can be read
  uint64_t input_bytes() const { return input_bytes_; }
  bool is_dump() const { return is_dump_; }      ///< or a stream
  bool is_stream() const { return is_stream_; }
  uint64_t lost() const { return lost_; }        ///< of a stream: records that the session counted as lost
  uint64_t tick_hz() const { return tick_hz_; }
  uint64_t cut() const { return cut_; }
  uint64_t torn() const { return torn_; }
  clock_anchor start() const { return data_.anchor(offsetof(superblock, start)); }
  clock_anchor dump() const { return is_dump_ ? data_.anchor(offsetof(superblock, dump)) : clock_anchor{}; }
  uint64_t in_superblock(uint64_t offset) const { return data_.u64(offset); }
  uint32_t half_in_superblock(uint64_t offset) const { return data_.u32(offset); }
  const reader_clock& clock() const { return clock_; }
  const std::vector<reader_slot>& slots() const { return slots_; }
  const std::vector<reader_chunk>& chunks() const { return chunks_; }  ///< by ticket
  const std::vector<reader_record>& open_spans() const { return open_spans_; }
  uint64_t latest() const { return latest_; }
  std::vector<std::string>& warnings() { return warnings_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::vector<std::string>& notes() const { return notes_; }

  /// Null if the dump does not explain it.
  const event_binding* binding_of(uint16_t id) const {
    return id < by_id_.size() && by_id_[id] != 0 ? &bindings_[by_id_[id] - 1] : nullptr;
  }
  const std::deque<event_binding>& bindings() const { return bindings_; }

  /// Appends a chunk's records; false when it is damaged: then those before the damage.
  bool decode(const reader_chunk& chunk, reader_records& out) const {
    return decode_chunk(data_, chunk, start().ticks, latest_, out);
  }

  /// The regions of a slot that were open, the outer first.
  std::vector<reader_record> open_regions(const reader_slot& slot) const {
    std::vector<reader_record> found;
    for (uint64_t i = 0; i < slot.frames; ++i) {
      const uint64_t at = slot.frames_at + i * slot.frame_step;
      const uint64_t word = data_.u64(at + offsetof(frame, word)), start = data_.u64(at + offsetof(frame, start_ticks));
      const uint64_t site = (start << duration_shift) - word;
      if (word == 0 || (site & 3) == 0 || site > site_word_mask) continue;
      if (start < this->start().ticks || start > latest_) continue;
      const bool has_payload = (site & 3) == static_cast<unsigned>(record_tag::region_payload);
      const auto id = static_cast<uint16_t>(site >> (has_payload ? payload_region_id_shift : id_shift));
      found.push_back({start, 0, at + offsetof(frame, payload), id,
                       static_cast<uint16_t>(frame_payload_words | reader_record::open_mark), 0});
    }
    return found;
  }

 private:
  struct entries {
    uint64_t at, count, size;
    uint64_t end() const { return at + count * size; }
  };

  bool read_superblock();
  void read_slots();
  void read_spans();
  void read_span_at(uint64_t at);
  reader_slot slot_at(uint64_t at) const;
  void index_slots();
  void read_chunks();
  reader_chunk chunk_at(uint64_t at) const;
  void read_stream();
  uint64_t open_end(uint64_t at) const;
  void read_bindings();
  bool read_binding_at(uint64_t at, uint64_t limit);

  void warn(std::string what) { warnings_.push_back(std::move(what)); }

  /// `count` entries at `at`, as far as they lie within the input.
  entries fitting(const char* what, uint64_t at, uint64_t count, uint64_t size) {
    uint64_t fit = 0;
    if (at >= sizeof(superblock) && at <= data_.size()) fit = std::min(count, (data_.size() - at) / size);
    if (fit < count) {
      warn("only " + std::to_string(fit) + " of " + std::to_string(count) + " " + what + " are in the file");
    }
    return {at, fit, size};
  }

  void make_clock() {
    std::vector<clock_anchor> anchors{start(), data_.anchor(offsetof(superblock, ready))};
    if (is_dump_) anchors.push_back(dump());
    if (is_stream_) anchors.push_back(session_start_);
    if (end_of_dump_at_ != 0) anchors.push_back(data_.anchor(end_of_dump_at_ + offsetof(end_of_dump, anchor)));
    reader_records found;
    for (const reader_chunk& chunk : chunks_) {
      anchors.push_back(chunk.anchor);
      if (has_anchor(chunk)) decode_chunk(data_, chunk, start().ticks, never, found);
      found.regions.clear();
      found.points.clear();
      found.asyncs.clear();
    }
    anchors.insert(anchors.end(), found.anchors.begin(), found.anchors.end());
    clock_ = reader_clock(std::move(anchors), tick_hz_);
    if (clock_.ignored() != 0) warn(std::to_string(clock_.ignored()) + " clock anchors contradict the others");
    notes_.insert(notes_.end(), clock_.notes().begin(), clock_.notes().end());
  }
  bool has_anchor(const reader_chunk& chunk) const {
    for (uint64_t at = chunk.at + chunk_header_bytes; at < chunk.end; at += 8) {
      if (data_.u64(at) == anchor_word) return true;
    }
    return false;
  }

  untrusted_bytes data_;
  uint64_t input_bytes_;
  std::string assembled_;  ///< of a stream: data_
  std::string reason_;
  bool is_dump_ = false, is_stream_ = false;
  uint64_t lost_ = 0;
  clock_anchor session_start_{};
  uint64_t tick_hz_ = 0, cut_ = 0, latest_ = 0, torn_ = 0;
  std::vector<reader_slot> slots_;
  std::vector<reader_record> open_spans_;
  std::vector<uint32_t> slot_by_index_;  ///< order in slots_ by (index, order)
  std::vector<reader_chunk> chunks_;
  std::deque<event_binding> bindings_;  ///< in the order in which they were met; none moves
  std::vector<uint32_t> by_id_;         ///< 1 more than the place in bindings_, or 0
  uint64_t bindings_read_to_ = sizeof(superblock);
  uint64_t end_of_dump_at_ = 0;
  reader_clock clock_;
  std::vector<std::string> warnings_, notes_;
};

inline bool reader_image::read_superblock() {
  if (data_.size() == 0) {
    reason_ = "it is empty";
  } else if (data_.u64(offsetof(superblock, magic)) != ~complement_of_image_magic) {
    reason_ = "it is not a contrail dump (it does not begin with contrail's magic bytes)";
  } else if (const unsigned major = data_.u16(offsetof(superblock, version_major));
             data_.size() >= 12 && major != format_major) {
    reason_ = "it has format version " + std::to_string(major) + "." +
              std::to_string(data_.u16(offsetof(superblock, version_minor))) + ", and this reader reads " +
              std::to_string(format_major) + ".x; use the one that came with the header which wrote it";
  } else if (data_.size() < sizeof(superblock)) {
    reason_ = "it is truncated: " + std::to_string(data_.size()) + " bytes do not hold the first " +
              std::to_string(sizeof(superblock));
  } else if (const uint32_t kind = data_.u32(offsetof(superblock, kind));
             kind < static_cast<uint32_t>(image_kind::live) || kind > static_cast<uint32_t>(image_kind::stream)) {
    reason_ = "it is damaged, or newer than this reader: its kind is " + std::to_string(kind) +
              ", neither a live image nor a dump nor a stream";
  }
  if (!reason_.empty()) return false;
  is_dump_ = data_.u32(offsetof(superblock, kind)) != static_cast<uint32_t>(image_kind::live);
  is_stream_ = data_.u32(offsetof(superblock, kind)) == static_cast<uint32_t>(image_kind::stream);

  const struct {
    const char* name;
    size_t offset;
    uint64_t value;
  } fixed[] = {{"superblock_bytes", offsetof(superblock, superblock_bytes), sizeof(superblock)},
               {"slot_bytes", offsetof(superblock, slot_bytes), sizeof(thread_slot)},
               {"chunk_bytes", offsetof(superblock, chunk_bytes), chunk_bytes},
               {"lane_count", offsetof(superblock, lane_count), lane_count},
               {"frame_bytes", offsetof(superblock, frame_bytes), sizeof(frame)},
               {"frame_count", offsetof(superblock, frame_count), frame_count}};
  for (const auto& size : fixed) {
    const uint32_t found = data_.u32(size.offset);
    if (found == size.value) continue;
    warn(std::string("the superblock's ") + size.name + " is " + std::to_string(found) + " instead of " +
         std::to_string(size.value));
  }
  tick_hz_ = data_.u64(offsetof(superblock, tick_hz));
  if (tick_hz_ < 100'000 || tick_hz_ > 100'000'000'000) {
    warn("the superblock's tick_hz is " + std::to_string(tick_hz_));
    tick_hz_ = 1'000'000'000;
  }
  return true;
}

/// A slot as dumps and live images have it.
inline reader_slot reader_image::slot_at(uint64_t at) const {
  const uint64_t state = data_.u64(at + offsetof(thread_slot, state));
  const uint64_t name_version = data_.u64(at + offsetof(thread_slot, name_version));
  const uint64_t tid_index = at + offsetof(thread_slot, tid_index);
  reader_slot slot{at, at + offsetof(thread_slot, frames), frame_count, sizeof(frame), {}, state >> 8,
                   data_.u64(at + offsetof(thread_slot, attach_ticks)), data_.u32(tid_index), data_.u32(tid_index + 4),
                   {}};
  if (name_version != 0 && name_version % 2 == 0) {
    slot.name = data_.c_string(at + offsetof(thread_slot, name), thread_name_bytes);
  }
  return slot;
}

inline void reader_image::read_slots() {
  const entries all = fitting("thread slots", data_.u64(offsetof(superblock, slots_offset)),
                              data_.u32(offsetof(superblock, slot_count)), sizeof(thread_slot));
  std::vector<reader_slot> found;
  for (uint64_t at = all.at; at < all.end(); at += all.size) {
    if ((data_.u64(at + offsetof(thread_slot, state)) & 0xff) != 0) found.push_back(slot_at(at));
  }
  // Of several slots with one index, which only damage brings about, the last one holds, in the first one's place.
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < found.size(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return found[a].index < found[b].index; });
  std::vector<bool> is_first(found.size(), false);
  for (size_t i = 0; i < order.size();) {
    size_t next = i + 1;
    while (next < order.size() && found[order[next]].index == found[order[i]].index) ++next;
    is_first[order[i]] = true;
    found[order[i]] = found[order[next - 1]];
    i = next;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (is_first[i]) slots_.push_back(found[i]);
  }
  index_slots();
}

inline void reader_image::index_slots() {
  for (uint32_t i = 0; i < slots_.size(); ++i) slot_by_index_.push_back(i);
  std::sort(slot_by_index_.begin(), slot_by_index_.end(),
            [&](uint32_t a, uint32_t b) { return slots_[a].index < slots_[b].index; });
}

/// The bytes in use of a chunk that a live image's thread still writes; 0: none can be told.
inline uint64_t reader_image::open_end(uint64_t at) const {
  const uint64_t writer = at + offsetof(chunk, writer);
  const uint32_t index = data_.u32(writer), lane_index = data_.u32(at + offsetof(chunk, tid_lane) + 4);
  const auto found = std::partition_point(slot_by_index_.begin(), slot_by_index_.end(),
                                          [&](uint32_t i) { return slots_[i].index < index; });
  if (found == slot_by_index_.end() || slots_[*found].index != index || lane_index >= lane_count) return 0;
  const reader_slot& slot = slots_[*found];
  if (slot.generation != data_.u32(writer + 4)) return 0;
  const uint64_t cursor = data_.u64(slot.at + offsetof(thread_slot, lanes) + lane_index * sizeof(lane));
  const uint64_t base = data_.u64(offsetof(superblock, base_address));
  if (cursor < base || cursor - base < at) return 0;
  const uint64_t end = cursor - base - at;
  return end >= chunk_header_bytes && end <= chunk_bytes ? end : 0;
}

/// A chunk's header, whose words are from there on.
inline reader_chunk reader_image::chunk_at(uint64_t at) const {
  return {at, 0, data_.u64(at + offsetof(chunk, ticket)), data_.u64(at + offsetof(chunk, records_before)),
          data_.u64(at + offsetof(chunk, epoch_base)), data_.u64(at + offsetof(chunk, sealed_ticks)),
          data_.u32(at + offsetof(chunk, writer) + 4), data_.u32(at + offsetof(chunk, writer)),
          data_.u32(at + offsetof(chunk, tid_lane)), data_.u32(at + offsetof(chunk, tid_lane) + 4),
          data_.anchor(at + offsetof(chunk, anchor)), data_.c_string(at + offsetof(chunk, thread_name), thread_name_bytes)};
}

/// In the order of their tickets.
inline void reader_image::read_chunks() {
  const uint64_t count = data_.u32(offsetof(superblock, chunk_count));
  entries all = fitting("chunks", data_.u64(offsetof(superblock, chunks_offset)), count, chunk_bytes);
  entries states{};
  uint64_t told = all.count, skipped = 0, damaged = 0;
  if (!is_dump_) {
    states = fitting("chunk states", data_.u64(offsetof(superblock, chunk_states_offset)), count, 8);
    told = std::min(all.count, states.count);
  } else if (all.count < count && all.end() >= sizeof(superblock) && data_.has(all.end(), chunk_header_bytes)) {
    told = ++all.count;  // of the next chunk the beginning is there
  }
  for (uint64_t i = 0; i < told; ++i) {
    const uint64_t at = all.at + i * chunk_bytes;
    reader_chunk found = chunk_at(at);
    uint64_t end = data_.u32(at + offsetof(chunk, extent));
    if (is_dump_) {
      if (found.ticket == 0) {
        ++torn_;
        continue;
      }
    } else {
      const uint64_t state = data_.u64(states.at + 8 * i);
      if ((state & 3) != static_cast<unsigned>(chunk_state::open) &&
          (state & 3) != static_cast<unsigned>(chunk_state::sealed)) {
        continue;
      }
      if (end == 0) end = open_end(at);
      if (end == 0 || found.ticket != state >> 2) {
        ++skipped;  // the process died while it took, opened or sealed this chunk
        continue;
      }
    }
    if (end >= chunk_header_bytes && end <= chunk_bytes && end % 8 == 0 && found.lane < lane_count &&
        found.epoch_base % epoch_ticks == 0) {
      found.end = at + std::min(end, (data_.size() - at) & ~uint64_t{7});
      chunks_.push_back(found);
    } else {
      ++damaged;
    }
  }
  std::stable_sort(chunks_.begin(), chunks_.end(), [](const auto& a, const auto& b) { return a.ticket < b.ticket; });
  const std::string of = " of " + std::to_string(all.count) + " chunks ";
  if (skipped != 0) notes_.push_back(std::to_string(skipped) + of + "were changing hands when the process ended");
  if (damaged != 0) warn(std::to_string(damaged) + of + "are damaged");
}

/// Those that were open, without an end.
inline void reader_image::read_spans() {
  const uint64_t count = data_.u32(offsetof(superblock, span_count));
  if (count == 0) return;
  const entries all = fitting("spans", data_.u64(offsetof(superblock, spans_offset)), count, sizeof(span_entry));
  for (uint64_t at = all.at; at < all.end(); at += sizeof(span_entry)) read_span_at(at);
}

inline void reader_image::read_span_at(uint64_t at) {
  const uint64_t state = data_.u64(at + offsetof(span_entry, state)), bound = data_.u64(at + offsetof(span_entry, binding));
  const uint64_t words = bound >> 32;
  if ((state & 3) < static_cast<uint64_t>(span_state::open) || words > frame_payload_words) return;
  open_spans_.push_back({data_.u64(at + offsetof(span_entry, words)), never, at + offsetof(span_entry, payload),
                         static_cast<uint16_t>(bound), static_cast<uint16_t>(words | reader_record::open_mark), 0});
}

/// Keeps the binding at `at`, unless it is of a newer minor version. False if it is damaged, or within another one.
inline bool reader_image::read_binding_at(uint64_t at, uint64_t limit) {
  if (at < bindings_read_to_ || at > limit || limit - at < sizeof(binding)) return false;
  const uint64_t size = data_.u32(at + offsetof(binding, bytes));
  if (size < sizeof(binding) || size > limit - at || size % 8 != 0) return false;
  const uint16_t id = data_.u16(at + offsetof(binding, id));
  const uint8_t kind = data_.u8(at + offsetof(binding, kind));
  if (kind == static_cast<uint8_t>(binding_kind::end_of_dump)) {
    if (!is_stream_ && !data_.has(at, sizeof(end_of_dump))) return false;
    if (!is_stream_) end_of_dump_at_ = at;
  } else if (kind != 0 && kind <= static_cast<uint8_t>(binding_kind::frame_mark) && binding_of(id) == nullptr) {
    event_binding found;
    if (!read_binding(data_.part(at, size), found)) return false;
    bindings_.push_back(std::move(found));
    if (by_id_.size() <= id) by_id_.resize(size_t{id} + 1);
    by_id_[id] = static_cast<uint32_t>(bindings_.size());
  }
  bindings_read_to_ = at + size;
  return true;
}

inline void reader_image::read_bindings() {
  const uint64_t offset = data_.u64(offsetof(superblock, bindings_offset));
  const uint64_t early_end =
      std::min(saturating_add(offset, data_.u64(offsetof(superblock, bindings_bytes))), data_.size());
  uint64_t damaged = 0;
  if (is_dump_) {
    const std::pair<uint64_t, uint64_t> runs[] = {
        {offset, early_end}, {data_.u64(offsetof(superblock, late_bindings_offset)), data_.size()}};
    for (auto [at, limit] : runs) {
      for (; at < limit && end_of_dump_at_ == 0; at = bindings_read_to_) {
        if (read_binding_at(at, limit)) continue;
        ++damaged;
        break;
      }
    }
  } else {
    const entries index = fitting("binding index entries", data_.u64(offsetof(superblock, binding_index_offset)),
                                  data_.u64(offsetof(superblock, binding_index_count)), 4);
    std::vector<uint32_t> places;
    for (uint64_t at = index.at; at < index.end(); at += 4) places.push_back(data_.u32(at));
    std::vector<uint32_t> order = places;
    std::sort(order.begin(), order.end());
    order.erase(std::unique(order.begin(), order.end()), order.end());
    for (const uint32_t place : order) {
      const uint64_t at = saturating_add(offset, uint64_t{place} - 1);
      if (place != 0 && at < early_end && end_of_dump_at_ == 0 && !read_binding_at(at, early_end)) ++damaged;
    }
    for (size_t id = 0; id < places.size(); ++id) {
      const size_t stands_for = id != 0 ? id : overflow_id;
      const bool is_known = stands_for <= 0xffff && binding_of(static_cast<uint16_t>(stands_for)) != nullptr;
      damaged += places[id] != 0 && !is_known;
    }
  }
  if (damaged != 0) warn("some bindings are damaged, so that some names are lost");
  if (is_dump_ && end_of_dump_at_ == 0) {
    warn("the dump is truncated: its end is missing");
  } else if (is_dump_) {
    const uint64_t total = data_.u64(end_of_dump_at_ + offsetof(end_of_dump, total_bytes));
    if (total == data_.size()) return;
    warn("the dump should have " + std::to_string(total) + " bytes and has " + std::to_string(data_.size()));
  }
}

/// All of a stream. What its last state says stands in the superblock afterwards, as in that of a dump.
inline void reader_image::read_stream() {
  stream_parts parts(data_);
  session_start_ = dump();
  assembled_ = parts.assemble();
  data_ = untrusted_bytes(assembled_.data(), assembled_.size());
  uint64_t damaged_bindings = 0;
  for (const stream_parts::place& where : parts.bindings) damaged_bindings += !read_binding_at(where.at, where.end);

  for (const auto& [index, from] : parts.slots) {
    reader_slot slot = slot_at(from.where.at);
    slot.frame_step = sizeof(uint64_t) + sizeof(frame);  // each stands behind its index
    slot.frames = from.is_left ? 0 : (from.where.end - slot.frames_at) / slot.frame_step;
    slot.frames_at += sizeof(uint64_t);
    slot.dropped_before = from.dropped_before;
    slots_.push_back(slot);
  }
  index_slots();
  for (const auto& [index, where] : parts.spans) read_span_at(where.at);

  for (const stream_parts::place& where : parts.chunks) {
    reader_chunk found = chunk_at(where.at);
    found.end = where.end;
    if (found.lane >= lane_count || found.epoch_base % epoch_ticks != 0) {
      ++parts.damaged;
      continue;
    }
    const auto name = parts.names.find({found.writer_index, static_cast<uint32_t>(found.writer_generation)});
    if (name != parts.names.end()) found.thread_name = name->second;
    chunks_.push_back(found);
  }

  const auto put = [&](uint64_t to, uint64_t value) {
    for (unsigned i = 0; i < 8; ++i) assembled_[to + i] = static_cast<char>(value >> 8 * i);
  };
  const uint64_t state = parts.state_at;
  if (state != 0) {
    for (unsigned i = 0; i < 8; ++i) {
      const uint64_t at = offsetof(superblock, dropped) + 8 * i;
      put(at, data_.u64(state + offsetof(stream_state, dropped) + 8 * i) - data_.u64(at));
    }
    for (unsigned i = 0; i < 4; ++i) put(offsetof(superblock, dump) + 8 * i, data_.u64(state + 8 * i));
    put(offsetof(superblock, attached), data_.u64(state + offsetof(stream_state, attached)));
    lost_ = data_.u64(state + offsetof(stream_state, lost_records));
  }
  if (damaged_bindings != 0) warn("some bindings are damaged, so that some names are lost");
  if (parts.damaged != 0) warn(std::to_string(parts.damaged) + " pieces of chunks are damaged");
  const uint32_t cause = state == 0 ? 0 : data_.u32(state + offsetof(stream_state, cause));
  if (!parts.has_end || state == 0) {
    warn("the stream has no end: its process was killed or still writes it, or it was cut; all up to the last whole block "
         "is here");
  } else if (cause == static_cast<uint32_t>(stream_cause::failed)) {
    const auto number = static_cast<int32_t>(data_.u32(state + offsetof(stream_state, error_number)));
    warn("a write of the session failed (system error " + std::to_string(number) + "), which ended the stream");
  } else if (cause == static_cast<uint32_t>(stream_cause::recorder)) {
    notes_.push_back("the flight recorder was stopped before the session");
  }
}

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
