// SPDX-License-Identifier: MIT
// The threads' code: real functions, run for every answer that memory may give them.
//
// What a thread does depends only on what it has read. So its code is a tree: after each history of reads stands one
// next operation. To learn it, the code is run from its start, given those reads again, and left by a jump at the first
// operation that has no answer yet (no exception: destructors would go on recording). Each history is run once, however
// many interleavings lead to it.
//
// Only words that one thread changes and another one uses are operations. The rest of the shared memory behaves as in a
// program of one thread, and is answered at once. So is a store of what stands there already, by the only thread that
// ever writes that word: whoever reads it afterwards could as well read the store before.
#ifndef CONTRAIL_TESTS_MODEL_CODE_HPP
#define CONTRAIL_TESTS_MODEL_CODE_HPP

#include "memory.hpp"

#include <bit>
#include <csetjmp>
#include <functional>
#include <map>
#include <span>
#include <string>

#include <ucontext.h>

namespace model {

/// What one thread did and saw in one execution, as it reported it.
struct report {
  std::vector<uint64_t> facts;
  std::string failure;
  std::map<uint64_t, std::vector<uint64_t>> stored;  ///< all that it stored, by address
};

/// A point in a thread's code: the operation that comes next there.
struct code_node {
  operation next;
  bool is_known = false;
  uint32_t parent = 0;
  uint64_t value = 0;  ///< that the parent's operation read
  std::vector<std::pair<uint64_t, uint32_t>> after;  ///< by the value read, the next point; one without a value
  std::string notes;   ///< of the code between the parent and here
  report end;
};

/// A shared word and who uses it.
struct place {
  uint64_t address;
  uint64_t at_start;
  unsigned users = 0;    ///< threads, as bits
  unsigned writers = 0;
  unsigned changers = 0;  ///< of the writers those who stored another value than they had stored before
  int number = -1;        ///< among the words that are operations; -1: it is none

  /// Whether threads can tell when it is accessed.
  bool is_visible() const { return changers != 0 && std::popcount(users) > 1; }
};

class code {
 public:
  /// Memory that the threads share.
  void share(const void* begin, size_t bytes);
  void add_thread(std::function<void()> body) { bodies_.push_back(std::move(body)); }
  unsigned thread_count() const { return static_cast<unsigned>(bodies_.size()); }

  /// Begins anew with what is known by now of who uses what. False when nothing more was learnt since the last time.
  bool begin_pass();
  bool has_learnt() const { return learnt_; }
  const std::vector<uint64_t>& visible() const { return visible_; }  ///< addresses, by number
  uint64_t start_value(uint64_t address) const { return places_[place_of_.at(address)].at_start; }

  const code_node& node(unsigned thread, uint32_t number) const { return trees_[thread][number]; }
  /// The point after `number`, whose operation read `value`.
  uint32_t next(unsigned thread, uint32_t number, uint64_t value);
  uint64_t runs() const { return runs_; }

  // What the running code calls.
  bool is_shared(const void* address) const;
  uint64_t perform(operation what, const void* address, size_t bytes);
  void note(const char* text);
  void fact(uint64_t value) { facts_.push_back(value); }
  [[noreturn]] void fail(const char* why);
  /// What this thread stored last to a shared word, or what it was at the start. No operation.
  uint64_t own_value(const void* address) const;
  unsigned running_thread() const { return thread_; }
  uint64_t ticks() { return ticks_ += 64; }

 private:
  void run(unsigned thread, uint32_t frontier);
  void run_body();
  uint64_t answer(const operation& what);
  place& find_place(const void* address, size_t bytes);
  uint32_t add_node(uint32_t parent, uint64_t value);

  std::vector<std::pair<uint64_t, uint64_t>> shared_;
  std::vector<std::function<void()>> bodies_;
  std::vector<place> places_;
  std::unordered_map<uint64_t, size_t> place_of_;
  bool learnt_ = true;
  std::vector<uint64_t> visible_;
  std::vector<std::vector<code_node>> trees_;
  uint64_t runs_ = 0;

  // of the run
  unsigned thread_ = 0;
  std::vector<uint32_t> path_;  ///< from the root's successor to the frontier
  size_t depth_ = 0;
  uint32_t at_ = 0;
  ucontext_t back_;
  std::jmp_buf leave_;
  std::map<uint64_t, std::vector<uint64_t>> stored_;
  std::vector<uint64_t> facts_;
  uint64_t ticks_ = 0;
};

/// The code that runs now, or null outside of the explorer: then memory is what it is.
extern code* running;

// ---- for the scenarios' threads ---------------------------------------------------------------------------------

/// Reports a fact to the scenario's judge. No operation: nothing is ordered by it.
inline void fact(uint64_t value) { running->fact(value); }
inline void facts(std::initializer_list<uint64_t> values) {
  for (uint64_t value : values) fact(value);
}
/// A line in the printed interleaving.
inline void note(const char* text) {
  if (running != nullptr) running->note(text);
}
inline void require(bool holds, const char* what) {
  if (!holds) running->fail(what);
}

}  // namespace model

#endif
