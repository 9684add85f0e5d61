// SPDX-License-Identifier: MIT
// A recorder in a file: what is made, what it is called, what becomes of older ones, and what refuses.
#include "support/converted.hpp"
#include "support/live_reader.hpp"
#include "support/refused_call.hpp"
#include "support/sanitized.hpp"

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

namespace {

namespace fs = std::filesystem;

constexpr uint64_t mebibyte = 1 << 20;

/// Files of a folder with their sizes as it should be: none is half made.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

using names = std::vector<std::string>;

dump_reader::dump read_box(const std::string& path) { return dump_reader::read_live(text_of(path)); }

/// A child that records an instant into `path` and ends as `end` says; its status as status_of_child tells it.
template <class End>
int run_child(const std::string& path, unsigned keep, End&& end) {
  return status_of_child([&] {
    if (const contrail::error failed = flight_recorder::start({.memory = mebibyte, .file = path.c_str(), .keep_files = keep})) {
      std::fprintf(stderr, "%s\n", failed.message());
      return 1;
    }
    TRACE_INSTANT("of child", "pid", getpid());
    end();
    return 0;
  });
}

int run_child(const std::string& path, unsigned keep = 4) {
  return run_child(path, keep, [] { raise(SIGKILL); });
}

constexpr int killed = 1000 + SIGKILL;

/// The message of a start that must fail, in a child so that the next one begins anew; empty if it did not fail.
std::string message_of_start(const contrail::options& wanted) {
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  status_of_child([&] {
    const contrail::error failed = flight_recorder::start(wanted);
    return write(pipe_ends[1], failed.message(), std::strlen(failed.message())) < 0;
  });
  close(pipe_ends[1]);
  char message[sizeof(contrail::error)] = {};
  const ssize_t size = read(pipe_ends[0], message, sizeof message);
  close(pipe_ends[0]);
  return size > 0 ? message : "";
}

std::string message_of_start(const std::string& path) { return message_of_start({.memory = mebibyte, .file = path.c_str()}); }

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

// ---- what is made --------------------------------------------------------------------------------------------

TEST_CASE("A file holds the whole recorder, is the owner's alone, and has all its space") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  umask(0);
  REQUIRE(run_child(path) == killed);
  struct stat made {};
  REQUIRE(stat(path.c_str(), &made) == 0);
  CHECK(made.st_mode == (S_IFREG | 0600));
  CHECK(made.st_size == static_cast<off_t>(mebibyte));
  CHECK(static_cast<uint64_t>(made.st_blocks) * 512 >= mebibyte);
  CHECK(names_in(folder.path()) == names{"box"});
  CHECK(read_box(path).records("of child").size() == 1);
}

TEST_CASE("A file tells whether its recording was stopped, its process exited, or neither") {
  using contrail::detail::image_end;
  const temporary_folder folder;
  const std::string path = folder / "box";
  const auto shown = [&] {
    REQUIRE(run_converter("info '" + path + "'", folder / "shown") == 0);
    const std::string text = text_of(folder / "shown");
    return text.substr(text.find("\ndumped") + 1, text.find("\nclock") - text.find("\ndumped"));
  };
  REQUIRE(run_child(path) == killed);
  CHECK(read_box(path).super.ended == image_end::none);
  CHECK(contains(shown(), "killed"));

  REQUIRE(run_child(path, 4, [] { flight_recorder::stop(); }) == 0);
  CHECK(read_box(path).super.ended == image_end::stopped);
  CHECK(read_box(path).super.end.ticks > read_box(path).super.start.ticks);
  CHECK(read_box(path).records("of child").size() == 1);
  CHECK(contains(shown(), "stopped"));

  REQUIRE(run_child(path, 4, [] { std::exit(0); }) == 0);
  CHECK(read_box(path).super.ended == image_end::exited);
  CHECK(contains(shown(), "exited"));

  int told[2], asked[2];
  REQUIRE((pipe(told) == 0 && pipe(asked) == 0));
  const pid_t child = fork();
  if (child == 0) {
    if (flight_recorder::start({.memory = mebibyte, .file = path.c_str()})) _exit(1);
    char byte = 0;
    if (write(told[1], &byte, 1) != 1 || read(asked[0], &byte, 1) != 1) _exit(2);
    _exit(0);
  }
  char byte = 0;
  REQUIRE(read(told[0], &byte, 1) == 1);
  CHECK(contains(shown(), "still runs"));
  fs::copy(path, folder / "copy");
  REQUIRE(run_converter("info '" + (folder / "copy") + "'", folder / "shown") == 0);
  CHECK(contains(text_of(folder / "shown"), "still runs"));
  REQUIRE(write(asked[1], &byte, 1) == 1);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(contains(shown(), "_exit"));
}

TEST_CASE("A killed process's file converts, with names of threads as they were, and what was open") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  REQUIRE(run_child(path, 4, [] {
            TRACE_THREAD_NAME("the main one");
            TRACE_REGION("open at the end", "answer", 42);
            std::thread([] {
              TRACE_THREAD_NAME("another");
              TRACE_REGION("of another");
            }).join();
            raise(SIGKILL);
          }) == killed);
  const converted trace(path);
  CHECK(contains(trace.one("open at the end"), "\"answer\":42,\"unfinished\":true"));
  trace.one("of another");
  std::string all;
  for (const std::string& line : trace.lines()) all += line;
  CHECK(contains(all, "\"the main one\""));
  CHECK(contains(all, "\"another\""));
}

TEST_CASE("While its process writes to it as fast as it can, a file converts to whole records in their order") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  int told[2];
  REQUIRE(pipe(told) == 0);
  const pid_t child = fork();
  if (child == 0) {
    if (flight_recorder::start({.memory = mebibyte, .file = path.c_str()})) _exit(1);
    const auto work = [] {
      for (uint64_t number = 0;; ++number) {
        TRACE_REGION("numbered", "number", number, "check", number * 0x9e37'79b9'7f4a'7c15);
      }
    };
    std::thread(work).detach();
    if (write(told[1], "x", 1) == 1) work();
  }
  char byte = 0;
  REQUIRE(read(told[0], &byte, 1) == 1);
  size_t records = 0, wrong = 0;
  for (int round = 0; round < 3; ++round) {
    const std::string json = folder / "json";
    const int status = run_converter("convert '" + path + "' -o '" + json + "'", folder / "messages");
    INFO(text_of(folder / "messages"));
    CHECK(status == 0);
    std::map<std::string, uint64_t> last;
    std::ifstream lines(json);
    for (std::string line; std::getline(lines, line);) {
      if (!contains(line, "\"name\":\"numbered\"") || contains(line, "unfinished")) continue;
      const size_t tid = line.find("\"tid\":"), number_at = line.find("\"number\":"), check_at = line.find("\"check\":");
      REQUIRE((number_at != std::string::npos && check_at != std::string::npos));
      const uint64_t number = std::strtoull(line.c_str() + number_at + 9, nullptr, 10);
      const char* const check = line.c_str() + check_at + 8;  // large numbers are texts
      wrong += std::strtoull(check + (*check == '"'), nullptr, 10) != number * 0x9e37'79b9'7f4a'7c15;
      uint64_t& before = last[line.substr(tid, 14)];
      wrong += before != 0 && number <= before;
      before = number;
      ++records;
    }
  }
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(records > 0);
  CHECK(wrong == 0);
}

TEST_CASE("A thread's name in a killed process's file is the newest, however long ago its first record was") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  REQUIRE(run_child(path, 4, [] {
            pthread_setname_np(pthread_self(), "named late");
            const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
            while (std::chrono::steady_clock::now() < end) {  // some time epochs, in one chunk
              TRACE_INSTANT("later");
              usleep(1'000);
            }
            raise(SIGKILL);
          }) == killed);
  const dump_reader::dump found = read_box(path);
  REQUIRE(found.chunks.size() == 1);
  CHECK(found.chunks[0].thread_name == "named late");
}

TEST_CASE("Placeholders of a file's name are those of dumps") {
  const temporary_folder folder;
  int status = 0;
  const pid_t child = fork();
  if (child == 0) {
    const std::string path = folder / "%e-%p-%%-%n";
    _exit(flight_recorder::start({.memory = mebibyte, .file = path.c_str()}) ? 1 : 0);
  }
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  const std::string executable = fs::read_symlink("/proc/self/exe").filename();
  CHECK(names_in(folder.path()) == names{executable + "-" + std::to_string(child) + "-%-1"});
}

// ---- older files ---------------------------------------------------------------------------------------------

TEST_CASE("An older file of the name moves aside, and the oldest beyond keep_files goes") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  std::vector<uint32_t> pids;
  for (int i = 0; i < 5; ++i) {
    REQUIRE(run_child(path, 2) == killed);
    pids.insert(pids.begin(), read_box(path).super.pid);
  }
  CHECK(names_in(folder.path()) == names{"box", "box.1", "box.2"});
  CHECK(read_box(path).super.pid == pids[0]);
  CHECK(read_box(path + ".1").super.pid == pids[1]);
  CHECK(read_box(path + ".2").super.pid == pids[2]);
  REQUIRE(run_child(path, 0) == killed);
  CHECK(names_in(folder.path()) == names{"box"});
}

TEST_CASE("Of files that a pattern made the oldest go, and no others") {
  const temporary_folder folder;
  const std::string path = folder / "box-%p.contrail";
  std::ofstream(folder / "box-1.contrail") << "not ours";
  std::ofstream(folder / "box-x.contrail") << "not ours";
  fs::create_symlink("box-x.contrail", folder / "box-2.contrail");
  REQUIRE(mkfifo((folder / "box-3.contrail").c_str(), 0600) == 0);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(run_child(path, 2) == killed);
    // A dump is no file of a recorder, whatever its name is.
    if (i != 0) continue;
    for (const std::string& name : names_in(folder.path())) {
      if (name.size() > std::strlen("box-3.contrail")) fs::copy(folder / name.c_str(), folder / "other.contrail");
    }
  }
  const names found = names_in(folder.path());
  CHECK(found.size() == 3 + 5);  // the new one, two older ones, and what is not ours
  for (const char* other : {"box-1.contrail", "box-2.contrail", "box-3.contrail", "box-x.contrail", "other.contrail"}) {
    INFO(other);
    CHECK(std::count(found.begin(), found.end(), other) == 1);
  }
}

TEST_CASE("What is there and is no file of a recorder is not replaced, moved or opened for writing") {
  const temporary_folder folder;
  const std::string path = folder / "box", victim = folder / "victim";
  std::ofstream(victim) << "precious";
  SECTION("a file") { fs::copy(victim, path); }
  SECTION("a hard link") { fs::create_hard_link(victim, path); }
  SECTION("a symbolic link") { fs::create_symlink("victim", path); }
  SECTION("a symbolic link to nothing") { fs::create_symlink("nothing", path); }
  SECTION("a pipe") { REQUIRE(mkfifo(path.c_str(), 0600) == 0); }
  SECTION("a folder") { fs::create_directory(path); }
  const names before = names_in(folder.path());
  const std::string message = message_of_start(path);
  INFO(message);
  CHECK(contains(message, path.c_str()));
  CHECK(names_in(folder.path()) == before);
  CHECK(text_of(victim) == "precious");
}

TEST_CASE("A foreign file among the numbered ones is an error before anything moves") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  REQUIRE(run_child(path) == killed);
  std::ofstream(path + ".1") << "not ours";
  const std::string box = text_of(path);
  CHECK(contains(message_of_start(path), "box.1"));
  CHECK(text_of(path) == box);
  CHECK(text_of(path + ".1") == "not ours");
  CHECK(names_in(folder.path()) == names{"box", "box.1"});
}

TEST_CASE("What starts left that were killed is cleaned up, but nothing that is in use") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  std::ofstream(path + ".new-1-1") << std::string(4096, '\0');
  std::ofstream(path + ".new-2-1");
  std::ofstream(path + ".new-3-1") << "not ours";
  std::ofstream(path + ".tmp-4-1");  // a dump that is being written
  REQUIRE(run_child(path) == killed);
  CHECK(names_in(folder.path()) == names{"box", "box.new-3-1", "box.tmp-4-1"});
}

// ---- who else is there ---------------------------------------------------------------------------------------

TEST_CASE("A file that a living process uses is refused to another one, also when that one closed all descriptors") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  CHECK(run_child(path, 4, [&] {
          for (int fd = 3; fd < 100; ++fd) close(fd);
          const std::string message = message_of_start(path);
          const std::string expected = "in use by process " + std::to_string(getpid());
          if (!contains(message, expected.c_str()) || !contains(message, "%p")) {
            std::fprintf(stderr, "%s\n", message.c_str());
            _exit(3);
          }
          if (names_in(folder.path()) != names{"box"}) _exit(4);
        }) == 0);
  CHECK(run_child(path) == killed);  // it is free now
}

TEST_CASE("A file that another process uses is never too old to keep") {
  const temporary_folder folder;
  const std::string pattern = folder / "box-%p";
  CHECK(run_child(pattern, 4, [&] {
          for (int i = 0; i < 3; ++i) {
            const pid_t child = fork();  // without the parent's recorder: it starts one of its own
            if (child == 0) {
              if (flight_recorder::start({.memory = mebibyte, .file = pattern.c_str(), .keep_files = 0})) _exit(1);
              raise(SIGKILL);
            }
            int status = 0;
            waitpid(child, &status, 0);
            if (!WIFSIGNALED(status)) _exit(5);
          }
          if (names_in(folder.path()).size() != 2) _exit(6);  // its own, and the newest child's
        }) == 0);
}

TEST_CASE("Of processes that start at the same moment with one name, one gets it and the others are told") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  for (int round = 0; round < 5; ++round) {
    int go[2];
    REQUIRE(pipe(go) == 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 6; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        char byte = 0;
        close(go[1]);
        if (read(go[0], &byte, 1) != 0) _exit(9);
        const contrail::error failed = flight_recorder::start({.memory = mebibyte, .file = path.c_str(), .keep_files = 64});
        if (!failed) {
          pause();
        }
        _exit(contains(failed.message(), "in use") || contains(failed.message(), "exists") ? 0 : 1);
      }
      children.push_back(child);
    }
    close(go[0]);
    close(go[1]);
    unsigned refused = 0;
    pid_t winner = 0;
    while (refused < 5) {
      int status = 0;
      const pid_t ended = waitpid(-1, &status, 0);
      REQUIRE(WIFEXITED(status));
      REQUIRE(WEXITSTATUS(status) == 0);
      children.erase(std::find(children.begin(), children.end(), ended));
      ++refused;
    }
    winner = children[0];
    kill(winner, SIGKILL);
    REQUIRE(waitpid(winner, nullptr, 0) == winner);
    CHECK(read_box(path).super.pid == static_cast<uint32_t>(winner));
  }
  CHECK(names_in(folder.path()).size() == 5);  // no round's file was lost
}

// ---- starting again ------------------------------------------------------------------------------------------

TEST_CASE("A start with the same file goes on in it, another memory or name makes another file") {
  const temporary_folder folder;
  const std::string path = folder / "box", other = folder / "other";
  CHECK(status_of_child([&] {
          const contrail::options same{.memory = mebibyte, .file = path.c_str()};
          if (flight_recorder::start(same)) return 1;
          TRACE_INSTANT("first");
          flight_recorder::stop();
          if (flight_recorder::start(same)) return 2;
          TRACE_INSTANT("second");
          if (names_in(folder.path()) != names{"box"}) return 3;
          if (read_box(path).super.ended != contrail::detail::image_end::none) return 4;
          flight_recorder::stop();
          if (flight_recorder::start({.memory = 2 * mebibyte, .file = path.c_str()})) return 5;
          TRACE_INSTANT("third");
          if (names_in(folder.path()) != names{"box", "box.1"}) return 6;
          flight_recorder::stop();
          if (flight_recorder::start({.memory = 2 * mebibyte, .file = other.c_str()})) return 7;
          TRACE_INSTANT("fourth");
          flight_recorder::stop();
          if (flight_recorder::start({.memory = 2 * mebibyte})) return 8;
          TRACE_INSTANT("in memory");
          if (dump_now().records("in memory").size() != 1) return 9;
          flight_recorder::stop();
          if (flight_recorder::start(same)) return 10;
          TRACE_INSTANT("fifth");
          return 0;
        }) == 0);
  CHECK(names_in(folder.path()) == names{"box", "box.1", "box.2", "other"});
  CHECK(read_box(path).records("fifth").size() == 1);
  CHECK(read_box(path + ".1").records("third").size() == 1);
  CHECK(read_box(path + ".2").records("second").size() == 1);
  CHECK(read_box(other).records("fourth").size() == 1);
}

TEST_CASE("A dump of a recorder in a file is the same as of one in memory") {
  const temporary_folder folder;
  const std::string path = folder / "box", dumped = folder / "dump";
  CHECK(run_child(path, 4, [&] {
          if (flight_recorder::dump(dumped.c_str())) _exit(1);
        }) == 0);
  const dump_reader::dump dump = dump_reader::read(text_of(dumped));
  CHECK(dump.records("of child").size() == 1);
  CHECK(dump.super.storage == contrail::detail::image_storage::memory);
}

TEST_CASE("A dump does not replace the file of its own recorder") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  running_recorder recorder({.memory = mebibyte, .file = path.c_str()});
  const contrail::error failed = flight_recorder::dump(path.c_str());
  CHECK(failed.code() == contrail::error_code::path);
  CHECK(contains(failed.message(), "must not replace the recorder's own file"));
  CHECK(dump_reader::read_live(text_of(path)).super.pid == static_cast<uint32_t>(getpid()));
  CHECK_FALSE(flight_recorder::dump((folder / "dump").c_str()));
}

TEST_CASE("A process that starts again and again with other options leaves no more files than it keeps") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  CHECK(status_of_child([&] {
          for (uint64_t i = 0; i < 10; ++i) {
            if (flight_recorder::start({.memory = (1 + i % 2) * mebibyte, .file = path.c_str(), .keep_files = 1})) return 1;
            TRACE_INSTANT("something");
            if (flight_recorder::stop()) return 2;
          }
          return 0;
        }) == 0);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) files += entry.is_regular_file();
  CHECK(files == 2);
}

TEST_CASE("A forked child that ends leaves its parent's file as it is") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  CHECK(run_child(path, 4, [&] {
          const std::string before = text_of(path);
          const int status = status_of_child([] {
            TRACE_INSTANT("of grandchild");
            std::exit(0);
            return 0;
          });
          if (status != 0 || text_of(path) != before) _exit(1);
        }) == 0);
}

// ---- what refuses --------------------------------------------------------------------------------------------

TEST_CASE("A disk without room is an error at start, and nothing is left on it") {
  const temporary_folder folder;
  SECTION("a file system that is too small") {
    const std::string disk = folder / "disk";
    fs::create_directory(disk);
    if (mount("contrail", disk.c_str(), "tmpfs", 0, "size=64k") != 0) {
      WARN("skipped: no permission to mount");
      return;
    }
    const std::string message = message_of_start(disk + "/box");
    const names left = names_in(disk);
    umount(disk.c_str());
    CHECK(contains(message, "no space left on the device"));
    CHECK(contains(message, "/disk/box"));
    CHECK(left.empty());
  }
  SECTION("a limit on the size of files") {
    CHECK(status_of_child([&] {
            const std::string path = folder / "box";
            const rlimit limit{mebibyte / 2, mebibyte / 2};
            if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
            const contrail::error failed = flight_recorder::start({.memory = mebibyte, .file = path.c_str()});
            return failed.code() == contrail::error_code::file && contains(failed.message(), "too large") ? 0 : 2;
          }) == 0);
    CHECK(names_in(folder.path()).empty());
  }
}

TEST_CASE("Where a file system cannot reserve, the space is written, and a full disk is an error all the same") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  const int status = status_of_child([&] {
    refuse_call(SYS_fallocate, EOPNOTSUPP);
    if (flight_recorder::start({.memory = mebibyte, .file = path.c_str()})) return 1;
    TRACE_INSTANT("works");
    raise(SIGKILL);
    return 2;
  });
  if (status == 77) return;  // a sandbox that allows no filter
  REQUIRE(status == killed);
  struct stat made {};
  REQUIRE(stat(path.c_str(), &made) == 0);
  CHECK(static_cast<uint64_t>(made.st_blocks) * 512 >= mebibyte);
  CHECK(read_box(path).records("works").size() == 1);

  const std::string disk = folder / "disk";
  fs::create_directory(disk);
  if (mount("contrail", disk.c_str(), "tmpfs", 0, "size=64k") != 0) return;
  CHECK(status_of_child([&] {
          refuse_call(SYS_fallocate, EOPNOTSUPP);
          const std::string box = disk + "/box";
          return contains(flight_recorder::start({.memory = mebibyte, .file = box.c_str()}).message(), "no space") ? 0 : 1;
        }) == 0);
  const names left = names_in(disk);
  umount(disk.c_str());
  CHECK(left.empty());
}

TEST_CASE("A folder that is missing, read-only or no folder is an error with path and cause") {
  const temporary_folder folder;
  std::ofstream(folder / "file") << "x";
  fs::create_directory(folder / "closed");
  chmod((folder / "closed").c_str(), 0500);
  CHECK(contains(message_of_start(folder / "none/box"), "no such file or directory"));
  CHECK(contains(message_of_start(folder / "none/box"), "none/box"));
  CHECK(contains(message_of_start(folder / "file/box"), "a part of the path is no directory"));
  if (geteuid() != 0) CHECK(contains(message_of_start(folder / "closed/box"), "permission denied"));
  CHECK(contains(message_of_start(folder / "b%x"), "placeholder"));
  CHECK(contains(message_of_start(""), "empty"));
  CHECK(contains(message_of_start(std::string(2000, 'x')), "longer"));
  const std::string path = folder / "box";
  CHECK(contains(message_of_start({.memory = mebibyte, .file = path.c_str(), .keep_files = 65}), "keep_files"));
  CHECK(names_in(folder.path()) == names{"closed", "file"});
}

TEST_CASE("A start that fails leaves the older file whole, and the recorder ready for another start") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  REQUIRE(run_child(path) == killed);
  const std::string before = text_of(path);
  const int status = status_of_child([&] {
    refuse_call(SYS_renameat2, EIO);
    if (!flight_recorder::start({.memory = mebibyte, .file = path.c_str()})) return 1;
    if (flight_recorder::status().state != contrail::recorder_state::off) return 2;
    if (flight_recorder::start({.memory = mebibyte})) return 3;
    TRACE_INSTANT("works");
    return dump_now().records("works").size() == 1 ? 0 : 4;
  });
  if (status != 77) CHECK(status == 0);
  CHECK(names_in(folder.path()) == names{"box"});
  CHECK(text_of(path) == before);
}

TEST_CASE("A file system that cannot rename without replacing is good enough") {
  const temporary_folder folder;
  const std::string path = folder / "box";
  for (int i = 0; i < 2; ++i) {
    const int status = status_of_child([&] {
      refuse_call(SYS_renameat2, EINVAL);
      if (flight_recorder::start({.memory = mebibyte, .file = path.c_str()})) return 1;
      return 0;
    });
    if (status == 77) return;
    REQUIRE(status == 0);
  }
  CHECK(names_in(folder.path()) == names{"box", "box.1"});
}
