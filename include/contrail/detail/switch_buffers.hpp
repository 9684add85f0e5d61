// SPDX-License-Identifier: MIT
// The kernel's buffers of context switches, one for each processor: each is a flight recorder of its own, since the
// kernel writes it backwards and overwrites the oldest. They lie in a range of addresses that stays reserved for good,
// so that a dump that runs beside `stop` finds zeros there, not a hole.
#ifndef CONTRAIL_DETAIL_SWITCH_BUFFERS_HPP
#define CONTRAIL_DETAIL_SWITCH_BUFFERS_HPP

#include "contrail/contrail.hpp"
#include "contrail/detail/perf_event.hpp"

#include <sys/resource.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint64_t most_switch_buffers = 2048;         ///< their lengths fit into a dump's work space
inline constexpr uint64_t largest_switch_buffer = 512 << 10;  ///< what Linux lets every user lock for each processor
inline constexpr uint64_t most_switch_bytes = 32 << 20;       ///< of all buffers together
/// What the kernel may have begun to overwrite without saying so yet.
inline constexpr uint64_t switch_margin_bytes = 1024;

/// An event of a thread that ran before `start`. It has no buffer of its own, so that its descriptor must stay open.
struct older_thread_event {
  int32_t descriptor;
  uint32_t tid;
  uint64_t id;  ///< the kernel's: a program may have closed the descriptor and opened another of that number
};
inline constexpr uint64_t most_older_events = 4096;

struct switch_buffers {
  char* base = nullptr;  ///< tables of older_thread_event and of descriptors, then the buffers; null: never opened
  uint64_t reserved_bytes = 0;
  uint64_t buffer_bytes = 0;  ///< of records in each, a power of two
  uint64_t opened_ns = 0;
  uint64_t older_count = 0;
  bool is_mapped = false;     ///< there may be buffers in the range
  atomic_word count;          ///< of buffers
  atomic_word pid;            ///< whose they are; 0: closed
  uint16_t cpus[most_switch_buffers] = {};

  static constexpr uint64_t older_bytes = most_older_events * sizeof(older_thread_event);
  static constexpr uint64_t table_bytes = older_bytes + most_switch_buffers * sizeof(int);
  static constexpr uint64_t stride = perf_page_bytes + largest_switch_buffer;
  older_thread_event* older() const { return reinterpret_cast<older_thread_event*>(base); }
  /// Of the buffers' events, while they are opened. Not on the stack, which may be a signal handler's.
  int* descriptors() const { return reinterpret_cast<int*>(base + older_bytes); }
  char* at(uint64_t index) const { return base + table_bytes + index * stride; }
};

CONTRAIL_DETAIL_HIDDEN inline constinit switch_buffers own_switch_buffers{};

// ---- opening -------------------------------------------------------------------------------------------------

/// A small file's first bytes as a text; empty when it cannot be read.
template <size_t Size>
inline void read_text_file(const char* path, char (&text)[Size]) {
  text[0] = '\0';
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  const ssize_t size = read(file, text, Size - 1);
  close(file);
  text[size > 0 ? size : 0] = '\0';
}

/// The number of processors that may be there: the last number of "0-3".
inline uint64_t possible_cpus() {
  char text[256];
  read_text_file("/sys/devices/system/cpu/possible", text);
  uint64_t last = 0, number = 0;
  for (const char* at = text; *at != '\0'; ++at) {
    number = *at >= '0' && *at <= '9' ? number * 10 + static_cast<uint64_t>(*at - '0') : 0;
    if (number > last) last = number;
  }
  return text[0] == '\0' || last >= most_switch_buffers ? most_switch_buffers : last + 1;
}

inline int32_t read_paranoid() {
  char text[16];
  read_text_file("/proc/sys/kernel/perf_event_paranoid", text);
  if (text[0] == '-') return -1;
  if (text[0] < '0' || text[0] > '9') return -100;
  return text[0] - '0';
}

/// Puts pages of zeros, which take no memory, where the buffers are: the kernel's last reference to their events goes.
/// Where it has no memory even for that, the next call will do it.
inline void map_nothing(switch_buffers& own) {
  void* const made = mmap(own.at(0), own.reserved_bytes - switch_buffers::table_bytes, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (made != MAP_FAILED) own.is_mapped = false;
}

inline void close_older_events(switch_buffers& own) {
  for (uint64_t i = 0; i < own.older_count; ++i) {
    const older_thread_event& each = own.older()[i];
    uint64_t id = 0;
    if (ioctl(each.descriptor, perf_get_id, &id) == 0 && id == each.id) close(each.descriptor);
  }
  own.older_count = 0;
}

inline bool is_older_thread(const switch_buffers& own, uint32_t tid) {
  for (uint64_t i = 0; i < own.older_count; ++i) {
    if (own.older()[i].tid == tid) return true;
  }
  return false;
}

/// Lets the events of one more thread write into the buffers: of all processors, or none. False: none.
inline bool watch_older_thread(switch_buffers& own, uint32_t tid, uint64_t most) {
  const uint64_t count = own.count.load_relaxed(), before = own.older_count;
  if (before + count > most) return false;
  for (uint64_t i = 0; i < count; ++i) {
    const int made = open_switch_event(tid, own.cpus[i]);
    if (made == -ESRCH) return true;  // it has ended
    uint64_t id = 0;
    if (made >= 0 && ioctl(made, perf_set_output, own.descriptors()[i]) == 0 && ioctl(made, perf_get_id, &id) == 0) {
      own.older()[own.older_count++] = {made, tid, id};
      continue;
    }
    if (made >= 0) close(made);
    while (own.older_count > before) close(own.older()[--own.older_count].descriptor);
    return false;
  }
  return true;
}

/// Threads that run already, but for this one, which has events. Those that they begin meanwhile inherit theirs; one
/// that a thread began before its events were there is found in another round. Returns how many have none.
inline uint32_t watch_older_threads(switch_buffers& own) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  // The rest is the program's.
  const uint64_t most = limit.rlim_cur / 4 < most_older_events ? limit.rlim_cur / 4 : most_older_events;
  const uint32_t self = current_tid();
  uint32_t missing = 0;
  for (int round = 0; round < 3; ++round) {
    missing = 0;
    bool found = false;
    const int folder = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return 1;
    alignas(folder_entry) char entries[2048];
    for (long bytes; (bytes = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0;) {
      for (long at = 0; at < bytes;) {
        const folder_entry& entry = *reinterpret_cast<const folder_entry*>(entries + at);
        at += entry.bytes;
        uint32_t tid = 0;
        for (const char* digit = entry.name; *digit >= '0' && *digit <= '9'; ++digit) {
          tid = tid * 10 + static_cast<uint32_t>(*digit - '0');
        }
        if (tid == 0 || tid == self || is_older_thread(own, tid)) continue;
        found = true;
        missing += !watch_older_thread(own, tid, most);
      }
    }
    close(folder);
    if (!found) break;
  }
  return missing;
}

/// Opens an event and a buffer for each processor; 0 or an errno value, with `refused` saying which of the two it was.
inline int open_buffers(switch_buffers& own, uint64_t cpus, state_recording& refused) {
  own.count.store_relaxed(0);
  for (uint64_t cpu = 0; cpu < cpus; ++cpu) {
    const int made = open_switch_event(0, static_cast<uint32_t>(cpu));
    if (made == -ENODEV || (made == -EINVAL && cpu != 0)) continue;  // it is off, or not there
    if (made < 0) {
      refused = state_recording::refused;
      return -made;
    }
    const uint64_t count = own.count.load_relaxed();
    own.descriptors()[count] = made;
    own.cpus[count] = static_cast<uint16_t>(cpu);
    own.count.store_relaxed(count + 1);
    own.is_mapped = true;
    if (mmap(own.at(count), perf_page_bytes + own.buffer_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, made, 0) == MAP_FAILED) {
      refused = state_recording::no_memory;
      return errno;
    }
  }
  if (own.count.load_relaxed() != 0) return 0;
  refused = state_recording::refused;
  return ENODEV;
}

/// state_functions::close. Beside dumps.
inline void close_switch_buffers() {
  switch_buffers& own = own_switch_buffers;
  own.pid.store_relaxed(0);
  close_older_events(own);
  if (own.is_mapped) map_nothing(own);
}

/// state_functions::open.
// Async-signal-safe.
inline void open_switch_buffers(superblock& live) {
  switch_buffers& own = own_switch_buffers;
  const errno_keeper keep;
  close_switch_buffers();
  live.thread_states = state_recording::no_memory;
  live.thread_states_error = ENOMEM;
  live.perf_event_paranoid = -100;
  live.unwatched_threads = 0;
  const uint64_t cpus = possible_cpus();
  if (own.base == nullptr) {
    own.reserved_bytes = switch_buffers::table_bytes + cpus * switch_buffers::stride;
    void* const made = mmap(nullptr, own.reserved_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                            -1, 0);
    if (made == MAP_FAILED) return;
    own.base = static_cast<char*>(made);
  }
  own.buffer_bytes = largest_switch_buffer;
  while (own.buffer_bytes > perf_page_bytes && own.buffer_bytes * cpus > most_switch_bytes) own.buffer_bytes /= 2;
  int failed = 0;
  for (;;) {
    failed = open_buffers(own, cpus, live.thread_states);
    if (failed == 0) live.unwatched_threads = watch_older_threads(own);
    // The mappings keep the events.
    for (uint64_t i = 0; i < own.count.load_relaxed(); ++i) close(own.descriptors()[i]);
    if (failed == 0) break;
    map_nothing(own);
    own.count.store_relaxed(0);
    own.buffer_bytes /= 2;
    if (live.thread_states != state_recording::no_memory || own.buffer_bytes < perf_page_bytes) break;
  }
  live.thread_states_error = failed;
  if (failed != 0) {
    live.perf_event_paranoid = read_paranoid();
    return;
  }
  live.thread_states = state_recording::on;
  own.opened_ns = kernel_clock_ns(CLOCK_MONOTONIC);
  own.pid.store_release(static_cast<uint64_t>(getpid()));
}

/// state_functions::forget. The mappings are not in the child: the kernel keeps them out.
// Async-signal-safe.
inline void forget_switch_buffers() {
  switch_buffers& own = own_switch_buffers;
  if (own.base == nullptr) return;
  own.pid.store_relaxed(0);
  own.count.store_relaxed(0);
  close_older_events(own);
  map_nothing(own);
}

// ---- dumps ---------------------------------------------------------------------------------------------------

/// state_functions::count. None in a child that no hook told that it is one.
// Async-signal-safe.
inline uint64_t count_switch_buffers() {
  const uint64_t pid = own_switch_buffers.pid.load_acquire();
  return pid != 0 && pid == static_cast<uint64_t>(getpid()) ? own_switch_buffers.count.load_relaxed() : 0;
}

/// How many bytes back from the newest record the oldest one ends that is of any use since then.
// Async-signal-safe.
inline uint64_t bytes_since(const char* buffer, uint64_t size, uint64_t since_ns) {
  const uint64_t written = perf_bytes_written(buffer);
  const uint64_t held = written < size ? written : size;
  if (since_ns == 0) return held;
  const char* const records = buffer + perf_page_bytes;
  for (uint64_t back = 0; back < held;) {
    const uint64_t at = (0 - written + back) & (size - 1);  // a header does not wrap around: records are whole words
    const perf_record_header& head = *reinterpret_cast<const perf_record_header*>(records + at);
    const uint64_t bytes = head.bytes;
    if (bytes < sizeof head + 16 || bytes % 8 != 0 || back + bytes > held) return held;  // being overwritten
    back += bytes;
    const uint64_t time = *reinterpret_cast<const uint64_t*>(records + ((0 - written + back - 8) & (size - 1)));
    if (time < since_ns) return back;
  }
  return held;
}

/// state_functions::measure.
// Async-signal-safe.
inline uint64_t measure_switch_buffers(uint64_t* room, uint64_t count, uint64_t since_ns) {
  const switch_buffers& own = own_switch_buffers;
  uint64_t total = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t held = bytes_since(own.at(i), own.buffer_bytes, since_ns);
    const uint64_t meanwhile = (held / 4 & ~uint64_t{7}) + 2048;  // for what the kernel adds until they are copied
    room[i] = held + meanwhile < own.buffer_bytes ? held + meanwhile : own.buffer_bytes;
    total += room[i];
  }
  return total;
}

/// state_functions::copy. The kernel goes on writing.
// Async-signal-safe.
inline void copy_switch_buffers(dump_output& output, uint64_t offset, const uint64_t* room, uint64_t count) {
  const switch_buffers& own = own_switch_buffers;
  const uint64_t size = own.buffer_bytes;
  for (uint64_t i = 0; i < count; ++i) {
    const char* const buffer = own.at(i);
    const char* const records = buffer + perf_page_bytes;
    switch_buffer entry{};
    entry.offset = offset;
    entry.cpu = own.cpus[i];
    entry.until_ns = kernel_clock_ns(CLOCK_MONOTONIC);
    const uint64_t written = perf_bytes_written(buffer);
    const uint64_t begin = (0 - written) & (size - 1);
    const uint64_t first = room[i] < size - begin ? room[i] : size - begin;
    output.add(records + begin, first);
    output.add(records, room[i] - first);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    // What was written meanwhile went over the oldest.
    const uint64_t spoilt = perf_bytes_written(buffer) - written + switch_margin_bytes;
    const uint64_t whole = spoilt < size ? size - spoilt : 0;
    entry.bytes = room[i] < whole ? room[i] : whole;
    if (written <= entry.bytes) {
      entry.bytes = written;
      entry.since_ns = own.opened_ns;
    }
    output.add(&entry, sizeof entry);
    offset += room[i] + sizeof entry;
  }
}

/// state_functions::state_of. A thread that has no record because it never gave up its processor is told from one that
/// never got one by its processor time, which goes on between two looks.
// Async-signal-safe.
inline thread_state state_of_thread(uint32_t tid) {
  const errno_keeper keep;
  char path[64], text[512];
  text_writer(path, sizeof path).add("/proc/self/task/").add(uint64_t{tid}).add("/stat");
  read_text_file(path, text);
  // The thread's name comes before its state, in parentheses, and may have some itself.
  const char* state = nullptr;
  for (const char* at = text; *at != '\0'; ++at) {
    if (*at == ')' && at[1] == ' ') state = at + 2;
  }
  if (state == nullptr || *state == 'X' || *state == 'Z') return thread_state::unknown;
  if (*state != 'R') return thread_state::waiting;
  const clockid_t clock = static_cast<clockid_t>(~tid << 3 | 6);  // the system's number for that thread's processor time
  const uint64_t before = kernel_clock_ns(clock);
  return kernel_clock_ns(clock) != before ? thread_state::running : thread_state::runnable;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
