// SPDX-License-Identifier: MIT
// Images in files, which outlive their process. A file is made whole under a temporary name, with all its space
// reserved; then an older one of its name moves aside, and it takes its own. Its mapping holds a lock (flock) for as
// long as the process lives, whatever becomes of descriptors: so nobody moves or removes a file that is in use.
#ifndef CONTRAIL_DETAIL_IMAGE_FILE_HPP
#define CONTRAIL_DETAIL_IMAGE_FILE_HPP

#include "contrail/detail/dump_file.hpp"
#include "contrail/detail/process.hpp"
#include "contrail/detail/storage.hpp"
#include "contrail/options.hpp"

#include <sys/file.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr unsigned most_kept_files = 64;
static_assert(sizeof(image_view::file) == longest_path_bytes && sizeof(image_view::file_pattern) == longest_path_bytes);

inline void read_executable(char (&path)[256]) {
  memset(path, 0, sizeof path);
  if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) path[0] = '\0';
}

/// The path that a pattern stands for at this moment, in the process that has this executable.
inline error expand_image_path(const char* pattern, uint64_t generation, char (&path)[longest_path_bytes]) {
  char executable[256];
  read_executable(executable);
  return expand_path(pattern,
                     {static_cast<uint64_t>(getpid()), kernel_clock_ns(CLOCK_REALTIME) / 1'000'000'000U, generation,
                      name_in_path(executable)},
                     path);
}

/// Whether an image is in the file that `wanted` asks for, or in memory if it asks for none.
inline bool is_where_wanted(const image_view& image, const options& wanted) {
  if (wanted.file == nullptr || image.is_shared == 0) return wanted.file == nullptr && image.is_shared == 0;
  char path[longest_path_bytes];
  struct stat there {};
  return strcmp(wanted.file, image.file_pattern) == 0 && !expand_image_path(wanted.file, image.generation, path) &&
         strcmp(path, image.file) == 0 && fstatat(AT_FDCWD, path, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         there.st_ino == image.inode && there.st_dev == image.device;
}

/// Makes a file of `bytes` bytes whose space is there for good, since a store to a page for which the disk has no room
/// is a SIGBUS. Returns 0 or an errno value.
inline int reserve_space(int file, uint64_t bytes) {
  // Beyond the limit the system would not only refuse but send SIGXFSZ. The limit's number is 1 on Linux everywhere;
  // <sys/resource.h> would have to be compiled for it.
  uint64_t limit[2] = {~uint64_t{0}, 0};
  if (syscall(SYS_prlimit64, 0, 1, nullptr, limit) == 0 && bytes > limit[0]) return EFBIG;
  for (int interruptions = 0; fallocate(file, 0, 0, static_cast<off_t>(bytes)) != 0;) {
    if (errno == EINTR && ++interruptions < 1000) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return errno;
    // This file system cannot reserve: what has been written and has reached the disk has its space as well.
    const char zeros[4096] = {};
    for (uint64_t at = 0; at < bytes; at += sizeof zeros) {
      if (const int failed = write_all(file, zeros, sizeof zeros)) return failed;
    }
    return fsync(file) == 0 ? 0 : errno;
  }
  return 0;
}

/// Writes into a file's image that the recording ended in order.
inline void note_end(const process_state& process, image_end how) {
  const image_view* image = current_image(process);
  if (image == nullptr || image->is_shared == 0 || image->super->pid != static_cast<uint32_t>(getpid())) return;
  image->super->end = take_anchor(process);
  __atomic_store(&image->super->ended, &how, __ATOMIC_RELEASE);
}

// ---- older files ---------------------------------------------------------------------------------------------

/// A file that is there already. If it is an image of ours that nobody uses, `error` is 0, and it is locked for as long
/// as this object lives. ENOENT: there is none; EBUSY: a process uses it; EEXIST: it is something else.
class older_file {
 public:
  explicit older_file(const char* path, bool may_be_half_made = false, bool waits = true) {
    // Non-blocking, since opening a pipe would wait for its other end.
    file_ = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    error_ = file_ >= 0 ? inspect(may_be_half_made, waits) : errno == ELOOP || errno == ENXIO ? EEXIST : errno;
    // It was moved or replaced before we had the lock.
    struct stat now {};
    if (error_ == 0 && fstatat(AT_FDCWD, path, &now, AT_SYMLINK_NOFOLLOW) != 0) error_ = errno == ENOENT ? EBUSY : errno;
    if (error_ == 0 && now.st_ino != there_.st_ino) error_ = EBUSY;
  }
  ~older_file() {
    if (file_ >= 0) close(file_);
  }
  older_file(const older_file&) = delete;
  older_file& operator=(const older_file&) = delete;

  int error() const { return error_; }
  const superblock& super() const { return super_; }
  bool is(const image_view& image) const { return there_.st_ino == image.inode && there_.st_dev == image.device; }

 private:
  int inspect(bool may_be_half_made, bool waits) {
    if (fstat(file_, &there_) != 0) return errno;
    if (!S_ISREG(there_.st_mode) || there_.st_uid != geteuid()) return EEXIST;
    const ssize_t size = pread(file_, &super_, sizeof super_, 0);
    if (size < 0) return errno;
    const bool is_ours = static_cast<size_t>(size) == sizeof super_ && super_.magic == ~complement_of_image_magic &&
                         super_.kind == image_kind::live && super_.storage == image_storage::file;
    if (!is_ours && !(may_be_half_made && super_.magic == 0)) return EEXIST;
    // A reader takes the lock for a moment, to see whether the process still runs.
    for (int tries = 0; flock(file_, LOCK_EX | LOCK_NB) != 0; ++tries) {
      if (errno != EWOULDBLOCK) return errno;
      if (!waits || tries == 10) return EBUSY;
      const timespec moment{0, 1'000'000};
      nanosleep(&moment, nullptr);
    }
    return 0;
  }

  int file_ = -1;
  int error_ = 0;
  struct stat there_ {};
  superblock super_{};
};

inline bool is_own_file(const process_state& process, const older_file& there) {
  const image_view* image = current_image(process);
  while (image != nullptr && !(image->is_shared != 0 && there.is(*image))) image = image->replaced;
  return image != nullptr;
}

inline const char* numbered(char (&name)[longest_path_bytes], const char* path, uint64_t number) {
  text_writer(name, sizeof name).add(path).add('.').add(number);
  return name;
}

inline error in_use(const older_file& by, const char* path) {
  char message[sizeof(error)];
  text_writer(message, sizeof message)
      .add("The recorder's file is in use by process ")
      .add(uint64_t{by.super().pid})
      .add(": put %p into options.file, or end that process: ")
      .add(path);
  return {error_code::file, message};
}

/// Moves an older file aside: `path` becomes path.1, that one path.2, up to the first number that is free.
inline error move_aside(const process_state& process, const char* path) {
  char from[longest_path_bytes], to[longest_path_bytes];
  struct stat there {};
  uint64_t last = 1;
  for (; fstatat(AT_FDCWD, numbered(to, path, last), &there, AT_SYMLINK_NOFOLLOW) == 0; ++last) {
    const older_file older(to);
    if (older.error() == EEXIST) {
      return file_error("What is there is not moved aside, since contrail did not make it", to, EEXIST);
    }
    if (older.error() == EBUSY && !is_own_file(process, older)) return in_use(older, to);
  }
  for (; last != 0; --last) {
    const char* const older = last == 1 ? path : numbered(from, path, last - 1);
    if (const int failed = rename_if_free(older, numbered(to, path, last))) {
      return file_error("Could not rename an older file of the recorder", older, failed);
    }
  }
  return {};
}

/// Gives a file that is complete its name. What had the name is moved aside first, if it is an older image.
inline error take_name(const process_state& process, replacing_file& file, const char* path) {
  for (int attempt = 0;; ++attempt) {
    const older_file there(path);  // its lock keeps others from moving it as well
    const bool is_own = is_own_file(process, there);
    if (there.error() == EBUSY && !is_own) return in_use(there, path);
    if (there.error() == EEXIST) {
      return file_error("What is there is not replaced, since contrail did not make it", path, EEXIST);
    }
    const bool moves = there.error() == 0 || is_own;
    if (!moves && there.error() != ENOENT) return file_error("Could not look at the recorder's file", path, there.error());
    if (moves) {
      if (error failed = move_aside(process, path)) return failed;
    }
    const int failed = file.commit_if_free();
    if (failed == 0) return {};
    char name[longest_path_bytes];
    if (moves) rename_if_free(numbered(name, path, 1), path);
    // Another process that began at the same moment took the name: look again, and say so.
    if (failed != EEXIST || attempt == 2) return file_error("Could not name the recorder's file", path, failed);
  }
}

// ---- files that are too many ---------------------------------------------------------------------------------

/// Whether `pattern` followed by `suffix` could have made `name`. Numbers stand for %p, %t and %n.
inline bool could_be(const char* pattern, const char* suffix, const char* executable, const char* name) {
  for (;; ++pattern) {
    if (*pattern == '\0') {
      if (suffix == nullptr) return *name == '\0';
      pattern = suffix;
      suffix = nullptr;
      if (*pattern == '\0') return *name == '\0';
    }
    if (*pattern != '%' || *++pattern == '%') {
      if (*name++ != *pattern) return false;
    } else if (*pattern == 'e') {
      for (const char* at = executable; *at != '\0'; ++at) {
        if (*name++ != *at) return false;
      }
    } else {
      for (int digits = 0; digits < 20 && *name >= '0' && *name <= '9'; ++digits) {
        if (could_be(pattern + 1, suffix, executable, ++name)) return true;
      }
      return false;
    }
  }
}

/// An entry as the system lists a folder; opendir would allocate.
struct folder_entry {
  uint64_t inode;
  int64_t next;
  uint16_t bytes;
  uint8_t type;
  char name[1];
};

/// Removes the oldest of the files in the folder of `path` that `pattern` could have made, but for `keep`; and what
/// starts left that were killed. Only what is unmistakably ours and in nobody's use but of this process, which is about
/// to leave them; what cannot be removed stays.
inline void remove_oldest(const process_state& process, const char* pattern, const char* path, const char* executable, unsigned keep) {
  char name[longest_path_bytes];
  const char* const base = name_in_path(path);
  pattern = name_in_path(pattern);
  text_writer folder(name, sizeof name);
  for (const char* at = path; at != base; ++at) folder.add(*at);
  const int listed = open(base == path ? "." : name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (listed < 0) return;
  uint64_t newest[most_kept_files] = {};  // when the recordings began, the newest first
  for (int round = 0; round != 2; ++round) {
    if (lseek(listed, 0, SEEK_SET) != 0) break;
    alignas(8) char entries[4096];
    for (long bytes; (bytes = syscall(SYS_getdents64, listed, entries, sizeof entries)) > 0;) {
      for (long at = 0; at < bytes;) {
        const folder_entry& entry = *reinterpret_cast<const folder_entry*>(entries + at);
        at += entry.bytes;
        const bool is_half_made = could_be(pattern, ".new-%p-%n", executable, entry.name);
        if (!is_half_made && !could_be(pattern, "", executable, entry.name) &&
            !could_be(pattern, ".%n", executable, entry.name)) {
          continue;
        }
        text_writer whole(name, sizeof name);
        for (const char* from = path; from != base; ++from) whole.add(*from);
        whole.add(entry.name);
        const older_file there(name, is_half_made, false);
        if (there.error() != 0 && !(there.error() == EBUSY && is_own_file(process, there))) continue;
        if (!is_half_made && strcmp(name_in_path(there.super().executable), executable) != 0) continue;
        const uint64_t began = there.super().start.realtime_ns;
        if (is_half_made || (round == 1 && (keep == 0 || began < newest[keep - 1]))) {
          unlink(name);
        } else if (round == 0) {
          unsigned place = keep;
          for (; place != 0 && newest[place - 1] < began; --place) {
            if (place != keep) newest[place] = newest[place - 1];
          }
          if (place != keep) newest[place] = began;
        }
      }
    }
  }
  close(listed);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
