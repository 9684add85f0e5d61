// SPDX-License-Identifier: MIT
// Memory as C++20 without load buffering allows it: what each thread may still read, and where its stores may go.
//
// Every place has its stores in modification order. A view says for each place how far one has seen that order. A load
// may take any store from the thread's view on; an acquiring load, or a later acquire fence, takes over the view that
// came with a release. A store may go anywhere behind what its thread has seen, not only to the end: what different
// processors see of two stores to different places need not agree (memory is not multi-copy atomic).
#ifndef CONTRAIL_TESTS_MODEL_MEMORY_HPP
#define CONTRAIL_TESTS_MODEL_MEMORY_HPP

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace model {

enum class order : uint8_t { relaxed, acquire, release, acq_rel, seq_cst };
enum class kind : uint8_t { load, store, add, exchange, fence, end };

constexpr bool acquires(order how) { return how == order::acquire || how >= order::acq_rel; }
constexpr bool releases(order how) { return how == order::release || how >= order::acq_rel; }
constexpr bool reads(kind what) { return what == kind::load || what == kind::add || what == kind::exchange; }

/// What a thread does next to memory that others may see.
struct operation {
  kind what = kind::end;
  order how = order::relaxed;
  order how_if_failed = order::relaxed;  ///< of a compare-exchange that finds another value
  uint16_t place = 0;
  uint64_t value = 0;     ///< to store, or to add
  uint64_t expected = 0;  ///< by a compare-exchange
  bool operator==(const operation&) const = default;
};

/// Views, each kept once: equal ones have equal numbers. Number 0 has seen only what was there at the start.
class view_table {
 public:
  using view = uint32_t;

  void reset(size_t places);
  unsigned seen(view of, unsigned place) const { return bytes_[of * width_ + place]; }
  view joined(view a, view b);
  /// `of` having seen `place` up to `position` as well.
  view having_seen(view of, unsigned place, unsigned position);
  /// `of` after a store was put into the middle of `place`'s order, at `position`.
  view shifted(view of, unsigned place, unsigned position);
  bool is_within(view a, view b) const;

 private:
  view keep(const std::vector<uint8_t>& bytes);

  size_t width_ = 0;
  std::vector<uint8_t> bytes_;
  std::unordered_multimap<uint64_t, view> by_hash_;
  std::unordered_map<uint64_t, view> joined_;
};

struct message {
  uint64_t value;
  view_table::view view;  ///< what an acquire of it gets
  uint8_t writer;         ///< thread, or `at_start`
  bool is_update;         ///< by a read-modify-write: nothing comes between it and what it read
};
inline constexpr uint8_t at_start = 0xff;

inline constexpr unsigned most_threads = 4;

/// A thread's place in its code, and what it has seen.
struct thread_state {
  uint32_t node = 0;
  view_table::view seen = 0;        ///< what its loads may not fall behind
  view_table::view acquirable = 0;  ///< what an acquire fence would add
  view_table::view released = 0;    ///< at its last release fence: goes with relaxed stores
};

struct memory_state {
  thread_state threads[most_threads];
  view_table::view fences = 0;  ///< what the sequentially consistent fences so far have seen
  std::vector<message> messages;  ///< of all places, each in modification order
  std::vector<uint16_t> begin;    ///< of each place in `messages`, and the end

  unsigned count(unsigned place) const { return static_cast<unsigned>(begin[place + 1] - begin[place]); }
  const message& at(unsigned place, unsigned position) const { return messages[begin[place] + position]; }
};

/// The ways in which an operation can go: positions in the place's order, of the store that is read, or behind which
/// the new one goes. Of loads that give the same value, only those that no other one makes superfluous: who has seen
/// less can do all that one who has seen more can.
void find_choices(const memory_state& memory, const view_table& views, unsigned thread, const operation& next,
                  std::vector<unsigned>& choices);

/// Does it, and returns the value that was read.
uint64_t perform(memory_state& memory, view_table& views, unsigned thread, const operation& next, unsigned choice);

}  // namespace model

#endif
