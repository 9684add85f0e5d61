// SPDX-License-Identifier: MIT
// A crash in the middle of recording: the dump decodes, has everything that was recorded before, and nothing twice.
// Crashes at 16 instructions of each scenario, most of them early, where the quick paths are; with
// CONTRAIL_TEST_LENGTH=long at 1000.
#include "support/crash_child.hpp"
#include "support/single_step.hpp"
#include "support/test_length.hpp"

#include <map>
#include <thread>

namespace {

constexpr long per_scenario = 1'000'000;

void trace(int n) {
  TRACE_REGION("outer", "n", n);
  {
    TRACE_REGION("inner", "n", n);
    TRACE_INSTANT("point", "n", n);
  }
  TRACE_REGION("plain");
}

/// Records until so few words are left in the chunk that the next records take another one.
void fill_chunk() {
  const auto& image = *contrail::detail::current_image(*contrail::detail::joined_process());
  const auto& writer = image.slots[0].lanes[0];
  while ((writer.cursor.value & (contrail::detail::chunk_bytes - 1)) < contrail::detail::chunk_bytes - 64) {
    TRACE_INSTANT("filler");
  }
}

void crash() { store_to(nullptr); }

CHILD(crashes_mid_record) {
  record_and_watch();
  single_step::install(SA_ONSTACK);
  const long step = child_argument() % per_scenario;
  bool reached = false;
  const auto work = [] {
    trace(1);
    trace(2);
  };
  switch (child_argument() / per_scenario) {
    case 0:  // plain records
      trace(0);
      reached = single_step::interrupt_at(step, work, crash);
      break;
    case 1:  // another chunk
      trace(0);
      fill_chunk();
      reached = single_step::interrupt_at(step, work, crash);
      break;
    default:  // a thread's first records, and those of its sites
      std::thread([&] { reached = single_step::interrupt_at(step, [] { trace(0); }, crash); }).join();
  }
  std::fprintf(stderr, "%ld\n", step - single_step::steps_left);
  _exit(reached ? 43 : 42);
}

/// Each name's numbers are 0, 1, 2 ... in the records; one more may be open.
void check(const dump_reader::dump& dump) {
  dump_reader::check_chains(dump);
  std::map<std::string, uint64_t> recorded;
  std::map<std::pair<uint64_t, uint64_t>, bool> starts;
  for (const char* name : {"outer", "inner", "point"}) {
    for (const auto& record : dump.records(name)) {
      CHECK((record.payload.at(0) & 0xffff'ffff) == recorded[name]);
      ++recorded[name];
      starts[{record.id, record.start}] = true;
    }
  }
  for (const auto& slot : dump.slots) {
    for (const auto& open : slot.open) {
      const std::string& name = dump.bindings.at(open.id).name;
      if (name == "plain") continue;
      const bool is_recorded_too = starts.count({open.id, open.start}) != 0;
      CHECK((open.payload.at(0) & 0xffff'ffff) == recorded[name] - is_recorded_too);
    }
  }
  CHECK(recorded["outer"] <= recorded["inner"]);
  CHECK(recorded["inner"] <= recorded["point"]);
  CHECK(dump.dropped() == 0);
}

}  // namespace

TEST_CASE("a crash in the middle of recording leaves a dump with all that was recorded before") {
  if (!single_step::possible) return;
  const long points = by_test_length(8, 16, 1000);
  for (long scenario = 0; scenario < 3; ++scenario) {
    const crash_outcome whole = run_child("crashes_mid_record", (scenario + 1) * per_scenario - 1);
    REQUIRE(whole.code == 42);
    const long steps = std::strtol(whole.said.c_str(), nullptr, 10);
    REQUIRE(steps > 50);
    for (long i = 0; i < points; ++i) {
      const long step = steps * i / points * i / points * i / points;
      INFO("scenario " << scenario << ", step " << step << " of " << steps);
      const crash_outcome left = run_child("crashes_mid_record", scenario * per_scenario + step);
      if (left.code == 42) break;  // the number of steps depends on how often the time epoch changes meanwhile
      REQUIRE(left.signal == SIGSEGV);
      check(left.dump());
    }
  }
}
