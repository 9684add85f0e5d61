// SPDX-License-Identifier: MIT
// Streams: what was recorded is in them once, or is counted; whoever reads slowly, dies, forks or runs out of disk.
#include "contrail/reader.hpp"
#include "contrail/session.hpp"
#include "support/converted.hpp"
#include "support/recorder.hpp"
#include "support/sanitized.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <map>
#include <thread>
#include <vector>

using contrail::session;
using contrail::session_policy;
using contrail::session_result;

namespace {

constexpr int writers = 4;

void record(uint64_t value) { TRACE_REGION("work", "value", value); }

/// Four threads, each recording `count` regions with values of its own.
void record_in_threads(uint64_t count) {
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < writers; ++i) {
    threads.emplace_back([i, count] {
      TRACE_THREAD_NAME("writer");
      for (uint64_t k = 0; k < count; ++k) record(i << 32 | k);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// What of the regions "work" is in a stream.
struct content {
  uint64_t records = 0;
  uint64_t twice = 0;  ///< values that were met before
  uint64_t unknown = 0;
  uint64_t lost = 0;   ///< as the stream itself counts
  uint64_t dropped = 0;
  uint64_t open = 0;
  uint64_t last_of_main = 0;
  std::vector<std::string> warnings;
  std::map<std::string, int> threads;

  explicit content(const std::string& bytes, uint64_t count = ~uint64_t{0} >> 33) {
    const contrail::reader reader(bytes.data(), bytes.size());
    INFO(reader.reason());
    REQUIRE(reader);
    REQUIRE(reader.info().is_stream);
    warnings = reader.warnings();
    std::map<uint64_t, std::vector<bool>> met;
    for (const contrail::event& e : reader) {
      if (e.name() != "work") continue;
      if (e.form() == contrail::event_form::open_region) {
        ++open;
        continue;
      }
      const contrail::event_fields fields = e.fields();
      uint64_t value = 0;
      if (const contrail::event_field* field = fields.find("value")) value = field->value().as_uint();
      const uint64_t writer = value >> 32, index = value & 0xffff'ffff;
      if (index >= count || writer >= writers) {
        ++unknown;
        continue;
      }
      std::vector<bool>& of = met[writer];
      if (of.size() <= index) of.resize(index + 1);
      if (of[index]) ++twice;
      of[index] = true;
      ++records;
      last_of_main = index;
    }
    for (const contrail::recording_loss& loss : reader.losses()) {
      const bool was_recorded = loss.why.substr(0, 7) != "dropped";
      if (loss.why != "overwritten by newer records") (was_recorded ? lost : dropped) += loss.count;
    }
    for (const contrail::event_thread& thread : reader.threads()) ++threads[std::string(thread.name)];
  }
};

void start(session& of, const contrail::session_options& wanted) {
  const contrail::error failed = of.start(wanted);
  INFO(failed.message());
  REQUIRE_FALSE(failed);
}

session_result stop(session& of) {
  const session_result result = of.stop();
  INFO(result.failed.message());
  REQUIRE_FALSE(result.failed);
  return result;
}

/// A pipe whose content is read only when the test says so.
class slow_pipe {
 public:
  slow_pipe() { REQUIRE(pipe2(ends_, O_CLOEXEC) == 0); }
  ~slow_pipe() {
    if (reader_.joinable()) finish();
    close(ends_[0]);
  }
  int descriptor() const { return ends_[1]; }
  void begin_to_read() {
    reader_ = std::thread([this] {
      char part[65536];
      for (ssize_t size; (size = read(ends_[0], part, sizeof part)) > 0;) bytes_.append(part, static_cast<size_t>(size));
    });
  }
  std::string finish() {
    close(ends_[1]);
    reader_.join();
    return bytes_;
  }

 private:
  int ends_[2];
  std::thread reader_;
  std::string bytes_;
};

}  // namespace

TEST_CASE("A stream has all that four threads recorded, each record once") {
  running_recorder recorder({.memory = 32 << 20});
  temporary_folder folder;
  const std::string path = folder / "all.contrail";
  record_in_threads(10);  // before the session: no part of it
  session s;
  start(s, {.file = path.c_str()});
  CHECK(s.is_running());
  constexpr uint64_t count = 50'000;  // all of it fits into memory, so nothing may be lost
  record_in_threads(count);
  const session_result result = stop(s);
  CHECK_FALSE(s.is_running());
  CHECK(result.lost_records == 0);
  CHECK(result.dropped_records == 0);
  const std::string bytes = text_of(path);
  CHECK(result.bytes == bytes.size());
  const content found(bytes, count);
  CHECK(found.records == writers * count);
  CHECK(found.twice == 0);
  CHECK(found.unknown == 0);
  CHECK(found.lost == 0);
  CHECK(found.warnings.empty());
  CHECK(found.threads.at("writer") >= writers);
}

TEST_CASE("What is overwritten before it was copied is counted, exactly, by the result and by the stream") {
  running_recorder recorder({.memory = 1 << 20});
  temporary_folder folder;
  const std::string path = folder / "lossy.contrail";
  session s;
  start(s, {.file = path.c_str()});
  constexpr uint64_t count = 300'000;  // 90 chunks of memory, some 1,800 of records
  record_in_threads(count);
  const session_result result = stop(s);
  const content found(text_of(path), count);
  CHECK(found.records != 0);
  CHECK(found.twice == 0);
  CHECK(found.unknown == 0);
  CHECK(found.records + result.lost_records + result.dropped_records == writers * count);
  CHECK(found.lost == result.lost_records);
  CHECK(found.dropped == result.dropped_records);
}

TEST_CASE("A pipe that is read slowly loses what was overwritten meanwhile, and counts it") {
  const bool is_blocking = GENERATE(true, false);
  running_recorder recorder({.memory = 1 << 20});
  slow_pipe pipe;
  if (!is_blocking) REQUIRE(fcntl(pipe.descriptor(), F_SETFL, O_WRONLY | O_NONBLOCK) == 0);
  session s;
  start(s, {.descriptor = pipe.descriptor()});
  constexpr uint64_t count = 300'000;
  record_in_threads(count);
  pipe.begin_to_read();
  const session_result result = stop(s);
  const content found(pipe.finish(), count);
  CHECK(result.lost_records > 0);
  CHECK(found.records + result.lost_records + result.dropped_records == writers * count);
  CHECK(found.twice == 0);
  CHECK(found.lost == result.lost_records);
}

TEST_CASE("A blocking session loses nothing that was recorded: writers drop new records instead") {
  running_recorder recorder({.memory = 1 << 20});
  slow_pipe pipe;
  session s;
  start(s, {.descriptor = pipe.descriptor(), .when_slow = session_policy::block});
  constexpr uint64_t count = 300'000;
  record_in_threads(count);
  pipe.begin_to_read();
  const session_result result = stop(s);
  const content found(pipe.finish(), count);
  CHECK(result.lost_records == 0);
  CHECK(result.dropped_records > 0);
  CHECK(found.records + result.dropped_records == writers * count);
  CHECK(found.twice == 0);
  CHECK(found.lost == 0);
  CHECK(found.dropped == result.dropped_records);

  // Nothing holds writers back any more.
  const uint64_t dropped = flight_recorder::status().dropped;
  record_in_threads(1000);
  CHECK(flight_recorder::status().dropped == dropped);
}

TEST_CASE("Two sessions at once have the same records, and a third one after them its own") {
  running_recorder recorder({.memory = 32 << 20});
  temporary_folder folder;
  const std::string first_path = folder / "1", second_path = folder / "2", third_path = folder / "3";
  session first, second;
  start(first, {.file = first_path.c_str()});
  start(second, {.file = second_path.c_str(), .interval = std::chrono::milliseconds(1)});
  constexpr uint64_t count = 20'000;
  record_in_threads(count);
  stop(first);
  stop(second);
  session third;  // takes over the marks of one before
  start(third, {.file = third_path.c_str()});
  record(7);
  CHECK(stop(third).lost_records == 0);
  for (const std::string& path : {first_path, second_path}) {
    const content found(text_of(path), count);
    CHECK(found.records == writers * count);
    CHECK(found.twice == 0);
  }
  const content last(text_of(third_path));
  CHECK(last.records == 1);
  CHECK(last.last_of_main == 7);
}

TEST_CASE("stop writes what was recorded just before it, and regions that are open are in the stream") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = folder / "stopped.contrail";
  session s;
  start(s, {.file = path.c_str(), .interval = std::chrono::hours(1)});
  uint64_t unfinished = 5;
  TRACE_REGION("work", "value", unfinished);
  for (uint64_t i = 0; i < 100; ++i) record(i);
  stop(s);
  const content found(text_of(path));
  CHECK(found.records == 100);
  CHECK(found.open == 1);

  const converted json(path);
  CHECK(json.named("work").size() == 101);
  CHECK(run_converter("info '" + path + "'", folder / "info") == 0);
  CHECK(text_of(folder / "info").find("stream, format 1.") == 0);
}

TEST_CASE("An open chunk is streamed piece by piece, each record once") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = folder / "pieces.contrail";
  session s;
  start(s, {.file = path.c_str(), .interval = std::chrono::milliseconds(1)});
  uint64_t written = 0;
  uint64_t looks = 0;
  for (uint64_t i = 0; i < 60; ++i) {
    record(i);
    // Until that record is in the stream.
    for (written = s.status().bytes; s.status().bytes == written;) std::this_thread::yield();
    looks += s.status().bytes != written;
  }
  stop(s);
  CHECK(looks == 60);
  const content found(text_of(path));
  CHECK(found.records == 60);
  CHECK(found.twice == 0);
  CHECK(found.warnings.empty());
}

TEST_CASE("A stream whose process was killed is read up to its last whole block") {
  temporary_folder folder;
  const std::string path = folder / "killed.contrail";
  const int status = status_of_child([&] {
    if (flight_recorder::start({.memory = 32 << 20})) return 1;
    session s;
    if (s.start({.file = path.c_str(), .interval = std::chrono::milliseconds(1)})) return 2;
    uint64_t i = 0;
    while (s.status().bytes < 500'000) {
      // Never so much that any could be overwritten, however long the session's thread has to wait for a processor.
      for (int k = 0; k < 1000; ++k) record(i++);
      for (const uint64_t before = s.status().bytes; s.status().bytes == before;) std::this_thread::yield();
    }
    kill(getpid(), SIGKILL);
    return 3;
  });
  REQUIRE(status == 1000 + SIGKILL);
  std::string bytes = text_of(path);
  REQUIRE(bytes.size() >= 500'000);
  const content whole(bytes);
  CHECK(whole.records > 1000);
  CHECK(whole.twice == 0);
  CHECK(whole.lost == 0);
  CHECK(whole.last_of_main + 1 == whole.records);  // from the first on without a gap
  REQUIRE(whole.warnings.size() == 1);
  CHECK(whole.warnings[0].find("the stream has no end") == 0);

  // Cut anywhere: only fewer of them.
  uint64_t before = whole.records;
  for (size_t size = bytes.size() - 1; size > 5000; size -= size / 7) {
    const content cut(bytes.substr(0, size));
    CHECK(cut.records <= before);
    CHECK((cut.records == 0 || cut.last_of_main + 1 == cut.records));
    before = cut.records;
  }
  CHECK(run_converter("text '" + path + "'", folder / "text") == 1);
}

TEST_CASE("A failed write ends the session, and stop tells why") {
  running_recorder recorder;
  SECTION("a full device") {
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    session s;
    start(s, {.descriptor = full});
    record(1);
    while (s.is_running()) std::this_thread::yield();
    const session_result result = s.stop();
    CHECK(result.failed.code() == contrail::error_code::file);
    CHECK(std::string(result.failed.message()).find("no space left on the device") != std::string::npos);
    CHECK(result.bytes == 0);
    close(full);
  }
  SECTION("a pipe that nobody reads any more: and nobody dies of it") {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    close(ends[0]);
    session s;
    start(s, {.descriptor = ends[1]});
    const session_result result = s.stop();
    CHECK(std::string(result.failed.message()).find("nobody reads the other end") != std::string::npos);
    close(ends[1]);
  }
}

TEST_CASE("A file that may not grow ends with what fits, and says so itself; what did not fit is counted") {
  temporary_folder folder;
  const std::string path = folder / "small.contrail";
  const int out = open((folder / "result").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int status = status_of_child([&] {
    // So large that the session looks for the first time in half a second only, when all has been recorded.
    if (flight_recorder::start({.memory = 1 << 30})) return 1;
    session s;
    if (s.start({.file = path.c_str(), .interval = std::chrono::hours(1)})) return 2;
    const rlimit limit{300'000, 300'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    for (uint64_t i = 0; i < 200'000; ++i) record(i);
    const bool lived = s.is_running();
    const session_result result = s.stop();
    if (result.failed.code() != contrail::error_code::file) return 3;
    dprintf(out, "%d %llu %llu", lived, static_cast<unsigned long long>(result.bytes),
            static_cast<unsigned long long>(result.lost_records));
    return 0;
  });
  close(out);
  REQUIRE(status == 0);
  int lived = 0;
  unsigned long long bytes = 0, lost = 0;
  REQUIRE(std::sscanf(text_of(folder / "result").c_str(), "%d %llu %llu", &lived, &bytes, &lost) == 3);
  const std::string stream = text_of(path);
  CHECK(stream.size() == bytes);
  CHECK(stream.size() <= 300'000);
  const content found(stream);
  CHECK(found.records > 0);
  CHECK(lost > 0);
  if (lived) CHECK(found.records + lost == 200'000);
  CHECK(found.records + lost <= 200'000);
  CHECK(found.lost == lost);
  REQUIRE(found.warnings.size() == 1);
  CHECK(found.warnings[0] == "a write of the session failed (system error 27), which ended the stream");
}

TEST_CASE("When the recorder stops the session ends, with all until then; also when another one starts at once") {
  for (const uint64_t memory : {uint64_t{4} << 20, uint64_t{8} << 20}) {
    temporary_folder folder;
    const std::string path = folder / "ended.contrail";
    session s;
    {
      running_recorder recorder;
      start(s, {.file = path.c_str(), .interval = std::chrono::hours(1)});
      for (uint64_t i = 0; i < 5000; ++i) record(i);
    }
    running_recorder next({.memory = memory});  // in the same image, and in another
    while (s.is_running()) std::this_thread::yield();
    const session_result result = s.stop();
    CHECK(result.failed.code() == contrail::error_code::not_running);
    const content found(text_of(path));
    CHECK(found.records == 5000);
    CHECK(found.warnings.empty());
    // The next recording streams as well.
    const std::string again = folder / "again.contrail";
    start(s, {.file = again.c_str()});
    record(1);
    stop(s);
    CHECK(content(text_of(again)).records == 1);
  }
}

TEST_CASE("A session tells that the recorder was stopped first, and what was dropped, also when another has begun") {
  temporary_folder folder;
  const std::string path = folder / "ended.contrail";
  const auto drop = [] {
    std::vector<contrail::task> open;
    for (int i = 0; i < 1000; ++i) {
      TRACE_TASK(one, "one");
      open.push_back(std::move(one));
    }
  };
  session s;
  bool starts_again = false;
  SECTION("stopped") {}
  SECTION("started again") { starts_again = true; }
  {
    running_recorder recorder;
    drop();
    start(s, {.file = path.c_str(), .interval = std::chrono::hours(1)});
  }
  if (starts_again) {
    running_recorder next;
  }
  const session_result result = s.stop();
  CHECK(result.failed.code() == contrail::error_code::not_running);
  CHECK(result.dropped_records == 0);
  CHECK(content(text_of(path)).dropped == 0);
}

TEST_CASE("In a forked child the session does not exist, and the parent's goes on") {
  if (CONTRAIL_TESTS_SANITIZED) return;  // ThreadSanitizer lets no child of threads create one
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = folder / "parent.contrail";
  const std::string own = folder / "child.contrail";
  session s;
  start(s, {.file = path.c_str()});
  record(1);
  const int status = status_of_child([&] {
    if (s.is_running()) return 1;
    if (s.stop().failed.code() != contrail::error_code::not_running) return 2;
    if (flight_recorder::start()) return 3;
    if (s.start({.file = own.c_str()})) return 4;
    record(2);
    return s.stop().failed ? 5 : 0;
  });
  CHECK(status == 0);
  record(3);
  stop(s);
  CHECK(content(text_of(path)).records == 2);
  CHECK(content(text_of(own)).records == 1);
}

TEST_CASE("A stream's file is the user's alone, replaces an older one and never follows a link") {
  running_recorder recorder;
  temporary_folder folder;
  const std::string path = folder / "stream", target = folder / "target";
  std::ofstream(target) << "precious";
  REQUIRE(symlink(target.c_str(), path.c_str()) == 0);
  {
    session s;
    start(s, {.file = path.c_str()});
    struct stat made {};
    REQUIRE(lstat(path.c_str(), &made) == 0);  // it is there from the start on
    CHECK(S_ISREG(made.st_mode));
    CHECK((made.st_mode & 0777) == 0600);
    record(1);
  }  // the end of its scope stops it
  CHECK(text_of(target) == "precious");
  const content found(text_of(path));
  CHECK(found.records == 1);
  CHECK(found.warnings.empty());
}

TEST_CASE("What cannot be streamed to is refused with a sentence") {
  session s;
  CHECK(s.start({.file = "x"}).code() == contrail::error_code::not_running);
  CHECK_FALSE(s.stop().failed);
  running_recorder recorder;
  temporary_folder folder;
  CHECK(s.start({}).code() == contrail::error_code::bad_option);
  CHECK(s.start({.file = "x", .descriptor = 1}).code() == contrail::error_code::bad_option);
  CHECK(s.start({.file = "x", .interval = std::chrono::microseconds(1)}).code() == contrail::error_code::bad_option);
  CHECK(s.start({.file = "x%q"}).code() == contrail::error_code::path);
  CHECK(s.start({.file = folder.path().c_str()}).code() == contrail::error_code::file);
  const int readable = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(s.start({.descriptor = readable}).code() == contrail::error_code::file);
  close(readable);
  CHECK(s.start({.descriptor = 12345}).code() == contrail::error_code::file);
  CHECK_FALSE(s.is_running());

  const std::string path = folder / "moved";
  start(s, {.file = path.c_str()});
  CHECK(s.start({.file = "y"}).code() == contrail::error_code::already_running);
  session moved(std::move(s));
  CHECK(moved.is_running());
  CHECK_FALSE(s.is_running());  // NOLINT(bugprone-use-after-move)
  stop(moved);
}
