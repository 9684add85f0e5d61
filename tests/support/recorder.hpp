// SPDX-License-Identifier: MIT
// A running recorder for the length of a test, its dumps decoded, and child processes for tests that change the
// process.
#ifndef CONTRAIL_TESTS_RECORDER_HPP
#define CONTRAIL_TESTS_RECORDER_HPP

#include "catch.hpp"
#include "contrail/contrail.hpp"
#include "support/dump_reader.hpp"

#include <ftw.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

using contrail::flight_recorder;

/// Starts the recorder and stops it at the end of the scope.
struct running_recorder {
  explicit running_recorder(const contrail::options& wanted = {.memory = 4 << 20}) {
    const contrail::error failed = flight_recorder::start(wanted);
    INFO(failed.message());
    REQUIRE_FALSE(failed);
  }
  ~running_recorder() { flight_recorder::stop(); }
};

inline std::string dump_bytes(const contrail::dump_options& wanted = {}) {
  std::string bytes;
  const contrail::error failed = flight_recorder::dump(bytes, wanted);
  INFO(failed.message());
  REQUIRE_FALSE(failed);
  return bytes;
}

inline dump_reader::dump dump_now(const contrail::dump_options& wanted = {}) {
  return dump_reader::read(dump_bytes(wanted));
}

/// Runs `work` in a forked child; its exit status, 1000 + signal when a signal ended it.
template <class Work>
int status_of_child(Work&& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/// A folder that disappears with its files.
class temporary_folder {
 public:
  explicit temporary_folder(const char* where = "/tmp") : path_(std::string(where) + "/contrail-test-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~temporary_folder() {
    // Not by rm: two processes are a good part of the time of a test that does this a thousand times.
    const auto remove_one = [](const char* path, const struct stat*, int, FTW*) { return remove(path); };
    if (nftw(path_.c_str(), remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) {
      std::fprintf(stderr, "could not remove %s\n", path_.c_str());
    }
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  std::string operator/(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

#endif
