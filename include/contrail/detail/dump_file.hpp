// SPDX-License-Identifier: MIT
// Dump files: paths with placeholders, and files that appear whole or not at all.
#ifndef CONTRAIL_DETAIL_DUMP_FILE_HPP
#define CONTRAIL_DETAIL_DUMP_FILE_HPP

#include "contrail/detail/safe_writer.hpp"
#include "contrail/error.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr size_t longest_path_bytes = 1024;

/// What the placeholders of a dump's path stand for.
struct path_values {
  uint64_t pid;
  uint64_t seconds;         ///< since 1970, for %t
  uint64_t sequence;        ///< for %n
  const char* executable;   ///< its file name without folders, for %e
};

/// A path's last part.
inline const char* name_in_path(const char* path) {
  const char* name = path;
  for (const char* at = path; *at != '\0'; ++at) {
    if (*at == '/') name = at + 1;
  }
  return name;
}

/// "<what> (<the system's reason>): <path>": the path comes last, since it may be longer than the message.
inline error file_error(const char* what, const char* path, int number) {
  char message[sizeof(error)];
  text_writer writer(message, sizeof message);
  writer.add(what).add(" (");
  if (const char* known = errno_text(number)) {
    writer.add(known);
  } else {
    writer.add("system error ").add(static_cast<uint64_t>(number));
  }
  writer.add("): ").add(path);
  return {error_code::file, message};
}

inline error path_error(error_code code, const char* what, const char* path, const char* why) {
  char message[sizeof(error)];
  text_writer(message, sizeof message).add(what).add(path).add(why);
  return {code, message};
}

/// Renames, but replaces nothing; 0 or an errno value.
inline int rename_if_free(const char* from, const char* to) {
  constexpr int no_replace = 1;
  if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, no_replace) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  // This file system cannot: a link replaces nothing either.
  if (link(from, to) != 0) return errno;
  unlink(from);
  return 0;
}

/// Expands %p, %t, %n, %e and %% of `pattern`.
// Async-signal-safe.
inline error expand_path(const char* pattern, const path_values& values, char (&path)[longest_path_bytes]) {
  if (pattern == nullptr || *pattern == '\0') return {error_code::path, "The path is empty: name a file."};
  text_writer writer(path, sizeof path);
  for (const char* at = pattern; *at != '\0'; ++at) {
    if (*at != '%') {
      writer.add(*at);
      continue;
    }
    switch (*++at) {
      case 'p': writer.add(values.pid); break;
      case 't': writer.add(values.seconds); break;
      case 'n': writer.add(values.sequence); break;
      case 'e': writer.add(values.executable); break;
      case '%': writer.add('%'); break;
      default:
        return path_error(error_code::path, "The path ", pattern,
                          " has an unknown placeholder: %p, %t, %n, %e and %% exist.");
    }
  }
  // The name of the temporary file beside it is 24 bytes longer.
  if (writer.cut() || writer.size() + 32 > sizeof path) {
    return {error_code::path, "The path is longer than 992 bytes once expanded: use a shorter one."};
  }
  return {};
}

/// A file that is written under a temporary name and takes its own name when it is complete. An older file of that name
/// stays whole until then. Mode 0600, never through a symbolic link.
// Async-signal-safe.
class replacing_file {
 public:
  /// With `lock` it is locked (flock) before it has content, so that nobody takes it for what a dead process left; and
  /// its temporary name is another one than a dump's, which has no lock.
  replacing_file(const char* path, uint64_t pid, uint64_t sequence, bool lock = false) : path_(path) {
    // A device or a pipe would be replaced by a file as well: nobody who names one means that.
    struct stat there {};
    if (fstatat(AT_FDCWD, path, &there, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) error_ = errno;  // what stands there is unknown
    } else if (device_ = there.st_dev, inode_ = there.st_ino; !S_ISREG(there.st_mode) && !S_ISLNK(there.st_mode)) {
      error_ = S_ISDIR(there.st_mode) ? EISDIR : ENXIO;
    }
    if (error_ != 0) return;
    // The temporary name is as long as the system allows where the file's own is: 200 bytes of it say enough.
    size_t kept = 0;
    for (size_t i = 0, name = 0; path[i] != '\0'; ++i) {
      if (path[i] == '/') name = i + 1;
      kept = i + 1 < name + 200 ? i + 1 : name + 200;
    }
    // A crashed process of the same id may have left a temporary file behind: step over a few.
    for (uint64_t attempt = 0; attempt < 16; ++attempt) {
      text_writer text(temporary_, sizeof temporary_);
      for (size_t i = 0; i < kept; ++i) text.add(path[i]);
      text.add(lock ? ".new-" : ".tmp-").add(pid).add('-').add(sequence + attempt);
      descriptor_ = open(temporary_, (lock ? O_RDWR : O_WRONLY) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
      error_ = descriptor_ < 0 ? errno : 0;
      if (descriptor_ >= 0 && lock && (error_ = lock_made()) != 0) {
        unlink(temporary_);
        close(descriptor_);
        descriptor_ = -1;
      }
      if (error_ != EEXIST && error_ != EINTR) break;
    }
    // A umask may have taken away the owner's own bits. A file system without modes refuses, and that is no reason to.
    if (descriptor_ >= 0) fchmod(descriptor_, 0600);
  }
  ~replacing_file() {
    if (descriptor_ >= 0) {
      close(descriptor_);
      unlink(temporary_);
    }
  }
  replacing_file(const replacing_file&) = delete;
  replacing_file& operator=(const replacing_file&) = delete;

  bool is_open() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  int error() const { return error_; }
  /// Whether this is what its name stood for.
  bool replaces(uint64_t device, uint64_t inode) const { return inode_ == inode && device_ == device; }

  /// Gives the file its name; 0 or an errno value.
  int commit() {
    const int closed = close(descriptor_);
    descriptor_ = -1;
    // close may report a write that failed late (quota, network file systems); EINTR leaves the file closed on Linux.
    if (closed != 0 && errno != EINTR) error_ = errno;
    // rename itself is declared by <stdio.h>, which costs every translation unit 3 ms.
    if (error_ == 0 && syscall(SYS_renameat, AT_FDCWD, temporary_, AT_FDCWD, path_) != 0) error_ = errno;
    if (error_ != 0) unlink(temporary_);
    return error_;
  }
  /// Gives the file its name if nothing has that name; 0 or an errno value. It may be tried again.
  int commit_if_free() {
    if (const int failed = rename_if_free(temporary_, path_)) return failed;
    close(descriptor_);
    descriptor_ = -1;
    return 0;
  }

 private:
  /// EEXIST where somebody who cleans up was faster than the lock; another error also where the file system has no
  /// locks.
  int lock_made() const {
    struct stat now {};
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? EEXIST : errno;
    if (fstat(descriptor_, &now) != 0) return errno;
    return now.st_nlink == 0 ? EEXIST : 0;
  }

  const char* path_;
  char temporary_[longest_path_bytes];
  uint64_t device_ = 0, inode_ = 0;
  int descriptor_ = -1;
  int error_ = 0;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
