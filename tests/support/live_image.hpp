// SPDX-License-Identifier: MIT
// Reads the image of a process that may have died at any instruction, and compares it with what that process said that
// it was about to record. Cheap enough to run after every instruction: what did not change is not decoded again.
#ifndef CONTRAIL_TESTS_LIVE_IMAGE_HPP
#define CONTRAIL_TESTS_LIVE_IMAGE_HPP

#include "support/dump_reader.hpp"

#include <iterator>

namespace live_image {

namespace image = contrail::detail;
using dump_reader::require;

/// What the traced code records. The order is that of `kind_names`.
enum class kind : uint32_t { plain, filler, fixed, text, variable, high_id, instant, counter, event, log, count };
inline constexpr const char* kind_names[] = {"plain",   "filler",  "fixed",   "text",        "variable",
                                             "high id", "instant", "counter", "step_test::typed_event", "log {} {}"};
static_assert(std::size(kind_names) == static_cast<size_t>(kind::count));

/// Goes with every number, so that an altered one shows.
inline constexpr uint64_t check_of(uint64_t number) { return (number + 1) * 0x9e37'79b9'7f4a'7c15ULL; }

struct announcement {
  kind what;
  uint32_t unused;
  uint64_t number;
};

/// What one thread says before and after everything that it does: in memory that outlives it.
struct ledger {
  static constexpr size_t most = 1 << 17, deepest = 16;
  volatile uint64_t tid;
  volatile uint64_t announced;  ///< records whose writing began; their entries are valid
  volatile uint64_t completed;  ///< records that were written
  volatile uint64_t begun;      ///< regions whose begin began
  volatile uint64_t open;       ///< regions that are open for certain; not more than begun
  announcement stack[deepest];
  announcement records[most];

  void begin(kind what, uint64_t number) {
    stack[begun] = {what, 0, number};
    begun = begun + 1;
  }
  void announce(kind what, uint64_t number) {
    records[announced] = {what, 0, number};
    announced = announced + 1;
  }
};

inline bool holds(const std::vector<uint64_t>& payload, uint64_t number) {
  const char* const bytes = reinterpret_cast<const char*>(payload.data());
  for (size_t i = 0; i + sizeof number <= payload.size() * 8; ++i) {
    if (std::memcmp(bytes + i, &number, sizeof number) == 0) return true;
  }
  return false;
}

class CONTRAIL_DETAIL_HIDDEN reader {
 public:
  /// `memory` is the image as it is mapped here.
  explicit reader(const char* memory) : memory_(memory), super_(*reinterpret_cast<const image::superblock*>(memory)) {
    require(super_.magic == ~image::complement_of_image_magic, "the image is not there yet");
    chunks_.resize(super_.chunk_count);
  }

  /// What a reader of the dead process would find must be what the ledgers say. Throws what is wrong. `whole`: also
  /// what was compared before and should not have changed.
  void check(const std::vector<const ledger*>& ledgers, bool whole) {
    bool changed = whole;
    for (uint64_t i = 0; i < super_.chunk_count; ++i) changed |= look_at_chunk(i, whole);
    totals_.resize(ledgers.size());
    for (size_t i = 0; i < ledgers.size(); ++i) {
      if (changed || totals_[i].tid != ledgers[i]->tid) totals_[i] = check_records(*ledgers[i]);
      require(totals_[i].records <= ledgers[i]->announced, "there are records that nobody wrote");
      require(totals_[i].records >= ledgers[i]->completed, "a record that was written is gone");
      check_open_regions(*ledgers[i]);
    }
    for (const auto& count : super_.dropped) require(count.value == 0, "something was dropped");
  }

  /// What came by, so that a test knows what it tested.
  struct sightings {
    uint64_t long_records = 0, epoch_words = 0, anchors = 0, chunks_sealed = 0, chunks_recycled = 0;
  };
  const sightings& seen() const { return seen_; }

 private:
  struct known_chunk {
    uint64_t ticket = 0;  ///< 0: there is nothing to read
    uint64_t words = 0, tid = 0, lane = 0, slot = 0, generation = 0, records_before = 0, words_before = 0;
    bool sealed = false, compared = false;
    dump_reader::chunk content{};
  };
  struct total {
    uint64_t tid = 0, records = 0;
  };

  template <class T>
  const T& at(uint64_t offset) const {
    return *reinterpret_cast<const T*>(memory_ + offset);
  }
  const image::thread_slot& slot_at(uint64_t index) const {
    return at<image::thread_slot>(super_.slots_offset + index * sizeof(image::thread_slot));
  }

  /// Whether the chunk is another one than at the last look, or holds more.
  bool look_at_chunk(uint64_t index, bool anew) {
    known_chunk& known = chunks_[index];
    const uint64_t state = at<uint64_t>(super_.chunk_states_offset + 8 * index);
    const auto phase = static_cast<image::chunk_state>(state & 3);
    if (phase != image::chunk_state::open && phase != image::chunk_state::sealed) {
      const bool was_there = known.ticket != 0;
      seen_.chunks_recycled += was_there;
      known.ticket = 0;
      return was_there;
    }
    const uint64_t offset = super_.chunks_offset + index * image::chunk_bytes;
    const image::chunk& found = at<image::chunk>(offset);
    require(found.ticket.value == state >> 2, "a chunk's header has another ticket than its state");
    const uint64_t slot = found.writer.value & 0xffff'ffff, lane = found.tid_lane.value >> 32;
    require(slot < super_.slot_count && lane < image::lane_count, "a chunk is nobody's");
    uint64_t end = found.extent.value & 0xffff'ffff;
    const bool sealed = end != 0;
    if (!sealed) {
      require(phase == image::chunk_state::open, "a sealed chunk has no extent");
      const image::thread_slot& writer = slot_at(slot);
      const uint64_t cursor = writer.lanes[lane].cursor.value;
      const uint64_t begin = super_.base_address + offset;
      const bool is_written_here = writer.state.value >> 8 == found.writer.value >> 32 &&
                                   cursor >= begin + image::chunk_header_bytes && cursor <= begin + image::chunk_bytes;
      end = is_written_here ? cursor - begin : image::chunk_header_bytes;
    }
    require(end >= image::chunk_header_bytes && end <= image::chunk_bytes && end % 8 == 0, "an extent is impossible");
    const uint64_t words = (end - image::chunk_header_bytes) / 8;
    const bool same = known.ticket == state >> 2;
    if (same && known.words == words && known.sealed == sealed && !anew) return false;
    require(!same || words >= known.words, "released records are gone");

    const dump_reader::chunk before = std::move(known.content);
    known = {state >> 2, words, found.tid_lane.value & 0xffff'ffff, lane, slot, found.writer.value >> 32,
             found.records_before.value, found.words_before.value, sealed, false, {}};
    std::vector<uint64_t> copy(words);
    std::memcpy(copy.data(), memory_ + offset + image::chunk_header_bytes, words * 8);
    dump_reader::read_records(copy, found.epoch_base.value, known.content);
    seen_.epoch_words += known.content.epoch_words - (same ? before.epoch_words : 0);
    seen_.anchors += known.content.anchors - (same ? before.anchors : 0);
    for (size_t i = same ? before.records.size() : 0; i < known.content.records.size(); ++i) {
      seen_.long_records += known.content.records[i].is_long;
    }
    if (sealed) {
      require(found.extent.value >> 32 == known.content.records.size(), "a sealed chunk's count of records is wrong");
      if (!anew) ++seen_.chunks_sealed;
    }
    return true;
  }

  /// All of a thread's records, oldest first, are those that it announced, but for the oldest that were overwritten.
  total check_records(const ledger& said) {
    std::vector<known_chunk*> own;
    for (known_chunk& known : chunks_) {
      if (known.ticket != 0 && known.tid == said.tid) own.push_back(&known);
    }
    std::sort(own.begin(), own.end(), [](const auto* a, const auto* b) { return a->ticket < b->ticket; });
    uint64_t records = own.empty() ? 0 : own.front()->records_before;
    uint64_t words = own.empty() ? 0 : own.front()->words_before;
    for (known_chunk* known : own) {
      require(known->lane == 0, "a record is in another lane");
      require(known->records_before == records && known->words_before == words, "a chunk's counts are wrong");
      if (!known->compared) compare(known->content, said, records);
      known->compared = true;
      records += known->content.records.size();
      words += known->words;
    }
    return {said.tid, records};
  }

  void compare(const dump_reader::chunk& content, const ledger& said, uint64_t first) {
    uint64_t before = 0;
    for (size_t i = 0; i < content.records.size(); ++i) {
      require(first + i < said.announced, "there are records that nobody wrote");
      const dump_reader::record& found = content.records[i];
      require(found.start <= found.end && found.end >= before, "records are out of order");
      before = found.end;
      const announcement& wanted = said.records[first + i];
      require(is_named(found.id, wanted.what), "a record has another name");
      if (!has_payload(wanted.what)) {
        require(found.payload.empty(), "a record has a payload that it should not have");
        continue;
      }
      require(holds(found.payload, wanted.number), "a record's number is wrong");
      if (wanted.what != kind::counter) require(holds(found.payload, check_of(wanted.number)), "a record was altered");
    }
  }

  static bool has_payload(kind what) { return what != kind::plain && what != kind::filler; }

  void check_open_regions(const ledger& said) {
    uint64_t found = 0;
    for (uint64_t i = 0; i < super_.slot_count; ++i) {
      const image::thread_slot& slot = slot_at(i);
      if ((slot.state.value & 0xff) != static_cast<uint64_t>(image::slot_state::live)) continue;
      if ((slot.tid_index.value & 0xffff'ffff) != said.tid) continue;
      require(slot.tid_index.value >> 32 == i, "a slot does not know its index");
      for (const image::frame& frame : slot.frames) {
        const uint64_t start = frame.start_ticks.value;
        if (!image::is_region(start)) continue;
        require(found < said.begun, "a region is open that was not begun");
        const announcement& wanted = said.stack[found++];
        const uint64_t site = ((start << image::duration_shift) - frame.word.value) & image::site_word_mask;
        require(is_named((site & 3) == 2 ? site >> image::payload_region_id_shift : site >> image::id_shift, wanted.what),
                "an open region has another name");
        if (!has_payload(wanted.what)) continue;
        std::vector<uint64_t> payload(image::frame_payload_words);
        std::memcpy(payload.data(), frame.payload, sizeof frame.payload);
        require(holds(payload, wanted.number) && holds(payload, check_of(wanted.number)), "an open region was altered");
      }
    }
    require(found >= said.open, "an open region is missing");
  }

  bool is_named(uint64_t id, kind wanted) {
    require(id != 0 && id < super_.binding_index_count, "a record's id is impossible");
    if (names_.size() <= id) names_.resize(id + 1);
    std::string& name = names_[id];
    if (name.empty()) {
      const uint32_t place = at<uint32_t>(super_.binding_index_offset + 4 * id);
      require(place != 0, "a record's id has no binding");
      const uint64_t offset = super_.bindings_offset + place - 1;
      const auto& head = at<image::binding>(offset);
      require(head.id == id, "a binding has another id");
      name.assign(memory_ + offset + sizeof head + head.field_count * sizeof(image::binding_field) +
                      head.enumerator_count * sizeof(image::binding_enumerator),
                  head.name_bytes);
    }
    return name == kind_names[static_cast<size_t>(wanted)];
  }

  const char* memory_;
  const image::superblock& super_;
  std::vector<known_chunk> chunks_;
  std::vector<total> totals_;
  std::vector<std::string> names_;
  sightings seen_;
};

}  // namespace live_image

#endif
