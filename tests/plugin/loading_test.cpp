// SPDX-License-Identifier: MIT
// A plugin is being loaded, with the dynamic linker's lock held, while the program calls the recorder for the first
// time.
#include "catch.hpp"
#include "opened_plugin.hpp"
#include "contrail/contrail.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace {

/// Runs `call` in a process of its own, while another thread is in the static initialiser of a library that a plugin
/// with contrail depends on. Returns its result; a deadlock ends the process.
template <class Call>
int during_load(Call&& call) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    int ends[2];
    if (pipe(ends) != 0 || setenv("CONTRAIL_TEST_WAITING", std::to_string(ends[1]).c_str(), 1) != 0) _exit(90);
    std::thread loader([] {
      opened_plugin plugin("depends");
      plugin->trace(1);
    });
    char byte;
    if (read(ends[0], &byte, 1) != 1) _exit(91);
    const int result = call();
    loader.join();
    _exit(result);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace

// In a forked child ThreadSanitizer cannot live with new threads.
#if !CONTRAIL_DETAIL_THREAD_SANITIZER
TEST_CASE("start returns while a library that is being loaded takes its time") {
  CHECK(during_load([] { return contrail::flight_recorder::start({.memory = 1 << 20}) ? 1 : 0; }) == 0);
}

TEST_CASE("a dump may be asked for on a signal while a library that is being loaded takes its time") {
  CHECK(during_load([] { return contrail::flight_recorder::dump_on_signal(SIGUSR2, "x") ? 1 : 0; }) == 0);
}

TEST_CASE("stop, filters and dumps do not wait for a library that is being loaded") {
  REQUIRE_FALSE(contrail::flight_recorder::start({.memory = 1 << 20, .follow_fork = true}));
  CHECK(during_load([] {
          using contrail::flight_recorder;
          std::string bytes;
          if (flight_recorder::set_filter({.names = "-x"}) || flight_recorder::dump(bytes)) return 1;
          if (flight_recorder::stop() || flight_recorder::start({.memory = 2 << 20})) return 2;
          return flight_recorder::dump_on_signal(SIGUSR2, "x") ? 3 : 0;
        }) == 0);
  contrail::flight_recorder::stop();
}
#endif
