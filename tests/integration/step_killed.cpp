// SPDX-License-Identifier: MIT
// A process may die after any of its instructions. A child records in an image that this process shares, led by ptrace;
// after each instruction the image is read as that of a killed process: every record that was written is there, once,
// unaltered and in order, and every open region.
#include "contrail/contrail.hpp"
#include "support/live_image.hpp"
#include "support/stepper.hpp"
#include "support/test_length.hpp"

#include <fcntl.h>

#include <cinttypes>
#include <optional>
#include <thread>

namespace step_test {
struct typed_event {
  uint64_t number, check;
};
TRACE_EVENT_TYPE(typed_event, number, check);
}  // namespace step_test

namespace {

using contrail::flight_recorder;
using live_image::check_of;
using live_image::kind;
using live_image::ledger;

struct books {
  ledger main, worker;
};
books* shared = nullptr;
int memory = -1;  ///< the file that holds the child's image
uint64_t number = 0;

/// Stands before a region: what it begins is announced, and done when it has ended.
class around {
 public:
  around(ledger& book, kind what, uint64_t n) : book_(book) { book_.begin(what, n); }
  ~around() {
    book_.begun = book_.begun - 1;
    book_.completed = book_.completed + 1;
  }
  around(const around&) = delete;
  around& operator=(const around&) = delete;

 private:
  ledger& book_;
};

/// Stands behind a region: it is open, and its end is announced.
class within {
 public:
  within(ledger& book, kind what, uint64_t n) : book_(book), what_(what), number_(n) { book_.open = book_.open + 1; }
  ~within() {
    book_.open = book_.open - 1;
    book_.announce(what_, number_);
  }
  within(const within&) = delete;
  within& operator=(const within&) = delete;

 private:
  ledger& book_;
  kind what_;
  uint64_t number_;
};

class point {
 public:
  point(ledger& book, kind what, uint64_t n) : book_(book) { book_.announce(what, n); }
  ~point() { book_.completed = book_.completed + 1; }
  point(const point&) = delete;
  point& operator=(const point&) = delete;

 private:
  ledger& book_;
};

// ---- what is stepped through ---------------------------------------------------------------------------------------

__attribute__((noinline)) void plain(ledger& book, uint64_t n) {
  const around a(book, kind::plain, n);
  TRACE_REGION("plain");
  const within w(book, kind::plain, n);
}

__attribute__((noinline)) void filler(ledger& book, uint64_t n) {
  const around a(book, kind::filler, n);
  TRACE_REGION("filler");
  const within w(book, kind::filler, n);
}

/// Every form of a record, some within others.
__attribute__((noinline)) void every_form(ledger& book) {
  const uint64_t n = number += 16;
  const around a(book, kind::fixed, n);
  TRACE_REGION("fixed", "n", n, "check", check_of(n));
  const within w(book, kind::fixed, n);
  plain(book, n);
  {
    const around a2(book, kind::text, n + 1);
    TRACE_REGION("text", "n", n + 1, "check", check_of(n + 1), "text", "0123456789", "more", std::string("abc"));
    const within w2(book, kind::text, n + 1);
    const point p(book, kind::instant, n + 2);
    TRACE_INSTANT("instant", "n", n + 2, "check", check_of(n + 2));
  }
  {
    const around a3(book, kind::variable, n + 3);
    TRACE_REGION_VAR(later, "variable", "n", n + 3, "check", check_of(n + 3));
    const within w3(book, kind::variable, n + 3);
    later.set("text", "0123456789");
    later.set("number", n);
  }
  {
    const point p(book, kind::counter, n + 4);
    TRACE_COUNTER("counter", n + 4);
  }
  {
    const point p(book, kind::event, n + 5);
    TRACE_EMIT(step_test::typed_event{n + 5, check_of(n + 5)});
  }
  {
    const point p(book, kind::log, n + 6);
    TRACE_LOG("log {} {}", n + 6, check_of(n + 6));
  }
}

__attribute__((noinline)) void high_id(ledger& book) {
  const uint64_t n = ++number;
  const around a(book, kind::high_id, n);
  TRACE_REGION("high id", "n", n, "check", check_of(n));
  const within w(book, kind::high_id, n);
}

void spin_for_an_epoch() {
  const uint64_t from = contrail::detail::hardware_ticks();
  while (contrail::detail::hardware_ticks() - from < contrail::detail::epoch_ticks + 1000) {
  }
}

/// Longer than a time epoch, with an epoch's begin inside.
__attribute__((noinline)) void long_region(ledger& book) {
  const uint64_t n = ++number;
  const around a(book, kind::fixed, n);
  TRACE_REGION("fixed", "n", n, "check", check_of(n));
  const within w(book, kind::fixed, n);
  stepper::end();
  spin_for_an_epoch();
  stepper::begin();
  plain(book, n);
}

contrail::detail::lane& current_lane() {
  using namespace contrail::detail;
  thread_slot& slot = slot_of(next_frame);
  return slot.lanes[lane_index_of(slot, next_frame)];
}

/// Leaves room for `words` in the chunk.
void fill_chunk(ledger& book, unsigned words) {
  using namespace contrail::detail;
  while (chunk_words - words_in_chunk(current_lane()) > words) filler(book, 0);
}

// ---- the child ---------------------------------------------------------------------------------------------------

/// Starts the recorder and moves its image into memory that the parent has too.
void start(uint64_t bytes) {
  if (flight_recorder::start({.memory = bytes})) _exit(3);
  contrail::detail::superblock* const image = contrail::detail::current_image(*contrail::detail::joined_process())->super;
  const size_t size = image->image_bytes;
  if (pwrite(memory, image, size, 0) != static_cast<ssize_t>(size)) _exit(4);
  if (mmap(image, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0) != image) _exit(5);
  shared->main.tid = static_cast<uint64_t>(gettid());
}

struct scenario {
  const char* name;
  uint64_t bytes;
  void (*work)(unsigned round);
  unsigned rounds, long_rounds;
};

void attach_and_bind(unsigned) {
  start(1 << 20);
  stepper::begin();
  every_form(shared->main);
  stepper::end();
}

void forms(unsigned) {
  start(1 << 20);
  every_form(shared->main);
  stepper::begin();
  for (int i = 0; i < 4; ++i) every_form(shared->main);
  stepper::end();
}

void long_forms(unsigned) {
  start(18 << 20);
  every_form(shared->main);
  contrail::detail::current_image(*contrail::detail::joined_process())->super->next_id.store_relaxed(4100);
  stepper::begin();
  high_id(shared->main);
  for (int i = 0; i < 2; ++i) high_id(shared->main);
  long_region(shared->main);
  stepper::end();
}

void change_chunks(unsigned round) {
  const unsigned rooms[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24};
  for (unsigned i = 0; i < 3; ++i) {
    fill_chunk(shared->main, rooms[(3 * round + i) % 11]);
    stepper::begin();
    every_form(shared->main);
    stepper::end();
  }
}

void chunk_change(unsigned round) {
  start(1 << 20);
  every_form(shared->main);
  change_chunks(round);
}

/// The pool is used up: every chunk that is opened was another one before.
void recycling(unsigned round) {
  start(1 << 20);
  every_form(shared->main);
  const uint64_t chunks = contrail::detail::current_image(*contrail::detail::joined_process())->chunk_count;
  for (uint64_t i = 0; i <= chunks; ++i) {
    fill_chunk(shared->main, 1);
    filler(shared->main, 0);
  }
  change_chunks(round);
}

void in_worker(void (*work)(unsigned), unsigned round) {
  std::thread([work, round] {
    shared->worker.tid = static_cast<uint64_t>(gettid());
    work(round);
    // Its end is stepped through as well; join sets the mark back.
  }).join();
  stepper::end();
}

void threads(unsigned round) {
  start(1 << 20);
  every_form(shared->main);
  if (round % 2 == 1) {
    // All slots belong to threads that ended: attaching takes one of those.
    const uint64_t slots = contrail::detail::current_image(*contrail::detail::joined_process())->slot_count;
    for (uint64_t i = 0; i < slots; ++i) std::thread([] { TRACE_REGION("of a thread that ended"); }).join();
  }
  in_worker(
      [](unsigned) {
        stepper::begin();
        every_form(shared->worker);
      },
      round);
  every_form(shared->main);
}

void dumps(unsigned round) {
  start(1 << 20);
  every_form(shared->main);
  fill_chunk(shared->main, 1000);
  std::string bytes;
  bytes.reserve(1 << 20);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  char path[64];
  std::snprintf(path, sizeof path, "step_killed-%d.contrail", getpid());
  const around a(shared->main, kind::plain, 1);
  TRACE_REGION("plain");
  const within w(shared->main, kind::plain, 1);
  stepper::begin();
  const contrail::error failed = round % 3 == 0   ? flight_recorder::dump(bytes)
                                 : round % 3 == 1 ? flight_recorder::dump(nowhere)
                                                  : flight_recorder::dump(path);
  stepper::end();
  unlink(path);
  if (failed) _exit(6);
  if (round % 3 != 0) return;
  const dump_reader::dump read = dump_reader::read(bytes);
  if (read.records("step_test::typed_event").size() != 1 || read.open_names() != std::vector<std::string>{"plain"}) _exit(7);
}

__attribute__((noinline)) void off() { TRACE_REGION("plain"); }

void stop_and_start(unsigned) {
  start(1 << 20);
  every_form(shared->main);
  stepper::begin();
  flight_recorder::stop();
  off();
  if (flight_recorder::start({.memory = 1 << 20})) _exit(8);
  every_form(shared->main);
  stepper::end();
}

constexpr scenario scenarios[] = {
    {"attach and binding", 1 << 20, attach_and_bind, 1, 20},
    {"every form of a record", 1 << 20, forms, 2, 60},
    {"long forms and a new time epoch", 18 << 20, long_forms, 1, 20},
    {"a change of chunks", 1 << 20, chunk_change, 2, 40},
    {"a change of chunks when all are used", 1 << 20, recycling, 2, 40},
    {"a thread's begin and end", 1 << 20, threads, 2, 20},
    {"dumps", 1 << 20, dumps, 2, 12},
    {"stop and start", 1 << 20, stop_and_start, 1, 20},
};

/// Steps through one round of a scenario; the number of points, after the reason if something is wrong.
uint64_t step_through(const scenario& what, unsigned round, live_image::reader::sightings& seen, bool& good) {
  if (ftruncate(memory, 0) != 0 || ftruncate(memory, static_cast<off_t>(what.bytes)) != 0) std::abort();
  const char* const image =
      static_cast<const char*>(mmap(nullptr, what.bytes, PROT_READ, MAP_SHARED, memory, 0));
  shared = stepper::shared_object<books>();
  std::optional<live_image::reader> reader;
  const stepper::result done = stepper::run([&] { what.work(round); },
                                            [&](uint64_t points) {
                                              if (!reader) reader.emplace(image);
                                              reader->check({&shared->main, &shared->worker}, points % 1000 == 0);
                                            });
  good = done.error.empty() && WIFEXITED(done.status) && WEXITSTATUS(done.status) == 0;
  if (!good) std::printf("%s, round %u: %s (status %#x)\n", what.name, round, done.error.c_str(), done.status);
  if (reader) {
    const live_image::reader::sightings& one = reader->seen();
    seen.long_records += one.long_records;
    seen.epoch_words += one.epoch_words;
    seen.chunks_sealed += one.chunks_sealed;
    seen.chunks_recycled += one.chunks_recycled;
  }
  munmap(shared, sizeof(books));
  munmap(const_cast<char*>(image), what.bytes);
  return done.points;
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* reason = stepper::impossible()) {
    std::printf("skipped: %s\n", reason);
    return 77;
  }
  memory = memfd_create("image", MFD_CLOEXEC);
  uint64_t points = 0;
  unsigned wrong = 0;
  live_image::reader::sightings seen;
  for (const scenario& what : scenarios) {
    if (argc > 1 && std::strstr(what.name, argv[1]) == nullptr) continue;
    uint64_t own = 0;
    const unsigned rounds = by_test_length((what.rounds + 3) / 4, what.rounds, what.long_rounds);
    for (unsigned round = 0; round < rounds && wrong < 10; ++round) {
      bool good = false;
      own += step_through(what, round, seen, good);
      wrong += !good;
    }
    std::printf("%s: %" PRIu64 " points\n", what.name, own);
    points += own;
  }
  std::printf("%" PRIu64 " points; seen: %" PRIu64 " long records, %" PRIu64 " epoch words, %" PRIu64
              " chunks sealed, %" PRIu64 " recycled\n",
              points, seen.long_records, seen.epoch_words, seen.chunks_sealed, seen.chunks_recycled);
  if (argc > 1 || wrong != 0) return wrong != 0;
  // What was not met was not tested.
  const bool met = points >= 50'000 && seen.long_records != 0 && seen.epoch_words != 0 && seen.chunks_sealed != 0 &&
                   seen.chunks_recycled != 0;
  if (!met) std::printf("the scenarios miss something\n");
  return met ? 0 : 1;
}
