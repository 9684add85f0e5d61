// SPDX-License-Identifier: MIT
// Processes that fork, vfork, spawn and daemonise: what the child records, and that the parent's recording stays whole.
#include "support/live_reader.hpp"
#include "support/recorder.hpp"
#include "support/refused_call.hpp"
#include "support/sanitized.hpp"
#include "support/single_step.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <thread>

namespace {

using contrail::recorder_state;
using namespace std::chrono_literals;

void trace(uint64_t n) { TRACE_INSTANT("traced", "n", n, "inverse", ~n); }

/// The numbers that were traced, in order. Throws when one was altered.
std::vector<uint64_t> traced(const dump_reader::dump& dump) {
  dump_reader::check_chains(dump);
  std::vector<uint64_t> found;
  for (const auto& record : dump.records("traced")) {
    dump_reader::require(record.payload.at(0) == ~record.payload.at(1), "a record was altered");
    found.push_back(record.payload.at(0));
  }
  return found;
}
std::vector<uint64_t> traced_in_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return traced(dump_reader::read({std::istreambuf_iterator<char>(file), {}}));
}

using numbers = std::vector<uint64_t>;

/// Runs `work` in a child; 99 when it threw.
template <class Work>
int status_of(Work&& work) {
  return status_of_child([&] {
    try {
      return work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in a child: %s\n", error.what());
      return 99;
    }
  });
}

/// A dump in a child, where Catch2 has nothing to say.
dump_reader::dump dump_in_child() {
  std::string bytes;
  const contrail::error failed = flight_recorder::dump(bytes);
  dump_reader::require(!failed, failed.message());
  return dump_reader::read(bytes);
}

/// All of the recorder's memory, byte by byte.
std::string image_bytes() {
  const contrail::detail::image_view& image = *contrail::detail::current_image(*contrail::detail::joined_process());
  return {reinterpret_cast<const char*>(image.super), image.image_bytes};
}

struct following_recorder : running_recorder {
  explicit following_recorder(uint64_t memory = 2 << 20)
      : running_recorder({.memory = memory, .follow_fork = true}) {}
};

/// The options of a recorder in private memory, or in a file of a folder of its own; children follow or not.
struct recorder_kind {
  const bool file, follow;

  recorder_kind(bool in_file, bool followed) : file(in_file), follow(followed) {}
  contrail::options options(uint64_t memory) {
    if (file) path_ = folder_ / "box-%p";
    contrail::options wanted{.memory = memory};
    wanted.follow_fork = follow;
    wanted.file = file ? path_.c_str() : nullptr;
    return wanted;
  }
  std::string file_of(pid_t pid) const { return folder_.path() + "/box-" + std::to_string(pid); }

 private:
  temporary_folder folder_;
  std::string path_;
};

template <class Test>
void for_each_kind(Test&& test) {
  for (const bool file : {false, true}) {
    for (const bool follow : {false, true}) {
      recorder_kind kind{file, follow};
      INFO((file ? "in a file, " : "in memory, ") << (follow ? "followed" : "not followed"));
      test(kind);
    }
  }
}

uint64_t signal_mask() {
  uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
  return mask;
}

}  // namespace

// ---- fork --------------------------------------------------------------------------------------------------------

TEST_CASE("a child that follows records from its first call site on, and has nothing of its parent") {
  following_recorder recorder;
  trace(1);  // bound and attached
  const int status = status_of([] {
    trace(2);
    TRACE_INSTANT("bound in the child");
    if (flight_recorder::status().state != recorder_state::recording) return 1;
    const auto dump = dump_in_child();
    if (traced(dump) != numbers{2} || dump.record_count() != 2 || dump.dropped() != 0) return 2;
    if (dump.super.pid != static_cast<uint32_t>(getpid()) || dump.slots.size() != 1) return 3;
    return dump.slots[0].tid == static_cast<uint64_t>(syscall(SYS_gettid)) ? 0 : 4;
  });
  CHECK(status == 0);
  trace(3);
  const auto dump = dump_now();
  CHECK(traced(dump) == numbers{1, 3});
  CHECK(dump.record_count() == 2);
  CHECK(dump.dropped() == 0);
}

TEST_CASE("a child that follows has its parent's options") {
  running_recorder recorder({.memory = 3 << 20,
                             .window = 20ms,
                             .prefault = true,
                             .filter = {.names = "-filtered"},
                             .follow_fork = true});
  const int status = status_of([] {
    trace(1);
    const auto end = std::chrono::steady_clock::now() + 40ms;
    while (std::chrono::steady_clock::now() < end) {
    }
    { TRACE_REGION("filtered"); }
    trace(2);
    const auto dump = dump_in_child();
    if (traced(dump) != numbers{2}) return 1;
    if (dump.record_count() > 2 || dump.super.window_ns != 20'000'000) return 2;
    if (flight_recorder::status().memory_bytes != 3 << 20) return 3;
    if (flight_recorder::start({}).code() != contrail::error_code::already_running) return 4;
    if (flight_recorder::set_filter({})) return 5;
    { TRACE_REGION("filtered"); }
    return dump_in_child().records("filtered").size() == 1 ? 0 : 6;
  });
  CHECK(status == 0);
  { TRACE_REGION("filtered"); }
  CHECK(dump_now().record_count() == 0);
}

TEST_CASE("no child alters a byte of its parent's image") {
  for_each_kind([](recorder_kind& kind) {
    running_recorder recorder(kind.options(1 << 20));
    TRACE_REGION("open", "n", 1);
    for (uint64_t n = 0; n < 1000; ++n) trace(n);
    const std::string before = image_bytes();
    {
      TRACE_REGION_VAR(closed, "ends in the child");
      const std::string with_region = image_bytes();
      const int status = status_of([&] {
        closed.end();
        for (uint64_t n = 0; n < 100'000; ++n) {
          TRACE_REGION("child");
          trace(n);
        }
        std::string bytes;
        if (static_cast<bool>(flight_recorder::dump(bytes)) == kind.follow) return 1;
        return static_cast<bool>(flight_recorder::stop()) == kind.follow ? 2 : 0;
      });
      CHECK(status == 0);
      CHECK((image_bytes() == with_region));  // not shown: a mebibyte
    }
    if (kind.file) {
      const std::string& path = kind.file_of(getpid());
      std::ifstream file(path, std::ios::binary);
      CHECK((std::string{std::istreambuf_iterator<char>(file), {}} == image_bytes()));
    }
    CHECK((image_bytes() != before));
  });
}

TEST_CASE("a child that follows a recorder in a file has a file of its own, and its parent's is free for others") {
  recorder_kind kind{true, true};
  pid_t child = -1;
  {
    running_recorder recorder(kind.options(1 << 20));
    trace(1);
    int ready[2], go[2];
    REQUIRE(pipe(ready) == 0);
    REQUIRE(pipe(go) == 0);
    child = fork();
    if (child == 0) {
      trace(2);
      char byte = 'x';
      if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(1);
      _exit(0);
    }
    char byte;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    trace(3);
    // The lock of a file is its mapping's: the child's must not hold its parent's.
    const std::string path = kind.file_of(getpid());
    CHECK(access(path.c_str(), F_OK) == 0);
    CHECK(traced(dump_now()) == numbers{1, 3});
    std::ifstream maps("/proc/" + std::to_string(child) + "/maps");
    const std::string mapped{std::istreambuf_iterator<char>(maps), {}};
    CHECK(mapped.find(path + "\n") == std::string::npos);
    CHECK(mapped.find(kind.file_of(child) + "\n") != std::string::npos);
    REQUIRE(write(go[1], &byte, 1) == 1);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    for (const int end : {ready[0], ready[1], go[0], go[1]}) close(end);
  }
  CHECK(access(kind.file_of(child).c_str(), F_OK) == 0);
}

TEST_CASE("children that follow need a file of their own: the name says which process") {
  temporary_folder folder;
  for (const char* name : {"box", "box-%n", "box-%%p", "%t%%"}) {
    const std::string path = folder / name;
    const contrail::error failed = flight_recorder::start({.memory = 1 << 20, .file = path.c_str(), .follow_fork = true});
    CHECK(failed.code() == contrail::error_code::bad_option);
    CHECK(std::string(failed.message()).find("%p") != std::string::npos);
  }
  CHECK(flight_recorder::status().state == recorder_state::off);
}

TEST_CASE("a fork leaves the signal mask as it was, in both processes") {
  for_each_kind([](recorder_kind& kind) {
    running_recorder recorder(kind.options(1 << 20));
    sigset_t two;
    sigemptyset(&two);
    sigaddset(&two, SIGUSR1);
    sigaddset(&two, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &two, nullptr);
    const uint64_t before = signal_mask();
    CHECK(status_of([&] {
            if (signal_mask() != before) return 1;
            return status_of([&] { return signal_mask() == before ? 0 : 2; });
          }) == 0);
    CHECK(signal_mask() == before);
    pthread_sigmask(SIG_UNBLOCK, &two, nullptr);
  });
}

namespace {
void trace_pid(int) { TRACE_INSTANT("handled", "pid", static_cast<uint64_t>(syscall(SYS_getpid))); }
}  // namespace

TEST_CASE("a signal that meets a child before fork has returned does not write into its parent's file") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // they deliver signals late
  recorder_kind kind{true, true};
  const int status = status_of([&] {
    if (setpgid(0, 0) != 0) return 1;
    struct sigaction action {};
    action.sa_handler = trace_pid;
    sigaction(SIGUSR1, &action, nullptr);
    const pid_t group = getpid();
    const pid_t killer = fork();
    if (killer == 0) {
      setpgid(0, 0);
      while (kill(-group, SIGUSR1) == 0) usleep(5);  // the fork must get on
      _exit(0);
    }
    if (flight_recorder::start(kind.options(1 << 20))) return 2;
    for (int i = 0; i < 100; ++i) {
      const pid_t child = fork();
      if (child == 0) _exit(0);
      int ended = 0;
      while (waitpid(child, &ended, 0) < 0) {
      }
      if (ended != 0) return 3;
    }
    kill(killer, SIGKILL);
    while (waitpid(killer, nullptr, 0) < 0) {
    }
    const auto dump = dump_in_child();
    dump_reader::check_chains(dump);
    const auto handled = dump.records("handled");
    for (const auto& record : handled) {
      if (record.payload.at(0) != static_cast<uint64_t>(getpid())) return 4;
    }
    return handled.size() > 100 ? 0 : 5;
  });
  CHECK(status == 0);
}

TEST_CASE("a region that was open at the fork is its parent's, though it ends in both") {
  following_recorder recorder;
  int status = 0;
  {
    TRACE_REGION("around the fork");
    TRACE_REGION_VAR(second, "second");
    status = status_of([&] {
      {
        TRACE_REGION("within");
        if (dump_in_child().open_names() != std::vector<std::string>{"within"}) return 1;
      }
      second.set("key", 1);
      second.end();
      trace(1);
      const auto dump = dump_in_child();
      return dump.record_count() == 2 && dump.dropped() == 0 && traced(dump) == numbers{1} ? 0 : 2;
    });
  }
  CHECK(status == 0);
  const auto dump = dump_now();
  CHECK(dump.records("around the fork").size() == 1);
  CHECK(dump.records("second").size() == 1);
  CHECK(dump.record_count() == 2);
}

namespace {

/// Each process traces before, within and after its fork, and knows only its own. Returns 0, or what went wrong where.
int generation(uint64_t n, uint64_t last) {
  trace(10 * n);
  if (n != last && status_of([&] { return generation(n + 1, last); }) != 0) return static_cast<int>(n + 1);
  trace(10 * n + 1);
  std::thread([&] { trace(10 * n + 2); }).join();
  return traced(dump_in_child()) == numbers{10 * n, 10 * n + 1, 10 * n + 2} ? 0 : 50 + static_cast<int>(n);
}

}  // namespace

// In a forked child ThreadSanitizer cannot live with new threads.
#if !CONTRAIL_DETAIL_THREAD_SANITIZER
TEST_CASE("children of children follow, each with an image of its own") {
  following_recorder recorder(1 << 20);
  CHECK(generation(1, 12) == 0);
}
#endif

TEST_CASE("a child follows only what runs at the fork") {
  { following_recorder recorder; }
  const auto is_off = [] {
    trace(1);
    return flight_recorder::status().state == recorder_state::off ? 0 : 1;
  };
  CHECK(status_of(is_off) == 0);  // it was stopped
  {
    running_recorder recorder({.memory = 2 << 20});  // the same memory, without the option
    CHECK(status_of(is_off) == 0);
  }
  {
    following_recorder recorder;
    CHECK(status_of([] { return flight_recorder::stop() ? 1 : 0; }) == 0);
    CHECK(flight_recorder::status().state == recorder_state::recording);
    // A child that starts anew, and its child, which follows or not as that start said.
    CHECK(status_of([&] {
            flight_recorder::stop();
            if (flight_recorder::start({.memory = 1 << 20})) return 10;
            trace(1);
            if (traced(dump_in_child()) != numbers{1}) return 11;
            return status_of(is_off);
          }) == 0);
  }
}

TEST_CASE("a process may fork while its threads record, dump, set filters and attach, and each child records at once") {
  following_recorder recorder(1 << 20);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t n = 0; !done; ++n) {
      TRACE_REGION("region");
      trace(n);
    }
  });
  std::thread dumper([&] {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    while (!done) static_cast<void>(flight_recorder::dump(null));
    close(null);
  });
  std::thread filterer([&] {
    while (!done) flight_recorder::set_filter({.names = "-nothing"});
  });
  std::thread attacher([&] {
    while (!done) std::thread([] { trace(0); }).join();
  });
  std::vector<int> failures;
  for (uint64_t i = 0; i < 100 && failures.empty(); ++i) {
    const int status = status_of([&] {
      for (uint64_t n = 0; n < 3; ++n) trace(1000 + n);
      if (flight_recorder::set_filter({.names = "-region"})) return 1;  // no lock of a thread that is no more
      if (traced(dump_in_child()) != numbers{1000, 1001, 1002}) return 2;
      return flight_recorder::status().dropped == 0 ? 0 : 3;
    });
    if (status != 0) failures.push_back(status);
  }
  done = true;
  for (std::thread* thread : {&writer, &dumper, &filterer, &attacher}) thread->join();
  CHECK(failures.empty());
  dump_reader::check_chains(dump_now());
}

TEST_CASE("a child forked by a thread that dumps may dump at once, and the parent's dump goes on") {
  following_recorder recorder;
  trace(1);
  struct container : std::string {
    void resize(size_t size) {
      std::string::resize(size);
      if (tries++ != 0) return;
      status = status_of([] {
        trace(2);
        return traced(dump_in_child()) == numbers{2} ? 0 : 1;
      });
    }
    int tries = 0, status = -1;
  } bytes;
  REQUIRE_FALSE(flight_recorder::dump(bytes));
  CHECK(bytes.status == 0);
  CHECK(traced(dump_reader::read(bytes)) == numbers{1});
}

namespace {

int forked_status = 0;
bool in_forked_child = false;

/// Forks; the child traces, then goes on with what was interrupted.
void fork_in_handler() {
  const pid_t child = fork();
  if (child == 0) {
    in_forked_child = true;
    trace(7);
    return;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  if (status != 0) forked_status = status;
}

}  // namespace

TEST_CASE("a child forked by a handler that interrupted a write goes on with it, and records") {
  if (!single_step::possible) return;
  single_step::install();
  for_each_kind([](recorder_kind& kind) {
    running_recorder recorder(kind.options(1 << 20));
    trace(0);
    forked_status = 0;
    const auto work = [](uint64_t n) {
      TRACE_REGION("interrupted", "n", n, "inverse", ~n);
      trace(n);
    };
    uint64_t trials = 0;
    const uint64_t stride = kind.file ? 3 : 1;  // a file takes longer
    for (bool interrupted = true; interrupted && trials < 400; ++trials) {
      interrupted =
          single_step::interrupt_at(static_cast<long>(trials * stride), [&] { work(trials + 1); }, fork_in_handler);
      if (in_forked_child) {
        trace(8);
        int failed = 0;
        try {
          if (kind.follow) {
            // What was interrupted began in the parent, so it may be missing here, but nothing else.
            numbers found = traced(dump_in_child());
            if (found.size() == 3 && (found[1] == trials + 1 || found[0] == trials + 1)) {
              found.erase(found.begin() + (found[1] == trials + 1 ? 1 : 0));
            }
            failed = found == numbers{7, 8} ? 0 : 1;
          } else {
            failed = flight_recorder::status().state != recorder_state::off;
          }
        } catch (const std::exception& error) {
          std::fprintf(stderr, "in a child: %s\n", error.what());
          failed = 2;
        }
        _exit(failed);
      }
    }
    CHECK(trials > 30);
    CHECK(forked_status == 0);
    numbers expected;
    for (uint64_t n = 0; n <= trials; ++n) expected.push_back(n);
    const auto dump = dump_now();
    CHECK(traced(dump) == expected);
    CHECK(dump.records("interrupted").size() == trials);
    CHECK(dump.dropped() == 0);
  });
}

TEST_CASE("a child without memory for an image records nothing and goes on") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // they have reserved more than any limit
  following_recorder recorder(64 << 20);
  trace(1);
  const int status = status_of([] {
    // In the child of the child there is no room for one more.
    const rlimit little{1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_AS, &little) != 0) return 1;
    trace(2);
    const pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) {
      trace(3);
      _exit(flight_recorder::status().state == recorder_state::off ? 0 : 3);
    }
    int ended = 0;
    while (waitpid(child, &ended, 0) < 0) {
    }
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : 4;
  });
  CHECK(status == 0);
  CHECK(traced(dump_now()) == numbers{1});
}

TEST_CASE("a child that cannot be taken off its parent's file says so and ends, and the file stays its parent's") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // they map memory at a fork themselves
  const temporary_folder folder;
  const std::string path = folder / "box", said = folder / "said";
  const int status = status_of([&] {
    if (flight_recorder::start({.memory = 1 << 20, .file = path.c_str()})) return 1;
    trace(1);
    const int output = open(said.c_str(), O_CREAT | O_WRONLY, 0600);
    if (dup2(output, STDERR_FILENO) < 0) return 2;
    refuse_call(SYS_mmap, ENOMEM);
    const pid_t child = fork();
    if (child < 0) return 3;
    if (child == 0) {
      trace(2);
      _exit(0);
    }
    int ended = 0;
    while (waitpid(child, &ended, 0) < 0) {
    }
    trace(3);
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : 4;
  });
  CHECK(status == 127);
  std::ifstream text(said), file(path, std::ios::binary);
  CHECK(std::string{std::istreambuf_iterator<char>(text), {}}.find("A forked child ends") != std::string::npos);
  CHECK(traced(dump_reader::read_live({std::istreambuf_iterator<char>(file), {}})) == numbers{1, 3});
}

// ---- vfork, spawn, exec ------------------------------------------------------------------------------------------

TEST_CASE("a vfork child that records before it executes writes its parent's records, and a new thread's are counted") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // sanitizers turn vfork into fork
  running_recorder recorder;
  trace(1);
  const auto vfork_and_trace = [](uint64_t n) {
    // The kernel's own: the compiler's vfork forbids what this tests.
    const pid_t child = vfork();
    if (child == 0) {
      trace(n);
      _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    trace(n + 1);
  };
  vfork_and_trace(2);
  CHECK(traced(dump_now()) == numbers{1, 2, 3});
  // A thread whose first record its vfork child makes must not get a slot in the name of that child.
  std::thread([&] { vfork_and_trace(4); }).join();
  const auto dump = dump_now();
  CHECK(traced(dump) == numbers{1, 2, 3, 5});
  CHECK(dump.dropped() == 1);
  CHECK(dump.dropped(contrail::detail::drop_reason::no_slot) == 1);
}

TEST_CASE("no descriptor reaches programs that are spawned during dumps, and nothing of the recording changes") {
  running_recorder recorder({.memory = 8 << 20});
  temporary_folder folder;
  const std::string dump_path = folder / "dump", listing = folder / "listing";
  std::atomic<bool> done{false};
  std::atomic<unsigned> dumps{0}, failures{0};
  std::thread dumper([&] {
    while (!done) {
      failures += flight_recorder::dump(dump_path.c_str()) ? 1 : 0;
      ++dumps;
    }
  });
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, listing.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const std::string script = "ls -l /proc/self/fd";
  char shell[] = "/bin/sh", option[] = "-c";
  char* arguments[] = {shell, option, const_cast<char*>(script.c_str()), nullptr};
  char* environment[] = {nullptr};
  const uint64_t rounds = 60;
  for (uint64_t n = 0; n < rounds; ++n) {
    pid_t child = 0;
    REQUIRE(posix_spawn(&child, "/bin/sh", &actions, nullptr, arguments, environment) == 0);
    trace(n);
    int status = -1;
    while (waitpid(child, &status, 0) < 0) {
    }
    REQUIRE(status == 0);
  }
  while (dumps < 3) std::this_thread::yield();
  done = true;
  dumper.join();
  posix_spawn_file_actions_destroy(&actions);
  CHECK(failures == 0);
  std::ifstream file(listing);
  unsigned programs = 0;
  for (std::string line; std::getline(file, line);) {
    programs += line.find("listing") != std::string::npos;
    INFO(line);
    CHECK(line.find("/dump") == std::string::npos);
  }
  CHECK(programs == rounds);
  CHECK(traced(dump_now()).size() == rounds);
}

TEST_CASE("every descriptor that the recorder opens is closed when a program is executed") {
  // Seen from the sink of a dump that goes to a file at the same time: the file and what stands in /proc/self/fd then.
  running_recorder recorder({.memory = 8 << 20, .follow_fork = true});
  temporary_folder folder;
  const std::string path = folder / "dump";
  std::atomic<bool> done{false};
  std::thread dumper([&] {
    while (!done) flight_recorder::dump(path.c_str());
  });
  unsigned seen = 0;
  for (unsigned tries = 0; seen < 20 && tries < 2'000'000; ++tries) {
    for (int descriptor = 3; descriptor < 20; ++descriptor) {
      char target[256] = {};
      const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
      if (readlink(link.c_str(), target, sizeof target - 1) < 0) continue;
      if (std::string(target).find(folder.path()) == std::string::npos) continue;
      const int flags = fcntl(descriptor, F_GETFD);
      if (flags < 0) continue;  // closed meanwhile
      ++seen;
      CHECK((flags & FD_CLOEXEC) != 0);
    }
  }
  done = true;
  dumper.join();
  CHECK(seen == 20);
}

// ---- daemons -----------------------------------------------------------------------------------------------------

namespace {

/// What a daemon does: fork twice, leave the session and the folder, close every descriptor.
template <class Work>
int status_of_daemon(Work&& work) {
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  const int kept = fcntl(pipe_ends[1], F_DUPFD, 1500);  // how this test hears of it; daemons keep nothing
  const int first = status_of_child([&] {
    setsid();
    if (fork() != 0) return 0;
    if (chdir("/") != 0) return 1;
    for (int descriptor = 0; descriptor < 1024; ++descriptor) close(descriptor);
    for (int descriptor = 0; descriptor < 3; ++descriptor) open("/dev/null", O_RDWR);
    const int result = work();
    _exit(write(kept, &result, sizeof result) == sizeof result ? 0 : 1);
  });
  close(pipe_ends[1]);
  close(kept);
  int result = -1;
  const ssize_t size = read(pipe_ends[0], &result, sizeof result);
  close(pipe_ends[0]);
  return first == 0 && size == sizeof result ? result : -1;
}

}  // namespace

TEST_CASE("a daemon that closes all descriptors records and dumps") {
  temporary_folder folder;
  const std::string path = folder / "daemon";
  const auto daemon = [&](bool follow) {
    running_recorder recorder({.memory = 2 << 20, .follow_fork = follow});
    trace(1);
    return status_of_daemon([&] {
      if (!follow && flight_recorder::start({.memory = 2 << 20})) return 1;
      for (uint64_t n = 2; n < 5; ++n) trace(n);
      return contrail_dump(path.c_str());
    });
  };
  for (const bool follow : {true, false}) {
    INFO(follow);
    CHECK(daemon(follow) == 0);
    CHECK(traced_in_file(path) == numbers{2, 3, 4});
  }
}

TEST_CASE("a process that closes its descriptors while it records goes on recording and dumping") {
  temporary_folder folder;
  const std::string path = folder / "closed";
  running_recorder recorder({.memory = 1 << 20, .follow_fork = true});
  const int status = status_of([&] {
    trace(1);
    for (int descriptor = 0; descriptor < 1024; ++descriptor) close(descriptor);
    syscall(SYS_close_range, 0U, ~0U, 0U);
    for (uint64_t n = 0; n < 100'000; ++n) trace(n);  // other chunks
    if (contrail_dump(path.c_str()) != 0) return 1;
    if (flight_recorder::stop() || flight_recorder::start({.memory = 2 << 20})) return 2;
    trace(5);
    return contrail_dump(path.c_str());
  });
  CHECK(status == 0);
  CHECK(traced_in_file(path) == numbers{5});
}

namespace {
// Registered before the first start, so that they run while the recorder's own hooks have begun.
bool hooks_call = false, kept_control = true;
void change_filter() {
  if (!hooks_call) return;
  flight_recorder::set_filter({});
  kept_control = kept_control && contrail::detail::joined_process()->control.load_relaxed() != 0;
}
const int registered = pthread_atfork(change_filter, change_filter, nullptr);
}  // namespace

TEST_CASE("the program's own hooks of a fork may stop, start and filter the recorder") {
  CHECK(status_of_child([] {
          if (registered != 0) return 1;
          if (flight_recorder::start({.memory = 1 << 20})) return 2;
          alarm(20);
          hooks_call = true;
          if (status_of_child([] { return 0; }) != 0) return 3;
          if (!kept_control) return 5;  // else another thread could start within the fork
          return flight_recorder::set_filter({}) ? 4 : 0;
        }) == 0);
}
