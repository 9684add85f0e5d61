// SPDX-License-Identifier: MIT
// The pages of an image.
#include "support/recorder.hpp"

#include "contrail/detail/storage.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

using contrail::detail::map_image;

namespace {

constexpr uint64_t page_bytes = 4096;

/// A mapping that goes away with the scope.
struct mapping {
  mapping(uint64_t size, uint64_t alignment, bool prefault)
      : bytes(size), base(static_cast<char*>(map_image(size, alignment, prefault))) {
    REQUIRE(base != nullptr);
  }
  ~mapping() { munmap(base, bytes); }
  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;

  /// Pages that the system has given memory to.
  size_t resident_pages() const {
    std::vector<unsigned char> pages(bytes / page_bytes);
    REQUIRE(mincore(base, bytes, pages.data()) == 0);
    size_t count = 0;
    for (const unsigned char page : pages) count += page & 1;
    return count;
  }

  const uint64_t bytes;
  char* const base;
};

/// The size of the process's address space, in pages.
uint64_t mapped_pages() {
  FILE* const file = std::fopen("/proc/self/statm", "r");
  REQUIRE(file != nullptr);
  unsigned long pages = 0;
  REQUIRE(std::fscanf(file, "%lu", &pages) == 1);
  std::fclose(file);
  return pages;
}

/// Whether the mapping that holds an address asks for huge pages.
bool asks_for_huge_pages(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  bool is_in = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      is_in = begin <= reinterpret_cast<uintptr_t>(address) && reinterpret_cast<uintptr_t>(address) < end;
    }
    if (is_in && line.rfind("VmFlags:", 0) == 0) return line.find(" hg") != std::string::npos;
  }
  return false;
}

}  // namespace

TEST_CASE("An image begins at a multiple of the alignment and is all zero and writable") {
  for (const uint64_t alignment : {uint64_t{4096}, uint64_t{16384}, uint64_t{1} << 21}) {
    const mapping image(1 << 20, alignment, false);
    CHECK(reinterpret_cast<uintptr_t>(image.base) % alignment == 0);
    CHECK(std::all_of(image.base, image.base + image.bytes, [](char byte) { return byte == 0; }));
    std::memset(image.base, 1, image.bytes);
  }
}

TEST_CASE("What the alignment reserved besides the image is given back") {
  constexpr uint64_t bytes = 1 << 20;
  static_cast<void>(mapped_pages());  // stdio's buffer is there before the measurement
  const uint64_t before = mapped_pages();
  const mapping first(bytes, 1 << 21, false), second(bytes, 1 << 21, false);
  CHECK(mapped_pages() - before == 2 * bytes / page_bytes);
}

TEST_CASE("Memory is taken from the system when it is touched, or all of it at once by prefault") {
  const mapping lazy(1 << 20, 16384, false);
  CHECK(lazy.resident_pages() == 0);
  lazy.base[5 * page_bytes] = 1;
  CHECK(lazy.resident_pages() < 256);
  CHECK(lazy.resident_pages() >= 1);
  const mapping eager(1 << 20, 16384, true);
  CHECK(eager.resident_pages() == 256);
}

TEST_CASE("Only an image that is touched at once asks for huge pages, and lies on their bounds") {
  if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) != 0) {
    WARN("skipped: this system has no huge pages");
    return;
  }
  constexpr uint64_t huge = contrail::detail::huge_page_bytes;
  const mapping lazy(2 * huge, 16384, false), eager(2 * huge, 16384, true), small(huge / 2, 16384, true);
  CHECK_FALSE(asks_for_huge_pages(lazy.base));
  CHECK_FALSE(asks_for_huge_pages(small.base));
  CHECK(asks_for_huge_pages(eager.base));
  CHECK(reinterpret_cast<uintptr_t>(eager.base) % huge == 0);
  CHECK(eager.resident_pages() == 2 * huge / page_bytes);
}

TEST_CASE("A forked child writes to a copy of its own") {
  const mapping image(1 << 20, 16384, false);
  image.base[0] = 'p';
  CHECK(status_of_child([&] {
          if (image.base[0] != 'p') return 1;
          image.base[0] = 'c';
          return 0;
        }) == 0);
  CHECK(image.base[0] == 'p');
}

TEST_CASE("Where the system has no such memory there is no image, and errno says why") {
  errno = 0;
  CHECK(map_image(uint64_t{1} << 60, 16384, false) == nullptr);
  CHECK(errno == ENOMEM);
}

TEST_CASE("A start for which there is no memory says so, and a smaller one works afterwards") {
  CHECK(status_of_child([] {
          rlimit limit{};
          getrlimit(RLIMIT_AS, &limit);
          limit.rlim_cur = mapped_pages() * page_bytes + (64 << 20);
          setrlimit(RLIMIT_AS, &limit);
          const contrail::error failed = flight_recorder::start({.memory = uint64_t{1} << 30});
          if (failed.code() != contrail::error_code::out_of_memory) return 1;
          const std::string message = failed.message();
          if (message.find("options.memory") == std::string::npos) return 2;
          if (flight_recorder::status().state != contrail::recorder_state::off) return 3;
          if (flight_recorder::start({.memory = 1 << 20})) return 4;
          TRACE_INSTANT("works");
          return flight_recorder::status().records == 1 ? 0 : 5;
        }) == 0);
}
