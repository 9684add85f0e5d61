// SPDX-License-Identifier: MIT
// The variable CONTRAIL, in processes of their own: a recorder that the program did not ask for.
#include "support/converted.hpp"
#include "support/crash_child.hpp"
#include "support/trace.hpp"

#include <contrail/env.hpp>

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <thread>

namespace {

/// Runs a child with the variable as given.
crash_outcome run_with(const char* name, const std::string& text, long argument = 0) {
  setenv("CONTRAIL", text.c_str(), 1);
  const crash_outcome left = run_child(name, argument);
  unsetenv("CONTRAIL");
  return left;
}

contrail::recorder_state state() { return flight_recorder::status().state; }

void hit(int number) { TRACE_REGION("hit", "number", number); }

const char* path_of_test() { return child_variable("CONTRAIL_TEST_PATH"); }

struct path_for_children : temporary_folder {
  path_for_children() { setenv("CONTRAIL_TEST_PATH", (*this / "dump").c_str(), 1); }
};

}  // namespace

CHILD(hits_and_raises) {
  TRACE_THREAD_NAME("the first");
  for (int i = 0; i < 3; ++i) hit(i);
  std::raise(SIGUSR2);
}

TEST_CASE("the variable starts the recorder of a program that only records, from its first call site on") {
  const path_for_children folder;
  const auto left = run_with("hits_and_raises", "memory=1M,window=60s,signal=USR2:" + folder / "dump");
  CHECK(left.said == "");
  const converted trace(folder / "dump");
  REQUIRE(trace.named("hit").size() == 3);
  CHECK(trace.named("hit")[0].find("\"number\":0") != std::string::npos);
  CHECK(trace.named("thread_name").at(0).find("the first") != std::string::npos);
}

CHILD(sets_it_itself) {
  setenv("CONTRAIL", (std::string("on,signal=USR2:") + path_of_test()).c_str(), 1);
  hit(1);
  std::raise(SIGUSR2);
}

TEST_CASE("nothing reads the variable before the first call site is hit") {
  const path_for_children folder;
  run_with("sets_it_itself", "crash=/nowhere/at/all,unknown");
  CHECK(converted(folder / "dump").named("hit").size() == 1);
}

CHILD(hits_without_it) {
  using namespace contrail::detail;
  static call_site site{{epoch_step + site_off}, &overflow_descriptor, {}};
  require_in_child(difference(site.word, own_object().epoch) != site_off, "the first hit does not ask");
  begin_inline(site, nullptr);
  require_in_child(difference(site.word, own_object().epoch) == site_off, "a later hit asks again");
  hit(1);
  require_in_child(state() == contrail::recorder_state::off, "it records");
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "it does not start");
  require_in_child(begin_inline(site, nullptr).at != nullptr, "the site stays off");
  require_in_child(static_cast<bool>(flight_recorder::start()), "it starts twice");
}

TEST_CASE("without the variable each call site asks once, and start works as ever") {
  CHECK(run_child("hits_without_it").said == "");
  CHECK(run_with("hits_without_it", "").said == "");
}

TEST_CASE("a mistake in the variable is one line, and the program runs as without") {
  struct {
    const char* text;
    const char* said;
  } const cases[] = {
      {"windw=5s",
       "\"windw=5s\" is unknown: on, window, memory, file, keep_files, prefault, follow_fork, thread_states, signal, crash, "
       "categories and names exist."},
      {"on,memory=64Q", "\"memory=64Q\" is no size: write 1M to 16G, such as memory=64M."},
      {"signal=SEGV:x", "\"SEGV\" is no signal to dump at: write a name such as USR2, or a number."},
      {"signal=11:x",
       "A dump on a fault such as SIGSEGV would repeat for ever, since the fault comes back: use another "
       "signal."},
      {"file=/nowhere/at/all", "Could not create the recorder's file (no such file or directory): /nowhere/at/all"},
      {"a\nb", "\"a?b\" is unknown: on, window, memory, file, keep_files, prefault, follow_fork, thread_states, signal, crash, "
               "categories and names exist."},
      {"crash=%q", "The path %q has an unknown placeholder: %p, %t, %n, %e and %% exist."},
  };
  for (const auto& each : cases) {
    const auto left = run_with("hits_without_it", each.text);
    CHECK(left.said == std::string("contrail: in the environment variable CONTRAIL: ") + each.said + "\n");
    CHECK(left.code == 0);
    CHECK(left.signal == 0);
  }
}

CHILD(starts_itself) {
  if (child_argument() == 1) hit(1);
  require_in_child(!flight_recorder::start({.memory = 2 << 20, .window = contrail::duration(7)}), "start fails");
  const auto status = flight_recorder::status();
  require_in_child(status.memory_bytes == 4 << 20, "the variable does not say how much memory");
  const uint64_t window = contrail::detail::joined_process()->window_ns.load_relaxed();
  require_in_child(window == (child_argument() == 1 ? 0 : 7), "what the variable does not name is not the program's");
  const auto again = flight_recorder::start();
  require_in_child(again.code() == contrail::error_code::already_running, "it starts twice");
  require_in_child(!flight_recorder::stop(), "it does not stop");
  require_in_child(!flight_recorder::start({.memory = 2 << 20}), "it does not start again");
  require_in_child(flight_recorder::status().memory_bytes == 2 << 20, "the variable is read twice");
}

TEST_CASE("the variable overrides what a program starts with, once, whoever comes first") {
  CHECK(run_with("starts_itself", "memory=4M", 0).said == "");
  CHECK(run_with("starts_itself", "memory=4M", 1).said == "");
}

CHILD(crashes) {
  hit(1);
  store_to(nullptr);
}

TEST_CASE("the variable asks for dumps of crashes") {
  const path_for_children folder;
  const auto left = run_with("crashes", "memory=1M,crash=" + folder / "dump");
  CHECK(left.signal == SIGSEGV);
  const converted trace(folder / "dump");
  CHECK(trace.named("hit").size() == 1);
}

CHILD(filters) {
  hit(1);
  TRACE_REGION("also");
  TRACE_REGION("not this");
  std::raise(SIGUSR2);
}

TEST_CASE("globs of the variable's filters have semicolons between them") {
  const path_for_children folder;
  run_with("filters", "memory=1M, names=hit;al*, signal=SIGUSR2:" + folder / "dump");
  const converted trace(folder / "dump");
  CHECK(trace.named("hit").size() == 1);
  CHECK(trace.named("also").size() == 1);
  CHECK(trace.named("not this").empty());
}

CHILD(first_in_a_handler) {
  std::signal(SIGUSR1, [](int) { hit(1); });
  std::raise(SIGUSR1);
  std::raise(SIGUSR2);
}

TEST_CASE("the first call site that is hit may be in a signal handler") {
  const path_for_children folder;
  run_with("first_in_a_handler", "memory=1M,signal=USR2:" + folder / "dump");
  CHECK(converted(folder / "dump").named("hit").size() == 1);
}

CHILD(first_while_control_is_held) {
  using namespace contrail::detail;
  process_state& process = *joined_process();
  {
    const control_lock lock(process);  // as where a signal handler interrupts code that has it
    hit(1);
    require_in_child(process.environment.load_relaxed() == environment_unread, "it does not leave the lock alone");
  }
  hit(2);
  std::raise(SIGUSR2);
}

TEST_CASE("a first hit never waits: where others start something, a later hit reads the variable") {
  const path_for_children folder;
  run_with("first_while_control_is_held", "memory=1M,signal=USR2:" + folder / "dump");
  CHECK(converted(folder / "dump").one("hit").find("\"number\":2") != std::string::npos);
}

CHILD(forks_before_it_is_read) {
  const pid_t child = fork();
  hit(1);
  require_in_child(state() == contrail::recorder_state::recording, "it does not record after a fork");
  if (child == 0) _exit(0);
  int status = 0;
  require_in_child(waitpid(child, &status, 0) == child && status == 0, "its own child does not record");
}

TEST_CASE("a process that forks before it records reads the variable in both") {
  CHECK(run_with("forks_before_it_is_read", "memory=1M").said == "");
}

CHILD(forks_after_it_was_read) {
  hit(1);
  require_in_child(status_of_child([] {
                     hit(2);
                     if (state() != contrail::recorder_state::off) return 1;  // as after any start without follow_fork
                     if (flight_recorder::start({.memory = 2 << 20})) return 2;
                     return flight_recorder::status().memory_bytes == 2 << 20 ? 0 : 3;
                   }) == 0,
                   "a child is not as after any start");
}

TEST_CASE("a child of a process that the variable made record is like any other") {
  CHECK(run_with("forks_after_it_was_read", "memory=1M").said == "");
}

CHILD(many_first_hits) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([i] {
      while (state() == contrail::recorder_state::off) hit(-1);
      hit(i);
    });
  }
  for (auto& thread : threads) thread.join();
  std::raise(SIGUSR2);
}

TEST_CASE("of many threads that hit their first call site at once one starts the recorder, and all record") {
  const path_for_children folder;
  CHECK(run_with("many_first_hits", "memory=4M,signal=USR2:" + folder / "dump").said == "");
  const converted trace(folder / "dump");
  for (int i = 0; i < 16; ++i) {
    size_t found = 0;
    for (const std::string& line : trace.named("hit")) {
      found += line.find("\"number\":" + std::to_string(i) + "}") != std::string::npos;
    }
    CHECK(found == 1);
  }
}

CHILD(says_whether_it_records) {
  hit(1);
  _exit(state() == contrail::recorder_state::recording ? 1 : 0);
}

TEST_CASE("a process with rights that its user has not leaves the variable alone") {
  if (geteuid() != 0) {
    WARN("skipped: only root can make such a program");
    return;
  }
  const temporary_folder folder;
  struct statvfs there {};
  if (statvfs(folder.path().c_str(), &there) != 0 || (there.f_flag & ST_NOSUID) != 0 ||
      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) {
    WARN("skipped: the system gives no program more rights here");
    return;
  }
  const std::string copy = folder / "program";
  REQUIRE(std::system(("cp /proc/" + std::to_string(getpid()) + "/exe '" + copy + "'").c_str()) == 0);
  REQUIRE(chmod(folder.path().c_str(), 0755) == 0);
  const auto records = [&](mode_t mode) {
    REQUIRE(chmod(copy.c_str(), mode) == 0);
    return status_of_child([&] {
      setenv("CONTRAIL", "memory=1M", 1);
      setenv("CONTRAIL_TEST_CHILD", "says_whether_it_records", 1);
      if (setgid(65534) != 0 || setuid(65534) != 0) return 97;
      execl(copy.c_str(), copy.c_str(), nullptr);
      return 98;
    });
  };
  CHECK(records(0755) == 1);
  CHECK(records(04755) == 0);
}
