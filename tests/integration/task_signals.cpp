// SPDX-License-Identifier: MIT
// A signal handler that begins and ends tasks interrupts one that does the same, at each instruction: nothing is lost,
// and each region belongs to the right task.
#include "support/single_step.hpp"
#include "support/trace.hpp"

namespace {

using contrail::task_scope;

uint64_t handled = 0;

__attribute__((noinline)) void in_handler() {
  TRACE_TASK(own, "handler task", "n", handled);
  task_scope scope(own);
  { TRACE_REGION("in handler"); }
  ++handled;
}

__attribute__((noinline)) void work() {
  TRACE_TASK(own, "work task", "text", "0123456789");
  {
    task_scope scope(own);
    TRACE_REGION("in work");
    TRACE_INSTANT("in work, within");
  }
  { TRACE_REGION("after work"); }
}

void check_tasks(const trace& found, const char* name, uint64_t count, const std::string& task) {
  INFO(name);
  const std::vector<trace_event> all = found.all(name);
  CHECK(all.size() == count);
  for (const trace_event& one : all) {
    const bool is_right = task.empty() ? one.json.find("\"task\":") == std::string::npos
                                       : one.json.find("\"task\":\"" + task) != std::string::npos;
    CHECK(is_right);
  }
}

}  // namespace

TEST_CASE("a handler that begins and ends tasks may interrupt a task and its scope at every instruction") {
  if (!single_step::possible) {
    WARN("skipped: single-stepping is not possible here");
    return;
  }
  for (const uint64_t runs : {1U, 7U}) {
    const contrail::options wanted{.memory = 8 << 20};
    {
      running_recorder first(wanted);
      single_step::install();
      work();  // binds and attaches
      in_handler();
    }
    running_recorder recorder(wanted);
    handled = 0;
    for (uint64_t run = 0; run < runs; ++run) {
      single_step::interrupt_at(static_cast<long>(run), work, in_handler, static_cast<long>(runs));
    }
    CHECK(handled > 100);
    CHECK(dump_now().dropped() == 0);
    const trace found = convert_now();
    CHECK(found.warnings.empty());
    check_tasks(found, "in work", runs, "work task");
    check_tasks(found, "in work, within", runs, "work task");
    check_tasks(found, "after work", runs, "");
    check_tasks(found, "in handler", handled, "handler task");
    CHECK(found.all("work task").size() == 2 * runs);  // a begin and an end
    CHECK(found.all("handler task").size() == 2 * handled);
  }
}
