// SPDX-License-Identifier: MIT
// A program that only records, opened late or preloaded by whom it finds the variable CONTRAIL. Runs itself with it.
#include <contrail/contrail.hpp>

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

const char* const library = PLUGIN_FOLDER "/libplugin_environment.so";

int record(bool opens) {
  { TRACE_REGION("early"); }
  if (opens && dlopen(library, RTLD_NOW | RTLD_LOCAL) == nullptr) return std::puts(dlerror()), 2;
  { TRACE_REGION("late"); }
  return std::raise(SIGUSR2);
}

/// Runs this program once more; whether its dump has these names.
bool records(const char* how, const std::string& names) {
  const std::string dump = std::string(PLUGIN_FOLDER "/environment-") + how + ".contrail";
  std::remove(dump.c_str());
  const pid_t child = fork();
  if (child == 0) {
    setenv("CONTRAIL", ("memory=1M,signal=USR2:" + dump).c_str(), 1);
    if (std::string(how) == "preloaded") setenv("LD_PRELOAD", library, 1);
    execl("/proc/self/exe", "environment_test", how, nullptr);
    _exit(99);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) return std::printf("%s: status %d\n", how, status), false;
  const char* const python = std::getenv("PYTHON");
  const std::string command =
      std::string(python != nullptr ? python : "python3") + " '" EXPECT_NAMES "' '" + dump + "' " + names;
  return std::system(command.c_str()) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) return record(std::string(arguments[1]) == "opened");
  return records("opened", "late") && records("preloaded", "early late") ? 0 : 1;
}
