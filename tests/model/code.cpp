// SPDX-License-Identifier: MIT
#include "code.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace model {

code* running = nullptr;

void code::share(const void* begin, size_t bytes) {
  const uint64_t address = reinterpret_cast<uint64_t>(begin);
  shared_.emplace_back(address, address + bytes);
}

bool code::is_shared(const void* address) const {
  const uint64_t at = reinterpret_cast<uint64_t>(address);
  return std::any_of(shared_.begin(), shared_.end(),
                     [&](const auto& range) { return at >= range.first && at < range.second; });
}

bool code::begin_pass() {
  if (!learnt_) return false;
  learnt_ = false;
  visible_.clear();
  for (place& each : places_) {
    each.number = -1;
    if (!each.is_visible()) continue;
    each.number = static_cast<int>(visible_.size());
    visible_.push_back(each.address);
  }
  trees_.assign(bodies_.size(), {});
  for (unsigned thread = 0; thread != bodies_.size(); ++thread) {
    trees_[thread].emplace_back();
    run(thread, 0);
  }
  return true;
}

uint32_t code::add_node(uint32_t parent, uint64_t value) {
  std::vector<code_node>& tree = trees_[thread_];
  const uint32_t fresh = static_cast<uint32_t>(tree.size());
  tree.emplace_back();
  tree[fresh].parent = parent;
  tree[fresh].value = value;
  tree[parent].after.emplace_back(value, fresh);
  return fresh;
}

uint32_t code::next(unsigned thread, uint32_t number, uint64_t value) {
  thread_ = thread;
  if (!reads(node(thread, number).next.what)) value = 0;
  for (const auto& [read, after] : node(thread, number).after) {
    if (read == value) return after;
  }
  const uint32_t fresh = add_node(number, value);
  run(thread, fresh);
  return fresh;
}

void code::run(unsigned thread, uint32_t frontier) {
  thread_ = thread;
  path_.clear();
  for (uint32_t at = frontier; at != 0; at = node(thread, at).parent) path_.push_back(at);
  std::reverse(path_.begin(), path_.end());
  depth_ = 0;
  at_ = 0;
  stored_.clear();
  facts_.clear();
  ticks_ = (thread + 1) * 0x10000;
  ++runs_;
  running = this;
  // Always on the same stack: where the explorer's own is depends on how deep its search is, and some code looks.
  static std::vector<char> stack(1 << 20);
  ucontext_t body;
  getcontext(&body);
  body.uc_stack.ss_sp = stack.data();
  body.uc_stack.ss_size = stack.size();
  body.uc_link = &back_;
  makecontext(&body, [] { running->run_body(); }, 0);
  swapcontext(&back_, &body);
  running = nullptr;
}

void code::run_body() {
  if (setjmp(leave_) != 0) return;
  bodies_[thread_]();
  code_node& end = trees_[thread_][at_];
  end.next.what = kind::end;
  end.is_known = true;
  end.end.facts = facts_;
  end.end.stored = stored_;
}

void code::fail(const char* why) {
  code_node& end = trees_[thread_][at_];
  end.next.what = kind::end;
  end.is_known = true;
  end.end.facts = facts_;
  end.end.failure = why;
  std::longjmp(leave_, 1);
}

void code::note(const char* text) {
  code_node& at = trees_[thread_][at_];
  // Each run passes here again; only the first one that gets this far writes it down.
  if (depth_ == path_.size() && !at.is_known) at.notes += (at.notes.empty() ? "" : "; ") + std::string(text);
}

place& code::find_place(const void* address, size_t bytes) {
  const uint64_t at = reinterpret_cast<uint64_t>(address);
  const auto [found, is_new] = place_of_.try_emplace(at, places_.size());
  if (is_new) {
    uint64_t value = 0;
    std::memcpy(&value, address, bytes);
    places_.push_back({at, value});
  }
  return places_[found->second];
}

uint64_t code::perform(operation what, const void* address, size_t bytes) {
  if (what.what == kind::fence) return answer(what);
  place& at = find_place(address, bytes);
  const auto own = stored_.find(at.address);
  const uint64_t before = own != stored_.end() ? own->second.back() : at.at_start;
  const bool is_writer_alone = at.writers == 0 || at.writers == 1U << thread_;
  const bool changes_nothing = what.what == kind::store && what.value == before && is_writer_alone;
  const place was = at;
  at.users |= 1U << thread_;
  if (what.what != kind::load) at.writers |= 1U << thread_;
  if (what.what != kind::load && !changes_nothing) at.changers |= 1U << thread_;
  // A second writer makes the first one's stores of the same value count as well.
  if (std::popcount(at.writers) > 1) at.changers |= at.writers;
  if (was.is_visible() != at.is_visible() || (at.is_visible() && was.writers != at.writers)) learnt_ = true;
  if (changes_nothing) return before;

  uint64_t found;
  if (at.number >= 0) {
    what.place = static_cast<uint16_t>(at.number);
    found = answer(what);
  } else {
    found = before;
  }
  const bool is_stored = what.what == kind::store || what.what == kind::add ||
                         (what.what == kind::exchange && found == what.expected);
  if (is_stored) stored_[at.address].push_back(what.what == kind::add ? found + what.value : what.value);
  return found;
}

uint64_t code::answer(const operation& what) {
  if (depth_ < path_.size()) {
    if (trees_[thread_][at_].next != what) {
      std::fputs("model: a thread did something else after the same reads; its code depends on something hidden.\n", stderr);
      std::abort();
    }
    at_ = path_[depth_++];
    return trees_[thread_][at_].value;
  }
  code_node& at = trees_[thread_][at_];
  at.next = what;
  at.is_known = true;
  if (reads(what.what)) std::longjmp(leave_, 1);
  at_ = add_node(at_, 0);
  path_.push_back(at_);
  ++depth_;
  return 0;
}

uint64_t code::own_value(const void* address) const {
  const auto own = stored_.find(reinterpret_cast<uint64_t>(address));
  if (own != stored_.end()) return own->second.back();
  uint64_t value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

}  // namespace model
