// SPDX-License-Identifier: MIT
// What each thread did: the records of all slots that it used, in order, and the regions that it left open.
#ifndef CONTRAIL_DETAIL_READER_THREADS_HPP
#define CONTRAIL_DETAIL_READER_THREADS_HPP

#include "contrail/detail/reader_image.hpp"

#include <map>
#include <utility>

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// A thread of the dump. Two threads that had the same id one after the other are two of these.
struct CONTRAIL_DETAIL_HIDDEN event_thread {
  uint32_t tid = 0;              ///< the system's
  bool is_again = false;         ///< an earlier thread had this id
  std::string_view name;         ///< empty if it has none
  uint64_t overwritten = 0;      ///< records that newer ones replaced
  uint64_t missing = 0;          ///< records that should stand between others
  uint64_t dropped = 0;          ///< records that found no room
  uint64_t open = 0;             ///< regions that had not ended
  uint64_t region_count() const { return found.regions.size(); }  ///< the open ones too
  uint64_t point_count() const { return found.points.size(); }
  uint64_t async_count() const { return found.asyncs.size(); }
  uint64_t span_count() const { return found.spans.size(); }  ///< tasks and asynchronous spans that ended here
  detail::reading::reader_records found;  ///< not for users
};

namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

/// One thread's use of one slot; a thread has several when several shared objects record.
struct reader_life {
  uint32_t tid;
  const reader_slot* slot;  ///< null if only chunks tell of it
  std::string_view name;
  uint64_t begin = never, end = 0;
  std::vector<std::pair<uint32_t, std::vector<const reader_chunk*>>> lanes;

  reader_life(uint32_t of, const reader_slot* in) : tid(of), slot(in) {
    if (slot == nullptr) return;
    begin = slot->attach_ticks != 0 ? slot->attach_ticks : never;
    end = never;
    name = slot->name;
  }
  /// Chunks come in the order of their tickets, so the newest name wins.
  void add(const reader_chunk& chunk) {
    auto lane = std::find_if(lanes.begin(), lanes.end(), [&](const auto& one) { return one.first == chunk.lane; });
    if (lane == lanes.end()) lane = lanes.insert(lanes.end(), {chunk.lane, {}});
    lane->second.push_back(&chunk);
    begin = std::min(begin, chunk.anchor.ticks);
    end = std::max(end, chunk.sealed_ticks != 0 ? chunk.sealed_ticks : never);
    if ((slot == nullptr || slot->name.empty()) && !chunk.thread_name.empty()) name = chunk.thread_name;
  }
};

/// Everything in an image, decoded.
class reader_trace {
 public:
  explicit reader_trace(reader_image& image) : image_(image) {
    make_threads();
    uint64_t damaged = 0;
    for (size_t i = 0; i < threads_.size(); ++i) damaged += decode(threads_[i], lives_of_[i]);
    if (damaged != 0) {
      image_.warnings().push_back(std::to_string(damaged) +
                                  " chunks are damaged; the records before the damage were read");
    }
    newest_ = image_.start().ticks;
    for (const event_thread& t : threads_) {
      for (const auto* records : {&t.found.regions, &t.found.points, &t.found.asyncs, &t.found.spans}) {
        if (!records->empty()) newest_ = std::max(newest_, records->back().end);
      }
    }
    now_ = image_.dump().ticks != 0 ? image_.dump().ticks : newest_;
    add_open_regions();
    add_open_spans();
    find_first();
  }

  std::vector<event_thread>& threads() { return threads_; }
  std::vector<reader_record>& open_spans() { return open_spans_; }
  uint64_t first() const { return first_; }    ///< ticks of the first event
  uint64_t newest() const { return newest_; }  ///< when the last record ended
  uint64_t now() const { return now_; }        ///< when the dump was made

 private:
  /// (thread, start, id) of a region.
  using region_key = std::pair<std::pair<uint32_t, uint64_t>, uint16_t>;

  void make_threads() {
    std::map<std::pair<uint32_t, uint64_t>, size_t> known;  // by slot and generation
    for (const reader_slot& slot : image_.slots()) {
      known[{slot.index, slot.generation}] = lives_.size();
      lives_.emplace_back(slot.tid, &slot);
    }
    for (const reader_chunk& chunk : image_.chunks()) {
      const auto [at, is_new] = known.try_emplace({chunk.writer_index, chunk.writer_generation}, lives_.size());
      if (is_new) lives_.emplace_back(chunk.tid, nullptr);
      lives_[at->second].add(chunk);
    }
    std::vector<const reader_life*> order;
    for (const reader_life& life : lives_) order.push_back(&life);
    std::stable_sort(order.begin(), order.end(), [](const reader_life* a, const reader_life* b) {
      return a->tid != b->tid ? a->tid < b->tid : a->begin < b->begin;
    });
    for (const reader_life* life : order) {
      const bool same_tid = !threads_.empty() && threads_.back().tid == life->tid;
      if (!same_tid || is_later(*life, lives_of_.back())) {
        threads_.emplace_back();
        threads_.back().tid = life->tid;
        threads_.back().is_again = same_tid;
        lives_of_.emplace_back();
      }
      lives_of_.back().push_back(life);
      if (!life->name.empty()) threads_.back().name = life->name;
    }
  }

  /// Whether this is another thread than the one that had these lives.
  static bool is_later(const reader_life& life, const std::vector<const reader_life*>& others) {
    return std::all_of(others.begin(), others.end(), [&](const reader_life* other) {
      return life.begin > other->end && life.name != other->name;
    });
  }

  /// Fills the thread; the number of damaged chunks.
  uint64_t decode(event_thread& thread, const std::vector<const reader_life*>& lives) {
    uint64_t damaged = 0;
    size_t lanes = 0;
    for (const reader_life* life : lives) {
      for (const auto& [number, chunks] : life->lanes) {
        ++lanes;
        damaged += decode_lane(thread, chunks);
      }
      for (unsigned i = 0; life->slot != nullptr && i < lane_count; ++i) {
        const uint64_t at = life->slot->at + offsetof(thread_slot, lanes) + i * sizeof(lane) + offsetof(lane, dropped);
        thread.dropped = saturating_add(thread.dropped, image_.data().u64(at) - life->slot->dropped_before[i]);
      }
    }
    if (lanes > 1) {
      const auto by_end = [](const reader_record& a, const reader_record& b) { return a.end < b.end; };
      std::stable_sort(thread.found.regions.begin(), thread.found.regions.end(), by_end);
      std::stable_sort(thread.found.points.begin(), thread.found.points.end(), by_end);
      std::stable_sort(thread.found.switches.begin(), thread.found.switches.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    return damaged;
  }

  uint64_t decode_lane(event_thread& thread, const std::vector<const reader_chunk*>& chunks) {
    uint64_t damaged = 0, expected = 0;
    for (const reader_chunk* chunk : chunks) {
      const uint64_t missing = chunk->records_before > expected ? chunk->records_before - expected : 0;
      uint64_t& lost = chunk == chunks.front() ? thread.overwritten : thread.missing;
      // In a stream that is what the thread wrote before the session, or its beginning is lost.
      if (chunk != chunks.front() || !image_.is_stream()) lost = saturating_add(lost, missing);
      reader_records& to = thread.found;
      const size_t regions = to.regions.size(), points = to.points.size(), asyncs = to.asyncs.size(), spans = to.spans.size();
      const size_t before = to.count();
      damaged += !image_.decode(*chunk, to);
      expected = saturating_add(chunk->records_before, to.count() - before);
      if (chunk->epoch_base < image_.cut()) {
        keep_from_cut(to.regions, regions);
        keep_from_cut(to.points, points);
        keep_from_cut(to.asyncs, asyncs);
        keep_from_cut(to.spans, spans);
      }
    }
    return damaged;
  }
  void keep_from_cut(std::vector<reader_record>& records, size_t from) const {
    const auto first = records.begin() + static_cast<ptrdiff_t>(from);
    records.erase(std::remove_if(first, records.end(), [&](const auto& r) { return r.end < image_.cut(); }),
                  records.end());
  }

  /// A region that ended while the dump was written is in both the frames and the chunks: then only the record counts.
  void add_open_regions() {
    std::vector<region_key> ended_elsewhere;
    for (const event_thread& t : threads_) {
      for (const reader_record& r : t.found.asyncs) ended_elsewhere.push_back({{r.tid, r.start}, r.id});
    }
    std::sort(ended_elsewhere.begin(), ended_elsewhere.end());
    for (size_t i = 0; i < threads_.size(); ++i) {
      event_thread& thread = threads_[i];
      std::vector<reader_record>& regions = thread.found.regions;
      std::vector<reader_record> open = open_regions(lives_of_[i]);
      std::vector<region_key> keys, ended;
      for (const reader_record& r : open) keys.push_back({{thread.tid, r.start}, r.id});
      std::sort(keys.begin(), keys.end());
      for (const reader_record& r : regions) {
        const region_key key{{thread.tid, r.start}, r.id};
        if (std::binary_search(keys.begin(), keys.end(), key)) ended.push_back(key);
      }
      std::sort(ended.begin(), ended.end());

      uint64_t until = std::max(now_, newest_);
      if (!regions.empty()) until = std::max(until, regions.back().end);
      for (const reader_record& r : open) until = std::max(until, r.start);
      std::vector<reader_record> all;
      all.reserve(open.size() + regions.size());
      for (reader_record& r : open) {
        const region_key key{{thread.tid, r.start}, r.id};
        if (std::binary_search(ended.begin(), ended.end(), key) ||
            std::binary_search(ended_elsewhere.begin(), ended_elsewhere.end(), key)) {
          continue;
        }
        r.end = until;
        all.push_back(r);
      }
      thread.open = all.size();
      // Records stand in the order in which they ended. Backwards, an outer region comes before its inner ones, and a
      // stable sort keeps that for those that start in the same tick.
      all.insert(all.end(), regions.rbegin(), regions.rend());
      std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
      regions = std::move(all);
    }
  }
  std::vector<reader_record> open_regions(const std::vector<const reader_life*>& lives) const {
    std::vector<reader_record> open;
    for (const reader_life* life : lives) {
      if (life->slot == nullptr) continue;
      const std::vector<reader_record> found = image_.open_regions(*life->slot);
      open.insert(open.end(), found.begin(), found.end());
    }
    return open;
  }

  /// A span that ended while the dump was written is in both the table and the chunks.
  void add_open_spans() {
    std::vector<uint64_t> ended;
    const auto id_of = [&](const reader_record& r) {
      return image_.data().u64(r.payload_at - reader_record::span_words_before);
    };
    for (const event_thread& t : threads_) {
      for (const reader_record& r : t.found.spans) ended.push_back(id_of(r));
    }
    std::sort(ended.begin(), ended.end());
    for (reader_record r : image_.open_spans()) {
      if (r.start < image_.start().ticks || r.start > image_.latest()) continue;
      if (std::binary_search(ended.begin(), ended.end(), id_of(r))) continue;
      r.end = std::max({r.start, now_, newest_});
      open_spans_.push_back(r);
    }
  }

  void find_first() {
    bool any = !open_spans_.empty();
    first_ = never;
    for (const reader_record& r : open_spans_) first_ = std::min(first_, r.start);
    for (const event_thread& t : threads_) {
      for (const auto* records : {&t.found.regions, &t.found.points, &t.found.asyncs, &t.found.spans}) {
        any = any || !records->empty();
        for (const reader_record& r : *records) first_ = std::min(first_, r.start);
      }
    }
    if (!any) first_ = now_;
  }

  reader_image& image_;
  std::vector<reader_life> lives_;
  std::vector<event_thread> threads_;
  std::vector<reader_record> open_spans_;
  std::vector<std::vector<const reader_life*>> lives_of_;  ///< of each thread
  uint64_t first_ = 0, newest_ = 0, now_ = 0;
};

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
