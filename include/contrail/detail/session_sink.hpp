// SPDX-License-Identifier: MIT
// Where a stream goes: a file of its own, or somebody's descriptor. The first failed write is the last one, but for the
// stream's end: a file is cut behind its last whole block, which makes room for that on a full disk too.
#ifndef CONTRAIL_DETAIL_SESSION_SINK_HPP
#define CONTRAIL_DETAIL_SESSION_SINK_HPP

#include "contrail/detail/dump_file.hpp"
#include "contrail/detail/stream.hpp"

#include <poll.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

class stream_sink {
 public:
  /// Takes a descriptor that others opened, and close.
  void use(int descriptor) { descriptor_ = descriptor; }

  /// Makes the file and gives it its name, with the superblock in it: whoever finds the name, also after a kill, finds
  /// a stream. 0 or an errno value.
  int create(const char* path, uint64_t pid, uint64_t sequence, const superblock& super) {
    replacing_file file(path, pid, sequence);
    if (!file.is_open()) return file.error();
    if (const int failed = write_all(file.descriptor(), &super, sizeof super)) return failed;
    const int own = fcntl(file.descriptor(), F_DUPFD_CLOEXEC, 0);
    if (own < 0) return errno;
    if (const int failed = file.commit()) {
      close(own);
      return failed;
    }
    descriptor_ = own;
    is_own_file_ = true;
    bytes_.store_relaxed(sizeof super);
    return 0;
  }

  /// Writes whole blocks, in two parts if that suits the caller; false if that failed, now or before. It waits as long
  /// as the descriptor makes it wait.
  bool put(const void* blocks, size_t size, const void* rest = nullptr, size_t rest_size = 0) {
    if (error_ != 0) return false;
    taken_ = 0;
    if (!put_part(blocks, size) || !put_part(rest, rest_size)) return false;
    bytes_.store_relaxed(bytes_.load_relaxed() + size + rest_size);
    return true;
  }

  /// After a failed put: how much of it was taken.
  size_t taken() const { return taken_; }
  /// After a failed put: keeps `kept` bytes of it, which are whole blocks, and writes the stream's end behind them, if
  /// that can be. A descriptor of others cannot be cut: there the stream ends within a block.
  void end_after_failure(size_t kept, const void* end, size_t size) {
    if (!is_own_file_) return;
    const uint64_t at = bytes_.load_relaxed() + kept;
    if (ftruncate(descriptor_, static_cast<off_t>(at)) != 0) return;
    const bool is_whole = pwrite(descriptor_, end, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size);
    if (!is_whole && ftruncate(descriptor_, static_cast<off_t>(at)) != 0) return;
    bytes_.store_relaxed(is_whole ? at + size : at);
  }

  /// Ends it; a file system may tell only now that a write failed.
  void finish() {
    if (is_own_file_ && close(descriptor_) != 0 && errno != EINTR && error_ == 0) error_ = errno;
    descriptor_ = -1;
    is_own_file_ = false;
  }

  int error() const { return error_; }
  uint64_t bytes() const { return bytes_.load_relaxed(); }  ///< in whole blocks

 private:
  bool put_part(const void* part, size_t size) {
    const char* at = static_cast<const char*>(part);
    while (size != 0 && error_ == 0) {
      const ssize_t taken = write(descriptor_, at, size);
      if (taken > 0) {
        at += taken;
        size -= static_cast<size_t>(taken);
        taken_ += static_cast<size_t>(taken);
      } else if (taken == 0) {
        error_ = EIO;
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd room{descriptor_, POLLOUT, 0};
        poll(&room, 1, -1);
      } else if (errno != EINTR) {
        error_ = errno;
      }
    }
    return error_ == 0;
  }

  int descriptor_ = -1;
  bool is_own_file_ = false;
  int error_ = 0;
  size_t taken_ = 0;
  atomic_word bytes_;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
