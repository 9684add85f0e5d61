// SPDX-License-Identifier: MIT
#include "contrail/detail/dump_file.hpp"

#include "support/recorder.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

namespace {

using contrail::error_code;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_file(const std::string& path, const std::string& content) { std::ofstream(path) << content; }
bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }
size_t files_in(const temporary_folder& folder) {
  FILE* list = popen(("ls -A '" + folder.path() + "' | wc -l").c_str(), "r");
  size_t count = 99;
  if (std::fscanf(list, "%zu", &count) != 1) count = 99;
  pclose(list);
  return count;
}
std::string expand(const char* pattern, error_code* code = nullptr) {
  char path[contrail::detail::longest_path_bytes];
  const contrail::error failed = contrail::detail::expand_path(pattern, {12, 34, 56, "name"}, path);
  if (code != nullptr) *code = failed.code();
  return failed ? failed.message() : path;
}
bool mentions(const contrail::error& failed, const char* words) {
  return std::string(failed.message()).find(words) != std::string::npos;
}

void trace() {
  for (int i = 0; i < 1000; ++i) {
    TRACE_INSTANT("instant", "n", i);
  }
}

std::string signal_folder;
int chained = 0;

}  // namespace

TEST_CASE("placeholders of a path stand for process, time, number, executable and percent") {
  CHECK(expand("/a/%p-%t-%n-%e-%%.contrail") == "/a/12-34-56-name-%.contrail");
  error_code code{};
  CHECK(expand("x%q", &code).find("placeholder") != std::string::npos);
  CHECK(code == error_code::path);
  CHECK(expand("x%", &code).find("placeholder") != std::string::npos);
  CHECK(expand("", &code).find("empty") != std::string::npos);
  CHECK(expand(nullptr, &code).find("empty") != std::string::npos);
  CHECK(expand(std::string(2000, 'a').c_str(), &code).find("longer") != std::string::npos);
  CHECK(code == error_code::path);
  CHECK(expand(std::string(900, 'a').c_str()).size() == 900);
}

TEST_CASE("a dump expands the placeholders of its path") {
  running_recorder recorder;
  temporary_folder folder;
  trace();
  const std::time_t before = std::time(nullptr);
  REQUIRE_FALSE(flight_recorder::dump((folder / "%p-%n").c_str()));
  REQUIRE_FALSE(flight_recorder::dump((folder / "%p-%n").c_str()));
  REQUIRE_FALSE(flight_recorder::dump((folder / "%t-%e").c_str()));
  CHECK(files_in(folder) == 3);
  char name[256];
  const auto dump = dump_now();
  std::snprintf(name, sizeof name, "%d-%u", getpid(), dump.super.dump_sequence - 2);
  CHECK(exists(folder / name));
  bool found = false;
  const std::string executable = dump.super.executable;
  for (std::time_t at = before; at <= std::time(nullptr); ++at) {
    found |= exists(folder / (std::to_string(at) + "-" + executable.substr(executable.rfind('/') + 1)).c_str());
  }
  CHECK(found);
}

TEST_CASE("a dump file is private, whole, and replaces an older one") {
  running_recorder recorder;
  temporary_folder folder;
  trace();
  const std::string path = folder / "dump";
  write_file(path, "older");
  chmod(path.c_str(), 0666);
  REQUIRE(contrail_dump(path.c_str()) == 0);
  struct stat about {};
  REQUIRE(stat(path.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  CHECK(dump_reader::read(content_of(path)).records("instant").size() == 1000);
  CHECK(files_in(folder) == 1);
}

TEST_CASE("an older dump stays whole until the new one is complete") {
  running_recorder recorder({.memory = 1 << 20});
  temporary_folder folder;
  const std::string path = folder / "dump";
  trace();
  REQUIRE_FALSE(flight_recorder::dump(path.c_str()));
  std::atomic<bool> done{false};
  std::string failure;
  std::thread reader([&] {
    while (!done && failure.empty()) {
      try {
        dump_reader::read(content_of(path));
      } catch (const std::runtime_error& error) {
        failure = error.what();
      }
    }
  });
  for (int i = 0; i < 100; ++i) REQUIRE_FALSE(flight_recorder::dump(path.c_str()));
  done = true;
  reader.join();
  CHECK(failure == "");
}

TEST_CASE("a symbolic link at the temporary name is not followed") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = folder / "dump", victim = folder / "victim";
  write_file(victim, "precious");
  const uint32_t next = dump_now().super.dump_sequence + 1;
  const std::string temporary = path + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(next);
  REQUIRE(symlink(victim.c_str(), temporary.c_str()) == 0);
  REQUIRE_FALSE(flight_recorder::dump(path.c_str()));
  CHECK(content_of(victim) == "precious");
  dump_reader::read(content_of(path));
  // A link under the dump's own name is replaced, not written through.
  unlink(path.c_str());
  REQUIRE(symlink(victim.c_str(), path.c_str()) == 0);
  REQUIRE_FALSE(flight_recorder::dump(path.c_str()));
  CHECK(content_of(victim) == "precious");
}

TEST_CASE("a path that cannot be written gives a sentence, and errno is kept") {
  running_recorder recorder;
  temporary_folder folder;
  errno = 1234;
  contrail::error failed = flight_recorder::dump((folder / "no/such/folder").c_str());
  CHECK(errno == 1234);
  CHECK(failed.code() == error_code::file);
  CHECK(mentions(failed, "no such file or directory"));
  failed = flight_recorder::dump(folder.path().c_str());  // renaming over a folder
  CHECK(failed.code() == error_code::file);
  CHECK(mentions(failed, "directory"));
  CHECK(mentions(failed, folder.path().c_str()));
  write_file(folder / "file", "");
  failed = flight_recorder::dump((folder / "file/below").c_str());
  CHECK(mentions(failed, "no directory"));
  CHECK(files_in(folder) == 1);
  if (geteuid() != 0) {
    chmod(folder.path().c_str(), 0500);
    CHECK(mentions(flight_recorder::dump((folder / "x").c_str()), "permission denied"));
    chmod(folder.path().c_str(), 0700);
  }
}

TEST_CASE("descriptors that fail give a sentence") {
  running_recorder recorder;
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  CHECK(mentions(flight_recorder::dump(full), "no space left"));
  close(full);
  CHECK(mentions(flight_recorder::dump(9999), "not open for writing"));
  const int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(flight_recorder::dump(read_only).code() == error_code::file);
  close(read_only);
  dump_now();  // and the next dump works
}

TEST_CASE("a file that becomes too large leaves the older dump and no temporary file") {
  temporary_folder folder;
  const std::string path = folder / "dump";
  write_file(path, "older");
  const int status = status_of_child([&] {
    const rlimit limit{10'000, 10'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    if (flight_recorder::start({.memory = 1 << 20})) return 1;
    trace();
    const contrail::error failed = flight_recorder::dump(path.c_str());
    return failed.code() == error_code::file && mentions(failed, "too large") ? 0 : 2;
  });
  CHECK(status == 0);
  CHECK(content_of(path) == "older");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("dumps that are written at the same time have names of their own, by %n") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string pattern = folder / "dump-%n";
  std::atomic<size_t> written{0};
  std::vector<std::thread> dumpers;
  for (int t = 0; t < 4; ++t) {
    dumpers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) written += !flight_recorder::dump(pattern.c_str());
    });
  }
  for (std::thread& dumper : dumpers) dumper.join();
  CHECK(written > 50);
  CHECK(files_in(folder) == written);
}

TEST_CASE("a dump goes through a pipe whose reader is slow") {
  running_recorder recorder;
  trace();
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  std::string bytes;
  std::thread reader([&] {
    char part[777];
    for (ssize_t size; (size = read(ends[0], part, sizeof part)) > 0;) bytes.append(part, static_cast<size_t>(size));
  });
  CHECK_FALSE(flight_recorder::dump(ends[1]));
  close(ends[1]);
  reader.join();
  close(ends[0]);
  CHECK(dump_reader::read(bytes).records("instant").size() == 1000);
}

TEST_CASE("a pipe or a folder of the dump's name is not replaced") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string pipe_path = folder / "pipe";
  REQUIRE(mkfifo(pipe_path.c_str(), 0600) == 0);
  CHECK(flight_recorder::dump(pipe_path.c_str()).code() == error_code::file);
  struct stat there {};
  REQUIRE(stat(pipe_path.c_str(), &there) == 0);
  CHECK(S_ISFIFO(there.st_mode));
  const std::string folder_path = folder / "folder";
  REQUIRE(mkdir(folder_path.c_str(), 0700) == 0);
  CHECK(flight_recorder::dump(folder_path.c_str()).code() == error_code::file);
}

TEST_CASE("a dump on a fault is refused, since the fault would come back for ever") {
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) {
    CHECK(flight_recorder::dump_on_signal(signal, "x").code() == error_code::bad_option);
  }
}

TEST_CASE("a dump on a signal is written in the handler, and the handler before it is called") {
  running_recorder recorder;
  temporary_folder folder;
  trace();
  struct sigaction earlier {};
  earlier.sa_sigaction = [](int signal, siginfo_t* info, void*) { chained += signal == SIGUSR2 && info != nullptr; };
  earlier.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR2, &earlier, nullptr);
  REQUIRE_FALSE(flight_recorder::dump_on_signal(SIGUSR2, (folder / "first").c_str()));
  REQUIRE_FALSE(flight_recorder::dump_on_signal(SIGUSR2, (folder / "second").c_str()));  // another path, once chained
  errno = 1234;
  std::raise(SIGUSR2);
  CHECK(errno == 1234);
  CHECK(chained == 1);
  CHECK_FALSE(exists(folder / "first"));
  const auto dump = dump_reader::read(content_of(folder / "second"));
  CHECK(dump.records("instant").size() == 1000);
  CHECK(dump.super.dump_signal == SIGUSR2);
  CHECK(flight_recorder::dump_on_signal(SIGKILL, "x").code() == error_code::bad_option);
  CHECK(flight_recorder::dump_on_signal(SIGUSR1, "x%q").code() == error_code::path);
  std::raise(SIGUSR2);
  CHECK(chained == 2);
  std::signal(SIGUSR2, SIG_DFL);
}
