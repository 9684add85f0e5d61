// SPDX-License-Identifier: MIT
// The image's pages.
#ifndef CONTRAIL_DETAIL_STORAGE_HPP
#define CONTRAIL_DETAIL_STORAGE_HPP

#include "contrail/config.hpp"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint64_t huge_page_bytes = 2U << 20;

/// Maps `bytes` of zeroed private memory whose address is a multiple of `alignment` (a power of two); null when the
/// system has none, with errno saying why. Private, so that a forked child writes to its own copy. With a descriptor it
/// maps that file instead, for all to see.
/// What is touched at once may as well have huge pages: a thread that records now and then would have to look up those
/// of its slot, its chunk and the superblock each time.
inline void* map_image(uint64_t bytes, uint64_t alignment, bool prefault, int file = -1) {
  const bool is_huge = prefault && file < 0 && bytes >= huge_page_bytes;
  if (is_huge && alignment < huge_page_bytes) alignment = huge_page_bytes;
  const size_t reserved = bytes + alignment;
  void* raw = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (begin + alignment - 1) & ~(alignment - 1);
  if (aligned != begin) munmap(raw, aligned - begin);
  if (const size_t rest = begin + reserved - (aligned + bytes)) {
    munmap(reinterpret_cast<void*>(aligned + bytes), rest);
  }
  char* image = reinterpret_cast<char*>(aligned);
  if (file >= 0 && mmap(image, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
    const int failed = errno;
    munmap(image, bytes);
    errno = failed;
    return nullptr;
  }
  if (is_huge) madvise(image, bytes, MADV_HUGEPAGE);  // where the system has none, all is as it was
  if (prefault) {
    // Written, not only read: a read would map the shared zero page and fault again at the first record.
    for (uint64_t at = 0; at < bytes; at += 4096) *static_cast<volatile char*>(image + at) = 0;
  }
  return image;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
