// SPDX-License-Identifier: MIT
// Paths and descriptors that somebody chose badly, or with intent: nothing is written through a link, nothing blocks or
// ends the process, what stood there stays as it was, and the file is its owner's alone.
#include "support/recorder.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

using contrail::error_code;
namespace fs = std::filesystem;

constexpr uid_t nobody = 65534;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_file(const std::string& path, const std::string& content) { std::ofstream(path) << content; }
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}
bool mentions(const contrail::error& failed, const std::string& words) {
  return std::string(failed.message()).find(words) != std::string::npos;
}
mode_t mode_of(const std::string& path) {
  struct stat there {};
  return lstat(path.c_str(), &there) == 0 ? there.st_mode : 0;
}

/// A recorder with some records.
struct recording : running_recorder {
  recording() {
    for (int i = 0; i < 1000; ++i) {
      TRACE_INSTANT("instant", "n", i);
    }
  }
};

void check_whole(const std::string& path) { CHECK(dump_reader::read(content_of(path)).records("instant").size() == 1000); }

/// A dump to `path` is refused with these words, and what stands there stays of that type.
void check_refused(const temporary_folder& folder, const std::string& path, const char* words) {
  const auto before = names_in(folder.path());
  const mode_t mode = mode_of(path);
  const contrail::error failed = flight_recorder::dump(path.c_str());
  INFO(failed.message());
  CHECK(failed.code() == error_code::file);
  CHECK(mentions(failed, words));
  CHECK(mentions(failed, path.substr(0, 150)));
  CHECK(mode_of(path) == mode);
  CHECK(names_in(folder.path()) == before);
}

/// Calls `work` as a user without rights; its exit status.
template <class Work>
int status_as_nobody(Work&& work) {
  return status_of_child([&] {
    if (geteuid() == 0 && setresuid(nobody, nobody, nobody) != 0) return 99;
    return work();
  });
}

/// Both ends of something that is written to.
struct channel {
  enum kind { pipe_ends, socket_ends };
  explicit channel(kind which) {
    REQUIRE((which == pipe_ends ? pipe2(ends, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) == 0);
  }
  ~channel() {
    close(ends[0]);
    close(ends[1]);
  }
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  int reader() const { return ends[0]; }
  int writer() const { return ends[1]; }
  void close_reader() { close(std::exchange(ends[0], -1)); }
  int ends[2] = {-1, -1};
};

volatile std::sig_atomic_t pipe_signals = 0;

}  // namespace

// ---- what may stand under the dump's name ------------------------------------------------------------------------

TEST_CASE("a symbolic link is replaced, never followed: to a file, to nothing, to a pipe, or to a folder") {
  const recording recorder;
  const temporary_folder folder;
  const std::string file = folder / "file", pipe = folder / "pipe", below = folder / "below", path = folder / "dump";
  write_file(file, "precious");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  REQUIRE(mkdir(below.c_str(), 0700) == 0);
  for (const std::string& target : {file, folder / "nothing", pipe, below, path}) {
    INFO(target);
    unlink(path.c_str());
    REQUIRE(symlink(target.c_str(), path.c_str()) == 0);
    const contrail::error failed = flight_recorder::dump(path.c_str());
    INFO(failed.message());
    CHECK_FALSE(failed);
    CHECK(S_ISREG(mode_of(path)));
    check_whole(path);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"below", "dump", "file", "pipe"});
  }
  CHECK(content_of(file) == "precious");
  CHECK(S_ISFIFO(mode_of(pipe)));
  CHECK(names_in(below).empty());
}

TEST_CASE("a hard link to another file is replaced, and the other file keeps its content") {
  const recording recorder;
  const temporary_folder folder;
  const std::string other = folder / "other", path = folder / "dump";
  write_file(other, "precious");
  REQUIRE(link(other.c_str(), path.c_str()) == 0);
  CHECK_FALSE(flight_recorder::dump(path.c_str()));
  check_whole(path);
  CHECK(content_of(other) == "precious");
}

TEST_CASE("a pipe, a socket, a device and a folder are refused at once and stay what they are") {
  const recording recorder;
  const temporary_folder folder;
  const std::string pipe = folder / "pipe", socket_path = folder / "socket", below = folder / "below";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  alarm(5);  // a writer that opens a pipe without a reader waits for ever
  check_refused(folder, pipe, "a pipe");
  alarm(0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(socket_path.size() < sizeof address.sun_path);
  std::copy(socket_path.begin(), socket_path.end(), address.sun_path);
  const int socket_file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(bind(socket_file, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  check_refused(folder, socket_path, "a socket");
  close(socket_file);
  REQUIRE(mkdir(below.c_str(), 0700) == 0);
  check_refused(folder, below, "directory");
  check_refused(folder, below + "/", "directory");
  check_refused(folder, "/dev/null", "a device");
  check_refused(folder, "/dev/full", "a device");
  if (geteuid() == 0) {
    const std::string device = folder / "device";
    if (mknod(device.c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0) check_refused(folder, device, "a device");
  }
}

// ---- folders -----------------------------------------------------------------------------------------------------

TEST_CASE("a folder that is missing, is a file, or turns in a circle gives a sentence") {
  const recording recorder;
  const temporary_folder folder;
  check_refused(folder, folder / "no/dump", "no such file or directory");
  write_file(folder / "file", "precious");
  check_refused(folder, folder / "file/dump", "no directory");
  CHECK(content_of(folder / "file") == "precious");
  REQUIRE(symlink("circle", (folder / "circle").c_str()) == 0);
  check_refused(folder, folder / "circle/dump", "symbolic link");
}

TEST_CASE("a folder that may not be written keeps its older dump, also as the current folder") {
  const temporary_folder folder;
  const std::string path = folder / "dump";
  write_file(path, "older");
  REQUIRE(chmod(folder.path().c_str(), 0555) == 0);
  REQUIRE(chmod(path.c_str(), 0444) == 0);
  CHECK(status_as_nobody([&] {
          if (flight_recorder::start({.memory = 1 << 20})) return 1;
          const contrail::error failed = flight_recorder::dump(path.c_str());
          if (failed.code() != error_code::file || !mentions(failed, "permission denied") || !mentions(failed, path)) return 2;
          if (chdir(folder.path().c_str()) != 0) return 3;
          const contrail::error here = flight_recorder::dump("dump");
          if (here.code() != error_code::file || !mentions(here, "permission denied): dump")) return 4;
          const contrail::error hidden = flight_recorder::dump("/proc/1/cwd/dump");
          if (geteuid() != 0 && !mentions(hidden, "permission denied")) return 5;
          std::string bytes;
          return flight_recorder::dump(bytes) ? 6 : 0;
        }) == 0);
  CHECK(content_of(path) == "older");
  CHECK(names_in(folder.path()) == std::vector<std::string>{"dump"});
}

TEST_CASE("a current folder that was removed gives a sentence") {
  CHECK(status_of_child([] {
          if (flight_recorder::start({.memory = 1 << 20})) return 1;
          char gone[] = "/tmp/contrail-test-XXXXXX";
          if (mkdtemp(gone) == nullptr || chdir(gone) != 0 || rmdir(gone) != 0) return 2;
          return mentions(flight_recorder::dump("dump"), "no such file or directory): dump") ? 0 : 3;
        }) == 0);
}

// ---- lengths -----------------------------------------------------------------------------------------------------

TEST_CASE("a name may be as long as the system allows, and one byte more gives a sentence") {
  const recording recorder;
  const temporary_folder folder;
  for (const size_t length : {size_t{199}, size_t{200}, size_t{201}, size_t{230}, size_t{231}, size_t{254}, size_t{255}}) {
    const std::string path = folder / std::string(length, 'n').c_str();
    const contrail::error failed = flight_recorder::dump(path.c_str());
    INFO(failed.message());
    CHECK_FALSE(failed);
    check_whole(path);
  }
  CHECK(names_in(folder.path()).size() == 7);
  check_refused(folder, folder / std::string(256, 'n').c_str(), "too long");
}

TEST_CASE("a path may have 992 bytes once expanded, and longer ones give a sentence") {
  const recording recorder;
  const temporary_folder folder;
  std::string below = folder.path();
  while (below.size() < 780) {
    below += "/" + std::string(180, 'd');
    REQUIRE(mkdir(below.c_str(), 0700) == 0);
  }
  const auto path_of = [&](size_t size) { return below + "/" + std::string(size - below.size() - 1, 'n'); };
  CHECK_FALSE(flight_recorder::dump(path_of(991).c_str()));
  CHECK_FALSE(flight_recorder::dump(path_of(992).c_str()));
  check_whole(path_of(992));
  CHECK(names_in(below).size() == 2);
  for (const size_t size : {size_t{993}, size_t{1000}, size_t{1023}, size_t{1024}, size_t{1025}, size_t{5000}}) {
    const contrail::error failed = flight_recorder::dump(path_of(size).c_str());
    CHECK(failed.code() == error_code::path);
    CHECK(mentions(failed, "992 bytes"));
  }
  const std::string expands = path_of(985) + "%p%p%p%p%p%p%p%p";
  CHECK(flight_recorder::dump(expands.c_str()).code() == error_code::path);
  CHECK(names_in(below).size() == 2);
}

// ---- who may read it ---------------------------------------------------------------------------------------------

TEST_CASE("a dump is readable and writable by its owner and nobody else under every umask") {
  const recording recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{077}, mode_t{0277}, mode_t{0777}}) {
    unlink(path.c_str());
    const mode_t before = umask(mask);
    const contrail::error failed = flight_recorder::dump(path.c_str());
    umask(before);
    CHECK_FALSE(failed);
    CHECK((mode_of(path) & 07777) == 0600);
  }
}

TEST_CASE("the descriptors of a dump are closed by exec, and none stays open") {
  const recording recorder;
  const temporary_folder folder;
  const std::string path = folder / "dump";
  const size_t before = names_in("/proc/self/fd").size();
  CHECK_FALSE(flight_recorder::dump(path.c_str()));
  CHECK(flight_recorder::dump((folder / "no/dump").c_str()).code() == error_code::file);
  CHECK(names_in("/proc/self/fd").size() == before);
}

// ---- descriptors -------------------------------------------------------------------------------------------------

TEST_CASE("a descriptor that is closed, was never open, or is not for writing gives a sentence") {
  const recording recorder;
  const int closed = open("/dev/null", O_WRONLY | O_CLOEXEC);
  close(closed);
  for (const int descriptor : {closed, -1, 1 << 20}) {
    CHECK(mentions(flight_recorder::dump(descriptor), "not open for writing"));
  }
  const int folder = open("/tmp", O_RDONLY | O_CLOEXEC);
  CHECK(flight_recorder::dump(folder).code() == error_code::file);
  close(folder);
}

TEST_CASE("a pipe or socket whose reader is gone gives a sentence, and no SIGPIPE") {
  for (const channel::kind kind : {channel::pipe_ends, channel::socket_ends}) {
    CHECK(status_of_child([&] {
            if (flight_recorder::start({.memory = 1 << 20})) return 1;
            channel to(kind);
            to.close_reader();
            const contrail::error failed = flight_recorder::dump(to.writer());  // the default action would end the child
            if (failed.code() != error_code::file || !mentions(failed, "nobody reads")) return 2;
            std::signal(SIGPIPE, [](int) { pipe_signals = pipe_signals + 1; });
            if (!flight_recorder::dump(to.writer()) || pipe_signals != 0) return 3;
            // The program's own writes still do what they did.
            if (write(to.writer(), "x", 1) != -1 || errno != EPIPE || pipe_signals != 1) return 4;
            std::string bytes;
            return flight_recorder::dump(bytes) ? 5 : 0;
          }) == 0);
  }
}

TEST_CASE("a SIGPIPE that was pending before a dump is still pending after it") {
  CHECK(status_of_child([] {
          if (flight_recorder::start({.memory = 1 << 20})) return 1;
          sigset_t pipe{}, pending{};
          sigemptyset(&pipe);
          sigaddset(&pipe, SIGPIPE);
          sigprocmask(SIG_BLOCK, &pipe, nullptr);
          std::raise(SIGPIPE);
          channel to(channel::pipe_ends);
          to.close_reader();
          if (!flight_recorder::dump(to.writer())) return 2;
          sigpending(&pending);
          if (sigismember(&pending, SIGPIPE) != 1) return 3;
          sigset_t now{};
          sigprocmask(SIG_BLOCK, nullptr, &now);
          return sigismember(&now, SIGPIPE) == 1 ? 0 : 4;
        }) == 0);
}

TEST_CASE("a reader that closes in the middle of a dump ends it with an error, and the process lives") {
  for (const channel::kind kind : {channel::pipe_ends, channel::socket_ends}) {
    CHECK(status_of_child([&] {
            if (flight_recorder::start({.memory = 8 << 20})) return 1;
            for (int i = 0; i < 500'000; ++i) {
              TRACE_REGION("fills the memory", "i", i);
            }
            channel to(kind);
            std::thread reader([&] {
              char some[100'000];
              ssize_t left = sizeof some;
              while (left > 0) left -= read(to.reader(), some, static_cast<size_t>(left));
              to.close_reader();
            });
            const contrail::error failed = flight_recorder::dump(to.writer());
            reader.join();
            return failed.code() == error_code::file ? 0 : 2;
          }) == 0);
  }
}

TEST_CASE("a non-blocking pipe or socket that is full ends the dump with an error instead of waiting") {
  const recording recorder;
  for (const channel::kind kind : {channel::pipe_ends, channel::socket_ends}) {
    channel to(kind);
    fcntl(to.writer(), F_SETFL, O_NONBLOCK);
    const char filling[4096] = {};
    while (write(to.writer(), filling, sizeof filling) > 0) {
    }
    alarm(5);
    const contrail::error failed = flight_recorder::dump(to.writer());
    alarm(0);
    CHECK(failed.code() == error_code::file);
    CHECK(mentions(failed, "non-blocking and full"));
  }
}

TEST_CASE("a dump goes through a socket") {
  const recording recorder;
  channel to(channel::socket_ends);
  std::string bytes;
  std::thread reader([&] {
    char part[4096];
    for (ssize_t size; (size = read(to.reader(), part, sizeof part)) > 0;) bytes.append(part, static_cast<size_t>(size));
  });
  CHECK_FALSE(flight_recorder::dump(to.writer()));
  shutdown(to.writer(), SHUT_WR);
  reader.join();
  CHECK(dump_reader::read(bytes).records("instant").size() == 1000);
}

TEST_CASE("a dump on a signal whose stderr nobody reads does not end the process") {
  CHECK(status_of_child([] {
          if (flight_recorder::start({.memory = 1 << 20})) return 1;
          if (flight_recorder::dump_on_signal(SIGUSR2, "/no/such/folder/dump")) return 2;
          channel to(channel::pipe_ends);
          to.close_reader();
          dup2(to.writer(), STDERR_FILENO);
          std::raise(SIGUSR2);
          std::string bytes;
          return flight_recorder::dump(bytes) ? 3 : 0;
        }) == 0);
}

// ---- memory ------------------------------------------------------------------------------------------------------

TEST_CASE("a container that throws ends the dump, and the next one works") {
  const recording recorder;
  struct small_container {
    size_t size() const { return bytes.size(); }
    char* data() { return bytes.data(); }
    void resize(size_t size) {
      if (size > 100'000) throw std::length_error("full");
      bytes.resize(size);
    }
    std::string bytes;
  } small;
  for (int i = 0; i < 100'000; ++i) {
    TRACE_REGION("fills the memory");
  }
  CHECK_THROWS_AS(flight_recorder::dump(small), std::length_error);
  dump_now();
}
