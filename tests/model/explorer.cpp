// SPDX-License-Identifier: MIT
#include "explorer.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace model {

std::span<const uint64_t> outcome::facts(unsigned thread) const {
  return code_.node(thread, memory_.threads[thread].node).end.facts;
}

std::vector<uint64_t> outcome::history(const void* word) const {
  const uint64_t address = reinterpret_cast<uint64_t>(word);
  std::vector<uint64_t> values;
  for (size_t i = 0; i != code_.visible().size(); ++i) {
    if (code_.visible()[i] != address) continue;
    for (unsigned k = 0; k != memory_.count(static_cast<unsigned>(i)); ++k) {
      values.push_back(memory_.at(static_cast<unsigned>(i), k).value);
    }
    return values;
  }
  uint64_t value;
  std::memcpy(&value, word, sizeof value);
  values.push_back(value);
  for (unsigned thread = 0; thread != code_.thread_count(); ++thread) {
    const auto& stored = code_.node(thread, memory_.threads[thread].node).end.stored;
    if (const auto found = stored.find(address); found != stored.end()) {
      values.insert(values.end(), found->second.begin(), found->second.end());
    }
  }
  return values;
}

namespace {

struct state_key {
  uint64_t low, high;
  bool operator==(const state_key&) const = default;
};

struct key_hash {
  size_t operator()(const state_key& key) const { return key.low; }
};

/// A 128-bit digest of a state. Two states that share it would be taken for one; of 10^7 that happens once in 10^24
/// runs.
class digest {
 public:
  void add(uint64_t value) {
    low_ = (low_ ^ value) * 0x9e37'79b9'7f4a'7c15ULL;
    low_ ^= low_ >> 29;
    high_ = (high_ + value) * 0xd6e8'feb8'6659'fd93ULL;
    high_ ^= high_ >> 32;
  }
  state_key key() const { return {low_ ^ high_ << 7, high_}; }

 private:
  uint64_t low_ = 0x0123'4567'89ab'cdefULL, high_ = 0xfedc'ba98'7654'3210ULL;
};

struct step {
  unsigned thread;
  uint32_t node;
  operation done;
  uint64_t read;
  unsigned position;
  unsigned newest;  ///< position in the place's order then
};

class search {
 public:
  search(const scenario& of, unsigned most_switches, uint64_t most_states)
      : scenario_(of), most_switches_(most_switches), most_states_(most_states) {}

  result run() {
    const auto begin = std::chrono::steady_clock::now();
    scenario_.set_up();
    for (const auto& [at, bytes] : scenario_.shared) code_.share(at, bytes);
    for (const scenario_thread& thread : scenario_.threads) code_.add_thread(thread.body);
    // A pass may find that a word is shared which it took for a thread's own: then all begins again.
    while (code_.begin_pass()) pass();
    result_.runs = code_.runs();
    result_.places = code_.visible().size();
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return result_;
  }

 private:
  void pass() {
    result_ = {};
    visited_.clear();
    steps_.clear();
    views_.reset(code_.visible().size());
    memory_state start;
    start.begin.push_back(0);
    for (uint64_t address : code_.visible()) {
      start.messages.push_back({code_.start_value(address), 0, at_start, false});
      start.begin.push_back(static_cast<uint16_t>(start.messages.size()));
    }
    result_.executions = visit(start, most_threads, most_switches_);
    result_.states = visited_.size();
  }

  const code_node& node(const memory_state& at, unsigned thread) { return code_.node(thread, at.threads[thread].node); }

  void go(memory_state& state, unsigned thread, unsigned choice) {
    thread_state& self = state.threads[thread];
    const operation next = node(state, thread).next;
    const unsigned newest = next.what == kind::fence ? 0 : state.count(next.place) - 1;
    const uint32_t from = self.node;
    const uint64_t read = perform(state, views_, thread, next, choice);
    steps_.push_back({thread, from, next, read, choice, newest});
    self.node = code_.next(thread, self.node, read);
  }

  /// Fences that only change what their own thread has seen commute with everything: done at once.
  void do_own_fences(memory_state& state) {
    for (unsigned thread = 0; thread != code_.thread_count(); ++thread) {
      for (;;) {
        const operation& next = node(state, thread).next;
        if (next.what != kind::fence || next.how == order::seq_cst) break;
        go(state, thread, 0);
      }
    }
  }

  state_key key_of(const memory_state& state, unsigned last, unsigned switches) const {
    digest all;
    for (unsigned thread = 0; thread != code_.thread_count(); ++thread) {
      const thread_state& self = state.threads[thread];
      all.add(uint64_t{self.node} << 32 | self.seen);
      all.add(uint64_t{self.acquirable} << 32 | self.released);
    }
    all.add(state.fences);
    for (size_t i = 0; i + 1 < state.begin.size(); ++i) {
      all.add(state.begin[i + 1]);
      for (unsigned k = state.begin[i]; k != state.begin[i + 1]; ++k) {
        const message& each = state.messages[k];
        all.add(each.value);
        all.add(uint64_t{each.view} << 16 | uint64_t{each.writer} << 1 | each.is_update);
      }
    }
    if (most_switches_ != any_switches) all.add(uint64_t{last} << 32 | switches);
    return all.key();
  }

  /// Visits the state and all that follow; returns in how many ways one can go on from it.
  double visit(memory_state state, unsigned last, unsigned switches) {
    const size_t steps_before = steps_.size();
    do_own_fences(state);
    const state_key key = key_of(state, last, switches);
    if (const auto known = visited_.find(key); known != visited_.end()) {
      steps_.resize(steps_before);
      return known->second;
    }
    double executions = 0;
    bool all_ended = true;
    for (unsigned i = 0; i != code_.thread_count() && !is_over(); ++i) {
      // The same thread first, so that what is found first is easy to follow.
      const unsigned thread = last < most_threads ? (last + i) % code_.thread_count() : i;
      const code_node& at = node(state, thread);
      if (at.next.what == kind::end) {
        if (!at.end.failure.empty()) found(state, at.end.failure);
        continue;
      }
      all_ended = false;
      const bool is_switch = last < most_threads && thread != last && node(state, last).next.what != kind::end;
      if (most_switches_ != any_switches && is_switch && switches == 0) continue;
      const operation next = at.next;
      std::vector<unsigned> choices;
      find_choices(state, views_, thread, next, choices);
      // The newest first, for the same reason.
      for (size_t k = choices.size(); k != 0 && !is_over(); --k) {
        memory_state after = state;
        const size_t steps = steps_.size();
        go(after, thread, choices[k - 1]);
        executions += visit(std::move(after), thread, is_switch && switches != any_switches ? switches - 1 : switches);
        steps_.resize(steps);
      }
    }
    if (all_ended && !is_over()) {
      executions = 1;
      ++result_.outcomes;
      outcome ended(code_, state);
      const std::string failure = scenario_.judge(ended);
      result_.cases.merge(ended.cases);
      if (!failure.empty()) found(state, failure);
    }
    visited_.emplace(key, executions);
    if (visited_.size() >= most_states_) result_.is_complete = false;
    steps_.resize(steps_before);
    return executions;
  }

  bool is_over() const {
    // What is known to be wrong about who uses what makes the rest of a pass worthless.
    return !result_.failure.empty() || !result_.is_complete || (code_.has_learnt() && visited_.size() > 1000);
  }

  void found(const memory_state& state, const std::string& failure) {
    if (is_over()) return;
    result_.failure = failure;
    for (const step& each : steps_) result_.interleaving += text_of(each);
    for (unsigned thread = 0; thread != code_.thread_count(); ++thread) {
      const code_node& at = node(state, thread);
      if (!at.notes.empty()) {
        result_.interleaving += "  " + std::string(scenario_.threads[thread].name) + ": -- " + at.notes + "\n";
      }
    }
  }

  std::string value_text(uint64_t address, uint64_t value) const {
    if (scenario_.value_of != nullptr) return scenario_.value_of(address, value);
    return std::to_string(value);
  }

  std::string text_of(const step& each) const {
    const code_node& at = code_.node(each.thread, each.node);
    char line[400];
    std::string text;
    const char* const name = scenario_.threads[each.thread].name;
    if (!at.notes.empty()) {
      std::snprintf(line, sizeof line, "  %-10s -- %s\n", name, at.notes.c_str());
      text += line;
    }
    static constexpr const char* orders[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};
    const char* const how = orders[static_cast<unsigned>(each.done.how)];
    if (each.done.what == kind::fence) {
      std::snprintf(line, sizeof line, "  %-10s fence %s\n", name, how);
      return text + line;
    }
    const uint64_t address = code_.visible()[each.done.place];
    const std::string where = scenario_.name_of != nullptr ? scenario_.name_of(address) : std::to_string(address);
    const std::string read = value_text(address, each.read);
    const std::string stored = value_text(address, each.done.value);
    const std::string age =
        each.position == each.newest ? "" : "   (" + std::to_string(each.newest - each.position) + " older than the newest)";
    switch (each.done.what) {
      case kind::load:
        std::snprintf(line, sizeof line, "  %-10s load  %s %s = %s%s\n", name, how, where.c_str(), read.c_str(), age.c_str());
        break;
      case kind::store:
        std::snprintf(line, sizeof line, "  %-10s store %s %s = %s%s\n", name, how, where.c_str(), stored.c_str(),
                      each.position == each.newest ? "" : "   (not as the newest)");
        break;
      case kind::add:
        std::snprintf(line, sizeof line, "  %-10s add   %s %s: had %s%s\n", name, how, where.c_str(), read.c_str(), age.c_str());
        break;
      default:
        std::snprintf(line, sizeof line, "  %-10s compare-exchange %s %s: %s, wanted %s, to %s%s\n", name, how, where.c_str(),
                      read.c_str(), value_text(address, each.done.expected).c_str(), stored.c_str(), age.c_str());
    }
    return text + line;
  }

  const scenario& scenario_;
  const unsigned most_switches_;
  const uint64_t most_states_;
  code code_;
  view_table views_;
  std::unordered_map<state_key, double, key_hash> visited_;
  std::vector<step> steps_;
  result result_;
};

void print(const scenario& of, const result& found) {
  std::printf("%s: %llu states, %.3g executions, %llu outcomes, %llu shared words, %.2f s%s\n", of.name,
              static_cast<unsigned long long>(found.states), found.executions,
              static_cast<unsigned long long>(found.outcomes), static_cast<unsigned long long>(found.places),
              found.seconds, found.is_complete ? "" : " (stopped at the limit of states)");
}

}  // namespace

result explore(const scenario& of, unsigned most_switches, uint64_t most_states) {
  return search(of, most_switches, most_states).run();
}

bool is_long() {
  const char* const wanted = std::getenv("CONTRAIL_TEST_LENGTH");
  return wanted != nullptr && std::strcmp(wanted, "long") == 0;
}

namespace {

bool passes(const scenario& of) {
  const result found = explore(of);
  print(of, found);
  if (!found.failure.empty()) {
    std::printf("VIOLATION: %s\n%s", found.failure.c_str(), found.interleaving.c_str());
    return false;
  }
  bool all_occurred = found.is_complete;
  for (const char* each : of.cases) {
    if (found.cases.contains(each)) continue;
    std::printf("  this never occurred, so nothing is proved of it: %s\n", each);
    all_occurred = false;
  }
  return all_occurred;
}

/// Looks for the violation with the fewest switches between threads, which is the easiest to follow.
bool fails(const scenario& of) {
  for (unsigned switches = 0; switches <= 6; ++switches) {
    const result found = explore(of, switches);
    if (found.failure.empty()) continue;
    std::printf("%s: found with %u preemptions, in %llu states: %s\n%s", of.name, switches,
                static_cast<unsigned long long>(found.states), found.failure.c_str(), found.interleaving.c_str());
    return true;
  }
  const result found = explore(of);
  print(of, found);
  std::printf("%s%s%s", found.failure.c_str(), found.failure.empty() ? "" : "\n", found.interleaving.c_str());
  return !found.failure.empty();
}

}  // namespace

int run_scenarios(const std::vector<scenario>& all, int count, char** arguments) {
  bool must_fail = false;
  std::string wanted;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--must-fail") == 0) must_fail = true;
    else wanted = arguments[i];
  }
  unsigned met = 0;
  bool is_good = true;
  for (const scenario& each : all) {
    if (!wanted.empty() && wanted != each.name) continue;
    ++met;
    is_good = (must_fail ? fails(each) : passes(each)) && is_good;
    std::fflush(stdout);
  }
  if (met == 0) std::printf("There is no scenario %s.\n", wanted.c_str());
  else if (must_fail && !is_good) std::puts("The checker found nothing wrong with this mutant.");
  return met != 0 && is_good ? 0 : 1;
}

}  // namespace model
