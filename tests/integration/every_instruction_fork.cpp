// SPDX-License-Identifier: MIT
// A signal handler forks, at the instructions of recording, attaching, the change of chunks and a dump. The child
// returns from the handler, ends what was interrupted, records and dumps; the parent's image is not touched by it.
#include "support/recorder.hpp"
#include "support/single_step.hpp"
#include "support/test_length.hpp"

#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace contrail::detail;

bool is_child = false;
unsigned children = 0, failed = 0, touched = 0, last_status = 0;
constexpr unsigned longest_child_seconds = 120;

image_view& the_image() { return *current_image(*joined_process()); }

/// No string: the handler may have interrupted the heap.
char before[1 << 20];

void fork_here() {
  TRACE_REGION("handler");
  std::memcpy(before, the_image().super, sizeof before);
  const pid_t child = fork();
  if (child < 0) {  // the system has no process to give
    ++failed;
    return;
  }
  if (child == 0) {
    alarm(longest_child_seconds);  // one that hangs fails
    is_child = single_step::is_over = true;
    TRACE_INSTANT("in child's handler");
    return;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  ++children;
  failed += status != 0;
  if (status != 0) last_status = static_cast<unsigned>(status);
  touched += std::memcmp(before, the_image().super, sizeof before) != 0;
}

__attribute__((noinline)) void work(uint64_t n) {
  TRACE_REGION("outer", "n", n, "check", ~n);
  { TRACE_REGION("plain"); }
  TRACE_INSTANT("instant", "n", n);
  TRACE_REGION_VAR(later, "later", "text", "0123456789");
  later.set("n", n);
}

/// What the child of a fork anywhere must be able to do. The exit status.
int go_on(bool follows) {
  if (!follows && flight_recorder::start({.memory = 1 << 20})) return 2;
  work(7777);
  std::string bytes;
  if (flight_recorder::dump(bytes)) return 3;
  try {
    const auto dump = dump_reader::read(bytes);
    dump_reader::check_chains(dump);
    unsigned found = 0;
    for (const auto& record : dump.records("outer")) {
      if (record.payload.at(1) != ~record.payload.at(0)) return 4;
      found += record.payload.at(0) == 7777;
    }
    if (found != 1) return 5;
    if (dump.super.pid != static_cast<uint32_t>(getpid())) return 6;
  } catch (const std::exception&) {
    return 7;
  }
  return 0;
}

/// Forks at every `period`-th instruction of `interrupted`.
template <class Work>
void fork_at_instructions(bool follows, long period, Work&& interrupted) {
  children = failed = touched = 0;
  period = by_test_length(period * 10, period, (period + 9) / 10);
  single_step::interrupt_at(0, interrupted, fork_here, period);
  if (is_child) _exit(go_on(follows));
  INFO("status " << last_status);
  CHECK(children > 1);
  CHECK(failed == 0);
  CHECK(touched == 0);
}

void fill_chunk(unsigned words) {
  // A region may end in another lane than the one before, when the thread goes back from a handler's.
  const auto current = []() -> const lane& {
    return slot_of(next_frame).lanes[lane_index_of(slot_of(next_frame), next_frame)];
  };
  while (chunk_words - words_in_chunk(current()) > words) {
    TRACE_REGION("filler");
  }
}

void fork_everywhere(const contrail::options& wanted) {
  running_recorder recorder(wanted);
  single_step::install();
  work(1);
  { TRACE_REGION("handler"); }
  fork_at_instructions(wanted.follow_fork, 5, [] { work(2); });
  fill_chunk(1);
  fork_at_instructions(wanted.follow_fork, 41, [] { work(3); });
  fork_at_instructions(wanted.follow_fork, 307, [] {
    next_frame = &detached_frame;  // as in a new thread
    work(4);
  });
  std::string bytes;
  bytes.reserve(4 << 20);
  fork_at_instructions(wanted.follow_fork, 997, [&] { flight_recorder::dump(bytes); });
  work(5);
  const auto dump = dump_now();
  dump_reader::check_chains(dump);
  std::vector<uint64_t> numbers;
  for (const auto& record : dump.records("outer")) numbers.push_back(record.payload.at(0));
  CHECK(numbers == std::vector<uint64_t>{1, 2, 3, 4, 5});
  CHECK(dump.dropped() == 0);
}

bool skipped() {
  if (!single_step::possible) WARN("skipped: single-stepping is not possible here");
  return !single_step::possible;
}

}  // namespace

TEST_CASE("a child of a fork at any instruction starts a recorder of its own") {
  if (skipped()) return;
  fork_everywhere({.memory = 1 << 20});
}

TEST_CASE("a child of a fork at any instruction follows") {
  if (skipped()) return;
  fork_everywhere({.memory = 1 << 20, .follow_fork = true});
}

TEST_CASE("a child of a fork at any instruction leaves its parent's file alone") {
  if (skipped()) return;
  const temporary_folder folder;
  const std::string path = folder / "box-%p.contrail";
  fork_everywhere({.memory = 1 << 20, .file = path.c_str()});
  fork_everywhere({.memory = 1 << 20, .file = path.c_str(), .follow_fork = true});
  if (is_child) _exit(0);
}
