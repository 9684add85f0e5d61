// SPDX-License-Identifier: MIT
// Every fatal signal, sent and by a real fault: the dump names it, and the process dies of it.
#include "support/crash_child.hpp"
#include "support/trace.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <thread>

namespace {

namespace image = contrail::detail;

void leave_something() {
  TRACE_THREAD_NAME("crasher");
  for (int i = 0; i < 10; ++i) TRACE_REGION("before");
}

CHILD(raises) {
  record_and_watch();
  leave_something();
  TRACE_REGION("crashes");
  std::raise(static_cast<int>(child_argument()));
}

CHILD(stores_to_null) {
  record_and_watch();
  leave_something();
  TRACE_REGION("crashes", "why", "null");
  store_to(nullptr);
}

CHILD(stores_to_read_only_memory) {
  record_and_watch();
  TRACE_REGION("crashes");
  void* const page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::fprintf(stderr, "%p\n", page);
  store_to(page);
}

CHILD(uses_an_address_that_is_none) {
  record_and_watch();
  TRACE_REGION("crashes");
  store_to(reinterpret_cast<void*>(0x8000'0000'0000'0000));
}

CHILD(maps_behind_a_files_end) {
  record_and_watch();
  TRACE_REGION("crashes");
  const std::string path = std::string(crash_dump_path()) + ".empty";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  store_to(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
}

CHILD(runs_what_is_no_instruction) {
  record_and_watch();
  TRACE_REGION("crashes");
#if defined(__x86_64__)
  asm volatile("ud2");
#else
  asm volatile("udf #0");
#endif
}

CHILD(runs_into_a_breakpoint) {
  record_and_watch();
  TRACE_REGION("crashes");
#if defined(__x86_64__)
  asm volatile("int3");
#else
  asm volatile("brk #0");
#endif
}

#if defined(__x86_64__)
CHILD(divides_by_zero) {
  record_and_watch();
  TRACE_REGION("crashes");
  asm volatile("xorl %%ecx, %%ecx\n\tidivl %%ecx" : : "a"(1), "d"(0) : "ecx", "cc");
}
#endif

CHILD(calls_what_a_filter_forbids) {
  record_and_watch();
  TRACE_REGION("crashes");
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{4, program};
  require_in_child(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "no filter");
  syscall(SYS_getppid);
}

CHILD(aborts) {
  record_and_watch();
  leave_something();
  TRACE_REGION("crashes");
  std::abort();
}

CHILD(waits_for_a_signal) {
  record_and_watch();
  TRACE_REGION("crashes");
  std::fputs("ready\n", stderr);
  for (;;) pause();
}

CHILD(crashes_on_a_thread_that_never_recorded) {
  record_and_watch();
  TRACE_REGION("main waits");
  std::thread([] {
    pthread_setname_np(pthread_self(), "stranger");
    store_to(reinterpret_cast<void*>(0x40));
  }).join();
}

CHILD(crashes_without_a_recorder) {
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path()), "not installed");
  store_to(nullptr);
}

CHILD(crashes_before_start_and_records_later) {
  require_in_child(!flight_recorder::dump_on_crash(crash_dump_path(), {.last = contrail::duration(1)}), "not installed");
  require_in_child(!flight_recorder::start({.memory = 1 << 20}), "not started");
  leave_something();
  usleep(1000);
  TRACE_REGION("crashes");
  store_to(nullptr);
}

CHILD(asks_for_one_signal_only) {
  record_and_watch({.signals = {SIGABRT}});
  std::raise(static_cast<int>(child_argument()));
}

CHILD(sends_one_on_with_a_value) {
  record_and_watch();
  sigqueue(getpid(), SIGABRT, {.sival_int = 7});
}

void check_note(const dump_reader::dump& dump, int signal, int code) {
  CHECK(dump.super.crash.cause == image::crash_cause::signal);
  CHECK(dump.super.crash.signal == static_cast<uint32_t>(signal));
  CHECK(dump.super.crash.code == code);
  CHECK(dump.super.crash.tid == dump.super.dump_tid);
  CHECK(dump.super.dump_signal == static_cast<uint32_t>(signal));
}

struct fault {
  const char* child;
  int signal, code;
};

}  // namespace

TEST_CASE("a fatal signal that is sent leaves a dump, and ends the process") {
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) {
    const crash_outcome left = run_child("raises", signal);
    CHECK(left.signal == signal);
    const auto dump = left.dump();
    check_note(dump, signal, SI_TKILL);
    CHECK(dump.super.crash.sender == dump.super.pid);
    CHECK(dump.super.crash.address == 0);
    CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
    CHECK(dump.records("before").size() == 10);
  }
}

TEST_CASE("a fault leaves a dump, and ends the process by its signal") {
  const fault faults[] = {{"stores_to_null", SIGSEGV, SEGV_MAPERR},
                          {"stores_to_read_only_memory", SIGSEGV, SEGV_ACCERR},
                          {"maps_behind_a_files_end", SIGBUS, BUS_ADRERR},
                          {"runs_what_is_no_instruction", SIGILL, ILL_ILLOPN},
#if defined(__x86_64__)
                          {"uses_an_address_that_is_none", SIGSEGV, SI_KERNEL},
                          {"divides_by_zero", SIGFPE, FPE_INTDIV},
                          {"runs_into_a_breakpoint", SIGTRAP, SI_KERNEL},
#else
                          {"runs_into_a_breakpoint", SIGTRAP, TRAP_BRKPT},
#endif
                          {"calls_what_a_filter_forbids", SIGSYS, 1}};
  for (const fault& at : faults) {
    INFO(at.child);
    const crash_outcome left = run_child(at.child);
    CHECK(left.signal == at.signal);
    const auto dump = left.dump();
    if (at.signal != SIGILL) check_note(dump, at.signal, at.code);  // compilers and processors differ in its code
    CHECK(dump.super.crash.sender == 0);
    CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
    if (at.code == SEGV_ACCERR && at.signal == SIGSEGV) {
      CHECK(dump.super.crash.address == std::strtoull(left.said.c_str(), nullptr, 16));
    }
  }
}

TEST_CASE("abort leaves a dump") {
  const crash_outcome left = run_child("aborts");
  CHECK(left.signal == SIGABRT);
  const auto dump = left.dump();
  check_note(dump, SIGABRT, SI_TKILL);
  CHECK(std::string(dump.super.crash.thread).substr(0, 4) != "");
  CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
}

TEST_CASE("a fatal signal from another process leaves a dump that names it") {
  const temporary_folder folder;
  const pid_t child = start_child("waits_for_a_signal", folder);
  while (bytes_of_file(folder / "stderr") != "ready\n") usleep(1000);
  kill(child, SIGSEGV);
  const crash_outcome left = end_of_child(child, folder);
  CHECK(left.signal == SIGSEGV);
  const auto dump = left.dump();
  check_note(dump, SIGSEGV, SI_USER);
  CHECK(dump.super.crash.sender == static_cast<uint32_t>(getpid()));
  CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
}

TEST_CASE("a queued signal leaves a dump") {
  const crash_outcome left = run_child("sends_one_on_with_a_value");
  CHECK(left.signal == SIGABRT);
  check_note(left.dump(), SIGABRT, SI_QUEUE);
}

TEST_CASE("in the converted trace a crash is an event of its thread, and what it interrupted is unfinished") {
  const crash_outcome left = run_child("stores_to_null");
  const trace converted = convert(left.bytes);
  const trace_event crashed = converted.one("crashed: SIGSEGV at 0x0, where nothing is mapped");
  CHECK(crashed.phase == 'i');
  CHECK(crashed.tid == left.dump().super.crash.tid);
  const trace_event open = converted.one("crashes");
  CHECK(open.tid == crashed.tid);
  CHECK(open.json.find("\"args\":{\"why\":\"null\",\"unfinished\":true}") != std::string::npos);
  CHECK(converted.all("before").size() == 10);
}

TEST_CASE("a thread that never recorded is named by the dump of its crash") {
  const crash_outcome left = run_child("crashes_on_a_thread_that_never_recorded");
  CHECK(left.signal == SIGSEGV);
  const auto dump = left.dump();
  check_note(dump, SIGSEGV, SEGV_MAPERR);
  CHECK(dump.super.crash.address == 0x40);
  CHECK(dump.super.crash.tid != dump.super.pid);
  CHECK(std::string(dump.super.crash.thread) == "stranger");
  CHECK(dump.open_names() == std::vector<std::string>{"main waits"});
}

TEST_CASE("without a recorder a crash is what it was") {
  const crash_outcome left = run_child("crashes_without_a_recorder");
  CHECK(left.signal == SIGSEGV);
  CHECK(left.bytes.empty());
  CHECK(left.said.empty());
}

TEST_CASE("a dump of crashes may be asked for before start, and reaches back as far as its options say") {
  const crash_outcome left = run_child("crashes_before_start_and_records_later");
  CHECK(left.signal == SIGSEGV);
  const auto dump = left.dump();
  CHECK(dump.super.window_ns == 1);
  CHECK(dump.records("before").empty());
  CHECK(dump.open_names() == std::vector<std::string>{"crashes"});
}

TEST_CASE("a signal that was not asked for ends the process without a dump") {
  const crash_outcome other = run_child("asks_for_one_signal_only", SIGSEGV);
  CHECK(other.signal == SIGSEGV);
  CHECK(other.bytes.empty());
  const crash_outcome asked = run_child("asks_for_one_signal_only", SIGABRT);
  CHECK(asked.signal == SIGABRT);
  check_note(asked.dump(), SIGABRT, SI_TKILL);
}

TEST_CASE("options that cannot be used are errors") {
  using contrail::error_code;
  CHECK(flight_recorder::dump_on_crash("", {}).code() == error_code::path);
  CHECK(flight_recorder::dump_on_crash("a%x", {}).code() == error_code::path);
  CHECK(flight_recorder::dump_on_crash("a", {.last = contrail::duration(-1)}).code() == error_code::bad_option);
  CHECK(flight_recorder::dump_on_crash("a", {.watchdog = contrail::duration(0)}).code() == error_code::bad_option);
  CHECK(flight_recorder::dump_on_crash("a", {.signals = {SIGPIPE}}).code() == error_code::bad_option);
}

// The signal that ends the process is the one that came, as a debugger or a core file shows it: code, address, and the
// registers of the fault. A tracer sees each delivery.
TEST_CASE("the signal that ends the process is the one that came, with its code and address") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // they make system calls of their own in between
  for (const char* name : {"stores_to_null", "runs_into_a_breakpoint", "aborts"}) {
    const temporary_folder folder;
    int gate[2];  // the child waits behind it until it is traced
    REQUIRE(pipe(gate) == 0);
    fcntl(gate[1], F_SETFD, FD_CLOEXEC);
    setenv("CONTRAIL_TEST_GATE", std::to_string(gate[0]).c_str(), 1);
    const pid_t child = start_child(name, folder);
    unsetenv("CONTRAIL_TEST_GATE");
    const bool is_traced = ptrace(PTRACE_SEIZE, child, 0, 0) == 0;
    close(gate[0]);
    close(gate[1]);
    if (!is_traced) {
      WARN("skipped: no permission to trace");
      end_of_child(child, folder);
      return;
    }
    std::vector<siginfo_t> came;
    int status = 0;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
      siginfo_t info{};
      ptrace(PTRACE_GETSIGINFO, child, 0, &info);
      const bool is_event = status >> 16 != 0;
      if (!is_event) came.push_back(info);
      ptrace(PTRACE_CONT, child, 0, is_event ? 0 : WSTOPSIG(status));
    }
    INFO(name);
    REQUIRE(came.size() == 2);
    CHECK(WTERMSIG(status) == came[0].si_signo);
    CHECK(came[1].si_signo == came[0].si_signo);
    CHECK(came[1].si_code == came[0].si_code);
    CHECK(came[1].si_addr == came[0].si_addr);
  }
}
