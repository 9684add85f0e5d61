// SPDX-License-Identifier: MIT
// The conditions of a trigger: which of them concern a call site, and how many clock ticks are too many for it.
#ifndef CONTRAIL_DETAIL_WATCH_CONDITIONS_HPP
#define CONTRAIL_DETAIL_WATCH_CONDITIONS_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED
#include "contrail/detail/watch_records.hpp"
#include "contrail/detail/zeroed_array.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr unsigned most_conditions = 15;

enum class condition_kind { latency, stall, counter, predicate };

struct condition {
  condition_kind kind;
  char names[filter_bytes];  ///< globs of regions or counters; a predicate's own name
  uint64_t limit_ns;
  double limit;
  bool (*holds)(void*);
  void* context;
  bool held;  ///< a predicate's last answer
};

/// All conditions of a trigger, in one recording after the other.
class CONTRAIL_DETAIL_HIDDEN watch_conditions {
 public:
  condition items[most_conditions];
  unsigned count = 0;

  /// Begins with an image: nothing is known of its ids. False when there is no memory.
  bool begin(const image_view& image) {
    image_ = &image;
    return ids_.make(overflow_id + 1);
  }

  /// Limits in ticks, by the rate of the clock.
  void set_clock(uint64_t tick_hz) {
    tick_hz_ = tick_hz;
    for (unsigned i = 0; i < count; ++i) {
      const uint128 least = ((uint128{items[i].limit_ns} + 1) * tick_hz + 999'999'999) / 1'000'000'000;
      least_over_[i] = least > ~uint64_t{0} ? ~uint64_t{0} : static_cast<uint64_t>(least);
    }
  }

  uint64_t ns_of(uint64_t ticks) const {
    return static_cast<uint64_t>(static_cast<uint128>(ticks) * 1'000'000'000U / tick_hz_);
  }

  /// Ticks of the shortest region that a record is read for; 0: all records are read. Writers tell of regions from a
  /// time epoch on.
  uint64_t least_that_matters() const {
    uint64_t least = ~uint64_t{0};
    for (unsigned i = 0; i < count; ++i) {
      switch (items[i].kind) {
        case condition_kind::predicate: break;
        case condition_kind::latency:
          if (least_over_[i] < least) least = least_over_[i];
          break;
        default: return 0;
      }
    }
    return least < epoch_ticks ? 0 : least;
  }

  /// Which conditions a call site is subject to, one bit each.
  unsigned of(uint64_t id) {
    constexpr unsigned is_known = 1U << most_conditions;
    if ((ids_[id] & is_known) != 0) return ids_[id] & ~is_known;
    const binding* const entry = binding_of(*image_, id);
    if (entry == nullptr) return 0;
    unsigned found = is_known;
    for (unsigned i = 0; i < count; ++i) {
      const condition_kind kind = items[i].kind;
      const bool is_meant = kind == condition_kind::counter
                                ? entry->kind == binding_kind::counter
                                : entry->kind == binding_kind::region && kind != condition_kind::predicate;
      if (is_meant && passes_globs(items[i].names, name_of(*entry))) found |= 1U << i;
    }
    ids_[id] = static_cast<uint16_t>(found);
    return found & ~is_known;
  }

  /// The first condition whose budget a region is over; `count`: none.
  unsigned over_limit(uint64_t id, uint64_t ticks) {
    const unsigned meant = of(id);
    for (unsigned i = 0; meant >> i != 0; ++i) {
      const bool is_latency = (meant >> i & 1) != 0 && items[i].kind == condition_kind::latency;
      if (is_latency && ticks >= least_over_[i]) return i;
    }
    return count;
  }

 private:
  const image_view* image_ = nullptr;
  uint64_t tick_hz_ = 0;
  uint64_t least_over_[most_conditions];  ///< ticks, the fewest for which ns_of is over the limit
  zeroed_array<uint16_t> ids_;            ///< by id, see of
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
