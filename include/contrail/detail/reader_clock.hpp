// SPDX-License-Identifier: MIT
// Ticks to monotonic nanoseconds, piecewise linear between clock anchors, in integers only.
#ifndef CONTRAIL_DETAIL_READER_CLOCK_HPP
#define CONTRAIL_DETAIL_READER_CLOCK_HPP

#include "contrail/detail/reader_bytes.hpp"

#include <algorithm>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

inline bool is_before(const clock_anchor& a, const clock_anchor& b) {
  if (a.ticks != b.ticks) return a.ticks < b.ticks;
  if (a.monotonic_ns != b.monotonic_ns) return a.monotonic_ns < b.monotonic_ns;
  if (a.realtime_ns != b.realtime_ns) return a.realtime_ns < b.realtime_ns;
  return a.boottime_ns < b.boottime_ns;
}

inline int128 magnitude(int128 value) { return value < 0 ? -value : value; }
inline int128 difference(uint64_t a, uint64_t b) { return static_cast<int128>(a) - static_cast<int128>(b); }

class reader_clock {
 public:
  reader_clock() = default;
  reader_clock(std::vector<clock_anchor> anchors, uint64_t nominal_hz) {
    anchors.erase(std::remove_if(anchors.begin(), anchors.end(), [](const clock_anchor& a) { return a.ticks == 0; }),
                  anchors.end());
    std::sort(anchors.begin(), anchors.end(), is_before);
    anchors.erase(std::unique(anchors.begin(), anchors.end(),
                              [](const auto& a, const auto& b) { return !is_before(a, b) && !is_before(b, a); }),
                  anchors.end());
    anchors = read_at_once(anchors);
    if (anchors.empty()) anchors.push_back({});
    const std::vector<clock_anchor> good = plausible(anchors, nominal_hz);
    ignored_ = anchors.size() - good.size();
    make_segments(thin(in_order(good)), nominal_hz);
  }

  /// Exactly a.monotonic_ns + floor((ticks - a.ticks) * (b.monotonic_ns - a.monotonic_ns) / (b.ticks - a.ticks)),
  /// held within 2^62 - 1 either way, so that the difference of two moments has 64 bits.
  int64_t ns(uint64_t ticks) const {
    const auto next = std::upper_bound(bounds_.begin(), bounds_.end(), ticks);
    const segment& on = segments_[static_cast<size_t>(next - bounds_.begin())];
    if (ticks >= on.from_ticks) {
      return limited(on.from_ns, static_cast<uint128>(ticks - on.from_ticks) * on.ns / on.ticks);
    }
    // Of a negative product the floor is the next one down.
    return limited_down(on.from_ns, (static_cast<uint128>(on.from_ticks - ticks) * on.ns + (on.ticks - 1)) / on.ticks);
  }
  /// Unix nanoseconds of a monotonic moment, as the newest anchor saw the offset.
  int64_t realtime(int64_t monotonic) const {
    return held(monotonic - static_cast<int128>(last_.monotonic_ns) + static_cast<int128>(last_.realtime_ns));
  }

  uint64_t hz() const { return hz_; }
  const clock_anchor& last() const { return last_; }
  size_t ignored() const { return ignored_; }  ///< anchors that contradict the others
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  /// Anchors nearer to each other would turn their reading noise into changes of rate.
  static constexpr uint64_t spacing_ns = 100'000'000;
  static constexpr int64_t suspend_ns = 1'000'000, slow_ns = 1'000'000'000;
  static constexpr int64_t bound = (int64_t{1} << 62) - 1;

  struct segment {
    uint64_t from_ticks, from_ns;
    uint64_t ticks, ns;  ///< of its length
  };

  static int64_t held(int128 ns) {
    return ns > bound ? bound : ns < -bound ? -bound : static_cast<int64_t>(ns);
  }
  static int64_t limited(uint64_t from, uint128 more) {
    return more > static_cast<uint128>(bound) ? bound : held(static_cast<int128>(from) + static_cast<int128>(more));
  }
  static int64_t limited_down(uint64_t from, uint128 less) {
    return less >> 64 > 1 ? -bound : held(static_cast<int128>(from) - static_cast<int128>(less));
  }
  static int128 asleep(const clock_anchor& a) { return difference(a.boottime_ns, a.monotonic_ns); }

  /// Without those whose clocks were read one long after the other, since their thread was interrupted: they say more
  /// time asleep, which was read last.
  static std::vector<clock_anchor> read_at_once(const std::vector<clock_anchor>& anchors) {
    std::vector<clock_anchor> kept;
    for (size_t i = 0; i < anchors.size(); ++i) {
      const int128 more = stands_out(anchors, i);
      if (more <= suspend_ns || more >= slow_ns) kept.push_back(anchors[i]);
    }
    return kept;
  }

  /// How much more time asleep an anchor says than both its neighbours; 0 where these do not agree.
  static int128 stands_out(const std::vector<clock_anchor>& anchors, size_t i) {
    if (i == 0 || i + 1 >= anchors.size()) return 0;
    const int128 before = asleep(anchors[i - 1]), after = asleep(anchors[i + 1]);
    return magnitude(before - after) < suspend_ns ? asleep(anchors[i]) - before : 0;
  }

  /// Without the anchors that damage moved: those off the nominal rate by half, seen from the median.
  static std::vector<clock_anchor> plausible(const std::vector<clock_anchor>& anchors, uint64_t hz) {
    const auto rate = static_cast<int128>(hz);
    const auto offset = [&](const clock_anchor& a) {
      return static_cast<int128>(a.monotonic_ns) * rate - static_cast<int128>(a.ticks) * 1'000'000'000;
    };
    std::vector<clock_anchor> order = anchors;
    std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) { return offset(a) < offset(b); });
    const clock_anchor middle = order[order.size() / 2];

    const auto fits = [&](const clock_anchor& a) {
      const int128 expected = difference(a.ticks, middle.ticks) * 1'000'000'000;
      const int128 slack = magnitude(expected) / 2 + 1'000'000 * rate;
      return magnitude(difference(a.monotonic_ns, middle.monotonic_ns) * rate - expected) <= slack ||
             magnitude(difference(a.boottime_ns, middle.boottime_ns) * rate - expected) <= slack;
    };
    std::vector<clock_anchor> good;
    for (size_t i = 0; i < anchors.size(); ++i) {
      // Only damage undoes a suspend.
      if (fits(anchors[i]) && magnitude(stands_out(anchors, i)) <= suspend_ns) good.push_back(anchors[i]);
    }
    return 2 * good.size() >= anchors.size() ? good : anchors;
  }

  /// Without those that go back. Threads that read the clocks at once may come in either order; more is damage.
  std::vector<clock_anchor> in_order(const std::vector<clock_anchor>& anchors) {
    std::vector<clock_anchor> kept;
    for (const clock_anchor& a : anchors) {
      if (kept.empty() || (a.ticks > kept.back().ticks && a.monotonic_ns >= kept.back().monotonic_ns)) {
        kept.push_back(a);
      } else if (magnitude(difference(a.monotonic_ns, kept.back().monotonic_ns)) > suspend_ns) {
        ++ignored_;
      }
    }
    return kept;
  }

  /// The first, the last, those around a suspend, and in between what is spacing_ns apart.
  std::vector<clock_anchor> thin(const std::vector<clock_anchor>& anchors) {
    std::vector<size_t> kept{0};
    const size_t last = anchors.size() - 1;
    const auto since_kept = [&](size_t i) { return anchors[i].monotonic_ns - anchors[kept.back()].monotonic_ns; };
    for (size_t i = 1; i < anchors.size(); ++i) {
      const int128 slept = asleep(anchors[i]) - asleep(anchors[i - 1]);
      if (magnitude(slept) > suspend_ns) {
        notes_.push_back("the machine was suspended for " + duration_text(slept) +
                         "; times around it are less exact");
        if (kept.back() != i - 1) kept.push_back(i - 1);
        kept.push_back(i);
      } else if (since_kept(i) >= spacing_ns) {
        kept.push_back(i);
      }
    }
    if (kept.size() > 1 && since_kept(last) > 0 && since_kept(last) < spacing_ns && notes_.empty()) kept.pop_back();
    if (kept.back() != last) kept.push_back(last);
    std::vector<clock_anchor> chosen;
    for (const size_t i : kept) chosen.push_back(anchors[i]);
    return chosen;
  }

  void make_segments(const std::vector<clock_anchor>& chosen, uint64_t nominal_hz) {
    const clock_anchor& first = chosen.front();
    last_ = chosen.back();
    segments_.clear();
    if (last_.monotonic_ns - first.monotonic_ns < 10'000) {
      segments_.push_back({first.ticks, first.monotonic_ns, nominal_hz, 1'000'000'000});
    } else {
      for (size_t i = 0; i + 1 < chosen.size(); ++i) {
        const clock_anchor &a = chosen[i], &b = chosen[i + 1];
        segments_.push_back({a.ticks, a.monotonic_ns, b.ticks - a.ticks, b.monotonic_ns - a.monotonic_ns});
        if (i > 0) bounds_.push_back(a.ticks);
      }
    }
    uint64_t ticks = 0, ns = 0;
    for (const segment& s : segments_) ticks += s.ticks, ns += s.ns;
    const uint128 hz = static_cast<uint128>(ticks) * 1'000'000'000 / ns;
    hz_ = hz > never ? never : static_cast<uint64_t>(hz);
    size_t off = 0;
    for (const segment& s : segments_) {
      const uint128 here = static_cast<uint128>(s.ns) * ticks, overall = static_cast<uint128>(s.ticks) * ns;
      off += (here > overall ? here - overall : overall - here) > overall / 1000;
    }
    if (off != 0) {
      notes_.push_back("the clock's rate is off by more than 1000 ppm in " + std::to_string(off) + " of " +
                       std::to_string(segments_.size()) + " segments");
    }
  }

  std::vector<segment> segments_{{0, 0, 1, 1}};
  std::vector<uint64_t> bounds_;  ///< where the second segment begins, the third, …
  clock_anchor last_{};
  uint64_t hz_ = 0;
  size_t ignored_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
