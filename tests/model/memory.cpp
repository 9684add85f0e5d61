// SPDX-License-Identifier: MIT
#include "memory.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace model {

// ---- views ---------------------------------------------------------------------------------------------------

void view_table::reset(size_t places) {
  width_ = places == 0 ? 1 : places;
  bytes_.clear();
  by_hash_.clear();
  joined_.clear();
  keep(std::vector<uint8_t>(width_));
}

view_table::view view_table::keep(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xcbf2'9ce4'8422'2325ULL;
  for (uint8_t byte : bytes) hash = (hash ^ byte) * 0x100'0000'01b3ULL;
  for (auto [at, end] = by_hash_.equal_range(hash); at != end; ++at) {
    if (std::equal(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<ptrdiff_t>(at->second * width_))) {
      return at->second;
    }
  }
  const view fresh = static_cast<view>(bytes_.size() / width_);
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  by_hash_.emplace(hash, fresh);
  return fresh;
}

view_table::view view_table::joined(view a, view b) {
  if (a == b || b == 0) return a;
  if (a == 0) return b;
  const uint64_t key = uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  if (const auto known = joined_.find(key); known != joined_.end()) return known->second;
  std::vector<uint8_t> bytes(width_);
  for (size_t i = 0; i < width_; ++i) bytes[i] = std::max(bytes_[a * width_ + i], bytes_[b * width_ + i]);
  return joined_[key] = keep(bytes);
}

view_table::view view_table::having_seen(view of, unsigned place, unsigned position) {
  if (seen(of, place) >= position) return of;
  if (position > 0xff) {
    std::fputs("model: more than 255 stores to one place; make the scenario smaller.\n", stderr);
    std::abort();
  }
  const auto from = bytes_.begin() + static_cast<ptrdiff_t>(of * width_);
  std::vector<uint8_t> bytes(from, from + static_cast<ptrdiff_t>(width_));
  bytes[place] = static_cast<uint8_t>(position);
  return keep(bytes);
}

view_table::view view_table::shifted(view of, unsigned place, unsigned position) {
  const unsigned before = seen(of, place);
  return before < position ? of : having_seen(of, place, before + 1);
}

bool view_table::is_within(view a, view b) const {
  if (a == b || a == 0) return true;
  for (size_t i = 0; i < width_; ++i) {
    if (bytes_[a * width_ + i] > bytes_[b * width_ + i]) return false;
  }
  return true;
}

// ---- operations ----------------------------------------------------------------------------------------------

namespace {

/// Whether a store may go right behind this position: not between a read-modify-write and what it read.
bool is_gap(const memory_state& memory, unsigned place, unsigned position) {
  return position + 1 == memory.count(place) || !memory.at(place, position + 1).is_update;
}

void insert(memory_state& memory, view_table& views, unsigned place, unsigned position, const message& fresh) {
  if (position != memory.count(place)) {
    const auto shift = [&](view_table::view& of) { of = views.shifted(of, place, position); };
    for (thread_state& thread : memory.threads) {
      shift(thread.seen);
      shift(thread.acquirable);
      shift(thread.released);
    }
    shift(memory.fences);
    for (message& other : memory.messages) shift(other.view);
  }
  memory.messages.insert(memory.messages.begin() + memory.begin[place] + static_cast<ptrdiff_t>(position), fresh);
  for (size_t i = place + 1; i < memory.begin.size(); ++i) ++memory.begin[i];
}

/// Stores at `position`; `carried` is the view that comes along whatever the order, of what an update read.
void put(memory_state& memory, view_table& views, unsigned thread, const operation& next, uint64_t value,
         unsigned position, bool is_update) {
  insert(memory, views, next.place, position, {value, 0, static_cast<uint8_t>(thread), is_update});
  thread_state& self = memory.threads[thread];
  self.seen = views.having_seen(self.seen, next.place, position);
  self.acquirable = views.having_seen(self.acquirable, next.place, position);
  view_table::view view =
      releases(next.how) ? self.seen : views.having_seen(self.released, next.place, position);
  // A read-modify-write goes on with the release that it read from.
  if (is_update) view = views.joined(view, memory.at(next.place, position - 1).view);
  memory.messages[memory.begin[next.place] + position].view = view;
}

void look(memory_state& memory, view_table& views, unsigned thread, unsigned place, unsigned position, order how) {
  thread_state& self = memory.threads[thread];
  const view_table::view view = memory.at(place, position).view;
  self.acquirable = views.joined(views.having_seen(self.acquirable, place, position), view);
  self.seen = views.having_seen(self.seen, place, position);
  if (acquires(how)) self.seen = views.joined(self.seen, view);
}

}  // namespace

void find_choices(const memory_state& memory, const view_table& views, unsigned thread, const operation& next,
                  std::vector<unsigned>& choices) {
  choices.clear();
  if (next.what == kind::fence || next.what == kind::end) {
    choices.push_back(0);
    return;
  }
  const unsigned first = views.seen(memory.threads[thread].seen, next.place);
  for (unsigned position = first; position != memory.count(next.place); ++position) {
    const message& found = memory.at(next.place, position);
    const bool is_load = next.what == kind::load || (next.what == kind::exchange && found.value != next.expected);
    if (!is_load) {
      if (is_gap(memory, next.place, position)) choices.push_back(position);
      continue;
    }
    const bool is_superfluous = std::any_of(choices.begin(), choices.end(), [&](unsigned other) {
      const message& older = memory.at(next.place, other);
      return older.value == found.value && views.is_within(older.view, found.view);
    });
    if (!is_superfluous) choices.push_back(position);
  }
}

uint64_t perform(memory_state& memory, view_table& views, unsigned thread, const operation& next, unsigned choice) {
  thread_state& self = memory.threads[thread];
  if (next.what == kind::end) return 0;
  if (next.what == kind::fence) {
    if (acquires(next.how)) self.seen = self.acquirable;
    if (next.how == order::seq_cst) {
      self.seen = views.joined(self.seen, memory.fences);
      memory.fences = self.seen;
      self.acquirable = self.seen;
    }
    if (releases(next.how)) self.released = self.seen;
    return 0;
  }
  const uint64_t found = memory.at(next.place, choice).value;
  if (next.what == kind::store) {
    put(memory, views, thread, next, next.value, choice + 1, false);
  } else if (next.what == kind::load) {
    look(memory, views, thread, next.place, choice, next.how);
  } else if (next.what == kind::exchange && found != next.expected) {
    look(memory, views, thread, next.place, choice, next.how_if_failed);
  } else {
    look(memory, views, thread, next.place, choice, next.how);
    put(memory, views, thread, next, next.what == kind::add ? found + next.value : next.value, choice + 1, true);
  }
  return found;
}

}  // namespace model
