// SPDX-License-Identifier: MIT
// The dumps of triggers that stay: the newest of those that a path could have made.
#ifndef CONTRAIL_DETAIL_KEPT_DUMPS_HPP
#define CONTRAIL_DETAIL_KEPT_DUMPS_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED

#include <dirent.h>
#include <stdlib.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

struct kept_dump {
  uint64_t made_ns;  ///< since 1970
  uint64_t bytes;
  char name[256];
};

/// Reads what a file is: false unless a trigger of this executable made it, for this user.
inline bool read_kept_dump(int folder, const char* name, const char* executable, kept_dump& found) {
  const int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return false;
  superblock super;
  struct stat there {};
  const bool is_ours = fstat(file, &there) == 0 && S_ISREG(there.st_mode) && there.st_uid == geteuid() &&
                       pread(file, &super, sizeof super, 0) == static_cast<ssize_t>(sizeof super) &&
                       super.magic == ~complement_of_image_magic && super.kind == image_kind::dump &&
                       super.trigger_ticks != 0 && strcmp(name_in_path(super.executable), executable) == 0;
  close(file);
  if (!is_ours) return false;
  found.made_ns = super.dump.realtime_ns;
  found.bytes = static_cast<uint64_t>(there.st_size);
  text_writer(found.name, sizeof found.name).add(name);
  return true;
}

/// Removes what is older than the newest `keep` dumps of triggers in the folder of `made` that `pattern` could have
/// made, or does not fit into `keep_bytes` together with newer ones. 0 is no limit. What cannot be removed stays.
inline void remove_old_dumps(const char* pattern, const char* made, unsigned keep, uint64_t keep_bytes) {
  if (keep == 0 && keep_bytes == 0) return;
  char executable[256];
  read_executable(executable);
  const char* const own_name = name_in_path(executable);
  char path[longest_path_bytes];
  text_writer folder_path(path, sizeof path);
  for (const char* at = made; at != name_in_path(made); ++at) folder_path.add(*at);
  DIR* const folder = opendir(path[0] == '\0' ? "." : path);
  if (folder == nullptr) return;
  kept_dump* all = nullptr;
  size_t count = 0, room = 0;
  while (const dirent* const entry = readdir(folder)) {
    if (!could_be(name_in_path(pattern), "", own_name, entry->d_name)) continue;
    if (count == room) {
      const size_t more = room == 0 ? 16 : 2 * room;
      void* const grown = realloc(all, more * sizeof(kept_dump));
      if (grown == nullptr) break;
      all = static_cast<kept_dump*>(grown);
      room = more;
    }
    if (read_kept_dump(dirfd(folder), entry->d_name, own_name, all[count])) ++count;
  }
  if (count != 0) {
    qsort(all, count, sizeof(kept_dump), [](const void* a, const void* b) {
      const uint64_t x = static_cast<const kept_dump*>(a)->made_ns, y = static_cast<const kept_dump*>(b)->made_ns;
      return x < y ? 1 : x == y ? 0 : -1;
    });
  }
  uint64_t bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    bytes += all[i].bytes;
    const bool is_too_many = keep != 0 && i >= keep;
    const bool is_too_much = keep_bytes != 0 && i != 0 && bytes > keep_bytes;
    if (is_too_many || is_too_much) unlinkat(dirfd(folder), all[i].name, 0);
  }
  free(all);
  closedir(folder);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
