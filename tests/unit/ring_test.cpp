// SPDX-License-Identifier: MIT
#include "contrail/detail/ring.hpp"

#include "support/recorder.hpp"

#include <csetjmp>
#include <memory>
#include <thread>

namespace {

using namespace contrail::detail;
using dump_reader::record;

const lane& lane_0() { return slot_of(next_frame).lanes[0]; }
uint64_t words_written() { return lane_0().words_before.load_relaxed() + words_in_chunk(lane_0()); }

void spin(uint64_t ticks) {
  const uint64_t from = hardware_ticks();
  while (hardware_ticks() - from < ticks) {
  }
}

template <unsigned Words>
struct block {
  uint64_t words[Words];
};
template <unsigned Words>
void record_block(uint64_t first) {
  uint64_t words[Words];
  for (unsigned i = 0; i < Words; ++i) words[i] = first + i;
  TRACE_REGION("block", "words", words);
}
void (*const block_recorders[])(uint64_t) = {
    record_block<1>,  record_block<2>,  record_block<3>,  record_block<4>,  record_block<5>,
    record_block<6>,  record_block<7>,  record_block<8>,  record_block<9>,  record_block<10>,
    record_block<11>, record_block<12>, record_block<13>, record_block<14>, record_block<15>,
    record_block<16>, record_block<17>, record_block<18>, record_block<19>, record_block<20>};

void nest(unsigned depth) {
  TRACE_REGION("nested", "depth", depth);
  if (depth != 0) nest(depth - 1);
}

/// How many words `work` writes within one epoch, however often this thread is interrupted meanwhile.
template <class Work>
uint64_t words_of(Work&& work) {
  for (;;) {
    const uint64_t epoch = hardware_ticks() / epoch_ticks;
    { TRACE_REGION("first of its epoch"); }
    const uint64_t before = words_written();
    work();
    const uint64_t words = words_written() - before;
    if (hardware_ticks() / epoch_ticks == epoch) return words;
  }
}

}  // namespace

TEST_CASE("a plain short region costs 8 bytes") {
  running_recorder recorder;
  const auto plain = [] {
    for (int i = 0; i < 100; ++i) {
      TRACE_REGION("plain");
    }
  };
  CHECK(words_of(plain) == 100);
}

TEST_CASE("a region with two ints costs 16 bytes, an instant 8, a counter of an int 16") {
  running_recorder recorder;
  CHECK(words_of([] { TRACE_REGION("two ints", "a", 1, "b", 2); }) == 2);
  CHECK(words_of([] { TRACE_INSTANT("instant"); }) == 1);
  CHECK(words_of([] { TRACE_COUNTER("counter", 1); }) == 2);
}

TEST_CASE("payloads of every size are whole at every place in a chunk") {
  running_recorder recorder({.memory = 8 << 20});
  uint64_t written = 0;
  for (unsigned size = 1; size <= 20; ++size) {
    for (unsigned room = 1; room <= 40; ++room) {
      while (chunk_words - words_in_chunk(lane_0()) != room) {
        TRACE_REGION("filler");
      }
      block_recorders[size - 1](written * 100);
      ++written;
    }
  }
  const auto dump = dump_now();
  CHECK(dump_reader::check_chains(dump) == 0);
  const std::vector<record> blocks = dump.records("block");
  REQUIRE(blocks.size() == written);
  for (uint64_t i = 0; i < written; ++i) {
    REQUIRE(blocks[i].payload.size() == 1 + i / 40);
    for (uint64_t k = 0; k < blocks[i].payload.size(); ++k) REQUIRE(blocks[i].payload[k] == i * 100 + k);
    CHECK((blocks[i].is_long || blocks[i].payload.size() <= max_short_region_words));
  }
}

TEST_CASE("points of every length are whole at every place in a chunk") {
  running_recorder recorder({.memory = 8 << 20});
  std::vector<size_t> lengths;
  for (size_t length :
       {0U, 1U, 5U, 6U, 7U, 14U, 15U, 22U, 23U, 62U, 63U, 69U, 70U, 71U, 100U, 2000U, 2038U, 2039U, 5000U}) {
    for (unsigned room = 1; room <= 12; ++room) {
      while (chunk_words - words_in_chunk(lane_0()) != room) {
        TRACE_REGION("filler");
      }
      TRACE_INSTANT("text", "text", std::string(length, static_cast<char>('a' + room)));
      lengths.push_back(length);
    }
  }
  const auto dump = dump_now();
  CHECK(dump_reader::check_chains(dump) == 0);
  const std::vector<record> texts = dump.records("text");
  REQUIRE(texts.size() == lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    const std::string bytes(reinterpret_cast<const char*>(texts[i].payload.data()), texts[i].payload.size() * 8);
    const uint16_t header = static_cast<uint16_t>(texts[i].payload[0]);
    const size_t kept = std::min(lengths[i], size_t{2038});
    CHECK((header & 0x7fff) == kept);
    CHECK(((header & string_cut) != 0) == (lengths[i] > kept));
    CHECK(bytes.substr(2, kept) == std::string(kept, static_cast<char>('a' + 1 + i % 12)));
  }
}

TEST_CASE("texts are cut for their length only, not for their place in a chunk") {
  running_recorder recorder({.memory = 8 << 20});
  std::string text;
  while (text.size() < 64) text += "\xf0\x9f\x9a\x80";  // a character of four bytes
  for (size_t size = 4; size <= text.size(); size += 4) {
    for (unsigned room = 1; room <= 12; ++room) {
      while (chunk_words - words_in_chunk(lane_0()) != room) {
        TRACE_REGION("filler");
      }
      TRACE_INSTANT("texts", "first", text.substr(0, size), "second", "behind it");
    }
  }
  const std::vector<record> texts = dump_now().records("texts");
  REQUIRE(texts.size() == 16 * 12);
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string bytes(reinterpret_cast<const char*>(texts[i].payload.data()), texts[i].payload.size() * 8);
    const size_t size = 4 + i / 12 * 4;
    CHECK(static_cast<uint8_t>(bytes[0]) == size);
    CHECK(bytes.substr(4, size + 9) == text.substr(0, size) + "behind it");
  }
}

TEST_CASE("a region that lasts longer than a time epoch keeps its times") {
  running_recorder recorder;
  uint64_t begin[2], end[2];
  {
    begin[0] = hardware_ticks();
    TRACE_REGION("outer");
    {
      begin[1] = hardware_ticks();
      TRACE_REGION("inner", "n", 7);
      spin(epoch_ticks + epoch_ticks / 3);
      TRACE_INSTANT("between");  // begins an epoch while both are open
      spin(epoch_ticks / 2);
    }
    end[1] = hardware_ticks();
    spin(2 * epoch_ticks);
  }
  end[0] = hardware_ticks();
  const auto dump = dump_now();
  for (int i : {0, 1}) {
    const std::vector<record> found = dump.records(i == 0 ? "outer" : "inner");
    REQUIRE(found.size() == 1);
    CHECK(found[0].is_long);
    CHECK(found[0].start >= begin[i]);
    CHECK(found[0].end <= end[i]);
    CHECK(found[0].end - found[0].start > epoch_ticks);
  }
}

TEST_CASE("a region that an epoch began within, and that ends soon after, keeps its duration") {
  running_recorder recorder;
  for (int i = 0; i < 5; ++i) {
    TRACE_REGION("within an epoch's begin", "n", i);
    spin(epoch_ticks + epoch_ticks / 3);
    TRACE_INSTANT("first of its epoch");
  }
  for (const record& r : dump_now().records("within an epoch's begin")) CHECK(r.end - r.start > epoch_ticks);
}

TEST_CASE("a short region that spans the begin of an epoch keeps its times") {
  running_recorder recorder;
  for (int i = 0; i < 5; ++i) {
    { TRACE_REGION("before"); }
    const uint64_t next = (hardware_ticks() | (epoch_ticks - 1)) + 1;
    while (hardware_ticks() < next - 100'000) {
    }
    const uint64_t begin = hardware_ticks();
    {
      TRACE_REGION("spanning");
      while (hardware_ticks() < next + 1000) {
      }
    }
    const uint64_t end = hardware_ticks();
    const record found = dump_now().records("spanning").back();
    CHECK(found.start >= begin);
    CHECK(found.end <= end);
    CHECK(found.start < found.end);
  }
}

TEST_CASE("a thread that sleeps keeps exact times, and its gap gets a clock anchor") {
  running_recorder recorder;
  const auto anchors_now = [] {
    unsigned anchors = 0;
    for (const auto& chunk : dump_now().chunks) anchors += chunk.anchors;
    return anchors;
  };
  { TRACE_REGION("before"); }
  const unsigned anchors_before = anchors_now();  // the chunk may hold records of an earlier test
  usleep(1'200'000);
  const uint64_t begin = hardware_ticks();
  { TRACE_REGION("after"); }
  const uint64_t end = hardware_ticks();
  const auto dump = dump_now();
  const record after = dump.records("after").at(0);
  CHECK(after.start >= begin);
  CHECK(after.end <= end);
  CHECK(anchors_now() == anchors_before + 1);
}

TEST_CASE("eighty open regions are kept, those above are counted, and the thread recovers") {
  running_recorder recorder;
  nest(200);
  const auto dump = dump_now();
  const std::vector<record> nested = dump.records("nested");
  CHECK(nested.size() >= 64);
  CHECK(nested.size() + dump.dropped(drop_reason::too_deep) == 201);
  CHECK(dump.dropped() == dump.dropped(drop_reason::too_deep));
  for (const record& r : nested) CHECK(r.payload.at(0) > 200 - nested.size());
  nest(40);
  CHECK(dump_now().records("nested").size() == nested.size() + 41);
}

TEST_CASE("regions that end out of order are recorded with their own times") {
  running_recorder recorder;
  {
    TRACE_REGION_VAR(first, "first");
    TRACE_REGION_VAR(second, "second");
    TRACE_REGION_VAR(third, "third");
    first.end();
    { TRACE_REGION("within"); }
    third.end();
    second.end();
    { TRACE_REGION("last"); }
  }
  const auto dump = dump_now();
  const auto one = [&](const char* name) {
    REQUIRE(dump.records(name).size() == 1);
    return dump.records(name)[0];
  };
  CHECK(one("first").start < one("second").start);
  CHECK(one("second").start < one("third").start);
  CHECK(one("first").end < one("within").start);
  CHECK(one("within").end < one("third").end);
  CHECK(one("third").end < one("second").end);
  CHECK(one("second").end < one("last").start);
  CHECK(dump.dropped() == 0);
  CHECK(dump.open_names().empty());
}

namespace {
std::jmp_buf place;
[[noreturn, gnu::noinline]] void leave() {
  TRACE_REGION("jumped over");
  std::longjmp(place, 1);
}
[[noreturn, gnu::noinline]] void leave_from_within() {
  TRACE_REGION("jumped over");
  TRACE_REGION("jumped over in the same function");
  leave();
}
__attribute__((noinline)) void come_back() {
  if (setjmp(place) == 0) leave_from_within();
}
}  // namespace

TEST_CASE("longjmp over regions again and again leaves a thread that records") {
  running_recorder recorder;
  for (int i = 0; i < 300; ++i) come_back();
  CHECK(flight_recorder::status().dropped == 0);
  for (int i = 0; i < 10; ++i) {
    TRACE_REGION("afterwards");
  }
  const auto dump = dump_now();
  CHECK(dump.records("afterwards").size() == 10);
  CHECK(dump.records("jumped over").empty());
  CHECK(dump.dropped() == 0);
}

TEST_CASE("a region that another thread ends becomes an asynchronous one of its first thread") {
  running_recorder recorder;
  for (uint64_t i = 0; i < 200; ++i) {  // more often than the stack is deep
    TRACE_REGION_VAR(travelling, "travelling", "n", i);
    if (i % 50 == 0) {
      std::thread([&] {
        TRACE_REGION("there");
        travelling.end();
      }).join();
    }
  }
  const auto dump = dump_now();
  const std::vector<record> found = dump.records("travelling");
  CHECK(dump.dropped() == 0);
  REQUIRE(found.size() == 200);
  for (const record& r : found) {
    CHECK((r.kind == record::async_region) == (r.payload.at(0) % 50 == 0));
    if (r.kind == record::async_region) CHECK(r.tid == current_tid());
  }
  CHECK(dump.records("there").size() == 4);
  CHECK(dump.dropped() == 0);
  CHECK(dump.open_names().empty());
}

TEST_CASE("regions that all end on another thread do not use the first thread's stack up") {
  running_recorder recorder;
  for (uint64_t i = 0; i < 100; ++i) {
    contrail::region* travelling = nullptr;
    alignas(contrail::region) unsigned char storage[sizeof(contrail::region)];
    const auto make = [&] { return ::contrail::detail::begin_region_var(CONTRAIL_DETAIL_SITE("sent away"), "sent away"); };
    travelling = new (storage) contrail::region(make());
    std::thread([&] { travelling->end(); }).join();
  }
  CHECK(dump_now().records("sent away").size() == 100);
  CHECK(flight_recorder::status().dropped == 0);
}

TEST_CASE("without a trusted counter all times are the monotonic clock's") {
  process_state& process = *joined_process();
  {
    running_recorder recorder({.memory = 2 << 20});
    process.hardware_clock.store_relaxed(0);
  }
  running_recorder recorder({.memory = 2 << 20});  // the same image: its clock is not chosen anew
  CHECK(process.hardware_clock.load_relaxed() == 0);
  const uint64_t begin = kernel_clock_ns(CLOCK_MONOTONIC);
  for (int i = 0; i < 100; ++i) {
    TRACE_REGION("outer", "n", i);
    { TRACE_REGION("inner"); }
    TRACE_INSTANT("instant");
    if (i == 50) usleep(20'000);
  }
  const uint64_t end = kernel_clock_ns(CLOCK_MONOTONIC);
  const auto dump = dump_now();
  CHECK(dump.super.source == clock_source::monotonic);
  for (const char* name : {"outer", "inner", "instant"}) {
    const std::vector<record> found = dump.records(name);
    CHECK(found.size() == 100);
    for (const record& r : found) {
      CHECK(r.start >= begin);
      CHECK(r.start <= r.end);
      CHECK(r.end <= end);
    }
  }
  CHECK(dump.records("outer").at(50).end - dump.records("outer").at(50).start >= 20'000'000);
  process.hardware_clock.store_relaxed(hardware_clock_is_trusted());
}
