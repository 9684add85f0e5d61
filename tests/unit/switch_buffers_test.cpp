// SPDX-License-Identifier: MIT
// Copies of a buffer that the kernel writes backwards, with a kernel that is played by the test.
#include "contrail/thread_states.hpp"

#include "catch.hpp"

#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace contrail::detail;

constexpr uint64_t size = 4096;

/// One buffer of 4 KiB, as open_switch_buffers would leave it.
class played_kernel {
 public:
  played_kernel() : memory_(switch_buffers::table_bytes + switch_buffers::stride) {
    switch_buffers& own = own_switch_buffers;
    own.base = memory_.data();
    own.buffer_bytes = size;
    own.opened_ns = 5;
    own.cpus[0] = 3;
    own.count.store_relaxed(1);
    own.pid.store_relaxed(static_cast<uint64_t>(getpid()));
  }
  ~played_kernel() {
    own_switch_buffers.base = nullptr;
    own_switch_buffers.count.store_relaxed(0);
    own_switch_buffers.pid.store_relaxed(0);
  }
  /// Writes a record of 24 bytes in front of the others.
  void record(uint64_t time) {
    char bytes[24] = {};
    const perf_record_header head{14, 0, sizeof bytes};
    std::memcpy(bytes, &head, sizeof head);
    std::memcpy(bytes + 16, &time, sizeof time);
    head_ -= sizeof bytes;
    char* const buffer = own_switch_buffers.at(0);
    for (uint64_t i = 0; i < sizeof bytes; ++i) buffer[perf_page_bytes + ((head_ + i) & (size - 1))] = bytes[i];
    std::memcpy(buffer + perf_head_offset, &head_, sizeof head_);
  }
  void record(uint64_t first, uint64_t last) {
    for (uint64_t time = first; time <= last; ++time) record(time);
  }

 private:
  std::vector<char> memory_;
  uint64_t head_ = 0;
};

struct copied {
  std::string bytes;
  switch_buffer entry{};
  uint64_t room = 0;
  std::vector<uint64_t> times;  ///< of the records, the newest first

  explicit copied(uint64_t since_ns = 0, void (*meanwhile)() = nullptr) : meanwhile_(meanwhile) {
    REQUIRE(count_switch_buffers() == 1);
    CHECK(measure_switch_buffers(&room, 1, since_ns) == room);
    const dump_sink sink{[](void* context, const void* from, size_t length) {
                           copied& self = *static_cast<copied*>(context);
                           self.bytes.append(static_cast<const char*>(from), length);
                           if (self.meanwhile_ != nullptr) self.meanwhile_();
                           self.meanwhile_ = nullptr;
                           return 0;
                         },
                         this};
    char work[256];
    dump_output output(sink, work, sizeof work);
    copy_switch_buffers(output, 1000, &room, 1);
    output.flush();
    REQUIRE(bytes.size() == room + sizeof entry);
    std::memcpy(static_cast<void*>(&entry), bytes.data() + room, sizeof entry);
    CHECK(entry.offset == 1000);
    CHECK(entry.cpu == 3);
    REQUIRE(entry.bytes <= room);
    for (uint64_t at = 0; at + 24 <= entry.bytes; at += 24) {
      uint64_t time;
      std::memcpy(&time, bytes.data() + at + 16, sizeof time);
      times.push_back(time);
    }
  }

 private:
  void (*meanwhile_)();
};

std::vector<uint64_t> down(uint64_t from, uint64_t to) {
  std::vector<uint64_t> all;
  for (uint64_t time = from; time >= to; --time) all.push_back(time);
  return all;
}

played_kernel* kernel = nullptr;

}  // namespace

TEST_CASE("a buffer that is not full is copied whole, the newest record first") {
  played_kernel played;
  CHECK(copied().times.empty());
  CHECK(copied().entry.since_ns == 5);
  played.record(11, 30);
  const copied found;
  CHECK(found.times == down(30, 11));
  CHECK(found.entry.bytes == 20 * 24);
  CHECK(found.entry.since_ns == 5);
}

TEST_CASE("of a full buffer all is copied but what the kernel may be about to overwrite") {
  played_kernel played;
  played.record(1, 1000);
  const copied found;
  CHECK(found.room == size);
  CHECK(found.entry.bytes == size - switch_margin_bytes);
  CHECK(found.entry.since_ns == 0);
  const uint64_t whole = (size - switch_margin_bytes) / 24;
  CHECK(found.times == down(1000, 1001 - whole));
}

TEST_CASE("a window takes what is newer, and the one before it") {
  played_kernel played;
  played.record(1, 100);
  CHECK(bytes_since(own_switch_buffers.at(0), size, 91) == 11 * 24);
  CHECK(bytes_since(own_switch_buffers.at(0), size, 1) == 100 * 24);
  CHECK(bytes_since(own_switch_buffers.at(0), size, 500) == 24);
  played.record(101, 1000);
  CHECK(bytes_since(own_switch_buffers.at(0), size, 991) == 11 * 24);
  CHECK(bytes_since(own_switch_buffers.at(0), size, 1) == size);
  const copied found(991);
  CHECK(found.room < size);
  REQUIRE(found.times.size() >= 11);
  CHECK(found.times == down(1000, 1001 - found.times.size()));
}

TEST_CASE("what the kernel writes during the copy costs the oldest, and no record is torn") {
  played_kernel played;
  kernel = &played;
  played.record(1, 1000);
  const copied found(0, [] { kernel->record(1001, 1040); });
  CHECK(found.entry.bytes == size - switch_margin_bytes - 40 * 24);
  CHECK(found.times == down(1000, 1001 - found.times.size()));
  const copied after;
  CHECK(after.times.front() == 1040);
  const copied hopeless(0, [] { kernel->record(1041, 2000); });
  CHECK(hopeless.entry.bytes == 0);
}

TEST_CASE("a forked child that nobody told has no buffers, and a closed source none") {
  played_kernel played;
  own_switch_buffers.pid.store_relaxed(1);
  CHECK(count_switch_buffers() == 0);
  own_switch_buffers.pid.store_relaxed(0);
  CHECK(count_switch_buffers() == 0);
}

TEST_CASE("a thread's state is what it does now") {
  CHECK(state_of_thread(current_tid()) == thread_state::running);
  CHECK(state_of_thread(0x7fff'ffff) == thread_state::unknown);
}
