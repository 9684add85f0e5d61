// SPDX-License-Identifier: MIT
// A session's stream as its parts, up to the last whole block: bindings, thread slots, open spans, and chunks put
// together from their pieces.
#ifndef CONTRAIL_DETAIL_READER_STREAM_HPP
#define CONTRAIL_DETAIL_READER_STREAM_HPP

#include "contrail/detail/reader_bytes.hpp"
#include "contrail/detail/stream.hpp"

#include <array>
#include <map>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

class stream_parts {
 public:
  struct place {
    uint64_t at, end;
  };
  /// What one slot held last, and one that nobody has any more.
  struct slot {
    place where;
    std::array<uint64_t, lane_count> dropped_before;  ///< by lane, when the session began
    bool is_left;
  };
  using writer = std::pair<uint32_t, uint32_t>;  ///< a slot's index and generation

  explicit stream_parts(const untrusted_bytes& data) : data_(data) {
    uint64_t at = sizeof(superblock);
    while (!has_end && data.has(at, sizeof(stream_block))) {
      const uint32_t kind = data.u32(at + offsetof(stream_block, type));
      const uint32_t begin = data.u32(at + offsetof(stream_block, begin));
      const uint64_t size = data.u64(at + offsetof(stream_block, bytes));
      at += sizeof(stream_block);
      if (size % 8 != 0 || !data.has(at, size)) break;
      take(static_cast<block_type>(kind), {at, at + size}, begin);
      at += size;
    }
  }

  /// The input, and behind it the chunks that are spread over several blocks. `chunks` says afterwards where each is.
  std::string assemble() {
    std::string all(data_.view(0, data_.size()));
    for (auto& [ticket, pieces] : pieces_) {
      place made = pieces.back();
      if (pieces.size() > 1) {
        made.at = all.size();
        all += data_.view(pieces.back().at, chunk_header_bytes);
        for (const place& piece : pieces) {
          const uint64_t words = piece.at + chunk_header_bytes;
          all += data_.view(words, piece.end - words);
        }
        made.end = all.size();
      }
      chunks.push_back(made);
    }
    return all;
  }

  std::vector<place> bindings;
  std::map<uint32_t, slot> slots;  ///< by index
  std::map<writer, std::string_view> names;
  std::map<uint32_t, place> spans;  ///< that are open, by index
  std::vector<place> chunks;  ///< by ticket
  uint64_t state_at = 0;      ///< of the last one; 0: there is none
  bool has_end = false;
  uint64_t damaged = 0;

 private:
  void take(block_type kind, place where, uint32_t begin) {
    const uint64_t size = where.end - where.at;
    if (kind == block_type::binding) {
      bindings.push_back(where);
    } else if (kind == block_type::slot && size >= offsetof(thread_slot, frames)) {
      take_slot(where);
    } else if (kind == block_type::chunk) {
      damaged += !take_piece(where, begin);
    } else if (kind == block_type::span && size >= sizeof(span_entry)) {
      spans[begin] = where;
    } else if (kind == block_type::span) {
      spans.erase(begin);
    } else if (kind == block_type::state || kind == block_type::end) {
      if (size >= sizeof(stream_state)) state_at = where.at;
      has_end = kind == block_type::end;
    }
  }

  void take_slot(place where) {
    const uint64_t state = data_.u64(where.at + offsetof(thread_slot, state));
    const uint32_t index = data_.u32(where.at + offsetof(thread_slot, tid_index) + 4);
    const uint64_t name_version = data_.u64(where.at + offsetof(thread_slot, name_version));
    const auto name = data_.c_string(where.at + offsetof(thread_slot, name), thread_name_bytes);
    if (name_version != 0 && name_version % 2 == 0 && !name.empty() && state >> 40 == 0) {
      names[{index, static_cast<uint32_t>(state >> 8)}] = name;
    }
    if (state_at == 0) {
      for (unsigned i = 0; i < lane_count; ++i) before_[{index, state >> 8}][i] = dropped_at(where, i);
    }
    const auto before = before_.find({index, state >> 8});
    const auto found = slots.find(index);
    if ((state & 0xff) != 0) {
      slots[index] = {where, before == before_.end() ? std::array<uint64_t, lane_count>{} : before->second, false};
    } else if (found != slots.end()) {
      found->second.is_left = true;
    }
  }
  uint64_t dropped_at(place where, unsigned lane_index) const {
    return data_.u64(where.at + offsetof(thread_slot, lanes) + lane_index * sizeof(lane) + offsetof(lane, dropped));
  }

  /// False for one that does not begin where the one before ended.
  bool take_piece(place where, uint32_t begin) {
    if (where.end - where.at < chunk_header_bytes) return false;
    const uint64_t ticket = data_.u64(where.at + offsetof(chunk, ticket));
    const uint32_t extent = data_.u32(where.at + offsetof(chunk, extent));
    const auto found = pieces_.find(ticket);
    const uint64_t filled =
        found == pieces_.end() ? uint64_t{chunk_header_bytes} : data_.u32(found->second.back().at + offsetof(chunk, extent));
    const uint64_t words_end = begin + (where.end - where.at - chunk_header_bytes);
    if (ticket == 0 || begin != filled || words_end != extent || extent > chunk_bytes) return false;
    pieces_[ticket].push_back(where);
    return true;
  }

  untrusted_bytes data_;
  std::map<uint64_t, std::vector<place>> pieces_;
  std::map<std::pair<uint32_t, uint64_t>, std::array<uint64_t, lane_count>> before_;
};

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
