// SPDX-License-Identifier: MIT
// Thread states: what the kernel recorded of threads agrees with what they measured themselves; where the system
// refuses, recording goes on and the dump says why. Skipped, in print, where the system permits nothing.
#include "contrail/env.hpp"
#include "contrail/thread_states.hpp"
#include "support/converted.hpp"
#include "support/syscall_faults.hpp"
#include "support/trace.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

namespace {

using contrail::context_switches;
using contrail::detail::state_recording;
using contrail::detail::superblock;

constexpr contrail::options with_states{.memory = 4 << 20, .thread_states = context_switches};

const superblock& super_of(const std::string& dump) { return *reinterpret_cast<const superblock*>(dump.data()); }

/// Whether the kernel gives context switches here; says so where it does not.
bool is_permitted() {
  const running_recorder run(with_states);
  const std::string dump = dump_bytes();
  if (super_of(dump).thread_states == state_recording::on) return true;
  WARN("skipped: this system refuses context switches (errno "
       << super_of(dump).thread_states_error << "); tests/python/test_thread_states.py replays recorded ones");
  return false;
}

int64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}
int64_t cpu_ns() { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

/// Of processor time that a thread measured, what its switches show in any case: the kernel charges a thread for some
/// microseconds of each switch that are outside its records.
int64_t at_least(int64_t measured) { return measured * 3 / 4; }

/// Computes until the thread has had this much processor time.
void compute(int64_t ns) {
  for (const int64_t until = cpu_ns() + ns; cpu_ns() < until;) {
  }
}

/// How often a thread gave up its processor of its own accord.
long waits_of(pid_t tid) {
  const std::string text = file_text("/proc/self/task/" + std::to_string(tid) + "/status");
  const std::string key = "\nvoluntary_ctxt_switches:";
  return text.find(key) == std::string::npos ? 0 : std::stol(text.substr(text.find(key) + key.size()));
}
/// A thread that says when it is about to sleep, in its next call that can wait.
struct sleeper {
  std::atomic<pid_t> tid{0};
  std::atomic<long> waits{0};
  void sleeps_next() {
    waits = waits_of(gettid());
    tid = gettid();
  }
  /// It has said so, and then went to sleep.
  void wait_until_asleep() const {
    while (tid == 0 || waits_of(tid) == waits) sched_yield();
  }
};

/// What a region's event says it had of a processor; -1: nothing.
int64_t cpu_of(const trace_event& event) {
  const size_t at = event.json.find("\"cpu_us\":");
  if (at == std::string::npos) return -1;
  return ns_of(event.json.substr(at + 9, event.json.find_first_not_of("0123456789.", at + 9) - at - 9));
}

/// The thread id that the states of the thread of that name have in the trace.
uint64_t states_tid(const trace& shown, const std::string& name) {
  std::istringstream lines(shown.text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("\"states of " + name + "\"") != std::string::npos) return std::stoull(line.substr(line.find("\"tid\":") + 6));
  }
  return 0;
}

/// How long a thread was in a state while an event lasted.
int64_t spent(const trace& shown, const std::string& thread, const std::string& state, const trace_event& during) {
  const uint64_t tid = states_tid(shown, thread);
  REQUIRE(tid != 0);
  int64_t sum = 0;
  for (const trace_event& each : shown.events) {
    if (each.tid != tid || each.json.find("\"name\":\"" + state) == std::string::npos) continue;
    // A state is written 1 ns shorter than it was.
    sum += std::max<int64_t>(0, std::min(each.end_ns + 1, during.end_ns) - std::max(each.start_ns, during.start_ns));
  }
  return sum;
}

/// A thread that does nothing until it goes out of scope.
class waiting_thread {
 public:
  waiting_thread() {
    REQUIRE(pipe(ends_) == 0);
    thread_ = std::thread([this] {
      char byte = 0;
      CHECK(read(ends_[0], &byte, 1) == 0);
    });
  }
  ~waiting_thread() {
    close(ends_[1]);
    thread_.join();
    close(ends_[0]);
  }

 private:
  int ends_[2];
  std::thread thread_;
};

std::vector<std::string> perf_descriptors() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (target.find("perf_event") != std::string::npos) found.push_back(target);
  }
  return found;
}
bool has_perf_mappings() { return file_text("/proc/self/maps").find("perf_event") != std::string::npos; }

/// From now on a system call of this thread fails with `error`; of mmap those calls that share a file.
void refuse(long number, uint32_t error) {
  const uint32_t answer = SECCOMP_RET_ERRNO | error;
  sock_filter for_any[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
                           {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<uint32_t>(number)},
                           {BPF_RET | BPF_K, 0, 0, answer},
                           {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  sock_filter for_mmap[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
                            {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, static_cast<uint32_t>(number)},
                            {BPF_LD | BPF_W | BPF_ABS, 0, 0, 16 + 8 * 3},
                            {BPF_JMP | BPF_JSET | BPF_K, 0, 1, 1},  // MAP_SHARED
                            {BPF_RET | BPF_K, 0, 0, answer},
                            {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  sock_fprog program{4, for_any};
  if (number == SYS_mmap) program = {6, for_mmap};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) std::abort();
}

std::string info_of(const std::string& dump) {
  const temporary_folder folder;
  std::ofstream(folder / "dump", std::ios::binary) << dump;
  CHECK(run_converter("info '" + (folder / "dump") + "'", folder / "out") == 0);
  return text_of(folder / "out");
}

}  // namespace

TEST_CASE("states and processor times agree with what the threads measured") {
  if (!is_permitted()) return;
  constexpr int64_t amount = 20'000'000;
  const running_recorder run(with_states);
  sleeper waiter;
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  int64_t waiting_cpu = 0, computing_cpu = 0;
  std::thread waits([&] {
    TRACE_THREAD_NAME("waits");
    char byte = 0;
    const int64_t before = cpu_ns();
    {
      TRACE_REGION("the wait");
      TRACE_BLOCKED(io, "the pipe");
      waiter.sleeps_next();
      CHECK(read(pipe_ends[0], &byte, 1) == 1);
    }
    waiting_cpu = cpu_ns() - before;
  });
  std::thread computes([&] {
    TRACE_THREAD_NAME("computes");
    waiter.wait_until_asleep();
    {
      TRACE_REGION("the computation");
      const int64_t before = cpu_ns();
      compute(amount);
      computing_cpu = cpu_ns() - before;
    }
    CHECK(write(pipe_ends[1], "x", 1) == 1);
  });
  waits.join();
  computes.join();
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  const trace shown = convert_now();

  const trace_event computation = shown.one("the computation");
  const int64_t ran = cpu_of(computation);
  INFO("measured " << computing_cpu << ", shown " << ran << " of " << computation.length_ns());
  // What the system takes for interrupts, or a hypervisor for others, it does not count as the thread's time.
  CHECK(ran >= at_least(computing_cpu));
  CHECK(ran <= computation.length_ns());
  CHECK(spent(shown, "computes", "running", computation) >= at_least(computing_cpu));
  CHECK(spent(shown, "computes", "waiting", computation) <= computation.length_ns() - at_least(computing_cpu));

  const trace_event wait = shown.one("the wait");
  const int64_t waited = spent(shown, "waits", "waiting", wait);
  INFO("measured " << waiting_cpu << ", shown " << cpu_of(wait) << " of " << wait.length_ns() << ", waited " << waited);
  // It slept before the computation began, and until that had ended.
  CHECK(waited >= computation.length_ns() - 100'000);
  CHECK(cpu_of(wait) <= wait.length_ns() - computation.length_ns() + 100'000);
  CHECK(cpu_of(wait) + spent(shown, "waits", "runnable", wait) + waited <= wait.length_ns() + 100'000);
  CHECK(spent(shown, "waits", "waiting (io)", wait) >= computation.length_ns() - 100'000);
  CHECK(shown.text.find("\"args\":{\"in\":\"the pipe\"}") != std::string::npos);
}

TEST_CASE("a thread that could go on and has no processor is runnable") {
  if (!is_permitted()) return;
  const running_recorder run(with_states);
  std::atomic<int> begun{0};
  const int cpu = sched_getcpu();
  const auto compete = [&] {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    sched_setaffinity(0, sizeof only, &only);
    TRACE_THREAD_NAME(begun == 0 ? "one" : "other");
    TRACE_REGION("the competition");
    ++begun;
    while (begun < 2) {  // it spins: only by being preempted does it let the other one begin
    }
    compute(5'000'000);
  };
  std::thread one(compete);
  while (begun == 0) sched_yield();
  std::thread other(compete);
  one.join();
  other.join();
  const trace shown = convert_now();
  const auto regions = shown.all("the competition");
  REQUIRE(regions.size() == 2);
  CHECK(spent(shown, "one", "runnable", regions[0]) > 0);
  for (const trace_event& region : regions) CHECK(cpu_of(region) >= at_least(5'000'000));
  CHECK(cpu_of(regions[0]) < regions[0].length_ns());
  // Two on one processor: together they had no more than the time that passed.
  const int64_t both = std::max(regions[0].end_ns, regions[1].end_ns) - regions[0].start_ns;
  CHECK(cpu_of(regions[0]) + cpu_of(regions[1]) <= both + 100'000);
}

TEST_CASE("threads that ran before the start have states too, and a whole window without a switch is known") {
  if (!is_permitted()) return;
  std::atomic<bool> go{false};
  sleeper asleep;
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  std::thread older([&] {
    while (!go) sched_yield();
    {
      TRACE_REGION("of an older thread");
      compute(2'000'000);
    }
    char byte = 0;
    asleep.sleeps_next();
    CHECK(read(pipe_ends[0], &byte, 1) == 1);
  });
  {
    const running_recorder run(with_states);
    go = true;
    asleep.wait_until_asleep();
    const trace shown = convert_now();
    const trace_event region = shown.one("of an older thread");
    CHECK(cpu_of(region) >= at_least(2'000'000));
    CHECK(cpu_of(region) <= region.length_ns());
  }
  {
    // Started anew: of the sleeper there is no switch at all.
    const running_recorder run(with_states);
    { TRACE_REGION("alone"); }
    const std::string info = info_of(dump_bytes());
    INFO(info);
    CHECK(info.find("waiting") != std::string::npos);
  }
  CHECK(write(pipe_ends[1], "x", 1) == 1);
  older.join();
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  CHECK(perf_descriptors().empty());
}

TEST_CASE("stop gives everything back, and the next start begins anew") {
  if (!is_permitted()) return;
  const waiting_thread older;
  for (int round = 0; round < 3; ++round) {
    const running_recorder run(with_states);
    { TRACE_REGION("work"); }
    CHECK(has_perf_mappings());
    CHECK_FALSE(perf_descriptors().empty());
    CHECK(cpu_of(convert_now().one("work")) >= 0);
    CHECK_FALSE(flight_recorder::stop());
    CHECK_FALSE(has_perf_mappings());
    CHECK(perf_descriptors().empty());
    REQUIRE_FALSE(flight_recorder::start({.memory = 4 << 20}));
    CHECK_FALSE(has_perf_mappings());
    CHECK(super_of(dump_bytes()).thread_states == state_recording::unwanted);
  }
}

TEST_CASE("a thread that gets events of some processors only has none, and is counted") {
  if (!is_permitted()) return;
  const waiting_thread older[3];
  std::vector<int> others;
  for (int i = 0; i < 60; ++i) others.push_back(dup(0));  // the recorder leaves most descriptors to the program
  const auto processors = static_cast<rlim_t>(sysconf(_SC_NPROCESSORS_ONLN));
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  // One for each buffer, the list of threads, all of one thread, and all but one of the next.
  const rlimit few{static_cast<rlim_t>(others.back()) + 1 + processors + 1 + processors + processors - 1, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
  const running_recorder run(with_states);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  const std::string dump = dump_bytes();
  using tasks = std::filesystem::directory_iterator;
  const auto threads = std::distance(tasks("/proc/self/task"), tasks());  // with a sanitizer's own
  CHECK(super_of(dump).unwatched_threads == threads - 2);
  CHECK(perf_descriptors().size() == processors);
  for (const int each : others) close(each);
}

TEST_CASE("a window holds the switches of the window") {
  if (!is_permitted()) return;
  const running_recorder run(with_states);
  for (int i = 0; i < 3000; ++i) std::this_thread::sleep_for(std::chrono::microseconds(1));
  const std::string all = dump_bytes();
  { TRACE_REGION("late"); }
  const std::string last = dump_bytes({.last = std::chrono::milliseconds(1)});
  CHECK(super_of(last).switches_bytes < super_of(all).switches_bytes);
  const trace shown = convert(last);
  const auto late = shown.all("late");  // a slow machine may have taken longer than the window
  if (late.size() == 1) CHECK(cpu_of(late[0]) >= 0);
}

TEST_CASE("a system that refuses context switches is told of in one sentence, and the rest is recorded") {
  struct {
    long call;
    int error;
    state_recording state;
    const char* said;
  } const cases[] = {
      {SYS_perf_event_open, EACCES, state_recording::refused,
       "note       no thread states: the system refused the context switches of the process (Permission denied); "},
      {SYS_perf_event_open, ENOSYS, state_recording::refused,
       "note       no thread states: the system refused the context switches of the process (Function not implemented); "
       "see whether the kernel has it, and whether a sandbox, such as a container's, forbids perf_event_open"},
      {SYS_perf_event_open, EMFILE, state_recording::refused,
       "note       no thread states: the system refused the context switches of the process (Too many open files); raise "
       "the limit of open files (ulimit -n)"},
      {SYS_mmap, EPERM, state_recording::no_memory,
       "note       no thread states: the system gave their buffers no memory (Operation not permitted); raise the limit of "
       "locked memory (ulimit -l) or kernel.perf_event_mlock_kb"},
  };
  for (const auto& each : cases) {
    if (each.call == SYS_mmap && !is_permitted()) continue;
    std::string dump;
    std::thread([&] {
      refuse(each.call, static_cast<uint32_t>(each.error));
      const running_recorder run(with_states);
      { TRACE_REGION("recorded"); }
      dump = dump_bytes();
      CHECK(perf_descriptors().empty());
      CHECK_FALSE(has_perf_mappings());
    }).join();
    INFO(each.error);
    CHECK(super_of(dump).thread_states == each.state);
    CHECK(super_of(dump).thread_states_error == each.error);
    CHECK(super_of(dump).switch_buffer_count == 0);
    const std::string info = info_of(dump);
    INFO(info);
    CHECK(info.find(each.said) != std::string::npos);
    const trace shown = convert(dump);
    CHECK(shown.warnings.empty());
    CHECK(cpu_of(shown.one("recorded")) == -1);
    CHECK(shown.text.find("no thread states: ") != std::string::npos);
  }
}

TEST_CASE("whatever system call fails at start, the recorder records or says why not, and nothing is left open") {
  if (!syscall_faults::possible) {
    WARN("skipped: system calls are made to fail on x86-64 only, without sanitizers");
    return;
  }
  using syscall_faults::extent;
  unsigned runs = 0;
  for (const int error : {EACCES, EMFILE, EINVAL}) {
    for (const extent reach : {extent::once, extent::same_kind}) {
      for (unsigned nth = 0;; ++nth) {
        const auto result = syscall_faults::run({nth, error, reach}, [] {
          syscall_faults::begin();
          const contrail::error failed = flight_recorder::start(with_states);
          syscall_faults::end();
          if (failed && failed.message()[0] == '\0') return 1;
          if (failed && flight_recorder::start({.memory = 4 << 20})) return 2;
          { TRACE_REGION("recorded"); }
          std::string dump;
          if (flight_recorder::dump(dump)) return 3;
          if (dump_reader::read(dump).records("recorded").size() != 1) return 4;
          const superblock& super = super_of(dump);
          if (super.thread_states == state_recording::on && super.switch_buffer_count == 0) return 5;
          if (flight_recorder::stop()) return 6;
          return has_perf_mappings() || !perf_descriptors().empty() ? 7 : 0;
        });
        INFO("call " << nth << ", system call " << result.first_failed << ", fails with " << error);
        CHECK_FALSE(result.hung());
        CHECK(result.status == 0);
        ++runs;
        if (result.first_failed == -1) break;
      }
    }
  }
  CHECK(runs > 60);
}

TEST_CASE("a forked child has none of its parent's events, and with follow_fork its own") {
  if (!is_permitted()) return;
  const waiting_thread older;
  const temporary_folder folder;
  for (const bool follow : {false, true}) {
    contrail::options wanted = with_states;
    wanted.follow_fork = follow;
    const running_recorder run(wanted);
    const std::string path = folder / (follow ? "followed" : "started");
    const int status = status_of_child([&] {
      if (!perf_descriptors().empty()) return 1;
      if (has_perf_mappings() != follow) return 2;
      if (!follow && flight_recorder::start(with_states)) return 3;
      {
        TRACE_REGION("of the child");
        compute(1'000'000);
      }
      if (flight_recorder::dump(path.c_str())) return 4;
      return 0;
    });
    CHECK(status == 0);
    const trace shown = convert_file(path);
    CHECK(cpu_of(shown.one("of the child")) >= at_least(1'000'000));
    // One thread, one track of states: nothing of the parent's.
    size_t tracks = 0;
    for (size_t at = 0; (at = shown.text.find("\"states of ", at)) != std::string::npos; ++at) ++tracks;
    CHECK(tracks == 1);
    // The parent's own are still there.
    CHECK_FALSE(perf_descriptors().empty());
    { TRACE_REGION("of the parent"); }
    CHECK(cpu_of(convert_now().all("of the parent").back()) >= 0);
  }
}

TEST_CASE("a crash dump has the states of its threads") {
  if (!is_permitted()) return;
  const temporary_folder folder;
  const std::string path = folder / "crash";
  status_of_child([&] {
    std::signal(SIGABRT, SIG_DFL);  // the test framework's own would print
    if (flight_recorder::start(with_states)) return 1;
    if (flight_recorder::dump_on_crash(path.c_str())) return 2;
    TRACE_REGION("crashes");
    compute(1'000'000);
    std::abort();
    return 3;
  });
  const trace shown = convert_file(path);
  CHECK(cpu_of(shown.one("crashes")) >= at_least(1'000'000));
}

TEST_CASE("the text that starts the recorder may ask for thread states") {
  REQUIRE_FALSE(contrail::start_from("memory=4M,thread_states"));
  CHECK(super_of(dump_bytes()).thread_states != state_recording::unwanted);
  CHECK_FALSE(flight_recorder::stop());
}
