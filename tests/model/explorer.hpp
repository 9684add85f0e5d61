// SPDX-License-Identifier: MIT
// Visits every state that the threads and the memory of a scenario can come to.
#ifndef CONTRAIL_TESTS_MODEL_EXPLORER_HPP
#define CONTRAIL_TESTS_MODEL_EXPLORER_HPP

#include "code.hpp"

#include <set>
#include <string_view>

namespace model {

/// What one execution came to, for the scenario's judge.
class outcome {
 public:
  outcome(const code& of, const memory_state& memory) : code_(of), memory_(memory) {}
  unsigned threads() const { return code_.thread_count(); }
  std::span<const uint64_t> facts(unsigned thread) const;
  /// All values that a word had, in modification order, the one from the start first.
  std::vector<uint64_t> history(const void* word) const;
  uint64_t last(const void* word) const { return history(word).back(); }

  /// Says that a case occurred; a scenario in which one of its cases never does proves less than it seems to.
  void occurred(const std::string& what) { cases.insert(what); }
  std::set<std::string> cases;

 private:
  const code& code_;
  const memory_state& memory_;
};

struct scenario_thread {
  const char* name;
  std::function<void()> body;
};

struct scenario {
  const char* name = "";
  void (*set_up)() = nullptr;  ///< fills the memory that was shared; runs alone, before the threads
  std::vector<std::pair<const void*, size_t>> shared;
  std::vector<scenario_thread> threads;
  /// Judges an execution: empty, or what is wrong.
  std::function<std::string(outcome&)> judge;
  std::vector<const char*> cases;  ///< that must occur in some execution
  std::string (*name_of)(uint64_t address) = nullptr;
  std::string (*value_of)(uint64_t address, uint64_t value) = nullptr;
};

struct result {
  uint64_t states = 0;
  uint64_t outcomes = 0;    ///< final states
  double executions = 0;    ///< paths through the states
  uint64_t runs = 0;        ///< of threads' code
  uint64_t places = 0;
  double seconds = 0;
  bool is_complete = true;  ///< false: stopped at the limit of states
  std::string failure;      ///< empty: none
  std::string interleaving; ///< that leads to it
  std::set<std::string> cases;
};

inline constexpr unsigned any_switches = ~0U;

/// Explores all executions with at most so many switches away from a thread that could go on.
result explore(const scenario& of, unsigned most_switches = any_switches, uint64_t most_states = ~uint64_t{0});

/// Larger bounds, asked for by CONTRAIL_TEST_LENGTH=long.
bool is_long();

/// The main function of a program of scenarios. Returns the exit status.
int run_scenarios(const std::vector<scenario>& all, int count, char** arguments);

}  // namespace model

#endif
