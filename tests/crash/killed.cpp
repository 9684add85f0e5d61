// SPDX-License-Identifier: MIT
// kill -9 at random moments, while four threads record into a file. The processes do nothing about it; what the file
// then holds must be what they wrote, but for the oldest that was overwritten and the record that each was writing.
#include "support/converted.hpp"
#include "support/live_reader.hpp"
#include "support/test_length.hpp"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <random>
#include <thread>

namespace {

constexpr unsigned writers = 4;

/// Memory that the child and its judge share, apart from the recorder.
struct ledger {
  std::atomic<uint64_t> completed[writers];  ///< steps of each writer that were written for certain
  std::atomic<uint64_t> tid[writers];
  std::atomic<uint64_t> started;
};

uint64_t checksum(uint64_t thread, uint64_t sequence) {
  const uint64_t x = (thread << 56 ^ sequence) * 0x9e37'79b9'7f4a'7c15;
  return x ^ x >> 29;
}

/// For ever, until it is killed. Records of all forms and lengths.
void write_records(unsigned thread, ledger& said) {
  said.tid[thread] = static_cast<uint64_t>(gettid());
  TRACE_THREAD_NAME("writer " + std::to_string(thread));
  std::atomic<uint64_t>& completed = said.completed[thread];
  const std::string filler(61, 'x');
  uint64_t sequence = 0;
  for (;;) {
    TRACE_REGION("batch", "thread", thread, "first", sequence, "check", checksum(thread, ~sequence));
    for (const uint64_t end = sequence + 15; sequence < end; ++sequence) {
      const uint64_t check = checksum(thread, sequence);
      if (sequence % 3 == 0) {
        TRACE_INSTANT("step", "thread", thread, "sequence", sequence, "check", check);
      } else if (sequence % 3 == 1) {
        TRACE_REGION("step", "thread", thread, "sequence", sequence, "check", check);
      } else {
        TRACE_INSTANT("step", "thread", thread, "sequence", sequence, "check", check, "text",
                      filler.substr(0, sequence % 61));
      }
      completed.store(completed.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
  }
}

[[noreturn]] void record_until_killed(const char* path, ledger& said) {
  setpriority(PRIO_PROCESS, 0, 10);  // four writers must not keep the judge from running
  if (const contrail::error failed = flight_recorder::start({.memory = 1 << 20, .file = path, .keep_files = 1})) {
    std::fprintf(stderr, "%s\n", failed.message());
    _exit(1);
  }
  said.started = 1;
  for (unsigned i = 1; i < writers; ++i) std::thread(write_records, i, std::ref(said)).detach();
  write_records(0, said);
  _exit(2);
}

struct findings {
  uint64_t records = 0, overwritten = 0, holes = 0, in_flight = 0;
};

/// Whether a record is the one that its writer wrote as its `ordinal`th, to the last bit: 15 steps, their batch, 15
/// steps.
void judge_record(const dump_reader::dump& found, const dump_reader::record& record, uint64_t thread, uint64_t ordinal) {
  using dump_reader::require;
  const bool is_batch = ordinal % 16 == 15;
  const uint64_t number = ordinal / 16 * 15 + (is_batch ? 0 : ordinal % 16);
  require(found.name_of(record) == (is_batch ? "batch" : "step"), "a record has another name");
  require(record.payload.size() >= 3 && record.payload[0] == thread, "a record is another thread's");
  require(record.payload[1] == number, "a record is missing, there twice or out of order");
  require(record.payload[2] == checksum(thread, is_batch ? ~number : number), "a record was altered");
  if (is_batch || number % 3 != 2) return;
  const uint64_t bytes = record.payload[3] & 0x7fff;
  require(bytes == number % 61, "a text has another length");
  const std::string text(reinterpret_cast<const char*>(record.payload.data()) + 26, bytes);
  require(text == std::string(bytes, 'x'), "a text was altered");
}

/// One writer's records, as they stand in the file, against what it said.
void judge_writer(const dump_reader::dump& found, unsigned thread, const ledger& said, findings& all) {
  using dump_reader::require;
  const uint64_t tid = said.tid[thread], completed = said.completed[thread];
  uint64_t ended = 0, words = 0, records = 0;
  bool begun = false;
  for (const dump_reader::chunk& chunk : found.chunks) {
    if (chunk.tid != tid) continue;
    require(chunk.lane == 0, "a record is in a lane that nobody used");
    require(chunk.words_before >= words && chunk.records_before >= records, "a chunk's counts are wrong");
    require((chunk.words_before == words) == (chunk.records_before == records), "a hole is not counted");
    (begun ? all.holes : all.overwritten) += chunk.records_before - records;
    begun = true;
    words = chunk.words_before + chunk.words;
    records = chunk.records_before;
    require(chunk.thread_name == "writer " + std::to_string(thread), "a chunk has another thread's name");
    for (const dump_reader::record& record : chunk.records) {
      require(record.start <= record.end && record.end >= ended, "records are out of order");
      ended = record.end;
      judge_record(found, record, thread, records++);
      ++all.records;
    }
  }
  const uint64_t steps = records / 16 * 15 + (records % 16 < 15 ? records % 16 : 15);
  require(steps >= completed, "a record that was written is lost");
  require(steps <= completed + 1, "there is a record that nobody wrote");
  all.in_flight += steps - completed;
  for (const dump_reader::slot& slot : found.slots) {
    if (!begun || slot.tid != tid) continue;
    require(slot.name == "writer " + std::to_string(thread), "a thread's name is wrong");
    for (const dump_reader::open_region& open : slot.open) {
      const std::string& name = found.bindings.at(open.id).name;
      require(name == "batch" || name == "step", "a region is open that nobody began");
      const uint64_t number = open.payload[1];
      require(open.payload[2] == checksum(thread, name == "batch" ? ~number : number), "an open region was altered");
    }
  }
}

/// Small files in memory where there is such a file system: thousands of them on a disk would wear it.
struct box_folder {
  box_folder() {
    char in_memory[] = "/dev/shm/contrail-test-XXXXXX", elsewhere[] = "/tmp/contrail-test-XXXXXX";
    const char* made = mkdtemp(in_memory);
    if (made == nullptr) made = mkdtemp(elsewhere);
    REQUIRE(made != nullptr);
    path = made;
  }
  ~box_folder() {
    for (const std::string& name : names()) unlink((path + "/" + name).c_str());
    rmdir(path.c_str());
  }
  box_folder(const box_folder&) = delete;
  box_folder& operator=(const box_folder&) = delete;

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    DIR* const folder = opendir(path.c_str());
    while (const dirent* entry = readdir(folder)) {
      if (entry->d_name[0] != '.') found.push_back(entry->d_name);
    }
    closedir(folder);
    std::sort(found.begin(), found.end());
    return found;
  }

  std::string path;
};

struct shared_ledger {
  shared_ledger()
      : said(*static_cast<ledger*>(mmap(nullptr, sizeof(ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~shared_ledger() { munmap(&said, sizeof said); }
  shared_ledger(const shared_ledger&) = delete;
  shared_ledger& operator=(const shared_ledger&) = delete;
  ledger& said;
};

/// The signal that ended the child; -1 when it ended otherwise.
int signal_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
}

unsigned kills_wanted() {
  return by_test_length(200U, 2'000U, 100'000U);
}

}  // namespace

TEST_CASE("The file of a process that is killed at a random moment holds what it wrote, without its help") {
  const box_folder folder;
  const std::string path = folder.path + "/box";
  const char* const given = std::getenv("CONTRAIL_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::mt19937_64 random(seed);
  std::printf("kills: seed %llu\n", static_cast<unsigned long long>(seed));
  findings all;
  unsigned before_start = 0;
  const auto tell = [&](unsigned kills) {
    std::printf("kills: %u, of them %u before the file had its name; records read %llu, overwritten %llu, in counted "
                "holes %llu, written at the very moment %llu\n",
                kills, before_start, static_cast<unsigned long long>(all.records),
                static_cast<unsigned long long>(all.overwritten), static_cast<unsigned long long>(all.holes),
                static_cast<unsigned long long>(all.in_flight));
    std::fflush(stdout);
  };
  for (unsigned kill_number = 0; kill_number < kills_wanted(); ++kill_number) {
    if (kill_number % 5'000 == 4'999) tell(kill_number);
    shared_ledger shared;
    ledger& said = shared.said;
    // Some die while they start, most while they write. The moment is what this test draws.
    const bool is_early = random() % 8 == 0;
    const uint64_t records = random() % 3'000;
    const timespec moment{0, static_cast<long>(is_early ? random() % 1'000'000 : random() % 100'000)};
    const pid_t child = fork();
    if (child == 0) record_until_killed(path.c_str(), said);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const timespec pause{0, 20'000};
    while (!is_early && said.completed[kill_number % writers] < records) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      nanosleep(&pause, nullptr);
    }
    nanosleep(&moment, nullptr);
    kill(child, SIGKILL);
    INFO("kill " << kill_number << ", seed " << seed);
    REQUIRE(signal_of(child) == SIGKILL);

    const std::string bytes = text_of(path);
    dump_reader::dump found{};
    if (!bytes.empty()) REQUIRE_NOTHROW(found = dump_reader::read_live(bytes));
    if (found.super.pid != static_cast<uint32_t>(child)) {
      REQUIRE(said.started == 0);  // killed before its file had its name: the one before is whole
      ++before_start;
      continue;
    }
    REQUIRE(found.super.ended == contrail::detail::image_end::none);
    REQUIRE(found.dropped() == 0);
    const uint64_t records_before = all.records;
    for (unsigned i = 0; i < writers; ++i) {
      INFO("writer " << i << ", " << said.completed[i] << " completed");
      REQUIRE_NOTHROW(judge_writer(found, i, said, all));
    }
    if (kill_number % 50 != 0) continue;
    const std::string shown = folder.path + "/shown";
    const int status = run_converter("info '" + path + "'", shown);
    const std::string text = text_of(shown);
    unlink(shown.c_str());
    INFO(text);
    // On a machine that is taken away between two clock reads, an anchor may be off; then the reader says so.
    const bool warns_of_clock = text.find("clock anchors contradict the others") != std::string::npos;
    REQUIRE(status == (warns_of_clock ? 1 : 0));
    REQUIRE(text.find("\nrecords    " + std::to_string(all.records - records_before) + ",") != std::string::npos);
  }
  tell(kills_wanted());
  CHECK(all.overwritten > 0);
  CHECK(before_start < kills_wanted() / 4);
  // What starts left that were killed is cleaned up by the next one.
  CHECK(folder.names().size() <= 3);
}
