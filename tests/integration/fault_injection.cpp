// SPDX-License-Identifier: MIT
// The n-th system call fails, for every n until the attempt makes fewer: once, with all later calls of its kind, and
// with all later calls. Whatever fails, the answer is an error with a sentence, nothing hangs, no half file stands
// under the dump's name, recording goes on, and the next dump is good.
#include "support/recorder.hpp"
#include "support/syscall_faults.hpp"
#include "support/test_length.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <new>
#include <thread>
#include <vector>

namespace {

using namespace syscall_faults;
using contrail::error_code;

const std::vector<int> all_errors = {ENOMEM, EINTR, EIO, ENOSPC, EACCES, EMFILE, EINVAL};
constexpr unsigned regions_before = 3000;

bool clocks_are_system_calls() { return std::getenv("CONTRAIL_TEST_WITHOUT_VDSO") != nullptr; }

/// What the attempt answered, in memory that child and parent share.
struct answer {
  error_code code;
  char message[256];
};
answer& shared_answer() {
  static answer* const memory = static_cast<answer*>(
      mmap(nullptr, sizeof(answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *memory;
}
void tell(const contrail::error& failed) {
  shared_answer().code = failed.code();
  std::snprintf(shared_answer().message, sizeof shared_answer().message, "%s", failed.message());
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);  // in one piece: some thousand megabytes in all
  std::string content(file ? static_cast<size_t>(file.tellg()) : 0, '\0');
  file.seekg(0).read(content.data(), static_cast<std::streamsize>(content.size()));
  return content;
}
/// In memory where there is such a file system: thousands of files of a megabyte would wait for a disk that others
/// write to.
struct quick_folder : temporary_folder {
  quick_folder() : temporary_folder(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") {}
};

void write_file(const std::string& path, const std::string& content) { std::ofstream(path) << content; }
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

/// Runs `child` with every fault; `check` looks at what each run left behind. Returns the number of runs.
template <class Prepare, class Child, class Check>
unsigned with_every_fault(Prepare&& prepare, Child&& child, Check&& check, std::vector<int> errors = all_errors) {
  unsigned runs = 0, most_calls = 0;
  const auto try_one = [&](const fault& wanted) {
    prepare();
    shared_answer() = {};
    const outcome result = run(wanted, child);
    ++runs;
    if (result.calls > most_calls) most_calls = result.calls;
    INFO("call " << wanted.nth << " (system call " << result.first_failed << ") of " << result.calls << " fails with "
                 << wanted.error << ", extent " << static_cast<int>(wanted.reach));
    INFO("the answer: " << shared_answer().message);
    CHECK_FALSE(result.hung());
    CHECK(result.status == 0);
    check(wanted, result);
    return result.first_failed != -1;
  };
  if (is_long_test()) {
    errors = all_errors;
  } else if (clocks_are_system_calls()) {
    errors = {EINVAL};
  } else {
    errors = by_test_length({ENOSPC}, errors, errors);
  }
  for (const int error : errors) {
    for (const extent reach : {extent::once, extent::same_kind, extent::everything}) {
      for (unsigned nth = 0; try_one({nth, error, reach}); ++nth) {
      }
    }
  }
  for (unsigned nth = 0; try_one({nth, 0, extent::half_written}); ++nth) {
  }
  WARN(runs << " runs, up to " << most_calls << " system calls in one");
  return runs;
}

/// A full megabyte, some of it by a thread that has ended.
void record_something() {
  std::thread([] { TRACE_INSTANT("of another thread"); }).join();
  for (unsigned i = 0; i < regions_before; ++i) {
    TRACE_REGION("before", "i", i, "text", "something long enough to fill the memory with its copies");
  }
}

/// In the child, after the attempt: 0, or the number of the step that was not as it should be.
int still_records(size_t before) {
  { TRACE_REGION("afterwards"); }
  std::string bytes;
  if (flight_recorder::dump(bytes)) return 21;
  const dump_reader::dump dump = dump_reader::read(bytes);
  if (dump.records("before").size() != before) return 22;
  if (dump.records("afterwards").size() != 1) return 23;
  const quick_folder folder;
  const std::string path = folder / "later";
  if (flight_recorder::dump(path.c_str())) return 24;
  if (dump_reader::read(content_of(path)).records("afterwards").size() != 1) return 25;
  return names_in(folder.path()).size() == 1 ? 0 : 26;
}

bool has(const char* message, const std::string& words) { return std::string(message).find(words) != std::string::npos; }

/// A failure's sentence names the cause and the path.
void check_sentence(const fault& wanted, const std::string& path) {
  const answer& told = shared_answer();
  CHECK(told.code == error_code::file);
  CHECK(has(told.message, path));
  const char* cause = contrail::detail::errno_text(wanted.error);
  // One error may follow from another, so the cause is the injected one, or one that the system gave.
  CHECK((cause != nullptr || has(told.message, "system error")));
  if (wanted.reach != extent::half_written && cause != nullptr) CHECK(has(told.message, cause));
}

/// The file under the dump's name is the older one when the dump failed, else a whole dump; no other file is there.
void check_file(const outcome& result, const temporary_folder& folder, bool succeeded) {
  const std::string path = folder / "dump";
  if (succeeded) {
    CHECK(dump_reader::read(content_of(path)).records("before").size() == regions_before);
  } else {
    CHECK(content_of(path) == "older");
  }
  if (!result.unlink_failed) CHECK(names_in(folder.path()) == std::vector<std::string>{"dump"});
}

bool skipped() {
  if (!possible) WARN("skipped: system calls cannot be made to fail here");
  return !possible;
}

}  // namespace

TEST_CASE("a start whose system calls fail answers with a sentence, and the next start works", "[faults]") {
  if (skipped()) return;
  with_every_fault([] {},
                   [] {
                     begin();
                     const contrail::error failed = flight_recorder::start({.memory = 1 << 20});
                     end();
                     tell(failed);
                     if (failed) {
                       if (flight_recorder::status().state != contrail::recorder_state::off) return 1;
                       if (flight_recorder::start({.memory = 1 << 20})) return 2;
                     }
                     return still_records(0);
                   },
                   [](const fault&, const outcome&) {
                     if (shared_answer().code == error_code::none) return;
                     CHECK(shared_answer().code == error_code::out_of_memory);
                     CHECK(has(shared_answer().message, "options.memory"));
                   });
}

TEST_CASE("a dump to a path whose system calls fail leaves the older file or a whole new one", "[faults]") {
  if (skipped()) return;
  const quick_folder folder;
  const std::string path = folder / "dump";
  const auto prepare = [&] {
    for (const std::string& name : names_in(folder.path())) unlink((folder / name.c_str()).c_str());
    write_file(path, "older");
  };
  const auto child = [&] {
    if (flight_recorder::start({.memory = 1 << 20})) return 1;
    record_something();
    begin();
    const contrail::error failed = flight_recorder::dump(path.c_str());
    end();
    tell(failed);
    return still_records(regions_before);
  };
  const unsigned runs = with_every_fault(prepare, child, [&](const fault& wanted, const outcome& result) {
    const bool succeeded = shared_answer().code == error_code::none;
    if (!succeeded) check_sentence(wanted, path);
    check_file(result, folder, succeeded);
    // A short write and one interruption are no failures.
    if (wanted.reach == extent::half_written) CHECK(succeeded);
    if (wanted.error == EINTR && wanted.reach == extent::once &&
        (result.first_failed == SYS_write || result.first_failed == SYS_openat || result.first_failed == SYS_close)) {
      CHECK(succeeded);
    }
  });
  CHECK(runs > by_test_length(50U, 100U, 100U));
}

TEST_CASE("a dump to a descriptor whose system calls fail answers with a sentence", "[faults]") {
  if (skipped()) return;
  const quick_folder folder;
  const std::string path = folder / "dump";
  with_every_fault([&] { unlink(path.c_str()); },
                   [&] {
                     if (flight_recorder::start({.memory = 1 << 20})) return 1;
                     record_something();
                     const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                     begin();
                     const contrail::error failed = flight_recorder::dump(file);
                     end();
                     tell(failed);
                     if (fcntl(file, F_GETFD) < 0) return 2;  // the descriptor is the caller's
                     return still_records(regions_before);
                   },
                   [&](const fault& wanted, const outcome&) {
                     if (shared_answer().code != error_code::none) {
                       check_sentence(wanted, "the descriptor");
                     } else {
                       CHECK(dump_reader::read(content_of(path)).records("before").size() == regions_before);
                     }
                   });
}

TEST_CASE("a dump into memory whose system calls fail is whole, or its container has thrown", "[faults]") {
  if (skipped()) return;
  with_every_fault([] {},
                   [] {
                     if (flight_recorder::start({.memory = 1 << 20})) return 1;
                     record_something();
                     std::string bytes;
                     bool thrown = false;
                     contrail::error failed;
                     begin();
                     try {
                       failed = flight_recorder::dump(bytes);
                     } catch (const std::bad_alloc&) {
                       thrown = true;
                     }
                     end();
                     tell(failed);
                     if (failed) return 2;
                     if (!thrown && dump_reader::read(bytes).records("before").size() != regions_before) return 3;
                     return still_records(regions_before);
                   },
                   [](const fault&, const outcome&) {});
}

TEST_CASE("asking for a dump on a signal while system calls fail works or says so", "[faults]") {
  if (skipped()) return;
  const quick_folder folder;
  const std::string path = folder / "dump";
  with_every_fault([&] { unlink(path.c_str()); },
                   [&] {
                     if (flight_recorder::start({.memory = 1 << 20})) return 1;
                     begin();
                     const contrail::error failed = flight_recorder::dump_on_signal(SIGUSR2, path.c_str());
                     end();
                     tell(failed);
                     if (failed && flight_recorder::dump_on_signal(SIGUSR2, path.c_str())) return 2;
                     std::raise(SIGUSR2);
                     if (dump_reader::read(content_of(path)).super.dump_signal != SIGUSR2) return 3;
                     return still_records(0);
                   },
                   [](const fault&, const outcome&) {
                     if (shared_answer().code == error_code::none) return;
                     CHECK(shared_answer().code == error_code::bad_option);
                     CHECK(has(shared_answer().message, "takes no handler"));
                   });
}

TEST_CASE("a dump in a signal handler whose system calls fail leaves a whole file, or a line on stderr", "[faults]") {
  if (skipped()) return;
  const quick_folder folder, messages;
  const std::string path = folder / "dump", text = messages / "text";
  const auto prepare = [&] {
    for (const std::string& name : names_in(folder.path())) unlink((folder / name.c_str()).c_str());
    write_file(path, "older");
    unlink(text.c_str());
  };
  const auto child = [&] {
    if (flight_recorder::start({.memory = 1 << 20})) return 1;
    if (flight_recorder::dump_on_signal(SIGUSR2, path.c_str())) return 2;
    record_something();
    dup2(open(text.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO);
    errno = 1234;
    begin();
    syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2);
    end();
    return still_records(regions_before);
  };
  with_every_fault(prepare, child, [&](const fault& wanted, const outcome& result) {
    const bool succeeded = content_of(path) != "older";
    check_file(result, folder, succeeded);
    const std::string told = content_of(text);
    if (succeeded) {
      CHECK(told == "");
    } else if (wanted.reach == extent::once) {
      CHECK(has(told.c_str(), "contrail: Could not "));
      CHECK(has(told.c_str(), path));
      CHECK(told.back() == '\n');
    }
  });
}

TEST_CASE("stop, a filter and a start again work while system calls fail", "[faults]") {
  if (skipped()) return;
  with_every_fault([] {},
                   [] {
                     if (flight_recorder::start({.memory = 1 << 20})) return 1;
                     record_something();
                     begin();
                     const contrail::error filtered = flight_recorder::set_filter({.categories = "*"});
                     const contrail::error stopped = flight_recorder::stop();
                     const contrail::error started = flight_recorder::start({.memory = 1 << 20});
                     end();
                     if (filtered) return 2;
                     if (stopped) return 3;
                     if (started) return 4;  // in the memory that is there
                     return still_records(0);
                   },
                   [](const fault&, const outcome&) {});
}

TEST_CASE("attaching, binding and recording work while system calls fail", "[faults]") {
  if (skipped()) return;
  with_every_fault([] {},
                   [] {
                     if (flight_recorder::start({.memory = 1 << 20})) return 1;
                     begin();
                     for (unsigned i = 0; i < 100'000; ++i) {
                       TRACE_REGION("before", "i", i);
                     }
                     TRACE_THREAD_NAME("named");
                     end();
                     std::string bytes;
                     if (flight_recorder::dump(bytes)) return 2;
                     const dump_reader::dump dump = dump_reader::read(bytes);
                     if (dump.dropped() != 0) return 3;
                     return still_records(dump.records("before").size());
                   },
                   [](const fault&, const outcome&) {});
}

TEST_CASE("a start with a file whose system calls fail says so, and older files stay whole", "[faults]") {
  if (skipped()) return;
  const quick_folder folder, other;
  const std::string path = folder / "box", template_path = other / "older";
  // What a process leaves that ends without stop.
  REQUIRE(status_of_child([&] {
            return flight_recorder::start({.memory = 1 << 20, .file = template_path.c_str()}) ? 1 : 0;
          }) == 0);
  const std::string older = content_of(template_path);
  REQUIRE(older.size() == 1 << 20);
  for (const bool replaces : {false, true}) {
    INFO("an older file is there: " << replaces);
    const auto prepare = [&] {
      for (const std::string& name : names_in(folder.path())) unlink((folder / name.c_str()).c_str());
      if (replaces) write_file(path, older);
    };
    const auto child = [&] {
      begin();
      const contrail::error failed = flight_recorder::start({.memory = 1 << 20, .file = path.c_str()});
      end();
      tell(failed);
      if (failed) {
        if (flight_recorder::status().state != contrail::recorder_state::off) return 1;
        const quick_folder later;
        const std::string later_path = later / "box";
        if (flight_recorder::start({.memory = 1 << 20, .file = later_path.c_str()})) return 2;
        return still_records(0);
      }
      return still_records(0);
    };
    with_every_fault(prepare, child, [&](const fault& wanted, const outcome& result) {
      const bool succeeded = shared_answer().code == error_code::none;
      if (!succeeded) check_sentence(wanted, path);
      size_t older_files = 0, new_files = 0, rest = 0;
      for (const std::string& name : names_in(folder.path())) {
        const std::string content = content_of(folder / name.c_str());
        const bool has_a_name = name == "box" || name == "box.1";
        if (has_a_name && content == older) {
          ++older_files;
        } else if (has_a_name && content.substr(0, 5) == "\x89" "CTRL" && content.size() == older.size()) {
          ++new_files;
        } else {
          UNSCOPED_INFO("what is this: " << name << ", " << content.size() << " bytes");
          ++rest;
        }
      }
      CHECK(older_files == (replaces ? 1U : 0U));
      CHECK(new_files == (succeeded ? 1U : 0U));
      if (!result.unlink_failed) CHECK(rest == 0);
      if (wanted.reach == extent::half_written) CHECK(succeeded);
    }, {EINTR, ENOSPC, EACCES});
  }
}

TEST_CASE("all of this holds where reading a clock is a system call that may fail") {
  if (skipped() || clocks_are_system_calls()) return;
  setenv("CONTRAIL_TEST_WITHOUT_VDSO", "1", 1);
  char name[] = "fault_injection", tag[] = "[faults]";
  char* const arguments[] = {name, tag, nullptr};
  CHECK(run_again_without_vdso(arguments) == 0);
  unsetenv("CONTRAIL_TEST_WITHOUT_VDSO");
}
