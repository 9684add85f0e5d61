// SPDX-License-Identifier: MIT
// Bytes to a descriptor, and short texts into fixed buffers, without the heap, locks or stdio.
#ifndef CONTRAIL_DETAIL_SAFE_WRITER_HPP
#define CONTRAIL_DETAIL_SAFE_WRITER_HPP

#include "contrail/detail/errno_keeper.hpp"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Writes all of it, however often the kernel takes only a part or a signal interrupts. Returns 0 or an errno value.
// Async-signal-safe.
inline int write_all(int descriptor, const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  // A descriptor that is always interrupted before it takes a byte must not hold a crash handler for ever.
  for (int interruptions = 0; size != 0;) {
    const ssize_t taken = write(descriptor, at, size);
    if (taken < 0) {
      if (errno == EINTR && ++interruptions < 1000) continue;
      return errno;
    }
    interruptions = 0;
    // A descriptor that takes nothing and reports nothing would make this loop endless.
    if (taken == 0) return EIO;
    at += taken;
    size -= static_cast<size_t>(taken);
  }
  return 0;
}

/// Appends to a caller's buffer, always terminated; what does not fit is cut and `cut()` says so.
// Async-signal-safe.
class text_writer {
 public:
  text_writer(char* buffer, size_t capacity) : buffer_(buffer), capacity_(capacity) { buffer_[0] = '\0'; }

  text_writer& add(char c) {
    if (size_ + 1 < capacity_) {
      buffer_[size_++] = c;
      buffer_[size_] = '\0';
    } else {
      cut_ = true;
    }
    return *this;
  }
  text_writer& add(const char* text) {
    while (*text != '\0') add(*text++);
    return *this;
  }
  text_writer& add(uint64_t number) {
    char digits[20];
    int count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    while (count != 0) add(digits[--count]);
    return *this;
  }

  bool cut() const { return cut_; }
  size_t size() const { return size_; }

 private:
  char* buffer_;
  size_t capacity_;
  size_t size_ = 0;
  bool cut_ = false;
};

/// The system's word for an errno value: strerror is not async-signal-safe.
// Async-signal-safe.
inline const char* errno_text(int number) {
  switch (number) {
    case ENOENT: return "no such file or directory";
    case EACCES: return "permission denied";
    case EPERM: return "operation not permitted";
    case EEXIST: return "it exists already";
    case EISDIR: return "it is a directory";
    case ENOTDIR: return "a part of the path is no directory";
    case ELOOP: return "it is a symbolic link, or too many of them";
    case ENOSPC: return "no space left on the device";
    case EDQUOT: return "the disk quota is used up";
    case EROFS: return "the file system is read-only";
    case ENAMETOOLONG: return "the name is too long";
    case EMFILE: return "the process has too many open files";
    case ENFILE: return "the system has too many open files";
    case ENOMEM: return "out of memory";
    case EIO: return "input/output error";
    case EFBIG: return "the file would be too large";
    case EPIPE: return "nobody reads the other end";
    case EBADF: return "the descriptor is not open for writing";
    case EINTR: return "signals interrupted it again and again";
    case ENXIO: return "it is a device, a pipe or a socket";
    case EAGAIN: return "the descriptor is non-blocking and full";
    case EINVAL: return "invalid argument";
    default: return nullptr;
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
