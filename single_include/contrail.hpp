// SPDX-License-Identifier: MIT
// contrail 0.1.0, a flight recorder for C++20 programs, in one header.
// Made from include/contrail by tools/dev/amalgamate.py: change it there.
//
// MIT License
//
// Copyright (c) 2026 contrail contributors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy
// of this software and associated documentation files (the "Software"), to deal
// in the Software without restriction, including without limitation the rights
// to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
// copies of the Software, and to permit persons to whom the Software is
// furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all
// copies or substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
// IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
// FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
// AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
// LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
// OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
// SOFTWARE.

// ==== contrail/contrail.hpp =========================================================================================
// contrail: a flight recorder for C++20 programs. Include this.
//
//   #include <contrail/contrail.hpp>
//
//   int main() {
//     contrail::flight_recorder::start();
//     {
//       TRACE_REGION("work", "items", 3);
//     }
//     contrail::flight_recorder::dump("work.contrail");
//   }
#ifndef CONTRAIL_CONTRAIL_HPP
#define CONTRAIL_CONTRAIL_HPP

// ==== contrail/config.hpp ===========================================================================================
// Version, switches, platform detection, and the inline namespace that carries the ABI version.
#ifndef CONTRAIL_CONFIG_HPP
#define CONTRAIL_CONFIG_HPP

#define CONTRAIL_VERSION_MAJOR 0
#define CONTRAIL_VERSION_MINOR 1
#define CONTRAIL_VERSION_PATCH 0
/// The version as one number: major * 10000 + minor * 100 + patch.
#define CONTRAIL_VERSION 100

// Switches a user may define before the first include, in any translation unit on its own:
//   CONTRAIL_DISABLED           every macro compiles to nothing; the control functions answer "compiled out"
//   CONTRAIL_NO_SHORT_MACROS    only CONTRAIL_X macros, no TRACE_X
//   CONTRAIL_MACROS_ONLY        no flight_recorder: for what only records, half the time to compile
//   CONTRAIL_COMPACT            the begin of a region is a call too: smaller call sites, slower regions
//   CONTRAIL_TLS_MODEL          the thread-local model, "initial-exec" or "local-exec" unless defined
//   CONTRAIL_FORCE_UNSUPPORTED  behave as on a platform that contrail does not support (for tests)

#if __cplusplus < 202002L
#error "contrail needs C++20: compile with -std=c++20 or newer."
#endif

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__LP64__) && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && defined(__GNUC__) && !defined(CONTRAIL_FORCE_UNSUPPORTED)
#define CONTRAIL_DETAIL_SUPPORTED 1
#else
#define CONTRAIL_DETAIL_SUPPORTED 0
#endif

#if CONTRAIL_DETAIL_SUPPORTED && !defined(CONTRAIL_DISABLED)
#define CONTRAIL_DETAIL_ENABLED 1
#else
#define CONTRAIL_DETAIL_ENABLED 0
#endif

#ifndef CONTRAIL_TLS_MODEL
// Code that is not position independent, or only as an executable's is, reaches its own thread-local variables without
// a look into the GOT. clang finds that by itself.
#if defined(__PIC__) && !defined(__PIE__)
#define CONTRAIL_TLS_MODEL "initial-exec"
#else
#define CONTRAIL_TLS_MODEL "local-exec"
#endif
#endif

// On every `namespace detail`: each shared object has its own copies of what is in it. With default visibility the
// dynamic linker would give a library the executable's functions, which use the executable's variables. The one
// recorder of the process is found by an ELF note instead of by symbol lookup (detail/process.hpp).
#define CONTRAIL_DETAIL_HIDDEN __attribute__((visibility("hidden")))
#define CONTRAIL_DETAIL_COLD __attribute__((noinline, cold))
#define CONTRAIL_DETAIL_ALWAYS_INLINE __attribute__((always_inline)) inline

// For the few functions that every translation unit must compile: optimising them would take longer than all the rest.
#if defined(__clang__)
#define CONTRAIL_DETAIL_UNOPTIMISED __attribute__((optnone, noinline))
#else
#define CONTRAIL_DETAIL_UNOPTIMISED __attribute__((optimize(0), noinline))
#endif

/// Everything lives in an inline namespace named after the ABI version, so that two versions never share a symbol.
#define CONTRAIL_DETAIL_NAMESPACE_BEGIN \
  namespace contrail {                  \
  inline namespace v0 {
#define CONTRAIL_DETAIL_NAMESPACE_END \
  }                                   \
  }

#endif
// ==== contrail/options.hpp ==========================================================================================
// What flight_recorder takes and tells: plain aggregates for designated initialisers. New members are only appended.
#ifndef CONTRAIL_OPTIONS_HPP
#define CONTRAIL_OPTIONS_HPP

// ==== contrail/error.hpp ============================================================================================
// How functions of contrail say that they failed, and durations as they take them.
#ifndef CONTRAIL_ERROR_HPP
#define CONTRAIL_ERROR_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN

// Of <stdint.h> and <stddef.h>, which would be half of what this header costs under CONTRAIL_DISABLED.
using int64_t = __INT64_TYPE__;
using uint64_t = __UINT64_TYPE__;
using size_t = __SIZE_TYPE__;

enum class error_code {
  none = 0,
  already_running,   ///< a recorder runs; stop it first, or use it
  not_running,       ///< nothing records; call start
  not_supported,     ///< contrail does not support this platform
  compiled_out,      ///< this translation unit was compiled with CONTRAIL_DISABLED
  incompatible,      ///< another shared object of the process carries an incompatible contrail
  bad_option,        ///< an option or argument cannot be used
  out_of_memory,     ///< the system gave no memory for the image
  busy,              ///< another dump is being written
  path,              ///< the path is too long or has an unknown placeholder
  file               ///< the system refused to open, write or rename a file
};

/// What went wrong, or nothing: `if (auto failed = flight_recorder::dump(path)) puts(failed.message());`
/// Owns no memory but its own; safe to make and copy in a signal handler.
class error {
 public:
  constexpr error() = default;
  /// Copies `message`, cut to fit.
  constexpr error(error_code code, const char* message) : code_(code) {
    size_t i = 0;
    for (; message[i] != '\0' && i + 1 < sizeof message_; ++i) message_[i] = message[i];
    message_[i] = '\0';
  }

  /// True when something failed.
  constexpr explicit operator bool() const { return code_ != error_code::none; }
  constexpr error_code code() const { return code_; }
  /// One sentence that says what failed and what to do; empty when nothing failed. Lives as long as this object.
  constexpr const char* message() const { return message_; }

 private:
  error_code code_ = error_code::none;
  char message_[252] = {};
};

/// A length of time in nanoseconds. Takes any std::chrono::duration by its shape, so that this header needs no
/// <chrono>: `{.last = 200ms}`.
struct duration {
  int64_t ns = 0;

  constexpr duration() = default;
  constexpr explicit duration(int64_t nanoseconds) : ns(nanoseconds) {}
  template <class Chrono>
    requires requires(const Chrono& from) {
      from.count();
      Chrono::period::num;
      Chrono::period::den;
    }
  constexpr duration(const Chrono& from)  // NOLINT(google-explicit-constructor): `{.last = 5s}` has to read like that
      : ns(saturated(static_cast<long double>(from.count()) * Chrono::period::num * 1'000'000'000 /
                     Chrono::period::den)) {}

 private:
  /// 292 years either way are as good as for ever.
  static constexpr int64_t saturated(long double nanoseconds) {
    constexpr int64_t most = __INT64_MAX__;
    if (!(nanoseconds < static_cast<long double>(most))) return most;
    if (!(nanoseconds > -static_cast<long double>(most))) return -most;
    return static_cast<int64_t>(nanoseconds);
  }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// Which call sites record. Both lists are comma separated globs, the last one that matches decides, '-' excludes:
/// `{.categories = "net,db*,-db.noise"}`. Null or empty lets everything through. The strings are copied.
struct filter_options {
  const char* categories = nullptr;
  const char* names = nullptr;
};

/// Where thread states come from: see contrail/thread_states.hpp.
struct thread_state_source {};

/// Options of flight_recorder::start.
struct options {
  /// Bytes of the whole recorder, everything included; a hard bound. At least 1 MiB.
  uint64_t memory = 32U << 20;
  /// How far back every dump reaches at most, also those by signal. 0: all that memory holds.
  duration window{};
  /// Touch all memory at start, some 0.1 to 0.3 ms a MiB, instead of at first use, some 5 us per 8 KiB. It then lies in
  /// huge pages where the system has them, which makes records cheaper; making room for these may take the system 3 ms
  /// a MiB.
  bool prefault = false;
  filter_options filter{};
  /// Keeps the recorder in this file instead of in private memory, so that what it holds outlives a SIGKILL of the
  /// process. Placeholders as in the path of a dump. The string is copied.
  const char* file = nullptr;
  /// How many older files of that name, or pattern, stay when a new one is made; at most 64.
  unsigned keep_files = 4;
  /// A forked child records too, from the start on, in an image of its own with these options. Else it records nothing
  /// until it calls start.
  bool follow_fork = false;
  /// Keeps when each thread ran, waited, and waited for a processor: contrail::context_switches, of
  /// contrail/thread_states.hpp. Where the system does not permit it, recording goes on, and dumps say why they have
  /// none.
  const thread_state_source* thread_states = nullptr;
};

/// Options of one dump.
struct dump_options {
  /// How far back it reaches; 0: as far as `options::window` says.
  duration last{};
};

/// Options of flight_recorder::dump_on_crash.
struct crash_options {
  /// How far back the dump reaches; 0: as far as `options::window` says.
  duration last{};
  /// The numbers of the signals: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, or fewer of them. 0 is
  /// none.
  int signals[7] = {4, 5, 6, 7, 8, 11, 31};
  /// std::terminate too: exceptions that nobody catches, or that leave a noexcept function.
  bool terminate = true;
  /// A dump that takes longer is given up, and the process dies without.
  duration watchdog{10'000'000'000};
  /// Gives the calling thread an alternate signal stack at once, if it has none, so that its stack may overflow.
  /// Threads that record get one in any case.
  bool caller_stack = true;
};

enum class recorder_state { off, recording };

/// What flight_recorder::status tells. Counts are of this moment and may be changing.
struct recorder_status {
  recorder_state state = recorder_state::off;
  uint64_t window_ns = 0;      ///< how far back nothing was overwritten, of any thread
  uint64_t memory_bytes = 0;   ///< of the recorder, everything included
  uint64_t used_bytes = 0;     ///< in chunks that hold records
  uint64_t records = 0;        ///< in memory now
  uint64_t dropped = 0;        ///< lost since start other than by being overwritten: no memory, too deep, misnested
  uint64_t threads = 0;        ///< that have a place in the recorder
  uint64_t call_sites = 0;     ///< and event types bound so far
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif

#if CONTRAIL_DETAIL_ENABLED
// ==== contrail/macros.hpp ===========================================================================================
// The public macros, without logic: each captures its call site in a lambda's type and calls a function.
#ifndef CONTRAIL_MACROS_HPP
#define CONTRAIL_MACROS_HPP

// ==== contrail/detail/call_site.hpp =================================================================================
// What the macros call: a call site's storage, the scope objects, and the arguments' way into the ring.
#ifndef CONTRAIL_DETAIL_CALL_SITE_HPP
#define CONTRAIL_DETAIL_CALL_SITE_HPP

// ==== contrail/detail/ring.hpp ======================================================================================
// One thread's writing: its lanes, its open-region stack, and the records themselves. The hot path of contrail.
//
// begin:  frame = next free one          the stack's pointer moves first, so that a handler takes the next frame
//         frame.start_ticks = start      from here the region is open and dumps show it
// end:    next free one = frame          a handler that arrives now finds the frame in use: the busy mark
//         *cursor = record               invisible
//         cursor += 1, release           visible, whole
//         frame.start_ticks = 0          free
#ifndef CONTRAIL_DETAIL_RING_HPP
#define CONTRAIL_DETAIL_RING_HPP

// ==== contrail/detail/object.hpp ====================================================================================
// Shared objects that come and go: each links itself into the process when it is loaded.
#ifndef CONTRAIL_DETAIL_OBJECT_HPP
#define CONTRAIL_DETAIL_OBJECT_HPP

// ==== contrail/detail/process.hpp ===================================================================================
// The one recorder of the process. Inline variables are not process-wide: an executable linked without -rdynamic and
// plugins opened with RTLD_LOCAL each get their own. So every shared object has a hidden root and an ELF note that says
// where it is, and all of them join the first root that dl_iterate_phdr meets, the executable's before any other.
#ifndef CONTRAIL_DETAIL_PROCESS_HPP
#define CONTRAIL_DETAIL_PROCESS_HPP

// ==== contrail/detail/clock.hpp =====================================================================================
// Ticks now. They become nanoseconds only in the decoder, by the clock anchors.
#ifndef CONTRAIL_DETAIL_CLOCK_HPP
#define CONTRAIL_DETAIL_CLOCK_HPP

// ==== contrail/detail/errno_keeper.hpp ==============================================================================
// What records and handlers ask the system for leaves no trace in errno.
#ifndef CONTRAIL_DETAIL_ERRNO_KEEPER_HPP
#define CONTRAIL_DETAIL_ERRNO_KEEPER_HPP

#include <errno.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Puts errno back when a scope ends.
class errno_keeper {
 public:
  errno_keeper() : saved_(errno) {}
  ~errno_keeper() { errno = saved_; }
  errno_keeper(const errno_keeper&) = delete;
  errno_keeper& operator=(const errno_keeper&) = delete;

 private:
  int saved_;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <stdint.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The processor's counter. Not fenced: neighbouring instructions may move across it by some nanoseconds, and a fence
/// would double the price of a region. Always inline; no header is needed for it (<x86intrin.h> costs 500 ms).
// Async-signal-safe.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t hardware_ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return 0;
#endif
}

/// Nanoseconds of one of the kernel's clocks, read through the vDSO. Keeps errno: where it is a system call, a sandbox
/// may refuse it.
// Async-signal-safe.
inline uint64_t kernel_clock_ns(clockid_t clock) {
  const errno_keeper keep;
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/image.hpp =====================================================================================
// Every byte of the image: the recorder's memory, which is also the file format of a dump. docs/format.md is the
// prose of this header; tools/contrail.py mirrors it. No other C++ code knows an offset.
#ifndef CONTRAIL_DETAIL_IMAGE_HPP
#define CONTRAIL_DETAIL_IMAGE_HPP

// ==== contrail/detail/atomic.hpp ====================================================================================
// The one atomic word type, over the compilers' builtins: <atomic> alone would cost each translation unit 220 ms.
#ifndef CONTRAIL_DETAIL_ATOMIC_HPP
#define CONTRAIL_DETAIL_ATOMIC_HPP

#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define CONTRAIL_DETAIL_THREAD_SANITIZER 1
#elif defined(__has_feature)
#define CONTRAIL_DETAIL_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define CONTRAIL_DETAIL_THREAD_SANITIZER 0
#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// A 64-bit word that threads, signal handlers and readers of the image share. Same size and layout as uint64_t.
// Async-signal-safe.
struct alignas(8) atomic_word {
  uint64_t value = 0;

  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_relaxed() const { return __atomic_load_n(&value, __ATOMIC_RELAXED); }
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_acquire() const { return __atomic_load_n(&value, __ATOMIC_ACQUIRE); }
  /// Loads a word that only the running thread writes while it matters. Compilers fold this into the instruction that
  /// uses it, which they do not do with atomic loads; several per region.
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t load_owned() const {
    return CONTRAIL_DETAIL_THREAD_SANITIZER ? load_relaxed() : value;
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void store_relaxed(uint64_t v) { __atomic_store_n(&value, v, __ATOMIC_RELAXED); }
  CONTRAIL_DETAIL_ALWAYS_INLINE void store_release(uint64_t v) { __atomic_store_n(&value, v, __ATOMIC_RELEASE); }
  CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t fetch_add_relaxed(uint64_t v) {
    return __atomic_fetch_add(&value, v, __ATOMIC_RELAXED);
  }
  /// Strong compare-exchange, acquire and release on success; `expected` receives the value found.
  CONTRAIL_DETAIL_ALWAYS_INLINE bool compare_exchange(uint64_t& expected, uint64_t desired) {
    return __atomic_compare_exchange_n(&value, &expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }
  /// Adds with a plain load and store, for words that only their own thread changes and others may read.
  CONTRAIL_DETAIL_ALWAYS_INLINE void add_owned(uint64_t v) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    asm("addq %1, %0" : "+m"(value) : "er"(v) : "cc");
#else
    store_relaxed(load_relaxed() + v);
#endif
  }
};

/// A pointer that one thread uses, and another one when that thread has ended.
template <class T>
struct owned_pointer {
  T* value;

  CONTRAIL_DETAIL_ALWAYS_INLINE T& operator*() const {
    return *(CONTRAIL_DETAIL_THREAD_SANITIZER ? __atomic_load_n(&value, __ATOMIC_RELAXED) : value);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void operator=(T* to) { __atomic_store_n(&value, to, __ATOMIC_RELAXED); }
};

static_assert(sizeof(atomic_word) == 8 && __atomic_always_lock_free(8, nullptr),
              "contrail needs lock-free 64-bit atomics.");

/// The difference of two words, `b` read after `a` and anew each time, in one instruction where the compiler would take
/// two.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t difference(const atomic_word& a, const atomic_word& b) {
  // Acquire costs nothing on x86-64, whose loads stay in order.
  uint64_t result = a.load_acquire();
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  asm volatile("subq %1, %0" : "+r"(result) : "m"(b.value) : "cc");
#else
  result -= b.load_relaxed();
#endif
  return result;
}

/// Orders this thread against its own signal handlers; emits no instruction.
CONTRAIL_DETAIL_ALWAYS_INLINE void signal_fence() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// How a field's value is stored in a payload. An enumeration has its underlying type.
enum class field_type : uint8_t {
  boolean = 1,
  character = 2,  ///< char and char8_t, 1 byte
  int8 = 3,
  uint8 = 4,
  int16 = 5,
  uint16 = 6,
  int32 = 7,
  uint32 = 8,
  int64 = 9,
  uint64 = 10,
  int128 = 11,   ///< 16 bytes, aligned to 8
  uint128 = 12,
  float32 = 13,
  float64 = 14,  ///< also long double, rounded
  pointer = 15,  ///< 8 bytes
  string = 16,   ///< 2 bytes: bits [14:0] its bytes in the tail, bit 15 set when it was cut
  duration = 17,  ///< std::chrono durations, int64 nanoseconds, saturated
  code_point = 18,  ///< wchar_t, char16_t, char32_t, as uint32
  flow_out = 19,    ///< 8 bytes: the id of a flow that leaves this record; 0 is none
  flow_in = 20      ///< the same of one that arrives
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Complemented in the source. A compiler may undo that: who scans a core file for the magic checks what follows it
/// too. The file begins with the bytes 89 43 54 52 4c 0d 0a 1a ("\x89CTRL\r\n\x1a").
inline constexpr uint64_t complement_of_image_magic = ~0x1a0a'0d4c'5254'4389ULL;
inline constexpr uint16_t format_major = 1;  ///< a reader refuses another major version
inline constexpr uint16_t format_minor = 2;  ///< a reader accepts any minor version and skips what it does not know

// ---- time ----------------------------------------------------------------------------------------------------

enum class clock_source : uint32_t { tsc = 1, cntvct = 2, monotonic = 3 };

/// One moment on four clocks; the decoder turns ticks into nanoseconds between two of these.
struct clock_anchor {
  uint64_t ticks;
  uint64_t monotonic_ns;
  uint64_t realtime_ns;
  uint64_t boottime_ns;
};

inline constexpr unsigned epoch_bits = 23;  ///< a time epoch is 2^23 ticks; short forms hold times within it
inline constexpr uint64_t epoch_ticks = 1ULL << epoch_bits;

// ---- records -------------------------------------------------------------------------------------------------
// A record is a header word and 0 or more payload words. Its length follows from the header word alone.
//
//   tag 0  point, short      [1:0]=0 [17:2]=id [25:18]=payload words [40:26]=0      [63:41]=time
//   tag 1  region, plain     [1:0]=1 [17:2]=id [40:18]=duration                     [63:41]=end time
//   tag 2  region, payload   [1:0]=2 [5:2]=payload words [17:6]=id [40:18]=duration [63:41]=end time
//   tag 3  long form         [1:0]=3 [5:2]=form [15:6]=words after the header [31:16]=id [63:32]=0
//
// Times are ticks modulo 2^23 within the epoch whose base the chunk's header or the last epoch word states.

enum class record_tag : unsigned { point = 0, region = 1, region_payload = 2, long_form = 3 };

enum class long_form : unsigned {
  epoch = 0,         ///< no further words; bits [63:23] are the base of the epoch that starts here
  anchor = 1,        ///< 4 words: a clock_anchor
  region = 2,        ///< start ticks, end ticks, payload
  point = 3,         ///< ticks, payload
  async_region = 4,  ///< start ticks, end ticks, tid of the thread that began it, payload
  span = 5,          ///< span_words words as in span_entry::words with the end ticks first, payload
  current_task = 6,  ///< ticks, id of the span that is the thread's current task from then on, or 0
};

inline constexpr unsigned id_shift = 2;
inline constexpr unsigned payload_region_id_shift = 6;
inline constexpr unsigned duration_shift = 18;
inline constexpr uint64_t site_word_mask = (1ULL << duration_shift) - 1;
inline constexpr unsigned end_time_shift = 41;
inline constexpr uint64_t max_payload_region_id = 0xfff;
inline constexpr uint64_t max_id = 0xfffd;
inline constexpr uint64_t overflow_id = 0xfffe;  ///< what call sites bind to when ids or binding space ran out
inline constexpr unsigned max_short_region_words = 15;
inline constexpr unsigned max_point_words = 255;

inline constexpr uint64_t long_header(long_form form, uint64_t id, unsigned words) {
  return id << 16 | static_cast<uint64_t>(words) << 6 | static_cast<uint64_t>(form) << 2 | 3;
}
inline constexpr long_form long_form_of(uint64_t header) { return static_cast<long_form>(header >> 2 & 0xf); }
inline constexpr uint64_t epoch_word(uint64_t base) { return base | static_cast<uint64_t>(long_form::epoch) << 2 | 3; }

// ---- payloads ------------------------------------------------------------------------------------------------
// Fixed part: the fields in order, each aligned to min(its size, 8), as binding_field::offset says; arrays are `count`
// elements in a row. Then the tail: the bytes of all strings in field order, without padding. Then zeros up to a whole
// word. Then, if the binding has binding_flag_dynamic, fields set at run time: a word
//   [7:0] field_type  [31:16] bytes of the key  [47:32] bytes of the value  [48] set when the value was cut
// followed by the key's and the value's bytes, padded with zeros to whole words; a zero word or the payload's end ends
// them.

inline constexpr uint16_t string_cut = 0x8000;

// ---- chunks --------------------------------------------------------------------------------------------------

inline constexpr unsigned chunk_bytes = 8192;
inline constexpr unsigned chunk_header_bytes = 128;
inline constexpr unsigned chunk_words = (chunk_bytes - chunk_header_bytes) / 8;
inline constexpr unsigned thread_name_bytes = 32;

struct chunk {
  atomic_word ticket;          ///< unique and increasing over the process; 0 while the header is rewritten
  atomic_word extent;          ///< bytes from the chunk's start to the end of its last record; 0 while it is open.
                               ///< In a live image the number of its records stands above bit 32
  atomic_word writer;          ///< index of the thread slot that writes it, and above bit 32 the slot's generation
  atomic_word tid_lane;        ///< the system's thread id, and above bit 32 the lane
  atomic_word words_before;    ///< words this lane wrote before this chunk: a gap here is an exact loss
  atomic_word records_before;  ///< records this lane wrote before this chunk
  atomic_word epoch_base;      ///< the time epoch at the chunk's first record
  atomic_word sealed_ticks;    ///< when it was sealed; 0 while it is open
  atomic_word anchor[4];       ///< a clock_anchor from when it was opened, or up to a millisecond earlier
  atomic_word thread_name[thread_name_bytes / 8];  ///< UTF-8, zero padded, as known when it was opened
  atomic_word words[chunk_words];
};
static_assert(sizeof(chunk) == chunk_bytes && __builtin_offsetof(chunk, words) == chunk_header_bytes);

/// An entry of the chunk state table: ticket << 2 | state.
enum class chunk_state : unsigned { free = 0, open = 1, sealed = 2, taking = 3 };

// ---- thread states ---------------------------------------------------------------------------------------------

/// What a thread did when a dump was made, as the kernel says.
enum class thread_state : uint64_t { unknown = 0, running = 1, runnable = 2, waiting = 3 };

/// What became of the wish for thread states.
enum class state_recording : uint32_t {
  unwanted = 0,
  on = 1,
  refused = 2,   ///< the kernel gave no events: thread_states_error says why
  no_memory = 3  ///< the kernel gave no buffers, which count as locked memory
};

/// Stands behind a copy of the kernel's buffer of one processor's context switches: records as perf_event_open's manual
/// page has them, the newest first, each with the thread's ids and CLOCK_MONOTONIC in its last 16 bytes.
struct switch_buffer {
  uint64_t offset;    ///< of its records
  uint64_t bytes;     ///< of its records; the oldest one may be cut
  uint64_t since_ns;  ///< all records after this are here; 0: those after the oldest one that is whole
  uint64_t until_ns;  ///< all records before this are here, but for one that the kernel was just writing
  uint32_t cpu;
  uint32_t reserved[7];
};
static_assert(sizeof(switch_buffer) == 64);

// ---- thread slots --------------------------------------------------------------------------------------------

struct lane;

inline constexpr unsigned frame_payload_words = 20;

/// One entry of a thread's open-region stack. `start_ticks` tells its state: 0 free; below point_mark a region that
/// began then; with point_mark the stack pointer of code that writes a point here; frame_busy the stack's end, or left
/// for good. As signed numbers all but the first are above every site word, so that one compare finds a free frame.
struct alignas(64) frame {
  atomic_word word;           ///< of a region: (start ticks << 18) - site word. In a dump 0 where there is none
  owned_pointer<lane> owner;  ///< where its record goes
  atomic_word start_ticks;
  atomic_word stack_pointer;  ///< of the code that began the region, to recognise frames that were jumped over
  atomic_word payload[frame_payload_words];
};
static_assert(sizeof(frame) == 192);
inline constexpr uint64_t point_mark = 1ULL << 62;
inline constexpr uint64_t frame_busy = ~0ULL >> 1;

inline bool is_free(const frame& at) { return at.start_ticks.load_relaxed() == 0; }
/// Release: a dump that finds the frame free finds the record, since it copies frames before chunks.
inline void set_free(frame& at) { at.start_ticks.store_release(0); }

/// Whether a frame's start_ticks is that of an open region.
inline bool is_region(uint64_t start_ticks) { return start_ticks - 1 < point_mark - 1; }

/// Whether the region that was given `word` when it began is still open in this frame.
inline bool holds_region(const frame& at, uint64_t word) {
  const uint64_t start = at.start_ticks.load_relaxed();
  return is_region(start) && at.word.load_relaxed() == word && (start << duration_shift) - word <= site_word_mask;
}

/// One write position of a thread. Only its own thread writes it; dumps and the recycler read it.
struct lane {
  atomic_word cursor;       ///< address of the next word to write; released after the words before it
  atomic_word deadline;     ///< end of the time epoch; records at or past it take the slow path
  atomic_word epoch_base;
  atomic_word chunk;        ///< address of the open chunk; 0 when there is none
  atomic_word extra_words;  ///< words written that are no record's header: records = words - extra words
  atomic_word words_before; ///< words in chunks before the open one
  atomic_word anchor_ticks; ///< of the newest clock anchor
  atomic_word dropped;      ///< records this lane lost for want of a chunk
};
static_assert(sizeof(lane) == 64);

inline constexpr unsigned lane_count = 3;
CONTRAIL_DETAIL_HIDDEN inline constexpr unsigned lane_depth[lane_count] = {64, 8, 8};  ///< open regions; one frame more ends each stack
inline constexpr unsigned frame_count = 64 + 8 + 8 + lane_count;
CONTRAIL_DETAIL_HIDDEN inline constexpr unsigned first_frame[lane_count] = {0, 65, 74};

enum class slot_state : uint64_t { free = 0, claimed = 1, live = 2, sealing = 3 };

struct alignas(64) thread_slot {
  atomic_word state;       ///< slot_state in the low 8 bits, generation above
  atomic_word tid_index;     ///< the system's thread id, and above bit 32 the index of this slot
  atomic_word owner_object;  ///< which shared object of the process this slot serves
  atomic_word attach_ticks;
  atomic_word name_version;  ///< odd while the name changes; 0: never named by TRACE_THREAD_NAME
  atomic_word name[thread_name_bytes / 8];
  atomic_word alternate_stack;  ///< live: which of contrail's signal stacks the thread has, plus 1
  atomic_word occupant;         ///< live: who claims or seals the slot, see thread_id.hpp; 0: nobody
  atomic_word taking[3];        ///< live: by lane, the ticket by which it is about to take a chunk; 0: none
  atomic_word recount[3];       ///< live: by lane, 1 if a jump may have left its count of words wrong
  atomic_word interrupted[3];   ///< live: by lane, address of the frame to go back to when its first region ends; 0: none
  atomic_word current_task;     ///< id of a span, 0: none
  atomic_word thread_state;     ///< only in dumps with thread states: a thread_state, of the moment when it was copied
  atomic_word reserved[10];
  lane lanes[lane_count];
  frame frames[frame_count];
};
static_assert(sizeof(thread_slot) == 16384 && __builtin_offsetof(thread_slot, lanes) == 256 &&
              __builtin_offsetof(thread_slot, frames) == 448);

// ---- spans ---------------------------------------------------------------------------------------------------

/// What begins on one thread and may end on another: a task, or an asynchronous span. Its place while it is open; when
/// it ends it becomes one record.
enum class span_state : uint64_t { free = 0, claimed = 1, open = 2, ending = 3 };

/// Words of a span, in its entry and, with the end before them, in its record.
enum span_word : unsigned {
  span_start,       ///< ticks
  span_id,          ///< unique in the process: generation * count of entries + index of its entry
  span_parent,      ///< id of the parent in this process, 0 if there is none
  span_tid,         ///< of the thread that began it
  span_trace_high,  ///< of a task: the trace that it belongs to, as in W3C Trace Context, 128 bits
  span_trace_low,
  span_own,         ///< its own id in that trace
  span_from,        ///< the parent's id in that trace, which may be another process's; 0: it is a root
  span_words
};

struct alignas(64) span_entry {
  atomic_word state;    ///< generation << 2 | span_state
  atomic_word binding;  ///< id of its call site, and above bit 32 the words of payload
  atomic_word words[span_words];
  atomic_word payload[frame_payload_words];
  atomic_word reserved[2];
};
static_assert(sizeof(span_entry) == 256);

// ---- bindings ------------------------------------------------------------------------------------------------

enum class binding_kind : uint8_t {
  region = 1,
  instant = 2,
  counter = 3,
  log = 4,        ///< the name is the format string
  event_type = 5,
  overflow = 6,
  task = 7,
  async_span = 8,
  frame_mark = 9,  ///< where a frame of a loop ends and the next one begins
  end_of_dump = 255
};

inline constexpr uint8_t binding_flag_cut = 1;      ///< a string or the schema was cut to fit
inline constexpr uint8_t binding_flag_dynamic = 2;  ///< records may carry fields set at run time after the payload
inline constexpr unsigned binding_blocked_shift = 4;  ///< bits [6:4]: of a region in which the thread waits, a blocked_on; else 0

/// What a thread waits for in a region of TRACE_BLOCKED.
enum class blocked_on : uint8_t { sync = 1, net = 2, syscall = 3, io = 4, sleep = 5 };
constexpr uint8_t blocked_flag(blocked_on reason) {
  return static_cast<uint8_t>(static_cast<unsigned>(reason) << binding_blocked_shift);
}

/// Followed by `field_count` binding_field, `enumerator_count` binding_enumerator, then the strings without
/// terminators: name, category, file, function, each field's name, each enumerator's name; padded to 8 bytes.
struct binding {
  uint32_t bytes;  ///< of the whole entry, a multiple of 8
  uint16_t id;
  binding_kind kind;
  uint8_t flags;
  uint64_t type_id;  ///< the stable id of the registered type, 0 if none
  uint32_t line;
  uint16_t field_count;
  uint16_t enumerator_count;
  uint16_t name_bytes;
  uint16_t category_bytes;
  uint16_t file_bytes;
  uint16_t function_bytes;
};
static_assert(sizeof(binding) == 32);

struct binding_field {
  uint16_t name_bytes;
  uint8_t type;  ///< contrail::field_type
  uint8_t flags;
  uint16_t offset;            ///< in the payload's fixed part, bytes
  uint16_t count;             ///< 1, or the number of elements of an array
  uint16_t first_enumerator;  ///< index into the entry's enumerators
  uint16_t enumerator_count;  ///< 0: not an enumeration, or its names are not known
  uint16_t is_array;
  uint16_t reserved;
};
static_assert(sizeof(binding_field) == 16);

struct binding_enumerator {
  int64_t value;
  uint16_t name_bytes;
  uint16_t reserved[3];
};
static_assert(sizeof(binding_enumerator) == 16);

/// The last 64 bytes of a complete dump; laid out so that a reader of bindings meets it as one more entry.
struct end_of_dump {
  uint32_t bytes = 64;
  uint16_t id = 0;
  binding_kind kind = binding_kind::end_of_dump;
  uint8_t flags = 0;
  uint64_t total_bytes = 0;   ///< of the whole dump
  uint64_t chunks_written = 0;
  uint64_t chunks_torn = 0;   ///< recycled while they were copied: written with ticket 0
  clock_anchor anchor{};
};
static_assert(sizeof(end_of_dump) == 64);

// ---- superblock ----------------------------------------------------------------------------------------------

enum class image_kind : uint32_t { live = 1, dump = 2, stream = 3 };
enum class image_storage : uint32_t { memory = 0, file = 1 };

/// How the recording in a live image ended.
enum class image_end : uint32_t {
  none = 0,     ///< it runs, or its process was killed, crashed or called _exit
  stopped = 1,  ///< flight_recorder::stop
  exited = 2    ///< exit, or the end of main
};

enum class crash_cause : uint32_t { none = 0, signal = 1, terminate = 2 };

/// What ended the process. In a dump: of the crash that made it.
struct crash_note {
  crash_cause cause;  ///< in a live image filled in last
  uint32_t signal;    ///< 0: std::terminate
  int32_t code;       ///< si_code: above 0 the kernel found a fault, else a process sent the signal
  uint32_t tid;
  uint64_t address;   ///< si_addr of a fault
  uint32_t sender;    ///< the process that sent the signal
  uint32_t reserved;
  char thread[thread_name_bytes];  ///< the system's name of the thread, which may have no slot
};
static_assert(sizeof(crash_note) == 64);

enum class drop_reason : unsigned {
  no_chunk,      ///< the pool had no chunk to give
  no_slot,       ///< more threads than slots
  no_lane,       ///< a signal handler found all lanes of its thread in use
  too_deep,      ///< more open regions than a lane's stack holds
  misnested,     ///< a region whose frame was taken away before it ended
  no_span,       ///< more open tasks and asynchronous spans than there are entries
  count
};

struct superblock {
  uint64_t magic;
  uint16_t version_major;
  uint16_t version_minor;
  uint32_t superblock_bytes;
  image_kind kind;
  clock_source source;
  uint64_t image_bytes;   ///< live: of the mapping
  uint64_t base_address;  ///< live: where it is mapped in the process; cursors are absolute addresses
  // 40
  uint64_t slots_offset;
  uint32_t slot_bytes;
  uint32_t slot_count;
  uint64_t chunk_states_offset;  ///< live only; one word per chunk
  uint64_t chunks_offset;
  uint32_t chunk_bytes;
  uint32_t chunk_count;
  uint64_t binding_index_offset;  ///< live only; per id the offset of its entry in the arena plus 1, as uint32_t
  uint64_t binding_index_count;
  uint64_t bindings_offset;       ///< live: the arena; dump: entries known before the chunks were copied
  uint64_t bindings_bytes;
  uint64_t late_bindings_offset;  ///< dump only: entries made meanwhile, ended by end_of_dump
  uint64_t scratch_offset;        ///< live only: work space of the dump
  uint64_t scratch_bytes;
  // 136
  uint32_t pid;
  uint32_t lane_count;
  uint32_t frame_bytes;
  uint32_t frame_count;
  uint32_t lane_first_frame[4];
  uint64_t tick_hz;    ///< nominal ticks per second; anchors are better
  clock_anchor start;  ///< when recording started; earlier records are no part of this recording
  clock_anchor ready;  ///< a little later
  char executable[256];
  char host[64];
  // 560
  atomic_word next_ticket;
  atomic_word next_id;
  atomic_word arena_used;
  atomic_word attached;        ///< threads that ever attached
  atomic_word attached_slots;  ///< slots in use
  atomic_word dropped[8];
  atomic_word overwritten_ticks;  ///< the newest moment of which records were overwritten: all threads' are there after it
  atomic_word next_span;   ///< where the next span's search for a free entry begins
  atomic_word next_flow;
  // 688: only in dumps and streams
  clock_anchor dump;       ///< when the dump began; stream: when the session did
  uint64_t window_ns;      ///< asked for; 0: all
  uint64_t cutoff_ticks;   ///< records that ended before are outside the window
  uint32_t dump_sequence;
  uint32_t dump_signal;    ///< the signal that asked for it, 0: the program did
  uint32_t dump_tid;
  uint32_t reserved0;
  // 752: only in live images
  image_storage storage;
  image_end ended;
  clock_anchor end;        ///< when it ended; filled in before `ended` is
  // 792
  crash_note crash;
  // 856: only in dumps that a trigger made
  uint64_t trigger_ticks;  ///< when it fired; 0: no trigger made this dump
  char trigger[120];       ///< what fired, a sentence; zero padded
  // 984
  uint64_t spans_offset;
  uint32_t span_bytes;
  uint32_t span_count;
  uint64_t seed[2];  ///< live: random; ids of traces, tasks and flows are made of it
  // 1016
  state_recording thread_states;
  int32_t thread_states_error;    ///< errno of what was refused
  int32_t perf_event_paranoid;    ///< the system's setting when it was refused; -100: unknown
  uint32_t unwatched_threads;     ///< that ran before start and whose states are not here, as are those of their children
  uint64_t switches_offset;  ///< dump: for each processor records, and behind them their switch_buffer
  uint64_t switches_bytes;
  uint32_t switch_buffer_bytes;
  uint32_t switch_buffer_count;
  uint8_t reserved[4096 - 1056];
};
static_assert(sizeof(superblock) == 4096 && __builtin_offsetof(superblock, pid) == 136 &&
              __builtin_offsetof(superblock, next_ticket) == 560 && __builtin_offsetof(superblock, dump) == 688 &&
              __builtin_offsetof(superblock, spans_offset) == 984 && __builtin_offsetof(superblock, reserved) == 1056);

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/memory.hpp ====================================================================================
// Of <string.h>, which would be 3 % of what including contrail costs.
#ifndef CONTRAIL_DETAIL_MEMORY_HPP
#define CONTRAIL_DETAIL_MEMORY_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

CONTRAIL_DETAIL_ALWAYS_INLINE void* memcpy(void* to, const void* from, size_t size) {
  return __builtin_memcpy(to, from, size);
}
CONTRAIL_DETAIL_ALWAYS_INLINE void* memset(void* to, int byte, size_t size) { return __builtin_memset(to, byte, size); }
CONTRAIL_DETAIL_ALWAYS_INLINE int memcmp(const void* a, const void* b, size_t size) {
  return __builtin_memcmp(a, b, size);
}
CONTRAIL_DETAIL_ALWAYS_INLINE const void* memchr(const void* in, int byte, size_t size) {
  return __builtin_memchr(in, byte, size);
}
CONTRAIL_DETAIL_ALWAYS_INLINE int strcmp(const char* a, const char* b) { return __builtin_strcmp(a, b); }
CONTRAIL_DETAIL_ALWAYS_INLINE const char* strstr(const char* in, const char* what) { return __builtin_strstr(in, what); }
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr size_t strlen(const char* text) { return __builtin_strlen(text); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/task_context.hpp =====================================================================================
// What names a task to others: to threads of this process, and by W3C Trace Context to other processes and tracing
// systems.
#ifndef CONTRAIL_TASK_CONTEXT_HPP
#define CONTRAIL_TASK_CONTEXT_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN

inline constexpr unsigned traceparent_bytes = 55;

/// The name of a task, to be copied and passed on: it keeps nothing alive. Empty if there is no task.
// What reads and writes text is a template each, so that only who uses it compiles it.
struct task_context {
  uint64_t id = 0;          ///< in this process; 0: none, or a task of another process
  uint64_t trace_high = 0;  ///< the trace id, 128 bits; 0: none
  uint64_t trace_low = 0;
  uint64_t span = 0;        ///< the task's own id in that trace

  constexpr explicit operator bool() const { return id != 0 || span != 0; }

  /// Of the text of a `traceparent` header, as another process sent it: a task that has it as its parent joins that
  /// trace. Empty where the text is null, malformed, or of all zeros.
  // Async-signal-safe.
  template <class = void>
  static constexpr task_context from_traceparent(const char* text) {
    task_context found;
    uint64_t version = 0, flags = 0;
    const bool is_good = text != nullptr && take_hex(text, 2, '-', version) && take_hex(text, 16, 0, found.trace_high) &&
                         take_hex(text, 16, '-', found.trace_low) && take_hex(text, 16, '-', found.span) &&
                         take_hex(text, 2, 0, flags);
    // Later versions may have more behind a dash.
    if (!is_good || version == 0xff || (*text != '\0' && (version == 0 || *text != '-'))) return {};
    if ((found.trace_high | found.trace_low) == 0 || found.span == 0) return {};
    return found;
  }

  /// The header to send with a request, 55 characters and a NUL; empty text, and false, where there is no trace.
  // Async-signal-safe.
  template <class = void>
  constexpr bool write_traceparent(char (&text)[traceparent_bytes + 1]) const {
    text[0] = '\0';
    if (span == 0) return false;
    char* at = put_hex(text, 0, 2);
    *at++ = '-';
    at = put_hex(put_hex(at, trace_high, 16), trace_low, 16);
    *at++ = '-';
    at = put_hex(at, span, 16);
    *at++ = '-';
    *put_hex(at, 1, 2) = '\0';  // recorded
    return true;
  }

 private:
  /// Takes `digits` hexadecimal digits, in lower case as the standard wants, and the character `end` behind them.
  template <class = void>
  static constexpr bool take_hex(const char*& at, unsigned digits, char end, uint64_t& value) {
    value = 0;
    for (unsigned i = 0; i < digits; ++i, ++at) {
      const bool is_letter = *at >= 'a' && *at <= 'f';
      if (!is_letter && (*at < '0' || *at > '9')) return false;
      value = value << 4 | static_cast<uint64_t>(is_letter ? *at - 'a' + 10 : *at - '0');
    }
    return end == 0 || *at++ == end;
  }
  template <class = void>
  static constexpr char* put_hex(char* at, uint64_t value, unsigned digits) {
    for (unsigned i = digits; i-- != 0;) *at++ = "0123456789abcdef"[value >> 4 * i & 0xf];
    return at;
  }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/registry.hpp =========================================================================================
// What contrail knows of event types: at compile time of each, and the list of all event types of the program.
//
//   struct point { int x, y; };
//   TRACE_EVENT_TYPE(point, x, y);
//
//   using info = contrail::event_info<point>;
//   static_assert(info::name == "point" && info::size == 8 && info::fields[1].name == "y");
//
//   for (const contrail::descriptor& type : contrail::registry()) puts_text(type.name);
#ifndef CONTRAIL_REGISTRY_HPP
#define CONTRAIL_REGISTRY_HPP

// ==== contrail/detail/site.hpp ======================================================================================
// Call sites at compile time: their descriptors, the checks of their arguments, and the way of these into words.
#ifndef CONTRAIL_DETAIL_SITE_HPP
#define CONTRAIL_DETAIL_SITE_HPP

// ==== contrail/detail/descriptor.hpp ================================================================================
// Descriptors, and how the macro that registers a type makes one.
#ifndef CONTRAIL_DETAIL_DESCRIPTOR_HPP
#define CONTRAIL_DETAIL_DESCRIPTOR_HPP

// ==== contrail/detail/schema.hpp ====================================================================================
// From argument types and registered types to constexpr fields: what can be recorded, as what, and at which offset.
#ifndef CONTRAIL_DETAIL_SCHEMA_HPP
#define CONTRAIL_DETAIL_SCHEMA_HPP

// ==== contrail/detail/enum_names.hpp ================================================================================
// The names of an enumeration's values, read from what the compiler calls a template over them.
#ifndef CONTRAIL_DETAIL_ENUM_NAMES_HPP
#define CONTRAIL_DETAIL_ENUM_NAMES_HPP

// ==== contrail/detail/text.hpp ======================================================================================
// Constant text, and the names of types as the compiler spells them.
#ifndef CONTRAIL_DETAIL_TEXT_HPP
#define CONTRAIL_DETAIL_TEXT_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// Characters of static storage duration; not terminated by a NUL, since it may be a part of a longer literal.
struct text {
  const char* data = "";
  uint32_t size = 0;

  constexpr text() = default;
  constexpr text(const char* literal) : data(literal), size(static_cast<uint32_t>(__builtin_strlen(literal))) {}
  constexpr text(const char* characters, uint32_t count) : data(characters), size(count) {}

  constexpr const char* begin() const { return data; }
  constexpr const char* end() const { return data + size; }
  constexpr char operator[](uint32_t i) const { return data[i]; }

  friend constexpr bool operator==(text a, text b) {
    if (a.size != b.size) return false;
    for (uint32_t i = 0; i < a.size; ++i)
      if (a.data[i] != b.data[i]) return false;
    return true;
  }
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

using size_type = decltype(sizeof 0);

constexpr text part(text t, uint32_t begin, uint32_t end) { return {t.data + begin, end - begin}; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_identifier(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}
/// Whether `pattern` stands in `t` at `at`.
constexpr bool stands_at(text t, uint32_t at, text pattern) {
  return at + pattern.size <= t.size && part(t, at, at + pattern.size) == pattern;
}

/// FNV-1a, 64 bits: the stable ids of types are made of it.
struct hash {
  uint64_t value = 0xcbf29ce484222325ULL;

  constexpr void add(text t) {
    add(uint64_t{t.size});
    for (char c : t) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  constexpr void add(uint64_t number) {
    for (int i = 0; i < 8; ++i, number >>= 8) value = (value ^ (number & 0xff)) * 0x100000001b3ULL;
  }
};

template <class T>
constexpr text pretty_function_of() {
  return __PRETTY_FUNCTION__;
}

/// The qualified name of a type. Compilers agree on plain names, and differ in anonymous and inline namespaces and in
/// template arguments ("unsigned long", "long unsigned int").
template <class T>
constexpr text type_name() {
  constexpr text probe = pretty_function_of<void>();
  constexpr uint32_t before = probe.size - 5;  // of "void]", which ends the text on both compilers
  text pretty = pretty_function_of<T>();
  return part(pretty, before, pretty.size - 1);
}

template <class T> struct without_qualifiers { using type = T; };
template <class T> struct without_qualifiers<const T> { using type = T; };
template <class T> struct without_qualifiers<volatile T> { using type = T; };
template <class T> struct without_qualifiers<const volatile T> { using type = T; };
template <class T, decltype(sizeof 0) N> struct without_qualifiers<const T[N]> { using type = T[N]; };
template <class T> struct without_qualifiers<T&> : without_qualifiers<T> {};
template <class T> struct without_qualifiers<T&&> : without_qualifiers<T> {};

/// The type of a value: no reference, const or volatile.
template <class T>
using bare = typename without_qualifiers<T>::type;

template <class A, class B> inline constexpr bool is_same = false;
template <class A> inline constexpr bool is_same<A, A> = true;

/// Passes a type as a value, so that functions can be found by it.
template <class T> struct type_tag { using type = T; };
template <class... T> struct type_list {};

#if defined(__clang__)
template <class T, T... I> struct integer_pack { using type = integer_pack; };
template <class T, T N> using make_integer_pack = __make_integer_seq<integer_pack, T, N>;
#else
template <class T, T... I> struct integer_pack {};
template <class T, T N> using make_integer_pack = integer_pack<T, __integer_pack(N)...>;
#endif

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// A value of an enumeration and its unqualified name.
struct enumerator {
  int64_t value = 0;
  text name;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

// Values that are tried for a name. One template over all of them costs a tenth of a template for each.
inline constexpr int first_probed_value = -8;
inline constexpr int last_probed_value = 119;
inline constexpr int first_probed_bit = 7;  // 1 << 7 and above, for flags
inline constexpr int last_probed_bit = 30;

template <class E, int Value>
concept converts_in_constant = requires {
  typename type_tag<char[static_cast<E>(Value) == static_cast<E>(0) ? 1 : 2]>;
};

/// The greatest value that may be converted to E in a constant expression: newer clang refuses those outside the range
/// of an enumeration without a fixed underlying type.
template <class E, int Bits = 7>
constexpr int last_value_to_probe() {
  if constexpr (requires { E{0}; }) {
    return sizeof(E) == 1 && is_same<__underlying_type(E), bool> ? 1 : last_probed_value;
  } else if constexpr (converts_in_constant<E, (1 << Bits) - 1>) {
    return Bits == 7 ? last_probed_value : (1 << Bits) - 1;
  } else if constexpr (Bits > 1) {
    return last_value_to_probe<E, Bits - 1>();
  } else {
    return 0;
  }
}

template <class E>
constexpr int first_value_to_probe() {
  using underlying = __underlying_type(E);
  if constexpr (static_cast<underlying>(-1) > underlying{}) {
    return 0;
  } else if constexpr (requires { E{0}; } || converts_in_constant<E, -8>) {
    return first_probed_value;
  } else {
    return 0;
  }
}

template <class E>
constexpr int bits_to_probe() {
  constexpr int top = static_cast<int>(sizeof(E) * 8) - 2;
  constexpr int last = top < last_probed_bit ? top : last_probed_bit;
  if constexpr (last < first_probed_bit) {
    return 0;
  } else if constexpr (requires { E{0}; } || converts_in_constant<E, 1 << last>) {
    return last - first_probed_bit + 1;
  } else {
    return 0;
  }
}

template <class E, E... Values>
constexpr text pretty_function_of_values() {
  return __PRETTY_FUNCTION__;
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"  // g++ warns of values outside the range of an enumeration
template <class E, int First, int... I>
constexpr text pretty_values(integer_pack<int, I...>) {
  return pretty_function_of_values<E, static_cast<E>(First + I)...>();
}
template <class E, int... I>
constexpr text pretty_bits(integer_pack<int, I...>) {
  return pretty_function_of_values<E, static_cast<E>(1 << (first_probed_bit + I))...>();
}
#pragma GCC diagnostic pop

/// A value of an enumeration that has a name, as it stands in a list that a compiler wrote.
struct named_value {
  int64_t value = 0;
  const char* name = nullptr;
  uint32_t size = 0;
};

template <uint32_t Most>
struct named_values {
  uint32_t count = 0;
  uint32_t characters = 0;
  named_value values[Most];
};

/// Past the bracket group at `at`.
constexpr const char* past_group(const char* at) {
  int depth = 0;
  do {
    if (*at == '(' || *at == '<' || *at == '{') ++depth;
    if (*at == ')' || *at == '>' || *at == '}') --depth;
    ++at;
  } while (depth != 0);
  return at;
}
constexpr bool starts_number(char c) { return is_digit(c) || c == '-'; }

/// Reads a list such as "ns::red, (ns::color)1, ns::blue}]". Most values have no name, and their cast is as long every
/// time, so that it is stepped over: constant evaluation takes a microsecond for each character it looks at.
template <uint32_t Most, class Value>
constexpr void find_named_values(named_values<Most>& found, const char* at, int count, Value value_at) {
  long cast = 0;  // length of "(ns::color)"
  for (int i = 0; i < count; ++i) {
    if (*at == '(') {
      if (cast == 0) {
        const char* const after = past_group(at);
        if (starts_number(*after)) cast = after - at;
      }
      if (cast != 0 && at[cast - 1] == ')' && starts_number(at[cast])) {
        at += cast + 1;
        while (*at != ',' && *at != '}' && *at != '>') ++at;
        at += 2;
        continue;
      }
    }
    const char* name = at;
    while (*at != ',' && *at != '}' && *at != '>') {
      if (*at == '(' || *at == '<' || *at == '{') {
        at = past_group(at);
      } else if (*at++ == ':') {
        name = at;
      }
    }
    const uint32_t size = static_cast<uint32_t>(at - name);
    found.values[found.count++] = {value_at(i), name, size};
    found.characters += size;
    at += 2;
  }
}

template <class E>
constexpr auto find_enumerators() {
  constexpr int first = first_value_to_probe<E>();
  constexpr int count = last_value_to_probe<E>() - first + 1;
  constexpr int bits = bits_to_probe<E>();
  constexpr uint32_t before_list = pretty_function_of_values<E>().size - 2;  // of "}]" or ">]"
  named_values<count + bits> found;
  find_named_values(found, pretty_values<E, first>(make_integer_pack<int, count>{}).data + before_list, count,
                    [](int i) { return int64_t{first} + i; });
  if constexpr (bits > 0)
    find_named_values(found, pretty_bits<E>(make_integer_pack<int, bits>{}).data + before_list, bits,
                      [](int i) { return int64_t{1} << (first_probed_bit + i); });
  return found;
}

/// The names are copied: the texts they stand in have some 3000 characters.
template <uint32_t Count, uint32_t Characters>
struct enumerator_storage {
  enumerator values[Count + 1]{};
  char names[Characters + 1]{};

  template <uint32_t Most>
  constexpr explicit enumerator_storage(const named_values<Most>& found) {
    char* next = names;
    for (uint32_t i = 0; i < Count; ++i) {
      const named_value& v = found.values[i];
      values[i] = {v.value, {next, v.size}};
      for (uint32_t k = 0; k < v.size; ++k) *next++ = v.name[k];
    }
  }
};

/// All named enumerators of E that could be found, in increasing order.
template <class E>
struct CONTRAIL_DETAIL_HIDDEN enumerators_of {
  static constexpr auto found = find_enumerators<E>();
  static constexpr uint32_t count = found.count;
  static constexpr enumerator_storage<found.count, found.characters> storage{found};
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// As an argument of a region or an instant: an arrow to other records leaves there; see contrail::flow.
struct flow_out {
  uint64_t id;
};
/// As an argument of a region or an instant: an arrow arrives there.
struct flow_in {
  uint64_t id;
};

/// One value of an event: how a reader finds it in a record's payload.
struct field {
  text name;                   ///< members of nested aggregates are flattened: "pos.x", "corners[0].x"
  field_type type{};
  uint16_t offset = 0;         ///< in the payload's fixed part, bytes
  uint16_t count = 1;          ///< elements of an array, else 1
  bool is_array = false;
  const enumerator* enumerators = nullptr;  ///< of an enumeration whose names could be found, else null
  uint16_t enumerator_count = 0;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

/// What kind of value a type is to the recorder; `leaf` kinds are one field, the others several.
enum class value_kind : unsigned char {
  none,  ///< cannot be recorded
  scalar, enumeration, pointer, function, duration, c_string, char_array, sized_text,  // leaves
  array, array_object, aggregate
};
constexpr bool is_leaf(value_kind kind) { return kind != value_kind::none && kind < value_kind::array; }
constexpr bool is_text(value_kind kind) { return kind >= value_kind::c_string && kind <= value_kind::sized_text; }

template <class T> inline constexpr field_type scalar_type{};
template <> inline constexpr field_type scalar_type<bool> = field_type::boolean;
template <> inline constexpr field_type scalar_type<char> = field_type::character;
template <> inline constexpr field_type scalar_type<char8_t> = field_type::character;
template <> inline constexpr field_type scalar_type<signed char> = field_type::int8;
template <> inline constexpr field_type scalar_type<unsigned char> = field_type::uint8;
template <> inline constexpr field_type scalar_type<short> = field_type::int16;
template <> inline constexpr field_type scalar_type<unsigned short> = field_type::uint16;
template <> inline constexpr field_type scalar_type<int> = field_type::int32;
template <> inline constexpr field_type scalar_type<unsigned> = field_type::uint32;
template <> inline constexpr field_type scalar_type<long> = sizeof(long) == 8 ? field_type::int64 : field_type::int32;
template <>
inline constexpr field_type scalar_type<unsigned long> = sizeof(long) == 8 ? field_type::uint64 : field_type::uint32;
template <> inline constexpr field_type scalar_type<long long> = field_type::int64;
template <> inline constexpr field_type scalar_type<unsigned long long> = field_type::uint64;
template <> inline constexpr field_type scalar_type<int128> = field_type::int128;
template <> inline constexpr field_type scalar_type<uint128> = field_type::uint128;
template <> inline constexpr field_type scalar_type<float> = field_type::float32;
template <> inline constexpr field_type scalar_type<double> = field_type::float64;
template <> inline constexpr field_type scalar_type<long double> = field_type::float64;
template <> inline constexpr field_type scalar_type<wchar_t> = field_type::code_point;
template <> inline constexpr field_type scalar_type<char16_t> = field_type::code_point;
template <> inline constexpr field_type scalar_type<char32_t> = field_type::code_point;
template <> inline constexpr field_type scalar_type<flow_out> = field_type::flow_out;
template <> inline constexpr field_type scalar_type<flow_in> = field_type::flow_in;

/// Bytes of one element in a payload's fixed part.
constexpr uint32_t bytes_of(field_type type) {
  constexpr unsigned char bytes[] = {0, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 4, 8, 8, 2, 8, 4, 8, 8};
  return bytes[static_cast<unsigned>(type)];
}

template <class T> inline constexpr bool is_char = is_same<bare<T>, char> || is_same<bare<T>, char8_t>;

template <class T> struct element { using type = void; };
template <class T, size_type N> struct element<T[N]> {
  using type = T;
  static constexpr size_type count = N;
};
// std::array by its shape. A span<T, N> gives mutable elements even if it is const, or has const ones.
template <template <class, size_type> class Array, class T, size_type N> struct element<Array<T, N>> {
  using type = T;
  static constexpr size_type count = N;
};
template <class T>
concept array_shaped = sizeof(T) != 0 && requires(const T& t) {
  typename type_tag<char[element<T>::count]>;
  requires is_same<typename element<T>::type, bare<typename element<T>::type>>;
  requires is_same<decltype(t.data()), const typename element<T>::type*>;
  requires sizeof(T) == element<T>::count * sizeof(typename element<T>::type);
};
template <class T>
concept text_shaped = requires(const T& t) {
  t.size();
  requires is_char<decltype(*t.data())>;
};
template <class T>
concept duration_shaped = requires(const T& t) {
  T::period::num;
  T::period::den;
  requires scalar_type<bare<decltype(t.count())>> != field_type{};
};
/// Registered by CONTRAIL_EVENT_TYPE, which declares this function in the namespace of T.
template <class T>
concept registered = requires { contrail_event_type(type_tag<T>{}); };

template <class T> struct pointer_kind { static constexpr value_kind value = value_kind::none; };
template <class T> struct pointer_kind<T*> {
  static constexpr value_kind value = is_same<T, bare<T>> || is_same<T, const bare<T>>
                                          ? (is_char<T> ? value_kind::c_string : value_kind::pointer)
                                          : value_kind::pointer;
};
template <> struct pointer_kind<decltype(nullptr)> { static constexpr value_kind value = value_kind::pointer; };
template <class T, size_type N> struct pointer_kind<T[N]> {
  static constexpr value_kind value = is_char<T> ? value_kind::char_array : value_kind::array;
};

template <class T>
constexpr value_kind find_kind() {
  if constexpr (scalar_type<T> != field_type{}) return value_kind::scalar;
  else if constexpr (__is_enum(T)) return value_kind::enumeration;
  else if constexpr (is_same<T, const T>) return value_kind::function;  // only functions cannot be const
  else if constexpr (!__is_class(T) && !__is_union(T)) return pointer_kind<T>::value;
  else if constexpr (registered<T>) return value_kind::aggregate;
  else if constexpr (array_shaped<T>)
    return is_char<typename element<T>::type> ? value_kind::char_array : value_kind::array_object;
  else if constexpr (text_shaped<T>) return value_kind::sized_text;
  else if constexpr (duration_shaped<T>) return value_kind::duration;
  else return value_kind::none;
}
/// T is a bare type.
template <class T> inline constexpr value_kind kind_of = find_kind<T>();

template <class T>
constexpr bool can_record() {
  if constexpr (kind_of<T> == value_kind::array || kind_of<T> == value_kind::array_object)
    return can_record<bare<typename element<T>::type>>();
  else
    return kind_of<T> != value_kind::none;
}
/// Whether a value of type T can be an argument of an event.
template <class T> inline constexpr bool is_recordable = can_record<bare<T>>();

template <class T>
constexpr field_type leaf_type() {
  constexpr value_kind kind = kind_of<T>;
  if constexpr (kind == value_kind::scalar) return scalar_type<T>;
  else if constexpr (kind == value_kind::enumeration) return scalar_type<__underlying_type(T)>;
  else if constexpr (kind == value_kind::duration) return field_type::duration;
  else if constexpr (is_text(kind)) return field_type::string;
  else return field_type::pointer;
}

/// What knows the members of a registered type: their types and names, and how to visit those of an object.
template <class T>
using fields_of = typename decltype(contrail_event_type(type_tag<T>{}))::fields;

/// Where a field stands inside an argument: a member's name, or an array's index, below what holds it.
struct field_path {
  const field_path* parent = nullptr;
  text name;
  uint32_t index = 0;  ///< meant when `name` is empty

  constexpr uint32_t digits() const {
    return index < 10 ? 1 : index < 100 ? 2 : index < 1000 ? 3 : index < 10000 ? 4 : 5;
  }
  constexpr uint32_t size() const {
    const uint32_t before = parent != nullptr ? parent->size() : 0;
    if (name.size == 0) return before + digits() + 2;
    return before + name.size + (before != 0 ? 1 : 0);
  }
  constexpr char* write(char* out) const {
    char* const first = out;
    if (parent != nullptr) out = parent->write(out);
    if (name.size != 0) {
      if (parent != nullptr && out != first) *out++ = '.';
      for (char c : name) *out++ = c;
      return out;
    }
    *out++ = '[';
    out += digits();
    uint32_t rest = index;
    for (uint32_t i = 1; i <= digits(); ++i, rest /= 10) out[-static_cast<int>(i)] = static_cast<char>('0' + rest % 10);
    *out++ = ']';
    return out;
  }
};

/// Where a walk writes fields and their composed names. `given` stands for "not null": with -fsanitize=undefined, g++
/// does not take a comparison of a static object's address with null for a constant.
struct schema_room {
  field* fields = nullptr;
  char* names = nullptr;
  bool given = false;

  constexpr schema_room() = default;
  constexpr schema_room(field* field_room, char* name_room) : fields(field_room), names(name_room), given(true) {}
};

/// A walk over the fields of some values, which counts them, and writes them down where it is given room.
struct schema_walk {
  uint32_t bytes = 0;       ///< of the fixed part so far
  uint32_t fields = 0;
  uint32_t texts = 0;       ///< strings, elements of arrays of strings counted each
  uint32_t characters = 0;  ///< of names that are not a part of a literal
  schema_room room;

  template <class T>
  constexpr void leaf(const field_path& path, size_type count, bool is_array) {
    constexpr field_type type = leaf_type<T>();
    constexpr uint32_t element_bytes = bytes_of(type);
    constexpr uint32_t alignment = element_bytes < 8 ? element_bytes : 8;
    bytes = (bytes + alignment - 1) & ~(alignment - 1);
    const bool composed = path.parent != nullptr || path.name.size == 0;
    if (room.given) {
      field& f = room.fields[fields];
      f.type = type;
      f.offset = static_cast<uint16_t>(bytes);
      f.count = static_cast<uint16_t>(count);
      f.is_array = is_array;
      f.name = path.name;
      if (composed) {
        f.name = {room.names + characters, path.size()};
        path.write(room.names + characters);
      }
      if constexpr (kind_of<T> == value_kind::enumeration) {
        if constexpr (enumerators_of<T>::count != 0) {
          f.enumerators = enumerators_of<T>::storage.values;
          f.enumerator_count = static_cast<uint16_t>(enumerators_of<T>::count);
        }
      }
    }
    ++fields;
    if (composed) characters += path.size();
    if (type == field_type::string) texts += static_cast<uint32_t>(count);
    bytes += element_bytes * static_cast<uint32_t>(count);
  }

  template <class T>
  constexpr void value(const field_path& path) {
    using type = bare<T>;
    constexpr value_kind kind = kind_of<type>;
    if constexpr (is_leaf(kind)) {
      leaf<type>(path, 1, false);
    } else if constexpr (kind == value_kind::array || kind == value_kind::array_object) {
      using item = bare<typename element<type>::type>;
      constexpr size_type count = element<type>::count;
      if constexpr (is_leaf(kind_of<item>)) {
        leaf<item>(path, count, true);
      } else {
        for (uint32_t i = 0; i < count; ++i) value<item>(field_path{&path, {}, i});
      }
    } else if constexpr (kind == value_kind::aggregate) {
      members<type>(&path, typename fields_of<type>::types{});
    }
  }

  template <class T, class... Members>
  constexpr void members(const field_path* path, type_list<Members...>) {
    uint32_t i = 0;
    (value<Members>(field_path{path, fields_of<T>::member_name(i++), 0}), ...);
    static_cast<void>(path);
    static_cast<void>(i);
  }
};

/// The size of values' payload, without their names.
struct payload_size {
  uint32_t fields = 0;
  uint32_t bytes = 0;
  uint32_t texts = 0;
  uint32_t characters = 0;  ///< of composed names, were the arguments' own names one character long

  constexpr uint32_t words() const { return (bytes + 7) / 8; }
};

template <class... Args>
constexpr payload_size measure() {
  schema_walk walk;
  (walk.value<Args>(field_path{nullptr, "x", 0}), ...);
  return {walk.fields, walk.bytes, walk.texts, walk.characters};
}

/// How values of these types are laid out in a record: a fixed part, and a tail that holds the bytes of strings.
template <class... Args>
struct payload {
  static constexpr payload_size size = measure<Args...>();
  static constexpr unsigned field_count = size.fields;
  static constexpr unsigned fixed_bytes = size.bytes;
  static constexpr unsigned fixed_words = size.words();
  static constexpr unsigned text_count = size.texts;
  static constexpr bool is_fixed = size.texts == 0;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/site_text.hpp =================================================================================
// Reads a call site's macro arguments as the preprocessor spelled them: the name, the keys, the enclosing function.
#ifndef CONTRAIL_DETAIL_SITE_TEXT_HPP
#define CONTRAIL_DETAIL_SITE_TEXT_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What a macro knows of its call site. A lambda without captures returns it, and so carries it as a type: names are
/// constants even though they come as ordinary macro arguments, which may be anything.
struct site_text {
  text arguments;  ///< all macro arguments, expanded, as source text
  text category;
  text file;
  uint32_t line;
  text pretty_function;  ///< of the lambda
};

/// The first macro argument of a site that is named after its function.
struct function_name_tag {};
#define CONTRAIL_DETAIL_FUNCTION_NAME \
  ::contrail::detail::function_name_tag {}

#define CONTRAIL_DETAIL_STRINGIZE(...) CONTRAIL_DETAIL_STRINGIZE_EXPANDED(__VA_ARGS__)
#define CONTRAIL_DETAIL_STRINGIZE_EXPANDED(...) #__VA_ARGS__

#define CONTRAIL_DETAIL_SITE_TEXT(...)                                                                  \
  ::contrail::detail::site_text {                                                                       \
    CONTRAIL_DETAIL_STRINGIZE(__VA_ARGS__), decltype(contrail_category(0))::name(), __FILE__, __LINE__, \
        __PRETTY_FUNCTION__                                                                             \
  }

// ---- categories ----------------------------------------------------------------------------------------------

/// A literal as a template argument.
template <size_type N>
struct fixed_text {
  char characters[N]{};
  constexpr fixed_text(const char (&literal)[N]) {
    for (size_type i = 0; i < N; ++i) characters[i] = literal[i];
  }
};

/// CONTRAIL_CATEGORY declares `category<"name"> contrail_category(int)` and never defines it, so that the headers of
/// one namespace may repeat it; unqualified lookup finds the nearest.
template <fixed_text Name>
struct CONTRAIL_DETAIL_HIDDEN category {
  static constexpr fixed_text storage = Name;
  static constexpr text name() { return {storage.characters, sizeof storage.characters - 1}; }
};

// ---- string literals -----------------------------------------------------------------------------------------

/// One or more adjacent string literals in the text of macro arguments.
struct literal {
  uint32_t begin = 0;
  uint32_t end = 0;  ///< equal to begin: no literal
};

/// Steps over C++ tokens, as far as needed to tell commas between arguments from others.
struct token_scanner {
  text source;
  uint32_t at = 0;

  constexpr bool done() const { return at >= source.size; }
  constexpr char peek(uint32_t ahead = 0) const { return at + ahead < source.size ? source[at + ahead] : '\0'; }
  constexpr void skip_spaces() {
    while (!done() && (peek() == ' ' || peek() == '\t' || peek() == '\n')) ++at;
  }
  /// Whether a string literal that can be a name starts here: "…", R"…", u8"…", u8R"…".
  constexpr bool at_name_literal() const {
    uint32_t ahead = peek() == 'u' && peek(1) == '8' ? 2 : 0;
    if (peek(ahead) == 'R') ++ahead;
    return peek(ahead) == '"';
  }
  /// Past the quoted literal whose quote stands here.
  constexpr void skip_quoted() {
    const char quote = source[at++];
    while (!done() && source[at] != quote) at += source[at] == '\\' ? 2 : 1;
    ++at;
  }
  /// Past R"x(…)x", from its quote.
  constexpr void skip_raw() {
    uint32_t delimiter = ++at;
    while (!done() && source[at] != '(') ++at;
    const text end = part(source, delimiter, at);
    for (; !done(); ++at) {
      if (source[at] == ')' && stands_at(source, at + 1, end) && peek(1 + end.size) == '"') break;
    }
    at += end.size + 2;
  }
  constexpr void skip_literal() {
    if (peek() == 'u') at += 2;
    if (peek() == 'R') {
      ++at;
      skip_raw();
    } else {
      skip_quoted();
    }
  }
  /// One or more literals in a row, and the spaces around them.
  constexpr literal take_literals() {
    skip_spaces();
    literal found{at, at};
    while (at_name_literal()) {
      skip_literal();
      found.end = at;
      if (is_identifier(peek())) return {at, at};  // "…"sv is a value
      skip_spaces();
    }
    return found;
  }
  /// Past one token that is no bracket.
  constexpr void skip_token() {
    const char c = peek();
    if (c == '"' || c == '\'') return skip_quoted();
    if (!is_identifier(c)) {
      ++at;
      return;
    }
    const bool number = is_digit(c);
    const uint32_t first = at;
    while (is_identifier(peek()) || (number && (peek() == '\'' || peek() == '.') && is_identifier(peek(1)))) ++at;
    if (peek() == '"' && source[at - 1] == 'R' && at - first <= 3) skip_raw();
  }
  /// Past a value: to the end, or past a comma outside brackets before a string literal. Commas of template arguments
  /// are not followed by one.
  constexpr void skip_value() {
    skip_spaces();
    for (int depth = 0; !done();) {
      const char c = peek();
      if (c == '(' || c == '[' || c == '{') ++depth;
      if (c == ')' || c == ']' || c == '}') --depth;
      if (c == ',' && depth == 0) {
        ++at;
        skip_spaces();
        if (at_name_literal()) return;
      } else {
        skip_token();
      }
    }
  }
};

constexpr unsigned hex_digit(char c) {
  return is_digit(c) ? static_cast<unsigned>(c - '0') : static_cast<unsigned>((c | 0x20) - 'a') + 10;
}
constexpr bool is_hex_digit(char c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

/// Where decoded characters go; without room it only counts them.
struct character_sink {
  char* out = nullptr;
  bool has_room = false;
  uint32_t size = 0;

  constexpr character_sink() = default;
  constexpr explicit character_sink(char* room) : out(room), has_room(true) {}

  constexpr void put(unsigned byte) {
    if (has_room) out[size] = static_cast<char>(byte);
    ++size;
  }
  constexpr void put_code_point(uint32_t c) {
    if (c < 0x80) return put(c);
    if (c < 0x800) {
      put(0xc0 | c >> 6);
    } else {
      if (c < 0x10000) {
        put(0xe0 | c >> 12);
      } else {
        put(0xf0 | c >> 18);
        put(0x80 | (c >> 12 & 0x3f));
      }
      put(0x80 | (c >> 6 & 0x3f));
    }
    put(0x80 | (c & 0x3f));
  }
  constexpr void put(text t) {
    for (char c : t) put(static_cast<unsigned char>(c));
  }
};

/// Decodes the escape sequence after the backslash before `at`; returns where it ends.
constexpr uint32_t decode_escape(text source, uint32_t at, character_sink& sink) {
  const char kind = source[at++];
  const bool braced = source[at] == '{' && (kind == 'x' || kind == 'o' || kind == 'u');
  if (braced) ++at;
  uint32_t value = 0;
  if (kind == 'x' || kind == 'u' || kind == 'U') {
    const uint32_t most = braced || kind == 'x' ? source.size : kind == 'u' ? 4 : 8;
    for (uint32_t i = 0; i < most && is_hex_digit(source[at]); ++i) value = value << 4 | hex_digit(source[at++]);
    if (braced) ++at;
    kind == 'x' ? sink.put(value) : sink.put_code_point(value);
  } else if (braced || (kind >= '0' && kind <= '7')) {
    if (!braced) --at;
    for (int i = 0; (braced || i < 3) && source[at] >= '0' && source[at] <= '7'; ++i)
      value = value << 3 | static_cast<uint32_t>(source[at++] - '0');
    if (braced) ++at;
    sink.put(value);
  } else {
    constexpr text letters = "abfnrtve";
    constexpr text meanings = "\a\b\f\n\r\t\v\033";
    char meant = kind;
    for (uint32_t i = 0; i < letters.size; ++i)
      if (letters[i] == kind) meant = meanings[i];
    sink.put(static_cast<unsigned char>(meant));
  }
  return at;
}

/// What the compiler makes of adjacent string literals, without the terminating NUL.
constexpr void decode(text source, literal l, character_sink& sink) {
  token_scanner scanner{source, l.begin};
  while (scanner.at < l.end) {
    const uint32_t first = scanner.at;
    scanner.skip_literal();
    uint32_t at = first;
    bool raw = false;
    for (; source[at] != '"'; ++at) raw = source[at] == 'R';
    ++at;
    uint32_t end = scanner.at - 1;
    if (raw) {
      const uint32_t delimiter = at;
      while (source[at] != '(') ++at;
      end -= at - delimiter + 1;
      ++at;
      sink.put(part(source, at, end));
    } else {
      while (at < end) {
        if (source[at] == '\\')
          at = decode_escape(source, at + 1, sink);
        else
          sink.put(static_cast<unsigned char>(source[at++]));
      }
    }
    scanner.skip_spaces();
  }
}

// ---- functions -----------------------------------------------------------------------------------------------

/// Where the bracket group that ends before `end` begins.
constexpr uint32_t group_begin(text t, uint32_t end) {
  const char* at = t.data + end;
  int depth = 0;
  while (at != t.data) {
    const char c = *--at;
    if (c == ')' || c == '>' || c == ']' || c == '}') ++depth;
    if (c == '(' || c == '<' || c == '[' || c == '{') --depth;
    if (depth == 0) break;
  }
  return static_cast<uint32_t>(at - t.data);
}

/// Where the text of a function ends without the lambda at its end and the "::" before it; `end` if there is none.
constexpr uint32_t without_lambda(text t, uint32_t end) {
  uint32_t last = end;
  if (last != 0 && t[last - 1] == ']') last = group_begin(t, last);      // "[T = int]"
  while (last != 0 && t[last - 1] != ')' && t[last - 1] != '>') --last;  // "const"
  if (last == 0) return end;
  const uint32_t group = group_begin(t, last);
  if (t[last - 1] == '>') {  // g++: "f(int)::<lambda()>"
    if (!stands_at(t, group, "<lambda(")) return end;
    return group < 2 ? 0 : group - 2;
  }
  // clang: "auto f(int)::(anonymous class)::operator()() const"
  constexpr text clang = "(anonymous class)::operator()";
  if (group < clang.size || !stands_at(t, group - clang.size, clang)) return end;
  const uint32_t begin = group - clang.size;
  return begin < 2 ? 0 : t[begin - 1] == ':' ? begin - 2 : begin;
}

/// Where the name of an operator that ends before `end` begins, as in "operator()" or "operator bool"; else `end`.
constexpr uint32_t operator_begin(text t, uint32_t end) {
  for (uint32_t at = end; at-- > 0;) {
    if (t[at] == ')' && stands_at(t, at, ")::")) break;
    if (t[at] == 'o' && stands_at(t, at, "operator") && !is_identifier(t[at + 8]) &&
        (at == 0 || !is_identifier(t[at - 1])))
      return at;
  }
  return end;
}

/// "Class::method" out of __PRETTY_FUNCTION__ as a lambda in that function sees it: qualified by namespaces, without
/// return type and parameters. Lambdas inside the function count as the function. Empty where there is none.
constexpr text function_name(text pretty) {
  uint32_t end = without_lambda(pretty, pretty.size);
  if (end == pretty.size) return {};
  for (uint32_t outer = without_lambda(pretty, end); outer != end; outer = without_lambda(pretty, end)) end = outer;
  while (end != 0 && pretty[end - 1] != ')') --end;  // qualifiers
  if (end == 0) return {};
  end = group_begin(pretty, end);  // parameters
  if (end == 0) return {};
  uint32_t begin = is_identifier(pretty[end - 1]) ? end : operator_begin(pretty, end);
  for (bool again = true; again;) {
    while (begin != 0 && pretty[begin - 1] != ' ') {
      const char c = pretty[begin - 1];
      begin = c == ')' || c == '}' || c == '>' ? group_begin(pretty, begin) : begin - 1;
    }
    // What ends in a space is a return type ("auto" on clang), or the name is one like "operator unsigned int".
    again = false;
    if (begin != 0 && !(begin == 5 && pretty[0] == 'a' && pretty[1] == 'u')) {
      const uint32_t name = operator_begin(pretty, begin);
      again = name != begin;
      begin = name;
    }
  }
  return part(pretty, begin, end);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

/// The category of code that names none.
::contrail::detail::category<""> contrail_category(...);

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// An event type or a call site. All of it has static storage duration; texts are not terminated by NUL.
struct descriptor {
  detail::binding_kind kind{};
  uint8_t flags = 0;
  text name;
  text category;
  text file;
  text function;
  uint32_t line = 0;
  uint64_t type_id = 0;  ///< of the registered type whose fields these are, 0 if there is none
  const field* fields = nullptr;
  uint16_t field_count = 0;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What contrail_event_type(type_tag<T>) returns: how to know T's members, and the lambda that knows the macro's place.
template <class Fields, class Site>
struct event_type {
  using fields = Fields;
  using site = Site;
};
template <class Fields, class Site>
constexpr event_type<Fields, Site> make_event_type(type_tag<Fields>, Site) {
  return {};
}

/// The members of an aggregate by Boost.PFR; contrail/pfr.hpp defines it.
template <class T>
struct aggregate_fields;

struct member_types {
  template <class... Members>
  constexpr type_list<Members...> operator()(const Members&...) const {
    return {};
  }
};

/// An explicit list of members. `Visit` passes an object's members to a function; `Names` returns their list as text.
template <class T, class Visit, class Names>
struct listed_fields {
  using types = decltype(Visit{}(*static_cast<const T*>(nullptr), member_types{}));

  template <class Visitor>
  CONTRAIL_DETAIL_ALWAYS_INLINE static void visit(const T& object, const Visitor& visitor) {
    Visit{}(object, visitor);
  }
  static constexpr text member_name(uint32_t index) {
    const text names = Names{}();
    uint32_t at = 0;
    while (true) {
      while (names[at] == ' ' || names[at] == ',') ++at;
      uint32_t end = at;
      while (end != names.size && names[end] != ',' && names[end] != ' ') ++end;
      if (index-- == 0) return part(names, at, end);
      at = end;
    }
  }
};

template <class T, class Visit, class Names>
constexpr type_tag<listed_fields<T, Visit, Names>> list_fields(Visit, Names) {
  return {};
}

template <uint32_t Fields, uint32_t Characters>
struct schema_storage {
  field fields[Fields + 1]{};
  char characters[Characters + 1]{};
};

template <class T>
constexpr schema_walk walk_members(schema_room room) {
  schema_walk walk;
  walk.room = room;
  walk.members<T>(nullptr, typename fields_of<T>::types{});
  return walk;
}

/// The descriptor of a registered type, with the storage that it points to.
template <class T>
struct CONTRAIL_DETAIL_HIDDEN type_table {
  static constexpr schema_walk size = walk_members<T>({});

  struct storage : schema_storage<size.fields, size.characters> {
    descriptor description;
    constexpr storage() {
      walk_members<T>({this->fields, this->characters});
      constexpr site_text site = typename decltype(contrail_event_type(type_tag<T>{}))::site{}();
      description = {binding_kind::event_type,
                     0,
                     type_name<T>(),
                     site.category,
                     site.file,
                     {},
                     site.line,
                     0,
                     this->fields,
                     static_cast<uint16_t>(size.fields)};
      hash id;
      id.add(description.name);
      for (uint32_t i = 0; i < size.fields; ++i) {
        const field& f = this->fields[i];
        id.add(f.name);
        id.add(static_cast<uint64_t>(f.type) << 40 | uint64_t{f.is_array} << 32 | uint64_t{f.offset} << 16 | f.count);
      }
      description.type_id = id.value != 0 ? id.value : 1;
    }
  };
  static constexpr storage value{};
};

template <class T>
inline constexpr const descriptor& type_descriptor = type_table<T>::value.description;

template <class Event, class Member>
constexpr bool check_member() {
  static_assert(
      is_recordable<Member>,
      "contrail: a member of this event type cannot be recorded: register the member's type too, before, with "
      "TRACE_EVENT_TYPE(type, field, ...), or list the other members only.");
  return is_recordable<Member>;
}
template <class Event, class... Members>
constexpr bool check_members(type_list<Members...>) {
  bool good = true;
  ((good = check_member<Event, Members>() && good), ...);
  return good;
}

/// What CONTRAIL_EVENT_TYPE puts into the linker's section.
template <class T>
constexpr const descriptor* registration() {
  static_assert(registered<T>, "contrail: write TRACE_EVENT_TYPE in the namespace of the type, after its definition.");
  if constexpr (registered<T>) {
    constexpr bool complete = requires { sizeof(fields_of<T>); };
    static_assert(complete,
                  "contrail: to register a type without a list of its fields, include <contrail/pfr.hpp> "
                  "(Boost.PFR) before; or list them: TRACE_EVENT_TYPE(type, field, ...).");
    if constexpr (complete) {
      if constexpr (check_members<T>(typename fields_of<T>::types{})) {
        constexpr uint32_t bytes = type_table<T>::size.bytes;
        static_assert(bytes <= max_point_words * 8, "contrail: this event type is larger than a record, 2040 bytes.");
        return &type_descriptor<T>;
      }
    }
  }
  return nullptr;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/payload.hpp ===================================================================================
// Writes argument values into the words of a record, as detail/image.hpp lays a payload out.
#ifndef CONTRAIL_DETAIL_PAYLOAD_HPP
#define CONTRAIL_DETAIL_PAYLOAD_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

struct text_piece {
  const char* data;
  uint32_t size;
};

constexpr int128 greatest_common_divisor(int128 a, int128 b) { return b == 0 ? a : greatest_common_divisor(b, a % b); }

/// Signed nanoseconds, saturated, rounded towards zero as duration_cast does.
template <class Duration>
constexpr int64_t nanoseconds_of(const Duration& d) {
  constexpr int64_t max = 0x7fff'ffff'ffff'ffff;
  constexpr int64_t min = -max - 1;
  using rep = bare<decltype(d.count())>;
  const rep count = d.count();
  constexpr int128 ns_per_period_times_den = static_cast<int128>(Duration::period::num) * 1'000'000'000;
  constexpr int128 divisor = greatest_common_divisor(ns_per_period_times_den, Duration::period::den);
  constexpr int128 num = ns_per_period_times_den / divisor;
  constexpr int128 den = Duration::period::den / divisor;
  if constexpr (scalar_type<rep> >= field_type::float32) {
    const double ns = static_cast<double>(count) * (static_cast<double>(num) / static_cast<double>(den));
    return ns >= 0x1p63 ? max : ns <= -0x1p63 ? min : ns != ns ? 0 : static_cast<int64_t>(ns);
  } else {
    int64_t periods = static_cast<int64_t>(count);
    if constexpr (rep(-1) > rep{} || sizeof(rep) > 8) {
      if (count > static_cast<rep>(max)) periods = max;
      if constexpr (rep(-1) < rep{}) {
        if (count < static_cast<rep>(min)) periods = min;
      }
    }
    if constexpr (num > max) {
      return periods > 0 ? max : periods < 0 ? min : 0;
    } else if constexpr (den == 1) {
      int64_t ns = 0;
      if (!__builtin_mul_overflow(periods, static_cast<int64_t>(num), &ns)) return ns;
      return periods > 0 ? max : min;
    } else if constexpr (num == 1) {
      return periods / static_cast<int64_t>(den);
    } else {  // 64 by 64 bits cannot overflow 128, and needs no function that only compiler-rt has
      const int128 ns = static_cast<int128>(periods) * num / den;
      return ns > max ? max : ns < min ? min : static_cast<int64_t>(ns);
    }
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstringop-overread"  // of a short local array: memchr stops at its NUL
#endif
/// Characters before the first NUL, at most `limit`.
CONTRAIL_DETAIL_ALWAYS_INLINE uint32_t bounded_length(const char* s, uint32_t limit) {
  const void* const nul = __builtin_memchr(s, 0, limit);
  return nul != nullptr ? static_cast<uint32_t>(static_cast<const char*>(nul) - s) : limit;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// How much to keep of a text that is longer than the `room` for it: no broken UTF-8 sequence at its end.
// Async-signal-safe.
CONTRAIL_DETAIL_HIDDEN CONTRAIL_DETAIL_COLD inline uint32_t cut_text(const char* data, uint32_t room) {
  uint32_t size = room;
  while (size != 0 && room - size < 3 && (static_cast<unsigned char>(data[size]) & 0xc0) == 0x80) --size;
  return (static_cast<unsigned char>(data[size]) & 0xc0) == 0x80 ? room : size;
}

/// 1 to 7 characters as a word, the first in its low byte. Overlapping loads read neither before nor behind them, and a
/// loop over the characters would cost some 5 ns more for a text of 15.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t short_text(const char* from, uint32_t size) {
  if (size >= 4) {
    uint32_t first;
    uint32_t last;
    __builtin_memcpy(&first, from, 4);
    __builtin_memcpy(&last, from + size - 4, 4);
    return first | static_cast<uint64_t>(last) << (8 * size - 32);
  }
  const uint64_t first = static_cast<unsigned char>(from[0]);
  const uint64_t middle = static_cast<unsigned char>(from[size / 2]);
  const uint64_t last = static_cast<unsigned char>(from[size - 1]);
  return first | middle << (size / 2 * 8) | last << (size * 8 - 8);
}

/// Appends the tail to a fixed part of `used` bytes, whose last, unfinished word is `word`; returns words in all.
// Async-signal-safe.
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned append_pieces(atomic_word* out, unsigned used, uint64_t word,
                                                     const text_piece* pieces, unsigned count) {
  atomic_word* to = out + used / 8;
  unsigned filled = used % 8 * 8;  // bits of `word`
  for (unsigned i = 0; i < count; ++i) {
    const char* from = pieces[i].data;
    uint32_t left = pieces[i].size;
    for (; left >= 8; from += 8, left -= 8) {
      uint64_t next;
      __builtin_memcpy(&next, from, 8);
      (to++)->store_relaxed(word | next << filled);
      word = next >> 1 >> (63 - filled);  // in two steps: a shift by 64 is undefined
    }
    if (left == 0) continue;
    const uint64_t next = short_text(from, left);
    word |= next << filled;
    filled += 8 * left;
    if (filled >= 64) {
      (to++)->store_relaxed(word);
      filled -= 64;
      word = filled != 0 ? next >> (8 * left - filled) : 0;
    }
  }
  if (filled != 0) (to++)->store_relaxed(word);
  return static_cast<unsigned>(to - out);
}

CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) inline unsigned append_texts(atomic_word* out, unsigned used,
                                                                              uint64_t word, const text_piece* pieces,
                                                                              unsigned count) {
  return append_pieces(out, used, word, pieces, count);
}

/// The same for a single text, which then travels in registers.
CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) inline unsigned append_text(atomic_word* out, unsigned used,
                                                                             uint64_t word, const char* data,
                                                                             uint32_t size) {
  const text_piece piece{data, size};
  return append_pieces(out, used, word, &piece, 1);
}

/// Puts values into words one after the other. Every offset is a constant once this is inlined, so that two ints
/// become one shift, one or, one store; going through memory would cost a failed store forwarding.
struct payload_writer {
  atomic_word* out;
  text_piece* pieces = nullptr;
  uint32_t room = 0;  ///< bytes left for texts, less than string_cut
  uint32_t used = 0;  ///< bytes of the fixed part so far
  uint64_t word = 0;  ///< the word at used / 8, as far as it is filled

  CONTRAIL_DETAIL_ALWAYS_INLINE void align(uint32_t bytes) {
    const uint32_t at = (used + bytes - 1) & ~(bytes - 1);
    if (at / 8 != used / 8) flush();
    used = at;
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void flush() {
    if (used % 8 != 0) {
      out[used / 8].store_relaxed(word);
      word = 0;
    }
  }
  template <uint32_t Bytes>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_bits(uint64_t bits) {
    align(Bytes);
    if constexpr (Bytes == 8) {
      out[used / 8].store_relaxed(bits);
      used += 8;
    } else {
      word |= bits << (8 * (used % 8));
      used += Bytes;
      if (used % 8 == 0) {
        out[used / 8 - 1].store_relaxed(word);
        word = 0;
      }
    }
  }

  CONTRAIL_DETAIL_ALWAYS_INLINE void put_text(const char* data, size_type size) {
    uint32_t kept = static_cast<uint32_t>(size);
    uint32_t cut = 0;
    if (__builtin_expect(size > room, 0)) {
      kept = cut_text(data, room);
      cut = string_cut;
    }
    room -= kept;
    *pieces++ = {data, kept};
    put_bits<2>(kept | cut);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_c_string(const char* data) {
    if (data == nullptr) return put_text("(null)", 6);
    put_text(data, bounded_length(data, room + 1));  // one more than there is room for shows that it was cut
  }

  template <class T>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_scalar(T value) {
    constexpr field_type type = scalar_type<T>;
    if constexpr (type == field_type::float32) {
      put_bits<4>(__builtin_bit_cast(uint32_t, value));
    } else if constexpr (type == field_type::float64) {
      put_bits<8>(__builtin_bit_cast(uint64_t, static_cast<double>(value)));
    } else if constexpr (type == field_type::int128 || type == field_type::uint128) {
      put_bits<8>(static_cast<uint64_t>(value));
      put_bits<8>(static_cast<uint64_t>(value >> 64));
    } else if constexpr (type == field_type::code_point) {
      put_bits<4>(static_cast<uint32_t>(value));
    } else if constexpr (type == field_type::flow_out || type == field_type::flow_in) {
      put_bits<8>(value.id);
    } else if constexpr (sizeof(T) == 1) {
      put_bits<1>(static_cast<uint8_t>(value));
    } else if constexpr (sizeof(T) == 2) {
      put_bits<2>(static_cast<uint16_t>(value));
    } else if constexpr (sizeof(T) == 4) {
      put_bits<4>(static_cast<uint32_t>(value));
    } else {
      put_bits<8>(static_cast<uint64_t>(value));
    }
  }

  struct member_writer {
    payload_writer& writer;
    template <class... Members>
    CONTRAIL_DETAIL_ALWAYS_INLINE void operator()(const Members&... members) const {
      (writer.put(members), ...);
    }
  };

  template <class T>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put(const T& value) {
    using type = bare<T>;
    constexpr value_kind kind = kind_of<type>;
    if constexpr (kind == value_kind::scalar) {
      put_scalar<type>(value);
    } else if constexpr (kind == value_kind::enumeration) {
      put_scalar(static_cast<__underlying_type(type)>(value));
    } else if constexpr (kind == value_kind::duration) {
      put_bits<8>(static_cast<uint64_t>(nanoseconds_of(value)));
    } else if constexpr (kind == value_kind::function) {
      put_bits<8>(reinterpret_cast<uintptr_t>(&value));
    } else if constexpr (is_same<type, decltype(nullptr)>) {
      put_bits<8>(0);
    } else if constexpr (kind == value_kind::pointer) {
      put_bits<8>(reinterpret_cast<uintptr_t>(value));
    } else if constexpr (kind == value_kind::c_string) {
      put_c_string(reinterpret_cast<const char*>(value));
    } else if constexpr (kind == value_kind::char_array) {
      const char* const data = reinterpret_cast<const char*>(&value);
      put_text(data, bounded_length(data, sizeof(type)));
    } else if constexpr (kind == value_kind::sized_text) {
      put_text(reinterpret_cast<const char*>(value.data()), static_cast<size_type>(value.size()));
    } else if constexpr (kind == value_kind::array) {
      put_array<typename element<type>::type, element<type>::count>(value);
    } else if constexpr (kind == value_kind::array_object) {
      put_array<typename element<type>::type, element<type>::count>(value.data());
    } else if constexpr (kind == value_kind::aggregate) {
      fields_of<type>::visit(value, member_writer{*this});
    }
  }

  template <class Item, size_type Count>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_array(const Item* items) {
    if constexpr (is_leaf(kind_of<bare<Item>>)) {
      constexpr uint32_t bytes = bytes_of(leaf_type<bare<Item>>());
      align(bytes < 8 ? bytes : 8);
      const uint32_t after = used + bytes * static_cast<uint32_t>(Count);
      for (size_type i = 0; i < Count; ++i) put(items[i]);
      used = after;  // says again what is constant, which the loop has hidden from the compiler
    } else {
      for (size_type i = 0; i < Count; ++i) put(items[i]);
    }
  }

  CONTRAIL_DETAIL_ALWAYS_INLINE unsigned finish() {
    flush();
    return (used + 7) / 8;
  }
};

/// Writes the values' payload to `out`, which holds `capacity_words`: at least payload<Args...>::fixed_words, at
/// most max_point_words. Returns the words used. Texts are cut to the room that is left.
// Async-signal-safe.
template <class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned encode(atomic_word* out, unsigned capacity_words, const Args&... args) {
  using layout = payload<Args...>;
  if constexpr (layout::is_fixed) {
    payload_writer writer{out};
    (writer.put(args), ...);
    static_cast<void>(capacity_words);
    return writer.finish();
  } else {
    text_piece pieces[layout::text_count];
    payload_writer writer{out, pieces, capacity_words * 8 - layout::fixed_bytes};
    (writer.put(args), ...);
    return append_texts(out, layout::fixed_bytes, writer.word, pieces, layout::text_count);
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What the arguments after a site's name are.
enum class argument_form : unsigned char { none, object, pairs, values };

template <binding_kind Kind, class... Args>
constexpr argument_form form_of() {
  if constexpr (sizeof...(Args) == 0)
    return argument_form::none;
  else if constexpr (Kind == binding_kind::log || (Kind == binding_kind::counter && sizeof...(Args) == 1))
    return argument_form::values;
  else if constexpr (sizeof...(Args) == 1)
    return argument_form::object;
  else
    return argument_form::pairs;
}

/// Folds over alternating keys and values without a template for each key:
/// `(key_turn<W>{w} << ... << type_tag<Args>{})` calls w.key() and w.template value<T>() in turn.
struct any_argument {};
template <class T>
struct argument : any_argument {};
template <class Walk>
struct value_turn;
template <class Walk>
struct key_turn {
  Walk& walk;
  constexpr value_turn<Walk> operator<<(any_argument) const;
};
template <class Walk>
struct value_turn {
  Walk& walk;
  template <class T>
  constexpr key_turn<Walk> operator<<(argument<T>) const {
    walk.template value<T>();
    return {walk};
  }
};
template <class Walk>
constexpr value_turn<Walk> key_turn<Walk>::operator<<(any_argument) const {
  return {walk};
}

struct pair_measure {
  schema_walk sizes;
  bool recordable = true;
  template <class T>
  constexpr void value() {
    recordable = recordable && is_recordable<T>;
    sizes.value<T>(field_path{nullptr, "x", 0});
  }
};

/// The same turns over arguments themselves.
struct value_to_put;
struct key_of_value {
  payload_writer& writer;
  CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put operator<<(const char*) const;
  CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put operator<<(const char8_t*) const;
};
struct value_to_put {
  payload_writer& writer;
  template <class T>
  CONTRAIL_DETAIL_ALWAYS_INLINE key_of_value operator<<(const T& value) const {
    writer.put(value);
    return {writer};
  }
};
CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put key_of_value::operator<<(const char*) const { return {writer}; }
CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put key_of_value::operator<<(const char8_t*) const { return {writer}; }

struct argument_size : payload_size {
  bool recordable = true;
};

/// The payload of a site's arguments after its name.
template <argument_form Form, class... Args>
constexpr argument_size measure_arguments() {
  pair_measure m;
  if constexpr (Form == argument_form::pairs) {
    if constexpr (sizeof...(Args) % 2 == 0) static_cast<void>((key_turn<pair_measure>{m} << ... << argument<Args>{}));
  } else {
    (m.value<Args>(), ...);
  }
  return {{m.sizes.fields, m.sizes.bytes, m.sizes.texts, m.sizes.characters}, m.recordable};
}
template <argument_form Form, class... Args>
inline constexpr argument_size size_of_arguments = measure_arguments<Form, Args...>();

template <class T>
constexpr bool is_counted() {
  if constexpr (!is_leaf(kind_of<T>))
    return false;
  else
    return leaf_type<T>() <= field_type::float64 || leaf_type<T>() == field_type::duration;
}

enum class site_mistake : unsigned char { none, name, keys };

/// Where the name and the keys of a site stand in its text.
template <uint32_t Keys>
struct parsed_site {
  site_mistake mistake = site_mistake::none;
  bool named_after_function = false;
  uint32_t characters = 0;  ///< of name and keys, decoded
  literal name;
  literal keys[Keys + 1];
};

template <uint32_t Keys>
constexpr parsed_site<Keys> parse_site(text arguments) {
  parsed_site<Keys> site;
  token_scanner scanner{arguments};
  character_sink count;
  scanner.skip_spaces();
  if (scanner.peek() == ':' && stands_at(arguments, scanner.at, "::contrail::detail::function_name_tag")) {
    site.named_after_function = true;
    while (!scanner.done() && scanner.peek() != ',') ++scanner.at;
  } else {
    site.name = scanner.take_literals();
    if (site.name.begin == site.name.end || (!scanner.done() && scanner.peek() != ',')) {
      site.mistake = site_mistake::name;
      return site;
    }
    decode(arguments, site.name, count);
  }
  ++scanner.at;
  for (uint32_t i = 0; i < Keys; ++i) {
    site.keys[i] = scanner.take_literals();
    if (site.keys[i].begin == site.keys[i].end || scanner.peek() != ',') {
      site.mistake = site_mistake::keys;
      return site;
    }
    decode(arguments, site.keys[i], count);
    ++scanner.at;
    scanner.skip_value();
  }
  if (Keys != 0 && !scanner.done()) site.mistake = site_mistake::keys;
  site.characters = count.size;
  return site;
}

/// The names of TRACE_LOG's arguments.
CONTRAIL_DETAIL_HIDDEN inline constexpr char log_argument_digits[] =
    "012345678910111213141516171819202122232425262728293031323334353637383940414243444546474849505152535455565758596061"
    "6263";
constexpr text log_argument_name(uint32_t index) {
  return index < 10 ? text{log_argument_digits + index, 1} : text{log_argument_digits + 10 + (index - 10) * 2, 2};
}

/// Walks arguments under their own names.
struct site_walk {
  schema_walk sizes;
  const text* names = nullptr;

  template <class T>
  constexpr void value() {
    sizes.value<T>(field_path{nullptr, *names++, 0});
  }
};

template <argument_form Form, class... Args>
constexpr schema_walk walk_arguments(const text* names, schema_room room) {
  site_walk w{{}, names};
  w.sizes.room = room;
  if constexpr (Form == argument_form::pairs) {
    static_cast<void>((key_turn<site_walk>{w} << ... << argument<Args>{}));
  } else {
    (w.value<Args>(), ...);
  }
  return w.sizes;
}

constexpr void decode_keys(text arguments, const literal* keys, uint32_t count, text* names, character_sink& sink) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t first = sink.size;
    decode(arguments, keys[i], sink);
    names[i] = {sink.out + first, sink.size - first};
  }
}

/// A descriptor with the fields and characters it points to. Few types, shared by many sites: a class of its own for
/// each site would cost 2 ms of compile time.
template <uint32_t Fields, uint32_t Characters>
struct site_constants {
  field fields[Fields + 1]{};
  char characters[Characters + 1]{};
  descriptor description;

  template <class Table>
  constexpr explicit site_constants(type_tag<Table>) {
    const site_text site = typename Table::site{}();
    character_sink sink{characters};
    description.kind = Table::kind;
    description.category = site.category;
    description.file = site.file;
    description.function = function_name(site.pretty_function);
    description.line = site.line;
    if (Table::parsed.named_after_function) {
      description.name = description.function;
    } else {
      decode(site.arguments, Table::parsed.name, sink);
      description.name = {characters, sink.size};
    }
    if constexpr (Fields != 0) {
      Table::fill(site.arguments, sink, fields, true);
      description.fields = fields;
      description.field_count = static_cast<uint16_t>(Fields);
    }
    if constexpr (Table::form == argument_form::object) {
      const descriptor& type = Table::object_type();
      description.type_id = type.type_id;
      description.fields = type.fields;
      description.field_count = type.field_count;
    }
  }
};

/// All constants of one call site. `Args` are the types after the name. Made only of sites without a mistake.
template <class Site, binding_kind Kind, class... Args>
struct CONTRAIL_DETAIL_HIDDEN site_table {
  using site = Site;
  static constexpr binding_kind kind = Kind;
  static constexpr argument_form form = form_of<Kind, Args...>();
  static constexpr uint32_t key_count = form == argument_form::pairs ? sizeof...(Args) / 2 : 0;
  static constexpr parsed_site<key_count> parsed = parse_site<key_count>(Site{}().arguments);

  static constexpr const descriptor& object_type() { return (type_descriptor<bare<Args>>, ...); }

  static constexpr schema_walk fill(text arguments, character_sink& sink, field* fields, bool writes) {
    text names[sizeof...(Args) + 1];
    if constexpr (form == argument_form::pairs) {
      decode_keys(arguments, parsed.keys, key_count, names, sink);
    } else if constexpr (Kind == binding_kind::log) {
      for (uint32_t i = 0; i < sizeof...(Args); ++i) names[i] = log_argument_name(i);
    } else {
      names[0] = "value";
    }
    return walk_arguments<form, Args...>(names, writes ? schema_room(fields, sink.out + sink.size) : schema_room());
  }
  static constexpr uint32_t field_count() {
    if constexpr (form == argument_form::pairs || form == argument_form::values) {
      return size_of_arguments<form, Args...>.fields;
    } else {
      return 0;
    }
  }
  /// Rounded up, so that fewer types are needed.
  static constexpr uint32_t character_count() {
    uint32_t composed = 0;
    if constexpr (field_count() != 0 && size_of_arguments<form, Args...>.characters != 0) {
      char decoded[parsed.characters + 1]{};
      character_sink sink{decoded};
      composed = fill(Site{}().arguments, sink, nullptr, false).characters;
    }
    return (parsed.characters + composed) | 15;
  }

  static constexpr site_constants<field_count(), character_count()> value{type_tag<site_table>{}};
};

template <class Site, binding_kind Kind, class... Args>
inline constexpr const descriptor& site_descriptor = site_table<Site, Kind, Args...>::value.description;

/// Refuses an argument that cannot be recorded; the type stands in the compiler's "required from".
template <class Argument>
constexpr bool check_argument() {
  static_assert(is_recordable<Argument>,
                "contrail: an argument of this type cannot be recorded: register the type with TRACE_EVENT_TYPE(type, "
                "field, ...), or pass a number, a text or a member of it instead.");
  return is_recordable<Argument>;
}
struct argument_check {
  bool good = true;
  template <class T>
  constexpr void value() {
    good = check_argument<T>() && good;
  }
};

struct number_check {
  bool good = true;
  template <class T>
  constexpr void value() {
    good = good && is_counted<bare<T>>();
  }
};
template <argument_form Form, class... Args>
constexpr bool all_numbers() {
  number_check check;
  if constexpr (Form == argument_form::pairs) {
    static_cast<void>((key_turn<number_check>{check} << ... << argument<Args>{}));
  } else {
    (check.value<Args>(), ...);
  }
  return check.good;
}

/// Whether an event's arguments are kept while it is open.
constexpr bool is_held(binding_kind kind) {
  return kind == binding_kind::region || kind == binding_kind::task || kind == binding_kind::async_span;
}
constexpr uint32_t capacity_words_of(binding_kind kind) {
  return is_held(kind) ? frame_payload_words : max_point_words;
}

/// The part of check_site that is the same for all sites with these types.
template <binding_kind Kind, argument_form Form, class... Args>
constexpr bool check_arguments() {
  constexpr argument_size size = size_of_arguments<Form, Args...>;
  argument_check check;
  if constexpr (!size.recordable) {
    if constexpr (Form == argument_form::pairs) {
      static_cast<void>((key_turn<argument_check>{check} << ... << argument<Args>{}));
    } else {
      (check.value<Args>(), ...);
    }
  }
  constexpr bool is_number = Kind != binding_kind::counter || !size.recordable || all_numbers<Form, Args...>();
  static_assert(is_number, "contrail: the value of a counter must be a number.");
  constexpr bool is_small = size.words() <= capacity_words_of(Kind);
  static_assert(is_small || !is_held(Kind),
                "contrail: the arguments of this region are too large: 160 bytes fit. Record a part of them, or all of "
                "them with TRACE_INSTANT, which takes 2040.");
  static_assert(is_small || is_held(Kind),
                "contrail: the arguments are too large for a record: 2040 bytes fit.");
  return size.recordable && is_number && is_small;
}

/// Refuses a call site with a mistake, in a sentence. False: do not go on, or the sentence drowns in other errors.
template <class Site, binding_kind Kind, class... Args>
constexpr bool check_site() {
  using table = site_table<Site, Kind, Args...>;
  constexpr argument_form form = table::form;
  constexpr site_mistake mistake = table::parsed.mistake;
  constexpr bool name = mistake != site_mistake::name;
  static_assert(name || Kind != binding_kind::region,
                "contrail: the name of a region must be a string literal; put a run-time name in an argument, as in "
                "TRACE_REGION(\"request\", \"path\", path).");
  static_assert(name || Kind != binding_kind::instant,
                "contrail: the name of an instant must be a string literal; put a run-time name in an argument, as in "
                "TRACE_INSTANT(\"request\", \"path\", path).");
  static_assert(name || Kind != binding_kind::counter, "contrail: the name of a counter must be a string literal.");
  static_assert(name || (Kind != binding_kind::task && Kind != binding_kind::async_span),
                "contrail: the name of a task must be a string literal; put a run-time name in an argument, as in "
                "TRACE_TASK(t, \"request\", \"path\", path).");
  static_assert(name || Kind != binding_kind::frame_mark, "contrail: the name of a frame must be a string literal.");
  static_assert(
      name || Kind != binding_kind::log,
      "contrail: the format of a log line must be a string literal; put a run-time text in an argument, as in "
      "TRACE_LOG(\"{}\", text).");
  constexpr bool keys = mistake != site_mistake::keys;
  constexpr bool even = form != argument_form::pairs || sizeof...(Args) % 2 == 0;
  static_assert(even, "contrail: a key or a value is missing: arguments after the name are \"key\", value, ...");
  static_assert(
      keys || !even,
      "contrail: a key must be a string literal: arguments after the name are \"key\", value, ... (If all keys "
      "are, put the value that holds a comma before a string literal in parentheses.)");
  constexpr bool object = form != argument_form::object || (... && (kind_of<bare<Args>> == value_kind::aggregate));
  static_assert(object,
                "contrail: a single argument after the name must be an object of a type registered with "
                "TRACE_EVENT_TYPE; other values need a key before them: \"key\", value.");
  constexpr bool one_value = Kind != binding_kind::counter || sizeof...(Args) != 0;
  static_assert(one_value,
                "contrail: a counter takes its name and one value: TRACE_COUNTER(\"name\", value); or several series: "
                "TRACE_COUNTER(\"name\", \"key\", value, ...).");
  if constexpr (!(name && keys && even && object && one_value)) {
    return false;
  } else {
    return check_arguments<Kind, form, Args...>();
  }
}

/// Writes the payload of a site's arguments, which check_site has accepted: those after the name, keys and all.
/// Returns the words used, 0 to `capacity_words`, which is no less than they take without texts. Texts are cut to it.
// Async-signal-safe.
template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned encode_arguments(atomic_word* out, unsigned capacity_words,
                                                        const Args&... args) {
  constexpr argument_form form = form_of<Kind, Args...>();
  constexpr payload_size size = size_of_arguments<form, Args...>;
  text_piece pieces[size.texts + 1];
  payload_writer writer{out, pieces, capacity_words * 8 - size.bytes};
  if constexpr (form == argument_form::pairs) {
    static_cast<void>((key_of_value{writer} << ... << args));
  } else {
    (writer.put(args), ...);
  }
  if constexpr (size.texts == 0) {
    return writer.finish();
  } else if constexpr (size.texts == 1) {
    return append_text(out, size.bytes, writer.word, pieces[0].data, pieces[0].size);
  } else {
    return append_texts(out, size.bytes, writer.word, pieces, size.texts);
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// A constant range of fields.
struct field_list {
  const field* first = nullptr;
  uint32_t count = 0;

  constexpr const field* begin() const { return first; }
  constexpr const field* end() const { return first + count; }
  constexpr uint32_t size() const { return count; }
  constexpr const field& operator[](uint32_t i) const { return first[i]; }
};

/// What is known of a registered type; all members are constants.
template <class T>
struct event_info {
  static_assert(detail::registered<T>,
                "contrail: this type is not registered: write TRACE_EVENT_TYPE(type, field, ...) "
                "in its namespace.");
  /// Qualified by its namespaces.
  static constexpr text name = detail::type_descriptor<T>.name;
  /// A stable hash of the name and of all fields' names, types and offsets: equal in all builds by one compiler.
  static constexpr uint64_t id = detail::type_descriptor<T>.type_id;
  /// Bytes of the fixed part of its payload; strings add their characters behind it.
  static constexpr uint32_t size = detail::type_table<T>::size.bytes;
  /// With nested aggregates flattened; offsets are those in the payload.
  static constexpr field_list fields{detail::type_descriptor<T>.fields, detail::type_descriptor<T>.field_count};
  static constexpr text category = detail::type_descriptor<T>.category;
  static constexpr text file = detail::type_descriptor<T>.file;
  static constexpr uint32_t line = detail::type_descriptor<T>.line;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The event types that one shared object registers. Its constructor links it into the process's list.
struct type_range {
  const descriptor* const* begin = nullptr;
  const descriptor* const* end = nullptr;
  type_range* next = nullptr;
};

/// Head of the process's list of type_ranges; null while it is empty. Defined in detail/process.hpp.
type_range* first_type_range();

// The linker defines these around the section; weak, since an object without event types has no such section.
extern const descriptor* const first_registered_type[] __asm__("__start_contrail_types")
    __attribute__((weak, visibility("hidden")));
extern const descriptor* const end_of_registered_types[] __asm__("__stop_contrail_types")
    __attribute__((weak, visibility("hidden")));

/// Of the shared object that this is linked into.
CONTRAIL_DETAIL_HIDDEN inline type_range own_type_range() {
  return {first_registered_type, end_of_registered_types, nullptr};
}

}  // namespace detail
/// All event types of the program: of the executable and of all shared objects loaded now, each once. Usable before
/// main. Do not iterate while another thread unloads a shared object.
class CONTRAIL_DETAIL_HIDDEN registry {
 public:
  class iterator {
   public:
    explicit iterator(const detail::type_range* range) : range_(range), at_(range != nullptr ? range->begin : nullptr) {
      skip();
    }
    const descriptor& operator*() const { return **at_; }
    const descriptor* operator->() const { return *at_; }
    iterator& operator++() {
      ++at_;
      skip();
      return *this;
    }
    bool operator==(const iterator& other) const { return range_ == other.range_ && at_ == other.at_; }
    bool operator!=(const iterator& other) const { return !(*this == other); }

   private:
    void skip() {
      while (range_ != nullptr) {
        if (at_ == range_->end) {
          range_ = range_->next;
          at_ = range_ != nullptr ? range_->begin : nullptr;
        } else if (*at_ == nullptr || was_before()) {
          ++at_;
        } else {
          return;
        }
      }
    }
    bool was_before() const {
      for (const detail::type_range* r = detail::first_type_range(); r != nullptr; r = r->next) {
        for (const descriptor* const* d = r->begin; d != r->end; ++d) {
          if (d == at_) return false;
          if (*d != nullptr && (*d)->type_id == (*at_)->type_id) return true;
        }
      }
      return false;
    }

    const detail::type_range* range_;
    const descriptor* const* at_;
  };

  iterator begin() const { return iterator(detail::first_type_range()); }
  iterator end() const { return iterator(nullptr); }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <dlfcn.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Of the structures in this header and in image.hpp, which all objects of a process share, and of what the functions of
/// slow_half take. Objects with another number do not join.
inline constexpr uint64_t layout_version = 5;

/// A call site's cached word, less its object's epoch, is its site word (id and tag, 18 bits) while it is bound and on;
/// else it is negative: site_off while it is known to be off, site_slow where every record goes the slow way, less in a
/// later epoch.
inline constexpr uint64_t site_off = ~uint64_t{0};
inline constexpr uint64_t site_slow = site_off - 1;
inline constexpr uint64_t epoch_step = 1ULL << 19;

/// Where everything of one image is in memory; it stands in the image's second page.
struct image_view {
  superblock* super;
  thread_slot* slots;
  uint64_t slot_count;
  atomic_word* chunk_states;
  chunk* chunks;
  uint64_t chunk_count;
  uint32_t* binding_index;  ///< by id: offset in the arena plus 1; entry 0 is the overflow binding's
  uint64_t id_count;
  char* arena;
  uint64_t arena_bytes;
  atomic_word* binding_hashes;  ///< open addressing: content hash with the id in its low 16 bits
  uint64_t hash_count;          ///< a power of two
  span_entry* spans;
  uint64_t span_count;
  char* scratch;
  uint64_t scratch_bytes;
  uint64_t image_bytes;
  uint64_t generation;    ///< of this image in the process, from 1
  uint64_t is_shared;     ///< 1: a file's pages. Whatever forks must map private memory over them in the child
  image_view* replaced;   ///< the image before this one; it stays mapped
  // Of a file: for a start that may go on in it, and for a child that wants one of its own.
  uint64_t device;
  uint64_t inode;
  uint64_t keep_files;
  char file[1024];
  char file_pattern[1024];
  atomic_word retired;    ///< 1 once another image took over
  atomic_word slot_hand;  ///< where the next attach begins to look
  atomic_word no_slot_until;   ///< ticks before which looking for a slot again is pointless
  atomic_word no_chunk_until;  ///< the same for chunks
  atomic_word watch;      ///< const recycling_watch*, once there was a session or a trigger
  atomic_word sessions;   ///< session_marks* of session_marks.hpp
  atomic_word session_count;  ///< that run
};

/// What sessions and triggers have to do with chunks that are recycled, and triggers with regions of a time epoch or
/// more: in session_marks.hpp, which only their users compile.
struct recycling_watch {
  bool (*is_held_back)(const image_view& image, uint64_t chunk_index, uint64_t ticket);
  void (*count)(const image_view& image, uint64_t chunk_index, uint64_t ticket);
  void (*note_long_region)(const image_view& image, uint64_t chunk_index, uint64_t ticks);
};

inline constexpr size_t filter_bytes = 256;

/// A list of globs that threads may read while it is replaced. Who reads a mixture of old and new stores what follows
/// from it under the old epoch, which is over before anybody looks.
struct filter_list {
  atomic_word words[filter_bytes / 8];

  void store(const char* list, size_t size) {
    char bytes[filter_bytes] = {};
    memcpy(bytes, list, size);
    for (size_t i = 0; i < filter_bytes / 8; ++i) {
      uint64_t word;
      memcpy(&word, bytes + 8 * i, 8);
      words[i].store_relaxed(word);
    }
  }
  void load(char (&list)[filter_bytes]) const {
    for (size_t i = 0; i < filter_bytes / 8; ++i) {
      const uint64_t word = words[i].load_relaxed();
      memcpy(list + 8 * i, &word, 8);
    }
    list[filter_bytes - 1] = '\0';
  }
};

class dump_output;
struct object_root;
struct call_site;
struct process_state;

/// An open task or span as its owner holds it. Visible, as the tasks are that hold it.
struct [[gnu::visibility("default")]] open_span {
  span_entry* at = nullptr;
  task_context context{};
};

/// What is the running thread's and the calling object's own: handed to the slow half, which another object may hold.
struct caller {
  frame** next_frame;
  object_root* object;
};

/// A place for a region or a point: `at` is null when there is nothing to record, `word` is the site's id and tag.
struct claim {
  frame* at;
  uint64_t word;
};

/// Stands above the words of payload of a span that is a task, see slow_half.
inline constexpr unsigned span_is_task = 1U << 31;

/// The slow half of recording. Only a translation unit that calls flight_recorder::start compiles it, and every object
/// of the process calls it through this table: a translation unit that only records costs a fraction to compile.
struct slow_half {
  claim (*claim_frame)(caller from, call_site& site, uint64_t stack_pointer);
  void (*end_region)(caller from, frame* at, uint64_t word, unsigned words);
  void (*roll_chunk)(frame* at, uint64_t ticks);
  void (*write_point)(frame* at, uint64_t word, uint64_t stack_pointer, uint64_t* record, unsigned words);
  void (*name_thread)(caller from, const char* name, size_t size);
  /// `form`: the words of payload, and span_is_task.
  open_span (*begin_span)(caller from, call_site& site, const task_context* parent, const atomic_word* payload,
                          unsigned form);
  void (*end_span)(caller from, span_entry* at, uint64_t id);
  uint64_t (*set_current_task)(caller from, uint64_t id);
  void (*object_loaded)(object_root& object);
  /// Only in the table of contrail/env.hpp, which stands here until the first start: begins what the environment asks
  /// for, if it asks for anything, and says whether a recorder runs now. Held: control.
  bool (*start_from_environment)(process_state& process, const options& wanted);
};

/// Keeps what the kernel tells of threads, and copies it into dumps. Its functions are in contrail/thread_states.hpp,
/// which only their users compile. All but `open` and `close` are async-signal-safe.
struct state_functions : thread_state_source {
  /// Begins; says in the image what became of it. Held: control.
  void (*open)(superblock& live);
  void (*close)();
  /// In a forked child: gives up what it inherited.
  void (*forget)();
  /// How many buffers there are.
  uint64_t (*count)();
  /// Into `room`, for each buffer, the bytes that a copy of what it holds since `since_ns` needs; the sum of all.
  uint64_t (*measure)(uint64_t* room, uint64_t count, uint64_t since_ns);
  /// Writes as much of each buffer, and its switch_buffer behind it; `offset` is where in the dump.
  void (*copy)(dump_output& output, uint64_t offset, const uint64_t* room, uint64_t count);
  /// What a thread does now.
  thread_state (*state_of)(uint32_t tid);
};

/// The state of the recorder. Only the elected object's instance is in use.
struct process_state {
  atomic_word image;      ///< image_view*; stays after stop, since threads may still hold frames in it
  atomic_word recording;  ///< 1 between start and stop
  atomic_word recordings; ///< how many began
  atomic_word epoch{epoch_step};  ///< multiples of epoch_step; changes with start, stop, fork and filters
  atomic_word control;    ///< lock of start, stop, set_filter and the linking of objects; never taken while recording
  atomic_word dumping;    ///< whose turn it is to write a dump, see thread_id.hpp
  atomic_word dump_count;
  atomic_word window_ns;
  atomic_word hardware_clock;  ///< 1: ticks are the processor's counter; 0: CLOCK_MONOTONIC
  atomic_word tick_hz;
  atomic_word start_ticks;  ///< when the recording began
  atomic_word forked;  ///< 1 in a child that inherited a recording
  atomic_word follow_fork;  ///< what a forked child does, see fork.hpp; 0: it records nothing
  atomic_word crash;   ///< crash_state* of crash.hpp, once anybody asked for dumps of crashes
  atomic_word stacks;  ///< stack_pool* of crash_stack.hpp, likewise
  atomic_word slow_table;  ///< const slow_half*, set by the first start, before the epoch that sends anybody there
  atomic_word thread_states;  ///< const state_functions*, of a recording that has one
  atomic_word environment;  ///< whether the variable CONTRAIL was read: environment_unread and so on
  type_range* objects;  ///< object_root::types of every object
  filter_list categories;
  filter_list names;
};

/// What every shared object that uses contrail has one of.
struct object_root {
  uint64_t layout = layout_version;
  atomic_word epoch{epoch_step};  ///< copy of process_state::epoch, near the code that compares with it
  atomic_word joined;             ///< process_state*; 0 before the election
  type_range types{};             ///< also the link of the process's list of objects
  process_state process{};
};

extern "C" {
CONTRAIL_DETAIL_HIDDEN __attribute__((used)) inline constinit object_root contrail_v0_object_root{};
}

// One note per object, whatever its number of translation units; the linker keeps notes, also with --gc-sections.
asm(".pushsection .note.contrail,\"aG\",%note,contrail_v0_note,comdat\n"
    ".balign 4\n"
    ".long 9, 4, 1\n"
    ".asciz \"contrail\"\n"
    ".balign 4\n"
    ".long contrail_v0_object_root - .\n"
    ".popsection\n");

inline object_root& own_object() { return contrail_v0_object_root; }

inline object_root& object_of(type_range& types) {
  return *reinterpret_cast<object_root*>(reinterpret_cast<char*>(&types) - __builtin_offsetof(object_root, types));
}

// ---- election ------------------------------------------------------------------------------------------------

// <link.h> takes 5 ms to compile, for two structures of the ELF ABI and this function.
struct elf_segment {
  static constexpr uint32_t note = 4;
  uint32_t type;
  uint32_t flags;
  uint64_t offset;
  uint64_t address;
  uint64_t physical_address;
  uint64_t file_bytes;
  uint64_t memory_bytes;
  uint64_t alignment;
};
struct loaded_object {
  uint64_t address;
  const char* name;
  const elf_segment* segments;
  uint16_t segment_count;
};
int for_each_object(int (*visit)(loaded_object*, size_t, void*), void* context) __asm__("dl_iterate_phdr")
    __attribute__((visibility("default")));

/// dl_iterate_phdr's callback: stops at the first object with a contrail note and stores its root.
CONTRAIL_DETAIL_UNOPTIMISED inline int find_root(loaded_object* object, size_t, void* found) noexcept {
  for (int i = 0; i < object->segment_count; ++i) {
    const elf_segment& segment = object->segments[i];
    // Linkers keep notes of different alignment in segments of their own; ours is aligned to 4.
    if (segment.type != elf_segment::note || segment.alignment > 4) continue;
    const uint32_t* at = reinterpret_cast<const uint32_t*>(object->address + segment.address);
    const uint32_t* const end = at + segment.memory_bytes / 4;
    // A note is the sizes of its name and its content, its type, the name, the content.
    for (; end - at > 6; at += 3 + (at[0] + 3) / 4 + (at[1] + 3) / 4) {
      if (at[0] != 9 || memcmp(at + 3, "contrail", 9) != 0) continue;
      const char* const content = reinterpret_cast<const char*>(at + 6);
      *static_cast<const char**>(found) = content + static_cast<int32_t>(at[6]);
      return 1;
    }
  }
  return 0;
}

/// The process's state, electing it at the first call. Null when the elected object has another layout version.
/// Not async-signal-safe at the first call (dl_iterate_phdr), which the ELF constructor makes.
CONTRAIL_DETAIL_UNOPTIMISED inline process_state* join_process() noexcept {
  object_root& own = own_object();
  if (const uint64_t joined = own.joined.load_acquire()) return reinterpret_cast<process_state*>(joined);
  object_root* root = nullptr;
  for_each_object(find_root, &root);
  if (root == nullptr) root = &own;  // a linker that dropped the note: alone, but working
  if (root->layout != layout_version) return nullptr;
  own.joined.store_release(reinterpret_cast<uint64_t>(&root->process));
  return &root->process;
}

/// The process's state if this object has joined it, else null.
// Async-signal-safe.
inline process_state* joined_process() { return reinterpret_cast<process_state*>(own_object().joined.load_acquire()); }

/// Keeps the shared object that holds `address` loaded for the rest of the process.
CONTRAIL_DETAIL_UNOPTIMISED inline void pin_object(const void* address) noexcept {
  Dl_info object{};
  if (dladdr(address, &object) == 0 || object.dli_fname == nullptr) return;
  dlopen(object.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

// ---- control -------------------------------------------------------------------------------------------------

/// The running thread as the kernel knows it. Keeps errno: a sandbox may refuse the call.
// Async-signal-safe.
inline uint32_t current_tid() {
  const errno_keeper keep;
  return static_cast<uint32_t>(syscall(SYS_gettid));
}

/// In process_state::control, above the thread that holds it: it does so for a fork.
inline constexpr uint64_t fork_mark = 1ULL << 32;

/// Waits until this thread holds control, as `own`: its id, with a mark or without. Where it holds it already, a
/// handler left what had it by a jump, or a hook of its fork calls; then it stays as it is.
// Async-signal-safe.
inline void take_control(process_state& process, uint64_t own) {
  uint64_t found = 0;
  while (!process.control.compare_exchange(found, own) && static_cast<uint32_t>(found) != static_cast<uint32_t>(own)) {
    found = 0;
    sched_yield();
  }
}
// Async-signal-safe.
inline void give_control(process_state& process, uint64_t own) { process.control.compare_exchange(own, 0); }

/// Holds the lock of start, stop, set_filter, and of objects that come and go. Nothing that records, attaches, binds or
/// dumps takes it. A handler takes it only to fork.
class control_lock {
 public:
  explicit control_lock(process_state& process) noexcept : process_(process) { take_control(process, own_); }
  ~control_lock() { give_control(process_, own_); }
  control_lock(const control_lock&) = delete;
  control_lock& operator=(const control_lock&) = delete;

 private:
  process_state& process_;
  // A handler may fork before it is taken: then it is the parent's in the child too.
  const uint64_t own_ = current_tid();
};

/// Makes every call site of every object ask again whether it is on. Regions in flight are not touched. Held: control.
inline void begin_epoch(process_state& process) {
  const uint64_t epoch = process.epoch.load_relaxed() + epoch_step;
  process.epoch.store_release(epoch);
  for (type_range* object = process.objects; object != nullptr; object = object->next) {
    object_of(*object).epoch.store_release(epoch);
  }
}

/// Of process_state::environment. It stays environment_started until the program itself calls start.
inline constexpr uint64_t environment_unread = 0, environment_read = 1, environment_started = 2;

/// Whether anything was started. Until then a table of contrail/env.hpp may wait in its place.
inline bool has_slow_half(const process_state& process) {
  const slow_half* const table = reinterpret_cast<const slow_half*>(process.slow_table.load_acquire());
  return table != nullptr && table->start_from_environment == nullptr;
}

inline const state_functions* thread_states_of(const process_state& process) {
  return reinterpret_cast<const state_functions*>(process.thread_states.load_acquire());
}

inline image_view* current_image(const process_state& process) {
  return reinterpret_cast<image_view*>(process.image.load_acquire());
}

// ---- time ----------------------------------------------------------------------------------------------------

/// Ticks now, by the clock this process uses: the processor's counter only where the kernel trusts it.
// Async-signal-safe.
inline uint64_t now_ticks(const process_state& process) {
  return __builtin_expect(process.hardware_clock.load_relaxed() != 0, 1) ? hardware_ticks()
                                                                          : kernel_clock_ns(CLOCK_MONOTONIC);
}

/// The same moment on four clocks, within some 100 ns. A thread that is preempted between two of them would put them
/// apart by milliseconds, so the best of a few tries counts.
// Async-signal-safe.
inline clock_anchor take_anchor(const process_state& process) {
  clock_anchor best{};
  uint64_t shortest = ~uint64_t{0};
  constexpr uint64_t good_enough_ticks = 1024;
  for (int i = 0; i < 4 && shortest > good_enough_ticks; ++i) {
    clock_anchor anchor{};
    const uint64_t before = now_ticks(process);
    anchor.monotonic_ns = kernel_clock_ns(CLOCK_MONOTONIC);
    anchor.realtime_ns = kernel_clock_ns(CLOCK_REALTIME);
    anchor.boottime_ns = kernel_clock_ns(CLOCK_BOOTTIME);
    const uint64_t took = now_ticks(process) - before;
    if (took >= shortest) continue;
    shortest = took;
    // The monotonic clock was read a sixth of the way.
    anchor.ticks = before + took / 6;
    best = anchor;
  }
  return best;
}

// ---- ids ------------------------------------------------------------------------------------------------------

/// Makes numbers that follow each other into numbers that look random, each into another one.
inline uint64_t scramble(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9U;
  x = (x ^ x >> 27) * 0x94d0'49bb'1331'11ebU;
  x ^= x >> 31;
  return x != 0 ? x : 1;
}

// ---- registered types ----------------------------------------------------------------------------------------

/// All objects' registered types, for contrail::registry.
inline type_range* first_type_range() {
  process_state* process = join_process();
  return process == nullptr ? nullptr : process->objects;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Adds this shared object to the process's list, once.
CONTRAIL_DETAIL_UNOPTIMISED inline void link_object() noexcept {
  object_root& own = own_object();
  process_state* const process = join_process();
  if (process == nullptr) return;
  // The elected object holds everybody's state: it must not go before this one does. Before the lock, since the dynamic
  // linker has one of its own.
  if (process != &own.process) pin_object(process);
  const control_lock lock(*process);
  for (const type_range* object = process->objects; object != nullptr; object = object->next) {
    if (object == &own.types) return;
  }
  own.types = own_type_range();
  own.types.next = process->objects;
  process->objects = &own.types;
  if (const uint64_t slow = process->slow_table.load_relaxed()) {
    reinterpret_cast<const slow_half*>(slow)->object_loaded(own);
  }
}

CONTRAIL_DETAIL_UNOPTIMISED inline void unlink_object() noexcept {
  object_root& own = own_object();
  process_state* const process = joined_process();
  // The elected object is pinned, or nothing else is left to use its state.
  if (process == nullptr || process == &own.process) return;
  const control_lock lock(*process);
  type_range** link = &process->objects;
  while (*link != nullptr && *link != &own.types) link = &(*link)->next;
  if (*link != nullptr) *link = own.types.next;
}

template <class>
struct always_void {
  using type = void;
};

/// Links this object when it is loaded. A template, so that only translation units compile it that use contrail:
/// whatever needs the object linked calls `require`.
template <class>
struct object_link {
  __attribute__((constructor(101), used)) static void on_load() { link_object(); }
  __attribute__((destructor(101), used)) static void on_unload() { unlink_object(); }

  CONTRAIL_DETAIL_ALWAYS_INLINE static constexpr void require() {
    (void)&on_load;
    (void)&on_unload;
  }
  /// What a call site's word is before its first hit.
  static constexpr uint64_t unbound_word() {
    require();
    return epoch_step + site_off;
  }
};

/// The object_link of a template with parameter T. Dependent on it, since compilers evaluate what is not while they
/// parse the template.
template <class T>
using object_link_for = object_link<typename always_void<T>::type>;

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What a macro leaves at its call site.
struct call_site {
  atomic_word word{epoch_step + site_off};  ///< see site_word_mask
  const descriptor* what;
  atomic_word bound{};  ///< image generation << 18 | id and tag, 0: not bound yet
};

/// Stands where a thread has no slot, so that its first begin takes the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit frame detached_frame{{}, {}, {frame_busy}, {}, {}};

/// This thread's next free frame. 8 bytes of static TLS per shared object, and no more: glibc's reserve is small.
CONTRAIL_DETAIL_HIDDEN inline thread_local constinit frame* next_frame
    __attribute__((tls_model(CONTRAIL_TLS_MODEL))) = &detached_frame;

/// As signed numbers.
CONTRAIL_DETAIL_ALWAYS_INLINE bool is_less(uint64_t a, uint64_t b) {
  return static_cast<int64_t>(a) < static_cast<int64_t>(b);
}

/// An open region as its owner holds it: the frame, and the word that the frame had then.
struct open_region {
  frame* at;
  uint64_t word;
};

inline caller this_caller() { return {&next_frame, &own_object()}; }

/// The slow half; there is one once anything was started, and nothing calls it before.
inline const slow_half& the_slow_half() {
  return *reinterpret_cast<const slow_half*>(joined_process()->slow_table.load_acquire());
}

/// The caller's stack pointer in a function that is not inlined.
#define CONTRAIL_DETAIL_CALLERS_STACK_POINTER() reinterpret_cast<uint64_t>(__builtin_dwarf_cfa())

CONTRAIL_DETAIL_ALWAYS_INLINE void store_stack_pointer(atomic_word& to) {
#if defined(__x86_64__)
  asm volatile("movq %%rsp, %0" : "=m"(to.value));
#elif defined(__aarch64__)
  uint64_t pointer;
  asm volatile("mov %0, sp" : "=r"(pointer));
  to.store_relaxed(pointer);
#endif
}

/// mark_point with the running function's own stack pointer.
CONTRAIL_DETAIL_ALWAYS_INLINE void mark_point_here(frame& at) {
  uint64_t mark = 0;
#if defined(__x86_64__)
  asm volatile("movq %%rsp, %0\n\tbtsq $62, %0" : "=r"(mark) : : "cc");
#elif defined(__aarch64__)
  asm volatile("mov %0, sp" : "=r"(mark));
  mark |= point_mark;
#endif
  at.start_ticks.store_relaxed(mark);
}

template <class T>
inline constexpr bool is_array_type = false;
template <class T, size_t Size>
inline constexpr bool is_array_type<T[Size]> = true;

template <class T>
constexpr bool passes_by_value() {
  if constexpr (__is_trivially_copyable(T)) return !is_array_type<T> && sizeof(T) <= 16;
  else return false;
}
template <class T, bool ByValue = passes_by_value<T>()>
struct parameter {
  using type = const T&;
};
template <class T>
struct parameter<T, true> {
  using type = T;
};

/// How an argument travels into a function that is not inlined: small plain ones by value, so that the caller's
/// variable may stay in a register on the quick path.
template <class T>
using parameter_type = typename parameter<T>::type;

/// The payload of a site whose arguments after the name are `Args`, keys and all.
template <binding_kind Kind, class... Args>
inline constexpr payload_size payload_of = size_of_arguments<form_of<Kind, Args...>(), Args...>;

// ---- regions -------------------------------------------------------------------------------------------------

template <bool HasFields, class... Args>
CONTRAIL_DETAIL_COLD frame* begin_cold(call_site& site, unsigned* words, parameter_type<bare<Args>>... args) {
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const claim free = the_slow_half().claim_frame(this_caller(), site, stack_pointer);
  if (free.at == nullptr) return nullptr;
  frame* const at = free.at;
  next_frame = at + 1;
  signal_fence();
  __atomic_thread_fence(__ATOMIC_RELEASE);  // as in begin_inline
  const unsigned used = encode_arguments<binding_kind::region, Args...>(at->payload, frame_payload_words, args...);
  if (HasFields && used < frame_payload_words) at->payload[used].store_relaxed(0);
  if (words != nullptr) *words = used;
  const uint64_t start = now_ticks(*joined_process());
  at->stack_pointer.store_relaxed(stack_pointer);
  at->word.store_relaxed((start << duration_shift) - free.word);
  at->start_ticks.store_release(start);
  return at;
}

/// The result of begin_cold: only on that path is the frame's word read back, so that both are scalars.
CONTRAIL_DETAIL_ALWAYS_INLINE open_region opened_at(frame* at) {
  return {at, at != nullptr ? at->word.load_relaxed() : 0};
}

/// Opens a region. `words` receives the length of its payload when that is not fixed; else it is null. With `HasFields`
/// a 0 behind the payload ends the fields for whoever looks before the first one is set.
template <bool HasFields = false, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE open_region begin_inline(call_site& site, unsigned* words, const Args&... args) {
  // The frame first. A handler in between may find another image, after a start or in a forked child, and attach to it:
  // then the frame is a retired one and never free, where the other way round it would be a new one and get an old id.
  frame* const at = next_frame;
  signal_fence();
  const uint64_t w = difference(site.word, own_object().epoch);
  // One compare for all that is not a bound site and a free frame: off, another epoch, not attached, the stack is full,
  // a handler inside an end. Two compares cost 2 % of a region.
  if (__builtin_expect(is_less(w, at->start_ticks.load_owned()), 0)) {
    if (w == site_off) return {nullptr, 0};
    return opened_at(begin_cold<HasFields, Args...>(site, words, args...));
  }
  next_frame = at + 1;
  signal_fence();
  if constexpr (HasFields || sizeof...(Args) != 0) {
    // No instruction on x86-64. A dump that sees a word of this payload must not find the frame's former start again.
    __atomic_thread_fence(__ATOMIC_RELEASE);
    const unsigned used = encode_arguments<binding_kind::region, Args...>(at->payload, frame_payload_words, args...);
    if (HasFields && used < frame_payload_words) at->payload[used].store_relaxed(0);
    if (words != nullptr) *words = used;
  }
  store_stack_pointer(at->stack_pointer);
  const uint64_t start = hardware_ticks();
  const uint64_t word = (start << duration_shift) - w;
  at->word.store_release(word);  // after the frame became free, for the same reason
  // Release: a reader that sees the start sees the word and the payload.
  at->start_ticks.store_release(start);
  return {at, word};
}

/// Every end that is not the plain one: a new time epoch, another thread, out of order, no chunk.
CONTRAIL_DETAIL_COLD inline void end_cold(frame* at, uint64_t word, unsigned words) {
  the_slow_half().end_region(this_caller(), at, word, words);
}

/// Publishes the record that fills the chunk, rolls to the next one and frees the frame.
CONTRAIL_DETAIL_COLD inline void roll_chunk(frame* at, uint64_t ticks) { the_slow_half().roll_chunk(at, ticks); }

/// Multiplying the end time by this and subtracting the frame's word gives the record of a short region.
inline constexpr uint64_t region_multiplier = (1ULL << end_time_shift) + (1ULL << duration_shift);

/// Fetches the line that this lane comes to half a kilobyte later. Without it the stores of records wait for memory,
/// and the store buffer fills up behind them: 1 to 3 % of a region, up to 6 % with arguments.
CONTRAIL_DETAIL_ALWAYS_INLINE void prefetch_for_writing(const atomic_word* cursor) {
  // By number: a lane without a chunk has a null cursor, to which nothing may be added.
  const atomic_word* const ahead = reinterpret_cast<const atomic_word*>(reinterpret_cast<uint64_t>(cursor) + 512);
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*ahead));  // the builtin knows it only under -mprfchw
#else
  __builtin_prefetch(ahead, 1);
#endif
}

/// Whether two words are in the same chunk.
CONTRAIL_DETAIL_ALWAYS_INLINE bool is_in_one_chunk(const atomic_word* one, const atomic_word* other) {
  return (reinterpret_cast<uint64_t>(one) ^ reinterpret_cast<uint64_t>(other)) < chunk_bytes;
}

/// Ends a region: writes its record, one word and `words` of payload from the frame.
template <bool HasPayload>
CONTRAIL_DETAIL_ALWAYS_INLINE void end_inline(frame* at, uint64_t word, unsigned words) {
  if (__builtin_expect(next_frame != at + 1, 0)) return end_cold(at, word, words);
#if defined(__aarch64__)
  // A coroutine may end higher in the stack than it began: a handler tells by this whether it interrupted this end. On
  // x86-64, where it would cost 2 % of a region, the handler looks for itself, see is_in_handler_of.
  store_stack_pointer(at->stack_pointer);
  signal_fence();
#endif
  next_frame = at;
  signal_fence();
  // All that does not need the time stands before the clock read: behind it, it would cost 1 % of a region.
  lane& writer = *at->owner;
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
  prefetch_for_writing(cursor);
  // Hidden from the compiler, which would make four dependent instructions of the multiplication. Where there is a
  // payload, a register that is taken this early costs more than it saves.
  uint64_t multiplier = region_multiplier;
  if constexpr (!HasPayload) asm volatile("" : "+r"(multiplier));
  const uint64_t end = hardware_ticks();
  if constexpr (HasPayload) asm("" : "+r"(multiplier));
  if (__builtin_expect(end >= writer.deadline.load_owned(), 0)) {
    next_frame = at + 1;
    return end_cold(at, word, words);
  }
  const uint64_t record = end * multiplier - word;
  if constexpr (HasPayload) {
    // A site whose id is too large for this form, or a payload that crosses the chunk's end, goes the long way. So does
    // a region whose frame was taken for one that was jumped over: the payload there is another's.
    const bool fits = (record & 3) == static_cast<uint64_t>(record_tag::region_payload) &&
                      at->word.load_owned() == word &&
                      words <= max_short_region_words && is_in_one_chunk(cursor, cursor + words);
    if (__builtin_expect(!fits, 0)) {
      next_frame = at + 1;
      return end_cold(at, word, words);
    }
    for (unsigned i = 0; i < words; ++i) cursor[1 + i].store_relaxed(at->payload[i].load_owned());
    writer.extra_words.add_owned(words);
    cursor->store_relaxed(record + (static_cast<uint64_t>(words) << id_shift));
    cursor += words;
  } else {
    cursor->store_relaxed(record);
  }
  ++cursor;
  // The cursor never stands at a chunk's end while the quick path is open: a handler that jumped away there would have
  // the next record written behind the chunk.
  if (__builtin_expect((reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) == 0, 0)) return roll_chunk(at, end);
  // Release: the record is whole before it is visible. Pairs with the acquire in copy_chunk.
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor));
  signal_fence();
  // Release: a dump that finds the frame free finds the record, since it copies frames before chunks.
  at->start_ticks.store_release(0);
}

// These take scalars: g++ keeps a struct that it passes in memory. Where they begin in a cache line is 1 to 2 % of a
// region.
__attribute__((noinline, aligned(64))) CONTRAIL_DETAIL_HIDDEN inline void end_region(frame* at, uint64_t word) {
  end_inline<false>(at, word, 0);
}
template <unsigned Words>
__attribute__((noinline, aligned(64))) CONTRAIL_DETAIL_HIDDEN inline void end_region_fixed(frame* at, uint64_t word) {
  end_inline<true>(at, word, Words);
}
__attribute__((noinline, aligned(64))) CONTRAIL_DETAIL_HIDDEN inline void end_region_payload(frame* at, uint64_t word,
                                                                                             unsigned words) {
  end_inline<true>(at, word, words);
}

/// The begin of CONTRAIL_COMPACT, for regions without arguments: a call instead of inlined code.
__attribute__((noinline)) CONTRAIL_DETAIL_HIDDEN inline frame* begin_compact(call_site& site) {
  return begin_inline(site, nullptr).at;
}

// ---- points: instants, counters, events, log lines -----------------------------------------------------------

template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_COLD void point_cold(call_site& site, parameter_type<bare<Args>>... args) {
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const claim free = the_slow_half().claim_frame(this_caller(), site, stack_pointer);
  if (free.at == nullptr) return;
  constexpr payload_size size = payload_of<Kind, Args...>;
  atomic_word record[size.texts == 0 ? size.words() + 1 : max_point_words + 1];
  const unsigned words = encode_arguments<Kind, Args...>(record + 1, max_point_words, args...);
  the_slow_half().write_point(free.at, free.word, stack_pointer, &record->value, words);
}

/// Records something that happens at one moment.
template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE void point_inline(call_site& site, const Args&... args) {
  frame* const at = next_frame;
  signal_fence();
  const uint64_t w = difference(site.word, own_object().epoch);
  // As in begin_inline. All that does not go the quick way meets in one call, which keeps the call site small.
  if (__builtin_expect(!is_less(w, at->start_ticks.load_owned()), 1)) {
    lane& writer = *at->owner;
    // The free frame is marked as busy by one store, which also says how deep this code is: a handler steps aside to
    // another lane.
    mark_point_here(*at);
    signal_fence();
    const uint64_t now = hardware_ticks();
    atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
    constexpr payload_size size = payload_of<Kind, Args...>;
    const bool fits = now < writer.deadline.load_owned() && is_in_one_chunk(cursor, cursor + size.words());
    if (__builtin_expect(fits, 1)) {
      unsigned words = 0;
      bool is_whole = true;
      if constexpr (sizeof...(Args) != 0) {
        prefetch_for_writing(cursor);
        unsigned capacity = max_point_words;
        if constexpr (size.texts != 0) {
          const auto room = static_cast<unsigned>((~reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) / 8);
          if (room < capacity) capacity = room;
        }
        words = encode_arguments<Kind, Args...>(cursor + 1, capacity, args...);
        // A text that was cut fills its room but for a part of a character, 3 bytes at most.
        is_whole = size.texts == 0 || words < capacity || capacity == max_point_words;
      }
      if (__builtin_expect(is_whole, 1)) {
        if (sizeof...(Args) != 0) writer.extra_words.add_owned(words);
        cursor->store_relaxed(now << end_time_shift | static_cast<uint64_t>(words) << duration_shift | w);
        cursor += words + 1;
        if (__builtin_expect((reinterpret_cast<uint64_t>(cursor) & (chunk_bytes - 1)) == 0, 0)) return roll_chunk(at, now);
        writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor));
        signal_fence();
        at->start_ticks.store_relaxed(0);
        return;
      }
    }
    at->start_ticks.store_relaxed(0);
  } else if (w == site_off) {
    return;
  }
  point_cold<Kind, Args...>(site, args...);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/log.hpp ==============================================================================================
// TRACE_LOG's format strings: their placeholders are counted at compile time. contrail/fmt.hpp checks them fully.
#ifndef CONTRAIL_LOG_HPP
#define CONTRAIL_LOG_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

enum class format_mistake : unsigned char {
  none,
  unclosed,
  unopened,
  mixed,
  named,
  too_few_arguments,
  too_many_arguments
};

/// Reads a format string of fmt's syntax as far as needed to know which arguments it uses.
struct format_scanner {
  text format;
  uint32_t at = 0;
  uint32_t automatic = 0;  ///< placeholders without an index
  uint32_t manual = 0;     ///< greatest index + 1
  bool used[64]{};
  format_mistake mistake = format_mistake::none;

  /// Past the index after a brace, to the colon or brace behind it.
  constexpr void take_index() {
    if (at >= format.size) {
      mistake = format_mistake::unclosed;
    } else if (format[at] == '}' || format[at] == ':') {
      if (automatic < 64) used[automatic] = true;
      ++automatic;
    } else if (is_digit(format[at])) {
      uint32_t index = 0;
      while (at < format.size && is_digit(format[at]) && index < 1000) {
        index = index * 10 + static_cast<uint32_t>(format[at++] - '0');
      }
      if (index < 64) used[index] = true;
      if (index >= manual) manual = index + 1;
    } else {
      mistake = format_mistake::named;
    }
  }
  /// Past a placeholder's closing brace, from behind its opening one.
  constexpr void take_placeholder() {
    take_index();
    while (mistake == format_mistake::none && at < format.size && format[at] != '}') {
      if (format[at++] == '{') take_placeholder();  // a width or precision that is an argument
    }
    if (mistake == format_mistake::none && at >= format.size) mistake = format_mistake::unclosed;
    ++at;
  }
};

constexpr format_mistake find_format_mistake(text format, uint32_t arguments) {
  format_scanner scanner{format};
  while (scanner.at < format.size && scanner.mistake == format_mistake::none) {
    const char c = format[scanner.at++];
    const bool doubled = scanner.at < format.size && format[scanner.at] == c;
    if ((c == '{' || c == '}') && doubled) {
      ++scanner.at;
    } else if (c == '}') {
      return format_mistake::unopened;
    } else if (c == '{') {
      scanner.take_placeholder();
    }
  }
  if (scanner.mistake != format_mistake::none) return scanner.mistake;
  if (scanner.automatic != 0 && scanner.manual != 0) return format_mistake::mixed;
  if (scanner.automatic > arguments || scanner.manual > arguments) return format_mistake::too_few_arguments;
  for (uint32_t i = 0; i < arguments && i < 64; ++i)
    if (!scanner.used[i]) return format_mistake::too_many_arguments;
  return format_mistake::none;
}

/// How TRACE_LOG checks its format. contrail/fmt.hpp puts its own in place of this one by redefining the macro below:
/// as a template argument, so that translation units with and without it may meet in one program.
struct count_placeholders {
  template <class Site, class... Args>
  static constexpr bool check() {
    return true;
  }
};
#define CONTRAIL_DETAIL_LOG_CHECKER ::contrail::detail::count_placeholders

/// Refuses a TRACE_LOG whose format and arguments do not belong together. `Args` are the types after the format.
template <class Checker, class Site, class... Args>
constexpr bool check_log() {
  if constexpr (!check_site<Site, binding_kind::log, Args...>()) {
    return false;
  } else {
    constexpr bool few = sizeof...(Args) <= 64;
    static_assert(few, "contrail: TRACE_LOG takes up to 64 arguments.");
    constexpr bool flat = (... && (kind_of<bare<Args>> != value_kind::aggregate));
    static_assert(flat,
                  "contrail: TRACE_LOG prints numbers, texts, enumerations, pointers and durations: pass the "
                  "members of this object one by one, or use TRACE_EMIT(object).");
    constexpr format_mistake mistake =
        find_format_mistake(site_descriptor<Site, binding_kind::log, Args...>.name, sizeof...(Args));
    static_assert(mistake != format_mistake::unclosed,
                  "contrail: a '{' in this format has no '}'; write {{ for a brace.");
    static_assert(mistake != format_mistake::unopened,
                  "contrail: a '}' in this format has no '{'; write }} for a brace.");
    static_assert(mistake != format_mistake::mixed, "contrail: this format mixes {} and {0}: use one of both.");
    static_assert(mistake != format_mistake::named,
                  "contrail: a placeholder is {}, {0} or {:spec}; arguments have no names here.");
    static_assert(mistake != format_mistake::too_few_arguments,
                  "contrail: this format has more placeholders than there are arguments.");
    static_assert(mistake != format_mistake::too_many_arguments,
                  "contrail: this format does not use all arguments: write a {} for each.");
    if constexpr (few && flat && mistake == format_mistake::none) {
      return Checker::template check<Site, Args...>();
    } else {
      return false;
    }
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The one call_site object of a macro: `Site` is its lambda's type, `Args` are the types after the name.
template <uint8_t Flags, class Site, binding_kind Kind, class... Args>
struct CONTRAIL_DETAIL_HIDDEN site_storage {
  static constexpr descriptor with_flags() {
    descriptor copy = site_descriptor<Site, Kind, Args...>;
    copy.flags = static_cast<uint8_t>(copy.flags | Flags);
    return copy;
  }
  static constexpr descriptor what = with_flags();
  // Said explicitly, as g++ leaves 8 bytes free between two of them otherwise.
  alignas(8) static inline constinit call_site value{{object_link_for<Site>::unbound_word()}, &what, {}};
};

// ---- regions -------------------------------------------------------------------------------------------------

// What macros put into scopes. Visible, as g++ warns of a coroutine's frame that is more visible than its members; all
// their functions are inlined, so that nothing of them is ever a symbol.
#define CONTRAIL_DETAIL_SCOPE_OBJECT [[nodiscard, gnu::visibility("default")]]

/// A region without arguments. What TRACE_REGION puts into its scope.
class CONTRAIL_DETAIL_SCOPE_OBJECT plain_region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr plain_region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit plain_region(open_region opened)
      : at_(opened.at), word_(opened.word) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~plain_region() {
    if (__builtin_expect(at_ != nullptr, 1)) end_region(at_, word_);
  }
  plain_region(const plain_region&) = delete;
  plain_region& operator=(const plain_region&) = delete;

 private:
  frame* at_ = nullptr;
  uint64_t word_ = 0;
};

/// A region whose arguments all have a fixed size: `Words` words.
template <unsigned Words>
class CONTRAIL_DETAIL_SCOPE_OBJECT fixed_region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr fixed_region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit fixed_region(open_region opened)
      : at_(opened.at), word_(opened.word) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~fixed_region() {
    if (__builtin_expect(at_ != nullptr, 1)) end_region_fixed<Words>(at_, word_);
  }
  fixed_region(const fixed_region&) = delete;
  fixed_region& operator=(const fixed_region&) = delete;

 private:
  frame* at_ = nullptr;
  uint64_t word_ = 0;
};

/// A region with strings among its arguments.
class CONTRAIL_DETAIL_SCOPE_OBJECT payload_region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr payload_region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr payload_region(open_region opened, unsigned words)
      : at_(opened.at), word_(opened.word), words_(words) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~payload_region() {
    if (__builtin_expect(at_ != nullptr, 1)) end_region_payload(at_, word_, words_);
  }
  payload_region(const payload_region&) = delete;
  payload_region& operator=(const payload_region&) = delete;

 private:
  frame* at_ = nullptr;
  uint64_t word_ = 0;
  unsigned words_ = 0;
};

template <bool Any, bool Fixed, unsigned Words>
struct region_for {
  using type = payload_region;
};
template <unsigned Words>
struct region_for<false, true, Words> {
  using type = plain_region;
};
template <unsigned Words>
struct region_for<true, true, Words> {
  using type = fixed_region<Words>;
};

/// A value as it stands in a dynamic field.
template <class T>
constexpr bool is_dynamic_value = kind_of<bare<T>> != value_kind::none && is_leaf(kind_of<bare<T>>);

/// For a region's fields. One word more stays 0 behind them: it ends them for whoever looks while the region is open.
inline constexpr unsigned most_field_words = frame_payload_words - 1;

/// What stands before a field: its type, the bytes of its key and its value, and whether that was cut.
constexpr uint64_t field_header(field_type type, uint64_t key_bytes, uint64_t value_bytes, bool is_cut) {
  return static_cast<uint64_t>(type) | key_bytes << 16 | value_bytes << 32 | uint64_t{is_cut} << 48;
}

/// Adds a field to the region that has `word`, behind `used` words of payload, if there is room. Returns the words that
/// are used then.
// Not inlined: a call site would be as long as all this.
CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) inline unsigned add_field(frame& at, uint64_t word, unsigned used,
                                                                           const text_piece (&key_and_value)[2],
                                                                           uint64_t header) {
  const uint32_t bytes = key_and_value[0].size + key_and_value[1].size;
  if (used + 1 + (bytes + 7) / 8 > most_field_words || !holds_region(at, word)) return used;
  atomic_word* const to = at.payload + used;
  const unsigned words = append_texts(to + 1, 0, 0, key_and_value, 2);
  to[1 + words].store_relaxed(0);
  // Release: a dump that sees this word sees the key and the value.
  to->store_release(header);
  return used + 1 + words;
}

/// The same for a value of up to 8 bytes and a key that the compiler knows: all words but the value's are constant.
template <size_type KeyBytes, size_type ValueBytes>
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned add_small_field(frame& at, uint64_t word, unsigned used, const char* key,
                                                       uint64_t value, uint64_t header) {
  constexpr unsigned words = (KeyBytes + ValueBytes + 7) / 8;
  if (used + 1 + words > most_field_words || !holds_region(at, word)) return used;
  atomic_word* const to = at.payload + used;
  for (unsigned i = 0; i < words; ++i) {
    uint64_t next = 0;
    if (8 * i < KeyBytes) __builtin_memcpy(&next, key + 8 * i, KeyBytes - 8 * i < 8 ? KeyBytes - 8 * i : 8);
    if (i == KeyBytes / 8) next |= value << KeyBytes % 8 * 8;
    if constexpr (KeyBytes % 8 + ValueBytes > 8) {
      if (i == KeyBytes / 8 + 1) next |= value >> (8 - KeyBytes % 8) * 8;
    }
    to[1 + i].store_relaxed(next);
  }
  to[1 + words].store_relaxed(0);
  to->store_release(header);  // as in add_field
  return used + 1 + words;
}

}  // namespace detail

/// The region of TRACE_REGION_VAR: for what is known only later. Belongs to the thread that made it.
class [[nodiscard, gnu::visibility("hidden")]] region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE region(detail::open_region opened, unsigned words)
      : at_(opened.at), word_(opened.word), words_(words) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~region() { end(); }
  region(const region&) = delete;
  region& operator=(const region&) = delete;

  /// Adds a field: a number, bool, enumeration, pointer, string or duration. `key` is a string literal. Strings are cut
  /// to the room left in the region (160 bytes for all arguments); a field without any room is left out.
  // Async-signal-safe.
  template <detail::size_type Size, class Value>
  constexpr void set(const char (&key)[Size], const Value& value) {
    static_assert(detail::is_dynamic_value<Value>,
                  "contrail: region.set takes a number, bool, enumeration, pointer, string or duration.");
    if (at_ != nullptr) add<Size - 1>(key, value);
  }

  /// Ends the region now instead of at the end of its scope. Harmless when it has ended.
  // Async-signal-safe.
  constexpr void end() {
    if (at_ == nullptr) return;
    detail::end_region_payload(at_, word_, words_);
    at_ = nullptr;
  }

 private:
  template <detail::size_type KeyBytes, class Value>
  CONTRAIL_DETAIL_ALWAYS_INLINE void add(const char* key, const Value& value) {
    using namespace detail;
    using layout = payload<Value>;
    constexpr field_type type = leaf_type<bare<Value>>();
    if constexpr (layout::is_fixed) {
      atomic_word encoded[layout::fixed_words];
      encode(encoded, layout::fixed_words, value);
      constexpr uint64_t header = field_header(type, KeyBytes, layout::fixed_bytes, false);
      if constexpr (layout::fixed_words == 1) {
        words_ = add_small_field<KeyBytes, layout::fixed_bytes>(*at_, word_, words_, key, encoded->value, header);
      } else {
        const char* const bytes = reinterpret_cast<const char*>(encoded);
        words_ = add_field(*at_, word_, words_, {{key, KeyBytes}, {bytes, layout::fixed_bytes}}, header);
      }
    } else {
      const size_type used = (words_ + 1) * 8 + KeyBytes;
      if (used >= most_field_words * 8) return;
      text_piece text{};
      payload_writer writer{nullptr, &text, static_cast<uint32_t>(most_field_words * 8 - used)};
      writer.put(value);
      // A text is written behind its length, which stands in the field's header here.
      const uint64_t header = field_header(type, KeyBytes, text.size, (writer.word & string_cut) != 0);
      words_ = add_field(*at_, word_, words_, {{key, KeyBytes}, text}, header);
    }
  }

  detail::frame* at_ = nullptr;
  uint64_t word_ = 0;
  unsigned words_ = 0;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

// ---- what the macros call ------------------------------------------------------------------------------------

template <class... Args>
using region_of = typename region_for<sizeof...(Args) != 0, payload_of<binding_kind::region, Args...>.texts == 0,
                                      payload_of<binding_kind::region, Args...>.words()>::type;

/// How the begin of a region is compiled in: a template argument, so that translation units may choose differently.
enum class begin_form { inlined, compact };

template <begin_form Form, uint8_t Flags = 0, class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr auto begin_region(Site, const Name&, const Args&... args) {
  if constexpr (!check_site<Site, binding_kind::region, Args...>()) {
    return plain_region();
  } else {
    using storage = site_storage<Flags, Site, binding_kind::region, Args...>;
    if constexpr (Form == begin_form::compact && sizeof...(Args) == 0) {
      return region_of<Args...>(__builtin_is_constant_evaluated() ? open_region{}
                                                                  : opened_at(begin_compact(storage::value)));
    } else if constexpr (payload_of<binding_kind::region, Args...>.texts == 0) {
      return region_of<Args...>(__builtin_is_constant_evaluated() ? open_region{}
                                                                  : begin_inline(storage::value, nullptr, args...));
    } else {
      unsigned words = 0;
      const open_region opened =
          __builtin_is_constant_evaluated() ? open_region{} : begin_inline(storage::value, &words, args...);
      return region_of<Args...>(opened, words);
    }
  }
}

template <class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr region begin_region_var(Site, const Name&, const Args&... args) {
  if constexpr (check_site<Site, binding_kind::region, Args...>()) {
    if (__builtin_is_constant_evaluated()) return region();
    unsigned words = 0;
    const open_region opened =
        begin_inline<true>(site_storage<binding_flag_dynamic, Site, binding_kind::region, Args...>::value, &words,
                           args...);
    return region(opened, words);
  } else {
    return region();
  }
}

/// Records an instant, a counter's value or a log line.
template <binding_kind Kind, class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void point(Site, const Name&, const Args&... args) {
  if constexpr (check_site<Site, Kind, Args...>()) {
    if (!__builtin_is_constant_evaluated()) point_inline<Kind>(site_storage<0, Site, Kind, Args...>::value, args...);
  }
}

/// A log line, after `Checker` has looked at its format: contrail's own, or fmt's with contrail/fmt.hpp.
template <class Checker, class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void log_line(Site site, const Name& name, const Args&... args) {
  if constexpr (check_log<Checker, Site, Args...>()) point<binding_kind::log>(site, name, args...);
}

/// The call site of TRACE_EMIT is its type: one id however many places emit it.
template <class T>
struct CONTRAIL_DETAIL_HIDDEN event_storage {
  alignas(8) static inline constinit call_site value{{object_link_for<T>::unbound_word()}, &type_descriptor<T>, {}};
};

template <class T>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void emit(const T& object) {
  static_assert(registered<T>,
                "contrail: TRACE_EMIT takes an object of a registered type: write TRACE_EVENT_TYPE(type, field, ...) in "
                "the type's namespace.");
  if constexpr (registered<T>) {
    static_assert(payload_of<binding_kind::event_type, T>.words() <= max_point_words,
                  "contrail: the values of one event take at most 2040 bytes: record less at once.");
    if (!__builtin_is_constant_evaluated()) point_inline<binding_kind::event_type>(event_storage<T>::value, object);
  }
}

/// Names the running thread in the recorder. Cut to 31 bytes, not inside a character.
// Async-signal-safe.
inline CONTRAIL_DETAIL_COLD void name_thread(const char* name, size_type size) {
  const process_state* process = joined_process();
  if (process == nullptr || process->slow_table.load_acquire() == 0) return;
  const size_type kept = size < thread_name_bytes ? size : cut_text(name, thread_name_bytes - 1);
  the_slow_half().name_thread(this_caller(), name, kept);
}

template <class Name>
constexpr void name_thread(const Name& name) {
  static_assert(kind_of<bare<Name>> != value_kind::none && is_text(kind_of<bare<Name>>),
                "contrail: TRACE_THREAD_NAME takes a string.");
  if (__builtin_is_constant_evaluated()) return;
  object_link_for<Name>::require();
  if constexpr (kind_of<bare<Name>> == value_kind::sized_text) {
    name_thread(name.data(), static_cast<size_type>(name.size()));
  } else {
    const char* const characters = name;
    if (characters != nullptr) name_thread(characters, bounded_length(characters, thread_name_bytes));
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/type_macros.hpp ===============================================================================
// The macros at namespace scope: event types and categories.
#ifndef CONTRAIL_DETAIL_TYPE_MACROS_HPP
#define CONTRAIL_DETAIL_TYPE_MACROS_HPP

/// Names the category of all sites in this namespace, for this translation unit, below this line:
/// CONTRAIL_CATEGORY("net"); — the nearest enclosing namespace's category counts.
#define CONTRAIL_CATEGORY(name) ::contrail::detail::category<name> contrail_category(int)

/// Registers a type as an event type, in the type's own namespace, after its definition:
///
///   CONTRAIL_EVENT_TYPE(point, x, y);   // these members, in this order
///   CONTRAIL_EVENT_TYPE(point);         // all members of an aggregate; needs contrail/pfr.hpp
#define CONTRAIL_EVENT_TYPE(type, ...)                                                                          \
  [[maybe_unused]] constexpr auto contrail_event_type(::contrail::detail::type_tag<type>) {                     \
    return ::contrail::detail::make_event_type(CONTRAIL_DETAIL_FIELDS_OF(type __VA_OPT__(, ) __VA_ARGS__),      \
                                               [] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); });          \
  }                                                                                                             \
  CONTRAIL_DETAIL_REGISTER_TYPE(type, __COUNTER__)

#if __has_attribute(retain)
#define CONTRAIL_DETAIL_RETAIN used, retain
#else
#define CONTRAIL_DETAIL_RETAIN used
#endif

#define CONTRAIL_DETAIL_REGISTER_TYPE(type, number) CONTRAIL_DETAIL_REGISTER_TYPE_NUMBERED(type, number)
#define CONTRAIL_DETAIL_REGISTER_TYPE_NUMBERED(type, number)                                             \
  __attribute__((CONTRAIL_DETAIL_RETAIN, section("contrail_types"))) static const ::contrail::descriptor* \
      const contrail_type_##number =                                                                     \
          (::contrail::detail::object_link<void>::require(), ::contrail::detail::registration<type>())

#define CONTRAIL_DETAIL_FIELDS_OF(type, ...) \
  CONTRAIL_DETAIL_FIELDS_##__VA_OPT__(LISTED)(type __VA_OPT__(, ) __VA_ARGS__)
#define CONTRAIL_DETAIL_FIELDS_(type) \
  ::contrail::detail::type_tag<::contrail::detail::aggregate_fields<type>> {}
#define CONTRAIL_DETAIL_FIELDS_LISTED(type, ...)                                              \
  ::contrail::detail::list_fields<type>(                                                      \
      [](const type& contrail_object, const auto& contrail_visit) __attribute__((always_inline)) { \
        return contrail_visit(CONTRAIL_DETAIL_REPEAT(CONTRAIL_DETAIL_MEMBERS(__VA_ARGS__)));  \
      },                                                                                      \
      [] { return ::contrail::text(#__VA_ARGS__); })

// Expands to contrail_object.a, contrail_object.b, ... for up to 256 members.
#define CONTRAIL_DETAIL_PARENTHESES ()
#define CONTRAIL_DETAIL_MEMBERS(member, ...) \
  contrail_object.member __VA_OPT__(, CONTRAIL_DETAIL_MEMBERS_AGAIN CONTRAIL_DETAIL_PARENTHESES(__VA_ARGS__))
#define CONTRAIL_DETAIL_MEMBERS_AGAIN() CONTRAIL_DETAIL_MEMBERS
#define CONTRAIL_DETAIL_REPEAT(...) \
  CONTRAIL_DETAIL_REPEAT64(CONTRAIL_DETAIL_REPEAT64(CONTRAIL_DETAIL_REPEAT64(CONTRAIL_DETAIL_REPEAT64(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT64(...) \
  CONTRAIL_DETAIL_REPEAT16(CONTRAIL_DETAIL_REPEAT16(CONTRAIL_DETAIL_REPEAT16(CONTRAIL_DETAIL_REPEAT16(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT16(...) \
  CONTRAIL_DETAIL_REPEAT4(CONTRAIL_DETAIL_REPEAT4(CONTRAIL_DETAIL_REPEAT4(CONTRAIL_DETAIL_REPEAT4(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT4(...) \
  CONTRAIL_DETAIL_REPEAT1(CONTRAIL_DETAIL_REPEAT1(CONTRAIL_DETAIL_REPEAT1(CONTRAIL_DETAIL_REPEAT1(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT1(...) __VA_ARGS__

#endif
// ==== contrail/task.hpp =============================================================================================
// Tasks, asynchronous spans and flows: what does not stay on one thread.
#ifndef CONTRAIL_TASK_HPP
#define CONTRAIL_TASK_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN

// g++ does not see that an empty std::optional<task> destroys nothing.
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

/// An open task or asynchronous span, from TRACE_TASK or TRACE_ASYNC. It may move to other threads, and ends on any of
/// them: by `end`, or with this object. Empty if it is not recorded; then all of it does nothing.
class CONTRAIL_DETAIL_SCOPE_OBJECT task {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit task(detail::open_span opened) : opened_(opened) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task(task&& other) noexcept : opened_(other.opened_) { other.opened_ = {}; }
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task& operator=(task&& other) noexcept {
    if (this == &other) return *this;
    end();
    opened_ = other.opened_;
    other.opened_ = {};
    return *this;
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~task() { end(); }

  /// Ends it now. Harmless when it has ended.
  // Async-signal-safe.
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void end() {
    if (opened_.at == nullptr) return;
    detail::the_slow_half().end_span(detail::this_caller(), opened_.at, opened_.context.id);
    opened_ = {};
  }

  /// What tells it from all others, for other threads and processes. Empty when it has ended.
  // Async-signal-safe.
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr task_context context() const { return opened_.context; }
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit operator bool() const { return opened_.at != nullptr; }

 private:
  detail::open_span opened_;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

inline bool is_recording() {
  const process_state* const process = joined_process();
  return process != nullptr && process->recording.load_acquire() != 0;
}

/// Tells threads apart, the same in all objects. Asked of the processor each time: a compiler may keep the address of a
/// thread-local variable over a co_await.
// Async-signal-safe.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t thread_mark() {
  uint64_t mark = 0;
#if defined(__x86_64__)
  asm volatile("movq %%fs:0, %0" : "=r"(mark));
#elif defined(__aarch64__)
  asm volatile("mrs %0, tpidr_el0" : "=r"(mark));
#else
#error "contrail: thread_mark does not know this processor."
#endif
  return mark;
}

}  // namespace detail

/// In its scope a task is the running thread's current one: what the thread records belongs to it, and tasks that begin
/// are its children. Made and destroyed on one thread, in a coroutine between two suspensions: destroyed on another
/// thread it leaves that one's current task alone, and the first thread in this task until a scope around it ends
/// there.
// Async-signal-safe.
class CONTRAIL_DETAIL_SCOPE_OBJECT task_scope {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit task_scope(const task& current) : task_scope(current.context()) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit task_scope(const task_context& current)
      : is_set_(current.id != 0 && detail::is_recording()) {
    if (!is_set_) return;
    thread_ = detail::thread_mark();
    before_ = detail::the_slow_half().set_current_task(detail::this_caller(), current.id);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE ~task_scope() {
    if (!is_set_ || thread_ != detail::thread_mark()) return;
    detail::the_slow_half().set_current_task(detail::this_caller(), before_);
  }
  task_scope(const task_scope&) = delete;
  task_scope& operator=(const task_scope&) = delete;

 private:
  uint64_t before_ = 0;
  uint64_t thread_ = 0;
  bool is_set_;
};

#pragma GCC diagnostic pop

/// An arrow from one record to others, to be passed along with what it follows: TRACE_REGION("send", "to", f.out()),
/// and where it arrives TRACE_REGION("receive", "from", f.in()).
struct flow {
  uint64_t id = 0;  ///< 0: none

  /// A new one, unlike all others. Empty while nothing records.
  // Async-signal-safe.
  template <class T = void>
  static flow begin() {
    using namespace detail;
    object_link<T>::require();
    if (!is_recording()) return {};
    superblock& super = *current_image(*joined_process())->super;
    return {scramble(super.seed[1] ^ super.next_flow.fetch_add_relaxed(1))};
  }
  constexpr flow_out out() const { return {id}; }
  constexpr flow_in in() const { return {id}; }
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

constexpr task_context context_of(const task& parent) { return parent.context(); }
constexpr const task_context& context_of(const task_context& parent) { return parent; }

template <binding_kind Kind, class Site, class Name, class... Args>
constexpr task begin_span(Site, const task_context* parent, const Name&, const Args&... args) {
  if constexpr (check_site<Site, Kind, Args...>()) {
    if (__builtin_is_constant_evaluated()) return task();
    call_site& site = site_storage<0, Site, Kind, Args...>::value;
    if (difference(site.word, own_object().epoch) == site_off) return task();
    atomic_word payload[frame_payload_words];
    const unsigned words = encode_arguments<Kind, Args...>(payload, frame_payload_words, args...);
    constexpr unsigned is_task = Kind == binding_kind::task ? span_is_task : 0;
    return task(the_slow_half().begin_span(this_caller(), site, parent, payload, words | is_task));
  } else {
    return task();
  }
}

/// With an explicit parent, which stands between the variable and the name.
template <class Site, class Parent, class Name, class... Args>
constexpr task begin_task_of(Site site, const Parent& parent, const Name& name, const Args&... args) {
  const task_context above = context_of(parent);
  return begin_span<binding_kind::task>(site, &above, name, args...);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#define CONTRAIL_DETAIL_JOIN(a, b) CONTRAIL_DETAIL_JOIN_EXPANDED(a, b)
#define CONTRAIL_DETAIL_JOIN_EXPANDED(a, b) a##b
#define CONTRAIL_DETAIL_UNIQUE(prefix) CONTRAIL_DETAIL_JOIN(prefix, __COUNTER__)
#define CONTRAIL_DETAIL_SITE(...) [] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); }

#ifdef CONTRAIL_COMPACT
#define CONTRAIL_DETAIL_BEGIN_FORM ::contrail::detail::begin_form::compact
#else
#define CONTRAIL_DETAIL_BEGIN_FORM ::contrail::detail::begin_form::inlined
#endif

/// Records the time from here to the end of the scope: CONTRAIL_REGION("name"), CONTRAIL_REGION("name", "key", value,
/// …), or CONTRAIL_REGION("name", object) with an object of a registered type.
// The variable is not const: g++ 12 keeps const objects in memory, which costs a store and two loads per region.
// Async-signal-safe.
#define CONTRAIL_REGION(...)                                                        \
  [[maybe_unused]] auto CONTRAIL_DETAIL_UNIQUE(contrail_region_) =                 \
      ::contrail::detail::begin_region<CONTRAIL_DETAIL_BEGIN_FORM>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// A synonym of CONTRAIL_REGION.
#define CONTRAIL_SCOPE(...) CONTRAIL_REGION(__VA_ARGS__)

/// CONTRAIL_REGION under the enclosing function's name: CONTRAIL_FUNCTION(), CONTRAIL_FUNCTION("key", value, …).
#define CONTRAIL_FUNCTION(...) CONTRAIL_REGION(CONTRAIL_DETAIL_FUNCTION_NAME __VA_OPT__(, ) __VA_ARGS__)

/// A region held by a variable, of type contrail::region: CONTRAIL_REGION_VAR(r, "name", …), then r.set("key", value),
/// r.end().
#define CONTRAIL_REGION_VAR(variable, ...) \
  auto variable = ::contrail::detail::begin_region_var(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records that something happened now.
// Async-signal-safe.
#define CONTRAIL_INSTANT(...)                                                         \
  ::contrail::detail::point<::contrail::detail::binding_kind::instant>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// A region in which the thread waits: for a lock (sync), the network (net), a system call (syscall), a disk (io), or
/// time (sleep): CONTRAIL_BLOCKED(net, "wait for reply", "key", value, …).
// Async-signal-safe.
#define CONTRAIL_BLOCKED(reason, ...)                                                                                 \
  [[maybe_unused]] auto CONTRAIL_DETAIL_UNIQUE(contrail_region_) = ::contrail::detail::begin_region<                  \
      CONTRAIL_DETAIL_BEGIN_FORM, ::contrail::detail::blocked_flag(::contrail::detail::blocked_on::reason)>(          \
      CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Begins a task, held by a variable of type contrail::task: CONTRAIL_TASK(t, "name", "key", value, …). Its parent is
/// the thread's current task, see contrail::task_scope.
// Async-signal-safe.
#define CONTRAIL_TASK(variable, ...)                                                              \
  auto variable = ::contrail::detail::begin_span<::contrail::detail::binding_kind::task>(         \
      CONTRAIL_DETAIL_SITE(__VA_ARGS__), nullptr, __VA_ARGS__)

/// The same with another parent: a contrail::task, or a contrail::task_context from anywhere.
// Async-signal-safe.
#define CONTRAIL_TASK_OF(variable, parent, ...) \
  auto variable = ::contrail::detail::begin_task_of(CONTRAIL_DETAIL_SITE(__VA_ARGS__), parent, __VA_ARGS__)

/// Begins something that does not nest with the thread's regions, held by a variable of type contrail::task, which may
/// end on another thread: CONTRAIL_ASYNC(s, "name", "key", value, …).
// Async-signal-safe.
#define CONTRAIL_ASYNC(variable, ...)                                                             \
  auto variable = ::contrail::detail::begin_span<::contrail::detail::binding_kind::async_span>(   \
      CONTRAIL_DETAIL_SITE(__VA_ARGS__), nullptr, __VA_ARGS__)

/// Marks where a frame of a loop ends and the next one begins: CONTRAIL_FRAME("name"). Arguments,
/// CONTRAIL_FRAME("name", "key", value, …), are those of the frame that begins.
// Async-signal-safe.
#define CONTRAIL_FRAME(...) \
  ::contrail::detail::point<::contrail::detail::binding_kind::frame_mark>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records a number that changes over time: CONTRAIL_COUNTER("name", value); or several that belong together:
/// CONTRAIL_COUNTER("name", "key", value, …).
// Async-signal-safe.
#define CONTRAIL_COUNTER(...)                                                         \
  ::contrail::detail::point<::contrail::detail::binding_kind::counter>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records a line of text in fmt's syntax; the arguments are kept as values and formatted by the reader.
// Async-signal-safe.
#define CONTRAIL_LOG(...) \
  ::contrail::detail::log_line<CONTRAIL_DETAIL_LOG_CHECKER>(CONTRAIL_DETAIL_SITE(__VA_ARGS__), __VA_ARGS__)

/// Records an object of a registered type; variadic, so that braces need no parentheses: CONTRAIL_EMIT(point{1, 2}).
// Async-signal-safe.
#define CONTRAIL_EMIT(...) ::contrail::detail::emit(__VA_ARGS__)

/// Names the running thread in traces; 31 bytes are kept.
// Async-signal-safe.
#define CONTRAIL_THREAD_NAME(name) ::contrail::detail::name_thread(name)

#endif
#ifndef CONTRAIL_MACROS_ONLY
// ==== contrail/flight_recorder.hpp ==================================================================================
// The flight recorder: start, stop, status, dumps, filters.
//
//   contrail::flight_recorder::start({.memory = 64 << 20});
//   ...
//   if (auto failed = contrail::flight_recorder::dump("app-%p.contrail", {.last = 5s})) puts(failed.message());
#ifndef CONTRAIL_FLIGHT_RECORDER_HPP
#define CONTRAIL_FLIGHT_RECORDER_HPP

// ==== contrail/detail/crash.hpp =====================================================================================
// Dumps of crashes: fatal signals and std::terminate.
//
// The first thread that crashes owns the dump, the others wait for it to end the process. A fault of the dump itself
// and the watchdog arrive as signals on the owner's stack, above the dump, and leave it by siglongjmp. After the dump,
// done or not, everything happens that would have happened without contrail: earlier handlers run, and the process dies
// of the signal that it would have died of.
#ifndef CONTRAIL_DETAIL_CRASH_HPP
#define CONTRAIL_DETAIL_CRASH_HPP

// ==== contrail/detail/crash_stack.hpp ===============================================================================
// Alternate signal stacks: a thread whose own stack overflowed has nowhere else to run the crash handler. Each thread
// that records gets one, above a guard page; they are no part of the image.
#ifndef CONTRAIL_DETAIL_CRASH_STACK_HPP
#define CONTRAIL_DETAIL_CRASH_STACK_HPP

// ==== contrail/detail/thread_id.hpp =================================================================================
// Threads as the kernel knows them.
#ifndef CONTRAIL_DETAIL_THREAD_ID_HPP
#define CONTRAIL_DETAIL_THREAD_ID_HPP

// ==== contrail/detail/safe_writer.hpp ===============================================================================
// Bytes to a descriptor, and short texts into fixed buffers, without the heap, locks or stdio.
#ifndef CONTRAIL_DETAIL_SAFE_WRITER_HPP
#define CONTRAIL_DETAIL_SAFE_WRITER_HPP

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

#include <signal.h>
#include <sys/syscall.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Asks the kernel, not a destructor: pthread keys and C++ thread_local destructors allocate.
// Async-signal-safe.
inline bool is_thread_alive(uint32_t tid) {
  const errno_keeper keep;
  return syscall(SYS_tgkill, getpid(), tid, 0) == 0 || errno != ESRCH;
}

// ---- turns -----------------------------------------------------------------------------------------------------
// What only one may do at a time is a word: 0, or who does it. Nobody waits for it, and none is lost for ever: code that
// was left by siglongjmp, or by the end of its thread, never gives its turn back, but the word tells that it is gone.

/// The running thread's alternate signal stack.
// Async-signal-safe.
inline stack_t alternate_stack() {
  const errno_keeper keep;
  stack_t stack{};
  if (sigaltstack(nullptr, &stack) != 0) stack.ss_flags = SS_DISABLE;
  return stack;
}

/// Whether memory of a stack is still there: the kernel looks at the set before it refuses the unknown operation.
// Async-signal-safe.
inline bool is_readable(const uint64_t* at) {
  const errno_keeper keep;
  constexpr long unknown_operation = 99;
  constexpr long set_bytes = 8;
  return syscall(SYS_rt_sigprocmask, unknown_operation, at, nullptr, set_bytes) != 0 && errno != EFAULT;
}

/// Stands on the stack of code that takes a turn, and names it: [63:42] its thread, [41] set on an alternate signal
/// stack, [40:0] where this object is. What runs there after the code was left writes over it.
class alignas(128) turn_holder {
 public:
  turn_holder() noexcept {
    const bool is_alternate = (alternate_stack().ss_flags & SS_ONSTACK) != 0;
    name_ = uint64_t{current_tid()} << 42 | uint64_t{is_alternate} << 41 | place_of(this);
    for (uint64_t& mark : marks_) mark = ~name_;
    asm volatile("" : : "r"(this) : "memory");  // nothing here reads the marks
  }
  turn_holder(const turn_holder&) = delete;
  turn_holder& operator=(const turn_holder&) = delete;
  uint64_t name() const { return name_; }

  static constexpr uint64_t alternate = 1ULL << 41, places = alternate - 1;
  static uint64_t place_of(const turn_holder* holder) { return reinterpret_cast<uint64_t>(holder) >> 7 & places; }

  /// Whether the code that has this name, on the stack of the running thread, was left. Memory of stacks may be gone.
  static bool is_overwritten(uint64_t name) {
    turn_holder* const holder = reinterpret_cast<turn_holder*>((name & places) << 7);
    if (!is_readable(&holder->name_) || !is_readable(&holder->marks_[254])) return false;
    bool is_whole = holder->name_ == name;
    for (const uint64_t& mark : holder->marks_) is_whole = is_whole && mark == ~name;
    return !is_whole;
  }

 private:
  uint64_t name_;
  uint64_t marks_[255];  // more than what functions leave as it was of their frames
};

inline uint32_t tid_of_holder(uint64_t holder) { return static_cast<uint32_t>(holder >> 42); }

/// Whether the holder of a turn will never run again, as far as `self` can tell, which runs. Of its own thread it can:
/// a handler is deeper in the stack than what it interrupted, and on the alternate stack if that was; and what was left
/// is overwritten sooner or later.
// Async-signal-safe.
inline bool is_gone(uint64_t holder, uint64_t self) {
  if (tid_of_holder(holder) != tid_of_holder(self)) return !is_thread_alive(tid_of_holder(holder));
  const uint64_t alternate = turn_holder::alternate, places = turn_holder::places;
  const bool same_stack = (holder & alternate) == (self & alternate);
  if (same_stack ? (self & places) >= (holder & places) : (holder & alternate) != 0) return true;
  return (holder & places) != places && turn_holder::is_overwritten(holder);
}

/// Takes a turn if it is free, or if who had it is gone; what they left half done is the taker's to finish. 0: not
/// taken; 1: it was free; 2: its holder was gone.
// Async-signal-safe.
inline int take_turn(atomic_word& turn, uint64_t self) {
  uint64_t found = 0;
  if (turn.compare_exchange(found, self)) return 1;
  return is_gone(found, self) && turn.compare_exchange(found, self) ? 2 : 0;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <signal.h>
#include <sys/mman.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint64_t most_stacks = 8192;
inline constexpr uint64_t fewest_stacks = 64;
inline constexpr uint64_t smallest_stack_bytes = 64U << 10;

/// Address space for stacks; a page gets memory when somebody first uses it.
struct stack_pool {
  char* first;           ///< its guard page; the stack is above that
  uint64_t guard_bytes;
  uint64_t stride;       ///< from one guard page to the next
  uint64_t count;
  atomic_word taken;     ///< the first so many belong, or belonged, to threads
  atomic_word hand;      ///< where the next search for one of a dead thread begins
  atomic_word* owners;   ///< tid of each; 0 while it is made ready
};

/// Null when the system has no address space.
inline stack_pool* make_stack_pool() {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t stack_bytes = smallest_stack_bytes;
#ifdef _SC_SIGSTKSZ
  // What the kernel pushes for a signal depends on the processor, and is more than SIGSTKSZ on some.
  const long wanted = sysconf(_SC_SIGSTKSZ);
  if (wanted > static_cast<long>(stack_bytes)) stack_bytes = static_cast<uint64_t>(wanted);
#endif
  const uint64_t stride = (stack_bytes + page - 1) / page * page + page;
  for (uint64_t count = most_stacks; count >= fewest_stacks; count /= 2) {
    const uint64_t table_bytes = (sizeof(stack_pool) + count * sizeof(atomic_word) + page - 1) / page * page;
    void* const raw = mmap(nullptr, table_bytes + count * stride, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) continue;
    char* const base = static_cast<char*>(raw);
    if (mprotect(base, table_bytes, PROT_READ | PROT_WRITE) != 0) {
      munmap(raw, table_bytes + count * stride);
      return nullptr;
    }
    stack_pool& pool = *reinterpret_cast<stack_pool*>(base);
    pool.first = base + table_bytes;
    pool.guard_bytes = page;
    pool.stride = stride;
    pool.count = count;
    pool.owners = reinterpret_cast<atomic_word*>(base + sizeof(stack_pool));
    return &pool;
  }
  return nullptr;
}

inline constexpr uint64_t no_stack = ~uint64_t{0};

/// A stack for the thread `tid`: its index plus 1, or no_stack. One of a thread that ended if a few probes find any, so
/// that there are never many more stacks than threads at one time.
// Async-signal-safe.
inline uint64_t take_stack(stack_pool& pool, uint32_t tid) {
  uint64_t taken = pool.taken.load_relaxed();
  if (taken > pool.count) taken = pool.count;
  const unsigned probes = taken == pool.count ? 64 : 8;
  for (unsigned i = 0; i < probes && taken != 0; ++i) {
    const uint64_t index = pool.hand.fetch_add_relaxed(1) % taken;
    uint64_t owner = pool.owners[index].load_relaxed();
    if (owner == 0 || is_thread_alive(static_cast<uint32_t>(owner))) continue;
    if (pool.owners[index].compare_exchange(owner, tid)) return index + 1;
  }
  if (taken == pool.count) return no_stack;
  const uint64_t index = pool.taken.fetch_add_relaxed(1);
  if (index >= pool.count) return no_stack;
  char* const stack = pool.first + index * pool.stride + pool.guard_bytes;
  if (mprotect(stack, pool.stride - pool.guard_bytes, PROT_READ | PROT_WRITE) != 0) return no_stack;
  pool.owners[index].store_release(tid);
  return index + 1;
}

/// Makes sure that the running thread has an alternate stack, if dumps of crashes were asked for. One that is not ours
/// stays. Called again and again, since the kernel undoes what a signal handler installs when the handler returns.
/// `number` is where the thread keeps its stack's number, 0 at first.
// Async-signal-safe.
inline void keep_stack(process_state& process, atomic_word& number) {
  const uint64_t address = process.stacks.load_acquire();
  if (address == 0 || number.load_relaxed() == no_stack) return;
  stack_pool& pool = *reinterpret_cast<stack_pool*>(address);
  stack_t there{};
  if (sigaltstack(nullptr, &there) != 0 || (there.ss_flags & SS_DISABLE) == 0) return;
  const uint32_t tid = current_tid();
  uint64_t mine = number.load_relaxed();
  if (mine == 0 || pool.owners[mine - 1].load_relaxed() != tid) {
    mine = take_stack(pool, tid);
    number.store_relaxed(mine);
    if (mine == no_stack) return;
  }
  stack_t fresh{};
  fresh.ss_sp = pool.first + (mine - 1) * pool.stride + pool.guard_bytes;
  fresh.ss_size = pool.stride - pool.guard_bytes;
  sigaltstack(&fresh, nullptr);
}

/// In a forked child, whose thread has its parent's stack, and a tid of its own.
// Async-signal-safe.
inline void adopt_stack(process_state& process) {
  const uint64_t address = process.stacks.load_acquire();
  stack_t there{};
  if (address == 0 || sigaltstack(nullptr, &there) != 0) return;
  stack_pool& pool = *reinterpret_cast<stack_pool*>(address);
  const uint64_t offset = reinterpret_cast<uint64_t>(there.ss_sp) - reinterpret_cast<uint64_t>(pool.first);
  if (offset < pool.count * pool.stride) pool.owners[offset / pool.stride].store_relaxed(current_tid());
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/dump.hpp ======================================================================================
// A dump from request to file: one at a time, in the window that the options allow, with errors in sentences.
#ifndef CONTRAIL_DETAIL_DUMP_HPP
#define CONTRAIL_DETAIL_DUMP_HPP

// ==== contrail/detail/dump_file.hpp =================================================================================
// Dump files: paths with placeholders, and files that appear whole or not at all.
#ifndef CONTRAIL_DETAIL_DUMP_FILE_HPP
#define CONTRAIL_DETAIL_DUMP_FILE_HPP

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
// ==== contrail/detail/write_signals.hpp =============================================================================
// Writing to a pipe or socket that nobody reads any more, or beyond the limit of a file's size, without dying of it.
#ifndef CONTRAIL_DETAIL_WRITE_SIGNALS_HPP
#define CONTRAIL_DETAIL_WRITE_SIGNALS_HPP

#include <errno.h>
#include <signal.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// In its scope such a write answers EPIPE or EFBIG, and the SIGPIPE or SIGXFSZ that the kernel sends with it is taken
/// away. Of this thread only: the program's own dispositions are not touched. (Pipes know no MSG_NOSIGNAL.)
// Async-signal-safe.
class write_signal_hold {
 public:
  write_signal_hold() {
    sigset_t both, pending;
    sigemptyset(&both);
    sigaddset(&both, SIGPIPE);
    sigaddset(&both, SIGXFSZ);
    taken_ = both;
    // One that was pending before is the program's.
    if (sigpending(&pending) == 0) {
      const int signals[] = {SIGPIPE, SIGXFSZ};
      for (const int signal : signals) {
        if (sigismember(&pending, signal) == 1) sigdelset(&taken_, signal);
      }
    }
    held_ = pthread_sigmask(SIG_BLOCK, &both, &before_) == 0;
  }
  ~write_signal_hold() {
    if (!held_) return;
    const timespec at_once{};
    for (int i = 0; i < 100 && (sigtimedwait(&taken_, nullptr, &at_once) > 0 || errno == EINTR); ++i) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  write_signal_hold(const write_signal_hold&) = delete;
  write_signal_hold& operator=(const write_signal_hold&) = delete;

 private:
  sigset_t taken_, before_;
  bool held_;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/snapshot.hpp ==================================================================================
// From the live image to a validated dump. It runs beside the writers and never makes one wait.
//
// Order: stacks of open regions, bindings known so far, chunks, bindings made meanwhile. Stacks before chunks, so that
// a region that ends in between is in both and the reader drops the unfinished one, instead of in neither. Bindings
// once more after the chunks, so that every id in a chunk resolves; and once before, so that a dump cut short has
// names.
#ifndef CONTRAIL_DETAIL_SNAPSHOT_HPP
#define CONTRAIL_DETAIL_SNAPSHOT_HPP

// ==== contrail/detail/threads.hpp ===================================================================================
// Threads and their slots: attach, liveness, and the slow half of begin that needs them.
#ifndef CONTRAIL_DETAIL_THREADS_HPP
#define CONTRAIL_DETAIL_THREADS_HPP

// ==== contrail/detail/binding.hpp ===================================================================================
// Binds call sites and registered types to short ids inside the image: at a site's first hit its descriptor is copied
// into the image, so that neither dlclose nor the end of the process can make a record unreadable.
#ifndef CONTRAIL_DETAIL_BINDING_HPP
#define CONTRAIL_DETAIL_BINDING_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint32_t longest_name_bytes = 1023;  ///< longer strings of a descriptor are cut
inline constexpr uint32_t most_fields = 512;
inline constexpr uint32_t most_enumerators = 4096;

/// Where a serialised binding goes: counted, compared with bytes, or written. One pass of `serialise` serves all three,
/// so that what is hashed, compared and stored cannot differ.
class binding_output {
 public:
  binding_output() = default;
  explicit binding_output(char* to) : to_(to) {}
  static binding_output comparing(const char* with) {
    binding_output output;
    output.with_ = with;
    return output;
  }

  void add(const void* bytes, size_t size) {
    const char* from = static_cast<const char*>(bytes);
    for (size_t i = 0; i < size; ++i) {
      hash_ = (hash_ ^ static_cast<uint8_t>(from[i])) * 0x100'0000'01b3ULL;  // FNV-1a
      if (to_ != nullptr) to_[size_ + i] = from[i];
      // An entry's length and id, its first 6 bytes, are no part of its content.
      if (with_ != nullptr && size_ + i >= 6 && with_[size_ + i] != from[i]) equal_ = false;
    }
    size_ += size;
  }

  uint64_t hash() const { return hash_; }
  size_t size() const { return size_; }
  bool equal() const { return equal_; }

 private:
  char* to_ = nullptr;
  const char* with_ = nullptr;
  size_t size_ = 0;
  uint64_t hash_ = 0xcbf2'9ce4'8422'2325ULL;
  bool equal_ = true;
};

inline uint16_t cut_size(const text& name, uint8_t& flags) {
  if (name.size <= longest_name_bytes) return static_cast<uint16_t>(name.size);
  flags |= binding_flag_cut;
  return longest_name_bytes;
}

/// Writes a binding as image.hpp specifies it, without its length and id (both 0).
inline void serialise(const descriptor& what, binding_output& output) {
  binding entry{};
  entry.kind = what.kind;
  entry.flags = what.flags;
  entry.type_id = what.type_id;
  entry.line = what.line;
  entry.field_count = what.field_count < most_fields ? what.field_count : most_fields;
  if (entry.field_count != what.field_count) entry.flags |= binding_flag_cut;
  uint32_t enumerators = 0;
  for (unsigned i = 0; i < entry.field_count; ++i) enumerators += what.fields[i].enumerator_count;
  const bool with_enumerators = enumerators <= most_enumerators;
  entry.enumerator_count = static_cast<uint16_t>(with_enumerators ? enumerators : 0);
  entry.name_bytes = cut_size(what.name, entry.flags);
  entry.category_bytes = cut_size(what.category, entry.flags);
  entry.file_bytes = cut_size(what.file, entry.flags);
  entry.function_bytes = cut_size(what.function, entry.flags);
  output.add(&entry, sizeof entry);

  uint8_t ignored = 0;
  uint16_t first = 0;
  for (unsigned i = 0; i < entry.field_count; ++i) {
    const field& from = what.fields[i];
    binding_field to{};
    to.name_bytes = cut_size(from.name, ignored);
    to.type = static_cast<uint8_t>(from.type);
    to.offset = from.offset;
    to.count = from.count;
    to.is_array = from.is_array;
    to.first_enumerator = first;
    to.enumerator_count = with_enumerators ? from.enumerator_count : 0;
    first = static_cast<uint16_t>(first + to.enumerator_count);
    output.add(&to, sizeof to);
  }
  if (with_enumerators) {
    for (unsigned i = 0; i < entry.field_count; ++i) {
      for (unsigned k = 0; k < what.fields[i].enumerator_count; ++k) {
        binding_enumerator to{};
        to.value = what.fields[i].enumerators[k].value;
        to.name_bytes = cut_size(what.fields[i].enumerators[k].name, ignored);
        output.add(&to, sizeof to);
      }
    }
  }
  output.add(what.name.data, entry.name_bytes);
  output.add(what.category.data, entry.category_bytes);
  output.add(what.file.data, entry.file_bytes);
  output.add(what.function.data, entry.function_bytes);
  for (unsigned i = 0; i < entry.field_count; ++i) {
    output.add(what.fields[i].name.data, cut_size(what.fields[i].name, ignored));
  }
  if (with_enumerators) {
    for (unsigned i = 0; i < entry.field_count; ++i) {
      for (unsigned k = 0; k < what.fields[i].enumerator_count; ++k) {
        const text& name = what.fields[i].enumerators[k].name;
        output.add(name.data, cut_size(name, ignored));
      }
    }
  }
  constexpr char zeros[8] = {};
  output.add(zeros, (8 - output.size() % 8) % 8);
}

/// A published binding, or null.
inline const binding* binding_of(const image_view& image, uint64_t id) {
  const uint64_t index = id == overflow_id ? 0 : id;
  if (index > image.id_count) return nullptr;
  // Acquire pairs with the release in publish_binding: the entry is whole before its offset can be seen.
  const uint32_t offset = __atomic_load_n(&image.binding_index[index], __ATOMIC_ACQUIRE);
  return offset == 0 ? nullptr : reinterpret_cast<const binding*>(image.arena + (offset - 1));
}

/// Stores a binding under an id of its own; 0 when ids or space ran out.
inline uint64_t publish_binding(image_view& image, const descriptor& what, size_t bytes, uint64_t id) {
  superblock& super = *image.super;
  const uint64_t at = super.arena_used.fetch_add_relaxed(bytes);
  if (at + bytes > image.arena_bytes) return 0;
  if (id == 0) id = super.next_id.fetch_add_relaxed(1);
  if (id != overflow_id && (id > image.id_count || id > max_id)) return 0;
  binding_output output(image.arena + at);
  serialise(what, output);
  binding& entry = *reinterpret_cast<binding*>(image.arena + at);
  entry.bytes = static_cast<uint32_t>(bytes);
  entry.id = static_cast<uint16_t>(id);
  __atomic_store_n(&image.binding_index[id == overflow_id ? 0 : id], static_cast<uint32_t>(at + 1), __ATOMIC_RELEASE);
  return id;
}

/// The id of a descriptor's content in this image, the same for equal descriptors, so that a library which is opened
/// and closed in a loop does not use ids up. Two threads that bind the same content at the same time may both publish
/// it, under two ids; readers merge them. Nobody waits.
// Async-signal-safe.
inline uint64_t bind(image_view& image, const descriptor& what) {
  binding_output content;
  serialise(what, content);
  const uint64_t mask = image.hash_count - 1;
  // The low 16 bits of an entry are the id; a hash of 0 would look like a free entry.
  const uint64_t hash = (content.hash() & ~0xffffULL) | 0x10000;
  uint64_t place = (content.hash() >> 16) & mask;
  uint64_t id = 0;
  for (uint64_t probes = 0; probes < image.hash_count; ++probes, place = (place + 1) & mask) {
    uint64_t found = image.binding_hashes[place].load_acquire();
    if (found == 0) {
      if (id == 0) id = publish_binding(image, what, content.size(), 0);
      if (id == 0) return overflow_id;
      if (image.binding_hashes[place].compare_exchange(found, hash | id)) return id;
    }
    if ((found & ~0xffffULL) != hash) continue;
    const binding* entry = binding_of(image, found & 0xffff);
    if (entry == nullptr || entry->bytes != content.size()) continue;
    binding_output compare = binding_output::comparing(reinterpret_cast<const char*>(entry));
    serialise(what, compare);
    if (compare.equal()) return found & 0xffff;
  }
  return id != 0 ? id : overflow_id;
}

/// The word of a site bound to `id`: what its records carry in their low 18 bits.
inline uint64_t site_word(const descriptor& what, uint64_t id) {
  if (what.kind != binding_kind::region) return id << id_shift | static_cast<uint64_t>(record_tag::point);
  const bool has_payload = what.field_count != 0 || (what.flags & binding_flag_dynamic) != 0;
  if (!has_payload) return id << id_shift | static_cast<uint64_t>(record_tag::region);
  if (id > max_payload_region_id) return id << id_shift | static_cast<uint64_t>(record_tag::long_form);
  return id << payload_region_id_shift | static_cast<uint64_t>(record_tag::region_payload);
}

/// The id in a site's word.
inline uint64_t id_of_site_word(uint64_t word) {
  return (word & 3) == static_cast<uint64_t>(record_tag::region_payload) ? word >> payload_region_id_shift
                                                                          : word >> id_shift;
}

/// Binds all registered types of an object, so that every dump lists them, also those that never fired.
inline void bind_types(image_view& image, const type_range& types) {
  for (const descriptor* const* type = types.begin; type != types.end; ++type) {
    if (*type != nullptr) bind(image, **type);
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/filter.hpp ====================================================================================
// Filters by category and name: comma separated globs.
#ifndef CONTRAIL_DETAIL_FILTER_HPP
#define CONTRAIL_DETAIL_FILTER_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Whether `name` matches one glob of [glob, glob_end): `*` is any run of characters, `?` any one.
constexpr bool matches_glob(const char* glob, const char* glob_end, const char* name, const char* name_end) {
  const char* star = nullptr;     // after the last '*' met,
  const char* resume = nullptr;  // and where in the name that star's next try begins
  while (name != name_end) {
    if (glob != glob_end && *glob == '*') {
      star = ++glob;
      resume = name;
    } else if (glob != glob_end && (*glob == '?' || *glob == *name)) {
      ++glob;
      ++name;
    } else if (star != nullptr) {
      glob = star;
      name = ++resume;
    } else {
      return false;
    }
  }
  while (glob != glob_end && *glob == '*') ++glob;
  return glob == glob_end;
}

/// Whether `name` passes a list such as "net,db*,-db.noise": the last glob that matches decides, '-' excludes; a list
/// that begins with an exclusion, or is empty, lets through what no glob matches.
constexpr bool passes_globs(const char* list, const text& name) {
  const auto skip_spaces = [](const char*& at) {
    while (*at == ' ' || *at == ',') ++at;
  };
  skip_spaces(list);
  bool passes = *list == '\0' || *list == '-';
  while (*list != '\0') {
    const bool excludes = *list == '-';
    if (excludes) ++list;
    const char* end = list;
    while (*end != '\0' && *end != ',') ++end;
    const char* trimmed = end;
    while (trimmed != list && trimmed[-1] == ' ') --trimmed;
    if (matches_glob(list, trimmed, name.data, name.data + name.size)) passes = !excludes;
    list = end;
    skip_spaces(list);
  }
  return passes;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/lane.hpp ======================================================================================
// The slow half of a lane: chunks, time epochs, clock anchors, and records in any form.
#ifndef CONTRAIL_DETAIL_LANE_HPP
#define CONTRAIL_DETAIL_LANE_HPP

// ==== contrail/detail/pool.hpp ======================================================================================
// The pool of chunks: take one by ticket, seal it, recycle the oldest. Lock-free; nobody waits.
//
//   FREE --take--> TAKING --header written--> OPEN --seal--> SEALED --take--> TAKING ...
//
// A state word is ticket << 2 | state. Tickets are unique and increase, so a state word never repeats and a
// compare-exchange on it cannot be fooled. A reader remembers the ticket before it copies and compares it afterwards.
#ifndef CONTRAIL_DETAIL_POOL_HPP
#define CONTRAIL_DETAIL_POOL_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline chunk_state state_of(uint64_t word) { return static_cast<chunk_state>(word & 3); }
inline uint64_t ticket_of(uint64_t word) { return word >> 2; }
inline uint64_t extent_bytes(uint64_t extent) { return extent & 0xffff'ffff; }
inline uint64_t extent_records(uint64_t extent) { return extent >> 32; }
inline uint64_t state_word(uint64_t ticket, chunk_state state) { return ticket << 2 | static_cast<uint64_t>(state); }

inline slot_state state_of(const thread_slot& slot) { return static_cast<slot_state>(slot.state.load_acquire() & 0xff); }
inline uint64_t generation_of(const thread_slot& slot) { return slot.state.load_acquire() >> 8; }

inline uint32_t tid_of(const thread_slot& slot) { return static_cast<uint32_t>(slot.tid_index.load_relaxed()); }
inline uint64_t index_of(const thread_slot& slot) { return slot.tid_index.load_relaxed() >> 32; }

/// The lane that wrote a chunk, or null if its header makes no sense (it may be changing).
inline lane* lane_of(const image_view& image, const chunk& written) {
  const uint64_t index = written.writer.load_relaxed() & 0xffff'ffff;
  const uint64_t lane_index = written.tid_lane.load_relaxed() >> 32;
  if (index >= image.slot_count || lane_index >= lane_count) return nullptr;
  return &image.slots[index].lanes[lane_index];
}

/// Whether a sealed chunk is the newest history of a live thread, which a noisy thread must not take from a quiet one.
/// What it reads may be recycled meanwhile; then the caller's compare-exchange fails.
inline bool is_floored(const image_view& image, const chunk& candidate) {
  const lane* writer = lane_of(image, candidate);
  if (writer == nullptr) return false;
  const uint64_t identity = candidate.writer.load_relaxed();
  const thread_slot& slot = image.slots[identity & 0xffff'ffff];
  if (state_of(slot) != slot_state::live || generation_of(slot) != identity >> 32) return false;
  const uint64_t words = (extent_bytes(candidate.extent.load_relaxed()) - chunk_header_bytes) / 8;
  return candidate.words_before.load_relaxed() + words == writer->words_before.load_relaxed();
}

/// Remembers up to when history is gone.
inline void note_overwritten(superblock& super, uint64_t ticks) {
  uint64_t newest = super.overwritten_ticks.load_relaxed();
  while (newest < ticks && !super.overwritten_ticks.compare_exchange(newest, ticks)) {
  }
}

/// Takes a chunk, the oldest that may be had, and opens it with its ticket; null when there is none.
/// `header` is called between, to write the chunk's header. `taking` tells the ticket before the chunk has it: should a
/// jump or the thread's end leave a chunk half taken, return_chunk finds it there.
template <class WriteHeader>
inline chunk* take_chunk(image_view& image, bool keep_floor, atomic_word& taking, WriteHeader&& header) {
  superblock& super = *image.super;
  for (uint64_t tries = 0; tries < image.chunk_count; ++tries) {
    // Relaxed: the ticket only has to be unique; the state word orders everything else.
    const uint64_t ticket = super.next_ticket.fetch_add_relaxed(1);
    const uint64_t index = ticket % image.chunk_count;
    atomic_word& state = image.chunk_states[index];
    chunk& candidate = image.chunks[index];
    // Acquire pairs with the release in seal_chunk: its records are written before ours replace them.
    uint64_t found = state.load_acquire();
    if (state_of(found) == chunk_state::open || state_of(found) == chunk_state::taking) continue;
    // A thread that was preempted here for a whole round would otherwise put an old ticket over a newer one.
    if (ticket_of(found) >= ticket) continue;
    if (keep_floor && state_of(found) == chunk_state::sealed && is_floored(image, candidate)) continue;
    // Acquire, after the state: a session that began before this chunk was sealed is seen.
    const uint64_t watched = state_of(found) == chunk_state::sealed ? image.watch.load_acquire() : 0;
    const recycling_watch* const watch = reinterpret_cast<const recycling_watch*>(watched);
    if (watch != nullptr && watch->is_held_back(image, index, ticket_of(found))) continue;
    taking.store_relaxed(ticket);
    // Before the exchange, so that nothing can come in between: too much said is better than too little.
    if (state_of(found) == chunk_state::sealed) note_overwritten(super, candidate.sealed_ticks.load_relaxed());
    if (!state.compare_exchange(found, state_word(ticket, chunk_state::taking))) continue;
    // A reader that sees any word of the new header also sees TAKING or later when it re-reads the state, behind its
    // acquire fence: this fence pairs with that one.
    __atomic_thread_fence(__ATOMIC_RELEASE);
    candidate.ticket.store_relaxed(0);
    if (watch != nullptr) watch->count(image, index, ticket_of(found));
    header(candidate);
    candidate.extent.store_relaxed(0);
    candidate.sealed_ticks.store_relaxed(0);
    candidate.ticket.store_release(ticket);
    state.store_release(state_word(ticket, chunk_state::open));
    return &candidate;
  }
  return nullptr;
}

/// Gives back a chunk that was taken and is no lane's, because a jump or its thread's end came in between.
inline void return_chunk(image_view& image, atomic_word& taking) {
  const uint64_t ticket = taking.load_relaxed();
  if (ticket == 0) return;
  atomic_word& state = image.chunk_states[ticket % image.chunk_count];
  const uint64_t found = state.load_relaxed();
  // Nobody else has this ticket. Sealed, the chunk did become the lane's.
  if (found == state_word(ticket, chunk_state::taking) || found == state_word(ticket, chunk_state::open)) {
    state.store_release(state_word(ticket, chunk_state::free));
  }
  taking.store_relaxed(0);
}

/// Ends a chunk that this thread owns (or whose owner is dead): its extent is final and it may be recycled.
inline void seal_chunk(image_view& image, chunk& done, uint64_t end_bytes, uint64_t records, uint64_t ticks) {
  const uint64_t index = static_cast<uint64_t>(&done - image.chunks);
  done.sealed_ticks.store_relaxed(ticks);
  done.extent.store_release(end_bytes | records << 32);
  image.chunk_states[index].store_release(state_word(done.ticket.load_relaxed(), chunk_state::sealed));
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Owner of frames that a new time epoch overtook: its deadline has always passed, so they end on the slow path.
CONTRAIL_DETAIL_HIDDEN inline constinit lane stale_lane{};

inline thread_slot& slot_of(const frame* at) {
  return *reinterpret_cast<thread_slot*>(reinterpret_cast<uint64_t>(at) & ~uint64_t{sizeof(thread_slot) - 1});
}

inline thread_slot& slot_of(const lane& writer) {
  return *reinterpret_cast<thread_slot*>(reinterpret_cast<uint64_t>(&writer) & ~uint64_t{sizeof(thread_slot) - 1});
}

inline unsigned lane_index_of(const thread_slot& slot, const frame* at) {
  const long index = at - slot.frames;
  return index < first_frame[1] ? 0 : index < first_frame[2] ? 1 : 2;
}

inline frame* first_frame_of(thread_slot& slot, unsigned lane_index) { return &slot.frames[first_frame[lane_index]]; }
inline frame* end_frame_of(thread_slot& slot, unsigned lane_index) {
  return &slot.frames[first_frame[lane_index] + lane_depth[lane_index]];
}

/// Begins that handlers interrupted before they stored their frames' starts, at most: one per handler within a handler.
inline constexpr unsigned most_interrupted_begins = 3;

/// What is open on these frames, or was interrupted as it began there, takes the slow path at its end.
inline void mark_frames(frame* first, const frame* end) {
  for (frame* at = first; at < end; ++at) at->owner = &stale_lane;
}

/// Regions that are open when a time epoch begins, at `base`, outgrow their short form. Free frames are marked too: one
/// may belong to a begin that a handler interrupted after it had read the clock. Not those far above `top`, the lane's
/// next free frame: where that went down below such a begin, its frame was marked then. A thread that records little
/// has a new epoch with almost every record, and would write to a cache line for each frame of its stack.
inline void mark_overtaken_frames(frame* top, uint64_t base) {
  thread_slot& slot = slot_of(top);
  const unsigned lane_index = lane_index_of(slot, top);
  const frame* const above = top + most_interrupted_begins + 1;
  const frame* const end = end_frame_of(slot, lane_index);
  for (frame* at = first_frame_of(slot, lane_index); at < above && at < end; ++at) {
    const uint64_t start = at->start_ticks.load_relaxed();
    if (!is_region(start) || start < base) at->owner = &stale_lane;
  }
}

inline lane& lane_of(const frame* at) {
  thread_slot& slot = slot_of(at);
  return slot.lanes[lane_index_of(slot, at)];
}

inline uint64_t words_in_chunk(const lane& writer) {
  const uint64_t cursor = writer.cursor.load_relaxed();
  const uint64_t open = writer.chunk.load_relaxed();
  return open == 0 ? 0 : (cursor - open - chunk_header_bytes) / 8;
}

inline void set_deadline(const process_state& process, const image_view& image, lane& writer, uint64_t base) {
  // Without a trusted counter every record takes the slow path, which knows the other clock.
  writer.deadline.store_relaxed(process.hardware_clock.load_relaxed() != 0 ? base + epoch_ticks : 0);
  // Pairs with the fence in retire_image: either it resets this deadline, or it is seen here.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (image.retired.load_relaxed() != 0) writer.deadline.store_relaxed(0);
}

inline void set_epoch(process_state& process, const image_view& image, frame* top, uint64_t base) {
  lane& writer = lane_of(top);
  mark_overtaken_frames(top, base);
  writer.epoch_base.store_relaxed(base);
  set_deadline(process, image, writer, base);
}

/// Whether a chunk is this lane's, and not sealed yet. It is not when a jump left the lane's cursor in a chunk that it
/// had sealed, and that may be anybody's by now.
inline bool is_open_chunk_of(const image_view& image, const chunk& candidate, const lane& writer) {
  const atomic_word& state = image.chunk_states[&candidate - image.chunks];
  return state_of(state.load_acquire()) == chunk_state::open && lane_of(image, candidate) == &writer;
}

/// The records from `at`, where one begins, to `end`.
inline uint64_t count_records(const atomic_word* at, const atomic_word* end) {
  uint64_t records = 0;
  while (at < end) {
    const uint64_t word = at->load_relaxed();
    const auto tag = static_cast<record_tag>(word & 3);
    const auto form = long_form_of(word);
    const bool is_long = tag == record_tag::long_form;
    records += !is_long || (form != long_form::epoch && form != long_form::anchor && form != long_form::current_task);
    at += 1 + (tag == record_tag::point            ? word >> duration_shift & 0xff
               : tag == record_tag::region_payload ? word >> id_shift & 0xf
               : is_long && form != long_form::epoch ? word >> 6 & 0x3ff
                                                     : 0);
  }
  return records;
}

/// Ends the lane's chunk. The lane is busy, or its thread is dead. Whoever reads the image finds the chunk's end by the
/// lane's cursor until it has an extent. What a jump left half done is done again, with the same result: after the lane
/// has let go of the chunk, and until its cursor has, the chunk is still to be sealed.
inline void close_chunk(image_view& image, lane& writer, uint64_t ticks) {
  const uint64_t cursor = writer.cursor.load_relaxed();
  if (cursor == 0) return;
  chunk& done = *reinterpret_cast<chunk*>((cursor - 1) & ~uint64_t{chunk_bytes - 1});
  writer.deadline.store_relaxed(0);
  writer.chunk.store_relaxed(0);
  signal_fence();
  if (is_open_chunk_of(image, done, writer)) {
    const uint64_t end_bytes = cursor - reinterpret_cast<uint64_t>(&done);
    const uint64_t words = done.words_before.load_relaxed() + (end_bytes - chunk_header_bytes) / 8;
    writer.words_before.store_relaxed(words);
    thread_slot& slot = slot_of(writer);
    atomic_word& recount = slot.recount[&writer - slot.lanes];
    if (recount.load_relaxed() != 0) {
      // A jump may have come between the count of a record's words and the record.
      const uint64_t records = count_records(done.words, reinterpret_cast<const atomic_word*>(cursor));
      writer.extra_words.store_relaxed(words - done.records_before.load_relaxed() - records);
      recount.store_relaxed(0);
    }
    const uint64_t records = words - writer.extra_words.load_relaxed() - done.records_before.load_relaxed();
    seal_chunk(image, done, end_bytes, records, ticks);
  }
  // Release: a reader that finds the cursor gone finds the extent. And before the lane may take the same chunk again.
  writer.cursor.store_release(0);
}

// ---- dead threads ---------------------------------------------------------------------------------------------

inline uint64_t slot_word(uint64_t generation, slot_state state) {
  return generation << 8 | static_cast<uint64_t>(state);
}

inline slot_state phase_of(uint64_t state) { return static_cast<slot_state>(state & 0xff); }

/// Seals what the thread of a slot left behind. Whoever calls this has the slot's turn. Done twice it does no harm.
inline void seal_slot(process_state& process, image_view& image, thread_slot& slot) {
  // A dump that sees any change to the slot sees, looking again, that it is no longer live. Pairs with copy_slot.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  for (unsigned k = 0; k < lane_count; ++k) {
    slot.recount[k].store_relaxed(1);  // the thread may have ended anywhere
    close_chunk(image, slot.lanes[k], now_ticks(process));
    return_chunk(image, slot.taking[k]);
  }
}

inline void leave_slot(thread_slot& slot, uint64_t generation) {
  slot.state.store_release(slot_word(generation, slot_state::free));
  slot.occupant.store_release(0);
}

/// Seals what a dead thread, or one of an unloaded object, left behind and frees its slot. `found` is the state word by
/// which the caller knew that it is dead; whoever gets the slot's turn first, as `self`, does the work.
// Async-signal-safe.
inline bool free_slot(process_state& process, image_view& image, thread_slot& slot, uint64_t found,
                      const turn_holder& self) {
  if (take_turn(slot.occupant, self.name()) == 0) return false;
  if (slot.state.load_acquire() != found) {
    slot.occupant.store_release(0);
    return false;
  }
  slot.state.store_relaxed(slot_word(found >> 8, slot_state::sealing));
  seal_slot(process, image, slot);
  image.super->attached_slots.fetch_add_relaxed(~uint64_t{0});
  leave_slot(slot, found >> 8);
  return true;
}

/// Frees a slot that was being claimed or sealed, if who did that is gone: by a jump, or with its thread.
// Async-signal-safe.
inline bool finish_slot(process_state& process, image_view& image, thread_slot& slot, const turn_holder& self) {
  const int turn = take_turn(slot.occupant, self.name());
  if (turn == 0) return false;
  uint64_t found = slot.state.load_acquire();
  const bool is_half = phase_of(found) == slot_state::claimed || phase_of(found) == slot_state::sealing;
  // A claim has given its turn back when it is about to make the slot live.
  const bool is_about_to_live =
      turn == 1 && is_half && tid_of(slot) != tid_of_holder(self.name()) && is_thread_alive(tid_of(slot));
  // By exchange: else it might become live between this look and the next line, and be sealed while its thread writes.
  if (!is_half || is_about_to_live || !slot.state.compare_exchange(found, slot_word(found >> 8, slot_state::sealing))) {
    slot.occupant.store_release(0);
    return false;
  }
  seal_slot(process, image, slot);
  uint64_t before = image.super->attached_slots.load_relaxed(), live = 0;
  if (turn == 1) {
    image.super->attached_slots.fetch_add_relaxed(~uint64_t{0});
  } else {
    // Whether it was counted cannot be told.
    for (uint64_t i = 0; i < image.slot_count; ++i) live += state_of(image.slots[i]) == slot_state::live;
    image.super->attached_slots.compare_exchange(before, live);
  }
  leave_slot(slot, found >> 8);
  return true;
}

inline unsigned reap_dead_slots(process_state& process, image_view& image, unsigned probes) {
  const turn_holder self;
  unsigned freed = 0;
  for (unsigned i = 0; i < probes && i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[image.slot_hand.fetch_add_relaxed(1) % image.slot_count];
    const uint64_t found = slot.state.load_acquire();
    if (phase_of(found) == slot_state::free) continue;
    if (phase_of(found) != slot_state::live) {
      freed += finish_slot(process, image, slot, self);
    } else if (!is_thread_alive(tid_of(slot))) {
      freed += free_slot(process, image, slot, found, self);
    }
  }
  return freed;
}

// ---- opening a chunk --------------------------------------------------------------------------------------------

/// What the system calls the running thread, zero padded.
// Async-signal-safe.
inline void read_system_thread_name(uint64_t (&name)[thread_name_bytes / 8]) {
  memset(name, 0, sizeof name);
  constexpr int get_name = 16;  // PR_GET_NAME
  syscall(SYS_prctl, get_name, name, 0, 0, 0);
}

/// Takes over the system's name of a thread that the program did not name.
inline void refresh_name(thread_slot& slot) {
  if (slot.name_version.load_relaxed() != 0) return;
  uint64_t name[thread_name_bytes / 8];
  read_system_thread_name(name);
  for (unsigned i = 0; i < thread_name_bytes / 8; ++i) slot.name[i].store_relaxed(name[i]);
}

/// Appends `count` words as one record; the caller made room. `bookkeeping` words are not a user's record.
inline void append(lane& writer, const uint64_t* words, unsigned count, bool bookkeeping) {
  atomic_word* cursor = reinterpret_cast<atomic_word*>(writer.cursor.load_relaxed());
  for (unsigned i = 1; i < count; ++i) cursor[i].store_relaxed(words[i]);
  cursor[0].store_relaxed(words[0]);
  writer.extra_words.add_owned(bookkeeping ? count : count - 1);
  writer.cursor.store_release(reinterpret_cast<uint64_t>(cursor + count));
}

/// Opens the next chunk of the lane of `top` at `ticks`; without one the lane drops records until a later try. The lane
/// is busy.
inline bool open_chunk(process_state& process, image_view& image, frame* top, uint64_t ticks) {
  thread_slot& slot = slot_of(top);
  const unsigned lane_index = lane_index_of(slot, top);
  lane& writer = slot.lanes[lane_index];
  // A busy thread opens chunks every few microseconds; three system clocks each time would show in its regions.
  uint64_t anchor[4];
  const chunk* const before = reinterpret_cast<const chunk*>(writer.chunk.load_relaxed());
  const bool reuse_anchor =
      before != nullptr && ticks - writer.anchor_ticks.load_relaxed() < process.tick_hz.load_relaxed() / 1024;
  if (reuse_anchor) {
    for (unsigned i = 0; i < 4; ++i) anchor[i] = before->anchor[i].load_relaxed();
  }
  close_chunk(image, writer, ticks);
  atomic_word& taking = slot.taking[lane_index];
  return_chunk(image, taking);
  if (ticks < image.no_chunk_until.load_relaxed()) return false;
  if (!reuse_anchor) {
    keep_stack(process, slot.alternate_stack);
    const clock_anchor fresh = take_anchor(process);
    memcpy(anchor, &fresh, sizeof anchor);
    writer.anchor_ticks.store_relaxed(fresh.ticks);
    refresh_name(slot);
  }
  const uint64_t base = ticks & ~(epoch_ticks - 1);
  if (base != writer.epoch_base.load_relaxed()) mark_overtaken_frames(top, base);
  const auto header = [&](chunk& fresh) {
    fresh.writer.store_relaxed(index_of(slot) | generation_of(slot) << 32);
    fresh.tid_lane.store_relaxed(tid_of(slot) | static_cast<uint64_t>(lane_index) << 32);
    fresh.words_before.store_relaxed(writer.words_before.load_relaxed());
    fresh.records_before.store_relaxed(writer.words_before.load_relaxed() - writer.extra_words.load_relaxed());
    fresh.epoch_base.store_relaxed(base);
    for (unsigned i = 0; i < 4; ++i) fresh.anchor[i].store_relaxed(anchor[i]);
    for (unsigned i = 0; i < thread_name_bytes / 8; ++i) fresh.thread_name[i].store_relaxed(slot.name[i].load_relaxed());
  };
  const bool keep_floor = image.chunk_count >= 4 * image.super->attached_slots.load_relaxed();
  chunk* taken = take_chunk(image, keep_floor, taking, header);
  if (taken == nullptr && reap_dead_slots(process, image, 64) != 0) {
    taken = take_chunk(image, keep_floor, taking, header);
  }
  if (taken == nullptr) taken = take_chunk(image, false, taking, header);
  if (taken == nullptr) {
    // Back off: else every record would search the whole pool again.
    image.no_chunk_until.store_relaxed(ticks + process.tick_hz.load_relaxed() / 1000);
    return false;
  }
  writer.cursor.store_release(reinterpret_cast<uint64_t>(taken->words));
  writer.chunk.store_release(reinterpret_cast<uint64_t>(taken));
  taking.store_release(0);
  writer.epoch_base.store_relaxed(base);
  set_deadline(process, image, writer, base);
  // Said again in each chunk, since the one where it was said first is overwritten some day.
  if (const uint64_t task = slot.current_task.load_relaxed()) {
    const uint64_t record[3] = {long_header(long_form::current_task, 0, 2), ticks, task};
    append(writer, record, 3, true);
  }
  return true;
}

/// Makes sure that `words` more fit in the chunk of the lane of `top`.
inline bool make_room(process_state& process, image_view& image, frame* top, unsigned words, uint64_t ticks) {
  const lane& writer = lane_of(top);
  const uint64_t open = writer.chunk.load_relaxed();
  if (open != 0 && writer.cursor.load_relaxed() + 8 * words <= open + chunk_bytes) return true;
  return open_chunk(process, image, top, ticks);
}

/// Gets the lane of `top` ready for a record of up to `words` words at `ticks`: chunk, time epoch, anchor. The lane is
/// busy.
inline bool prepare_lane(process_state& process, image_view& image, frame* top, unsigned words, uint64_t ticks) {
  thread_slot& slot = slot_of(top);
  lane& writer = lane_of(top);
  constexpr unsigned bookkeeping_words = 6;  // an epoch word and an anchor
  // The cursor must not rest at a chunk's end, hence one word more.
  if (!make_room(process, image, top, words + bookkeeping_words + 1, ticks)) {
    writer.dropped.add_owned(1);
    image.super->dropped[static_cast<unsigned>(drop_reason::no_chunk)].fetch_add_relaxed(1);
    return false;
  }
  if (ticks - writer.epoch_base.load_relaxed() >= epoch_ticks) {
    const uint64_t base = ticks & ~(epoch_ticks - 1);
    const uint64_t word = epoch_word(base);
    append(writer, &word, 1, true);
    set_epoch(process, image, top, base);
    keep_stack(process, slot.alternate_stack);
    if (image.is_shared != 0) {
      // When the process has been killed, nobody can be asked any more.
      refresh_name(slot);
      chunk& open = *reinterpret_cast<chunk*>(writer.chunk.load_relaxed());
      for (unsigned i = 0; i < thread_name_bytes / 8; ++i) open.thread_name[i].store_relaxed(slot.name[i].load_relaxed());
    }
    if (ticks - writer.anchor_ticks.load_relaxed() > process.tick_hz.load_relaxed()) {
      const clock_anchor fresh = take_anchor(process);
      const uint64_t anchor[5] = {long_header(long_form::anchor, 0, 4), fresh.ticks, fresh.monotonic_ns,
                                  fresh.realtime_ns, fresh.boottime_ns};
      append(writer, anchor, 5, true);
      writer.anchor_ticks.store_relaxed(fresh.ticks);
    }
  }
  return true;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/signal_frame.hpp ==============================================================================
// Whether code runs in a signal handler. Nothing tells that but the frame that the kernel put on the stack.
#ifndef CONTRAIL_DETAIL_SIGNAL_FRAME_HPP
#define CONTRAIL_DETAIL_SIGNAL_FRAME_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

#if defined(__x86_64__)

/// Where handlers return to: the same function of the C library for all, and hardly ever another one.
struct signal_restorers {
  static constexpr unsigned most = 4;
  uint64_t found[most] = {};

  signal_restorers() {
    for (int signal = 1; signal < 65; ++signal) {
      uint64_t action[4] = {};  // the kernel's sigaction: handler, flags, restorer, mask
      constexpr long mask_bytes = 8;
      if (syscall(SYS_rt_sigaction, signal, nullptr, action, mask_bytes) == 0) add(action[2]);
    }
  }
  void add(uint64_t restorer) {
    for (uint64_t& known : found) {
      if (restorer == 0 || known == restorer) return;
      if (known == 0) {
        known = restorer;
        return;
      }
    }
  }
  bool has(uint64_t word) const {
    for (const uint64_t known : found) {
      if (known == word && word != 0) return true;
    }
    return false;
  }
};

/// Whether a handler runs above the stack pointer that interrupted code which has `held` in a register. Looks through
/// the stack above, up to 64 KiB: some 20 us. What an earlier handler left in a function's unused room may look like
/// that: then yes.
// Async-signal-safe.
__attribute__((noinline, no_sanitize("address"))) inline bool is_in_handler_of(uint64_t stack_pointer, const void* held) {
  const errno_keeper keep;
  const signal_restorers restorers;
  constexpr uint64_t page = 4096, most_bytes = 64 << 10;
  // Words of the kernel's frame: the return address, 5 of the context's head, r8 to r15, rdi, rsi, rbp, rbx, rdx, rax,
  // rcx, rsp.
  constexpr unsigned registers_at = 6, stack_pointer_at = 21;
  const uint64_t begin = stack_pointer & ~uint64_t{7};
  uint64_t end = begin;
  for (uint64_t at = begin; at < begin + most_bytes; at += 8) {
    for (; at + 8 * (stack_pointer_at + 1) > end; end = (end & ~(page - 1)) + page) {
      if (!is_readable(reinterpret_cast<const uint64_t*>(end & ~uint64_t{7}))) return false;
    }
    const volatile uint64_t* const words = reinterpret_cast<const volatile uint64_t*>(at);
    if (!restorers.has(words[0]) || words[stack_pointer_at] <= at) continue;
    for (unsigned i = registers_at; i < stack_pointer_at; ++i) {
      if (words[i] == reinterpret_cast<uint64_t>(held)) return true;
    }
  }
  return false;
}

#else

/// Not needed: the end of a region says itself how deep it is, see end_inline.
inline bool is_in_handler_of(uint64_t, const void*) { return false; }

#endif

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <signal.h>
#include <sys/syscall.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline void count_drop(image_view& image, drop_reason reason) {
  image.super->dropped[static_cast<unsigned>(reason)].fetch_add_relaxed(1);
}

// ---- slots ---------------------------------------------------------------------------------------------------

inline void reset(lane& writer) {
  writer.cursor.store_relaxed(0);
  writer.deadline.store_relaxed(0);
  writer.epoch_base.store_relaxed(0);
  writer.chunk.store_relaxed(0);
  writer.extra_words.store_relaxed(0);
  writer.words_before.store_relaxed(0);
  writer.anchor_ticks.store_relaxed(0);
  writer.dropped.store_relaxed(0);
}

/// A slot and the state word that says whose it is.
struct claimed_slot {
  thread_slot* slot;
  uint64_t state;
};

/// Takes a slot for the running thread, whose next_frame is `before`, and this object. Null when all are in use by live
/// threads, or a handler has attached the thread meanwhile.
inline claimed_slot claim_slot(process_state& process, image_view& image, caller from, const frame* before) {
  const uint64_t now = now_ticks(process);
  if (now < image.no_slot_until.load_relaxed()) return {nullptr, 0};
  // A vfork child would leave its tid in the slot, and the slot would seem dead while its parent uses it.
  if (static_cast<uint32_t>(getpid()) != image.super->pid) return {nullptr, 0};
  const turn_holder self;
  const uint32_t tid = tid_of_holder(self.name());
  const uint64_t object = reinterpret_cast<uint64_t>(from.object);
  // This thread has no slot for this object: one that carries its tid belonged to a thread that ended, or a jump came
  // between its claim and the end of this function.
  for (uint64_t i = 0; i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[i];
    const uint64_t found = slot.state.load_acquire();
    if (phase_of(found) == slot_state::live && tid_of(slot) == tid && slot.owner_object.load_relaxed() == object) {
      if (*from.next_frame != before) return {nullptr, 0};  // or to us, by a handler
      free_slot(process, image, slot, found, self);
    }
  }
  for (uint64_t i = 0; i < 2 * image.slot_count; ++i) {
    thread_slot& slot = image.slots[i % image.slot_count];
    uint64_t found = slot.state.load_acquire();
    // The second round looks for threads that ended without a word. Those that jumped away are looked for at once: this
    // one's half-made claims, and what it was about to free.
    const bool is_half_own = phase_of(found) != slot_state::live && tid_of(slot) == tid;
    const bool may_be_dead =
        i >= image.slot_count || is_half_own || tid_of_holder(slot.occupant.load_relaxed()) == tid;
    if (phase_of(found) != slot_state::free && may_be_dead) {
      if (phase_of(found) != slot_state::live) {
        finish_slot(process, image, slot, self);
      } else if (!is_thread_alive(tid_of(slot))) {
        free_slot(process, image, slot, found, self);
      }
      found = slot.state.load_acquire();
    }
    if (phase_of(found) != slot_state::free || take_turn(slot.occupant, self.name()) == 0) continue;
    if (slot.state.load_acquire() != found) {
      slot.occupant.store_release(0);
      continue;
    }
    const uint64_t generation = (found >> 8) + 1;
    uint64_t claimed = slot_word(generation, slot_state::claimed);
    slot.state.store_relaxed(claimed);
    __atomic_thread_fence(__ATOMIC_RELEASE);  // as in seal_slot
    slot.tid_index.store_relaxed(tid | (i % image.slot_count) << 32);
    slot.owner_object.store_relaxed(object);
    slot.attach_ticks.store_relaxed(now);
    slot.name_version.store_relaxed(0);
    slot.alternate_stack.store_relaxed(0);
    slot.current_task.store_relaxed(0);
    uint64_t name[thread_name_bytes / 8];
    read_system_thread_name(name);
    for (unsigned k = 0; k < thread_name_bytes / 8; ++k) slot.name[k].store_relaxed(name[k]);
    for (unsigned k = 0; k < lane_count; ++k) {
      lane& writer = slot.lanes[k];
      reset(writer);
      slot.recount[k].store_relaxed(0);
      slot.interrupted[k].store_relaxed(0);
      for (frame* at = first_frame_of(slot, k); at != end_frame_of(slot, k); ++at) {
        at->owner = &writer;
        at->start_ticks.store_relaxed(0);
      }
      end_frame_of(slot, k)->start_ticks.store_relaxed(frame_busy);
    }
    image.super->attached_slots.fetch_add_relaxed(1);
    // The turn goes before the slot is live: a handler in between that attaches must be able to free it. Then it does
    // not become live.
    slot.occupant.store_release(0);
    const uint64_t live = slot_word(generation, slot_state::live);
    if (slot.state.compare_exchange(claimed, live)) return {&slot, live};
    if (*from.next_frame != before) return {nullptr, 0};
  }
  image.no_slot_until.store_relaxed(now + process.tick_hz.load_relaxed() / 1000);
  return {nullptr, 0};
}

/// Gives the running thread a slot in the image and points its next_frame at the stack. A handler may attach in
/// between: the pointer is published last, by compare-exchange, and who comes second gives its slot back. That handler
/// may have taken our slot for a dead thread's and have it now: the state word tells, which is therefore not read
/// again.
inline bool attach_thread(process_state& process, image_view& image, caller from) {
  frame* before = *from.next_frame;
  const claimed_slot mine = claim_slot(process, image, from, before);
  if (*from.next_frame == before && mine.slot == nullptr) {
    count_drop(image, drop_reason::no_slot);
    return false;
  }
  if (mine.slot == nullptr ||
      !__atomic_compare_exchange_n(from.next_frame, &before, first_frame_of(*mine.slot, 0), false, __ATOMIC_RELAXED,
                                   __ATOMIC_RELAXED)) {
    if (mine.slot != nullptr) free_slot(process, image, *mine.slot, mine.state, turn_holder());
    return true;
  }
  image.super->attached.fetch_add_relaxed(1);
  keep_stack(process, mine.slot->alternate_stack);
  return true;
}

// ---- call sites ----------------------------------------------------------------------------------------------

/// Whether the filters let this descriptor through.
inline bool passes_filters(const process_state& process, const descriptor& what) {
  char list[filter_bytes];
  process.categories.load(list);
  if (!passes_globs(list, what.category)) return false;
  process.names.load(list);
  return passes_globs(list, what.name);
}

/// Resolves a site for the current epoch. Returns its site word in `image`, or site_off.
inline uint64_t resolve_site(process_state& process, image_view* image, const object_root& object, call_site& site) {
  // Read first: whatever changes after this makes the word stored below stale at once.
  const uint64_t epoch = object.epoch.load_acquire();
  // Before the image: who sees a recording that begins in another image sees that image too. A word of the image before
  // would be stored for the epoch that the new recording still has.
  const bool is_recording = process.recording.load_acquire() != 0;
  // Another image took over since the caller looked, maybe in the epoch just read: the site is not off, it asks again.
  if (image == nullptr || image != current_image(process)) return site_off;
  const uint64_t generation = image->generation << 18;
  uint64_t bound = site.bound.load_relaxed();
  const bool is_bound = (bound & ~site_word_mask) == generation;
  // Acquire: a binding made by another thread is known in full.
  if (is_bound && site.word.load_acquire() - epoch <= site_word_mask) return bound & site_word_mask;
  if (!is_recording || !passes_filters(process, *site.what)) {
    // Release, as below: whoever reads this finds its epoch, and not an earlier one that would make it a site's word.
    site.word.store_release(epoch + site_off);
    return site_off;
  }
  if (!is_bound) {
    bound = generation | site_word(*site.what, bind(*image, *site.what));
    site.bound.store_relaxed(bound);
  }
  // The quick path reads the hardware's counter. Where that is not trusted no word fits, so that all go the slow path.
  const bool quick = process.hardware_clock.load_relaxed() != 0;
  const uint64_t word = bound & site_word_mask;
  site.word.store_release(epoch + (quick ? word : site_slow));
  return word;
}

/// The same, in a few instructions where the site is bound and on. A word that fits the epoch is of the image that was
/// the process's when the epoch began; `image` was read before, and is so still.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t known_or_resolved_site(process_state& process, image_view* image,
                                                              const object_root& object, call_site& site) {
  const uint64_t word = difference(site.word, object.epoch);
  const bool is_known = word <= site_word_mask && image == current_image(process);
  return __builtin_expect(is_known, 1) ? word : resolve_site(process, image, object, site);
}

// ---- the slow begin ------------------------------------------------------------------------------------------

/// A point in progress marks its frame with the stack pointer of its code. One store says both, so that no handler sees
/// one without the other.
inline void mark_point(frame& at, uint64_t stack_pointer) { at.start_ticks.store_relaxed(stack_pointer | point_mark); }

inline bool is_on(const stack_t& alternate, uint64_t depth) {
  return (alternate.ss_flags & SS_DISABLE) == 0 &&
         depth - reinterpret_cast<uint64_t>(alternate.ss_sp) < alternate.ss_size;
}

/// Whether code at `depth` of this thread's stacks was left for good, as code shows that runs at `stack_pointer`. A
/// handler runs deeper in the stack than what it interrupted. While code runs on the normal stack none does on the
/// alternate one; the other way round nothing can be told.
inline bool is_left(uint64_t depth, uint64_t stack_pointer, const stack_t& alternate) {
  const bool is_on_it = (alternate.ss_flags & SS_ONSTACK) != 0;
  if (is_on(alternate, depth) != is_on_it) return !is_on_it;
  return stack_pointer >= depth;
}

/// How deep in the stack the code is that uses the frame.
inline uint64_t depth_of(const frame& at) {
  const uint64_t found = at.start_ticks.load_relaxed();
  return is_region(found) ? at.stack_pointer.load_relaxed() : found & ~point_mark;
}

inline uint64_t site_of(const frame& at) {
  return ((at.start_ticks.load_relaxed() << duration_shift) - at.word.load_relaxed()) & site_word_mask;
}

/// Frees frames of code that was jumped over by longjmp, as a region of site word `word` at `stack_pointer` shows that
/// is about to begin. Code that still runs is deeper in the stack the later it began its region; so a frame is over
/// when a later one is less deep, or is of the same site at the same depth. Takes some microseconds.
inline void purge_frames(thread_slot& slot, uint64_t word, uint64_t stack_pointer) {
  const stack_t alternate = alternate_stack();
  // A region of this site at this depth was left, and so was what began within it.
  uint64_t left_since = frame_busy;
  for (const frame& at : slot.frames) {
    const uint64_t start = at.start_ticks.load_relaxed();
    const bool is_same = is_region(start) && depth_of(at) == stack_pointer && site_of(at) == word;
    if (is_same && start < left_since) left_since = start;
  }
  for (frame& at : slot.frames) {
    const uint64_t found = at.start_ticks.load_relaxed();
    if (found == 0 || found == frame_busy || &at == end_frame_of(slot, lane_index_of(slot, &at))) continue;
    const uint64_t depth = depth_of(at);
    bool is_over = is_left(depth, stack_pointer, alternate) &&
                   (depth != stack_pointer || (is_region(found) && found >= left_since));
    for (const frame& later : slot.frames) {
      if (is_over) break;
      const uint64_t other = later.start_ticks.load_relaxed();
      if (!is_region(other) || !is_region(found) || other <= found) continue;
      if (is_on(alternate, depth) != is_on(alternate, depth_of(later))) continue;
      is_over = depth_of(later) > depth || (depth_of(later) == depth && site_of(later) == site_of(at));
    }
    if (!is_over) continue;
    const unsigned lane_index = lane_index_of(slot, &at);
    slot.recount[lane_index].store_relaxed(1);
    if (&at == first_frame_of(slot, lane_index)) slot.interrupted[lane_index].store_relaxed(0);
    set_free(at);
  }
}

/// The first frame of a lane above all frames in use.
inline frame* top_frame(thread_slot& slot, unsigned lane_index) {
  frame* at = end_frame_of(slot, lane_index);
  while (at != first_frame_of(slot, lane_index) && is_free(*(at - 1))) --at;
  return at;
}

/// Where to go on when a lane's stack is full: above all its frames in use, since regions that ended on other threads
/// leave free ones; or on a lane that nothing uses; or there after a purge. Null when even then there is none.
inline frame* find_frame(thread_slot& slot, unsigned lane_index, uint64_t word, uint64_t stack_pointer) {
  for (int round = 0; round != 2; ++round) {
    // Last: a region on the heap may look like one that was jumped over.
    if (round == 1) purge_frames(slot, word, stack_pointer);
    frame* const at = top_frame(slot, lane_index) + most_interrupted_begins;
    if (at < end_frame_of(slot, lane_index)) {
      mark_frames(at + 1, end_frame_of(slot, lane_index));  // interrupted begins may be there
      return at;
    }
    for (unsigned k = 0; k < lane_count; ++k) {
      if (k == lane_index || top_frame(slot, k) != first_frame_of(slot, k)) continue;
      slot.interrupted[k].store_relaxed(0);
      return first_frame_of(slot, k);
    }
  }
  return nullptr;
}

/// Whether a frame is in this image: detached_frame and frames of an image that was retired are not.
inline bool is_in_image(const image_view& image, const frame* at) {
  const uint64_t offset = reinterpret_cast<uint64_t>(at) - reinterpret_cast<uint64_t>(image.slots);
  return offset < image.slot_count * sizeof(thread_slot);
}

/// Where the thread goes on when its next frame, `at`, is in use or its lane is full. Null when there is no place.
inline frame* find_place(image_view& image, frame* at, uint64_t word, uint64_t stack_pointer) {
  thread_slot& slot = slot_of(at);
  const unsigned lane_index = lane_index_of(slot, at);
  const bool is_full = at == end_frame_of(slot, lane_index);
  bool is_in_use = !is_full || at->start_ticks.load_relaxed() != frame_busy;
  // The next free frame is not free: an end (or a point) was interrupted on it. Either this is a handler above it, or a
  // handler has jumped out of it for good. A handler runs deeper in the stack than the code that it interrupted.
  // But a region that a coroutine began deeper in the stack may be ending above: within a handler that tells nothing.
  if (is_in_use && is_left(depth_of(*at), stack_pointer, alternate_stack()) && !is_in_handler_of(stack_pointer, at)) {
    slot.recount[lane_index].store_relaxed(1);
    at->start_ticks.store_relaxed(is_full ? frame_busy : 0);
    if (!is_full) return at;
    is_in_use = false;
  }
  if (!is_in_use) {
    at = find_frame(slot, lane_index, word, stack_pointer);
    if (at == nullptr) count_drop(image, drop_reason::too_deep);
    return at;
  }
  for (int round = 0; round != 2; ++round) {
    // Handlers that jumped away may have left frames in all other lanes.
    if (round == 1) purge_frames(slot, word, stack_pointer);
    for (unsigned k = 0; k < lane_count; ++k) {
      frame* const first = first_frame_of(slot, k);
      if (k == lane_index || top_frame(slot, k) != first) continue;
      // What is interrupted goes on in its own lane, so that this one is free for the next handler.
      slot.interrupted[k].store_relaxed(reinterpret_cast<uint64_t>(at));
      first->owner = &stale_lane;
      return first;
    }
  }
  count_drop(image, drop_reason::no_lane);
  return nullptr;
}

inline claim claim_frame(caller from, call_site& site, uint64_t stack_pointer) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr) return {nullptr, 0};
  // Read once: the id, the slot and the frame have to be of one image, also while another one takes over.
  image_view* const current = current_image(*process);
  const uint64_t word = resolve_site(*process, current, *from.object, site);
  if (word == site_off) return {nullptr, 0};
  image_view& image = *current;
  frame* at = *from.next_frame;
  if (!is_in_image(image, at)) {
    if (!attach_thread(*process, image, from)) return {nullptr, 0};
    at = *from.next_frame;
    if (!is_in_image(image, at)) return {nullptr, 0};  // a handler attached to a newer image
  }
  return {is_free(*at) ? at : find_place(image, at, word, stack_pointer), word};
}

/// Names the running thread, attaching it if it has no slot yet. `size` is below thread_name_bytes.
inline void name_thread_slowly(caller from, const char* name, size_t size) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process->recording.load_acquire() == 0) return;
  image_view& image = *current_image(*process);
  if (!is_in_image(image, *from.next_frame) && !attach_thread(*process, image, from)) return;
  thread_slot& slot = slot_of(*from.next_frame);
  uint64_t words[thread_name_bytes / 8] = {};
  memcpy(words, name, size);
  const uint64_t version = slot.name_version.load_relaxed() + 1;
  slot.name_version.store_relaxed(version);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  for (unsigned i = 0; i < thread_name_bytes / 8; ++i) slot.name[i].store_relaxed(words[i]);
  slot.name_version.store_release(version + 1);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <fcntl.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Where a dump goes. `write` returns 0 or an errno value.
struct dump_sink {
  int (*write)(void* context, const void* bytes, size_t size);
  void* context;
};

/// What fired, for the superblock of the dump.
struct trigger_note {
  uint64_t ticks = 0;
  char text[sizeof superblock::trigger] = {};
};

struct dump_request {
  uint64_t window_ns;  ///< 0: all
  uint32_t signal;     ///< that asked for it, or 0
  const crash_note* crash = nullptr;
  uint64_t sequence = 0;    ///< number of the dump in its process
  const trigger_note* trigger = nullptr;
  char* scratch = nullptr;  ///< scratch_bytes of work space instead of the image's
};

/// Collects small writes into the image's scratch space. Remembers the first error and the bytes written.
class dump_output {
 public:
  dump_output(const dump_sink& sink, char* buffer, size_t capacity)
      : sink_(sink), buffer_(buffer), capacity_(capacity) {}

  void add(const void* bytes, size_t size) {
    const char* from = static_cast<const char*>(bytes);
    while (size != 0) {
      if (used_ == capacity_) flush();
      const size_t part = size < capacity_ - used_ ? size : capacity_ - used_;
      memcpy(buffer_ + used_, from, part);
      used_ += part;
      from += part;
      size -= part;
      total_ += part;
    }
  }
  /// Room for `size` bytes in the buffer, to be filled by the caller at once.
  char* reserve(size_t size) {
    if (capacity_ - used_ < size) flush();
    char* at = buffer_ + used_;
    used_ += size;
    total_ += size;
    return at;
  }
  void flush() {
    if (used_ != 0 && error_ == 0) error_ = sink_.write(sink_.context, buffer_, used_);
    used_ = 0;
  }
  int error() const { return error_; }
  uint64_t total() const { return total_; }

 private:
  const dump_sink& sink_;
  char* buffer_;
  size_t capacity_;
  size_t used_ = 0;
  uint64_t total_ = 0;
  int error_ = 0;
};

// ---- slots ---------------------------------------------------------------------------------------------------

/// Copies a frame only if it held one open region during the whole copy; else the copy is free.
inline void copy_frame(frame& to, const frame& from) {
  to.word.store_relaxed(0);
  to.start_ticks.store_relaxed(0);
  // Acquire: a start that is seen comes with the word and the payload that were stored before it.
  const uint64_t start = from.start_ticks.load_acquire();
  if (!is_region(start)) return;
  const uint64_t word = from.word.load_acquire();
  to.stack_pointer.store_relaxed(from.stack_pointer.load_acquire());
  // In order and each with acquire: a field that is set later is published by its first word, which is stored last.
  for (unsigned i = 0; i < frame_payload_words; ++i) to.payload[i].store_relaxed(from.payload[i].load_acquire());
  // The loads above stay above this one.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  // Acquire: if the region has ended, its record is there for who copies the chunks next.
  if (from.start_ticks.load_acquire() != start) return;
  to.start_ticks.store_relaxed(start);
  to.word.store_relaxed(word);
}

/// A thread's name as the system has it now, for threads that were not named by TRACE_THREAD_NAME.
inline bool read_thread_name(uint32_t tid, char (&name)[thread_name_bytes]) {
  char path[64];
  text_writer(path, sizeof path).add("/proc/self/task/").add(uint64_t{tid}).add("/comm");
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t size = read(file, name, thread_name_bytes - 1);
  close(file);
  if (size <= 0) return false;
  if (name[size - 1] == '\n') --size;
  memset(name + size, 0, thread_name_bytes - static_cast<size_t>(size));
  return true;
}

inline void copy_slot(thread_slot& to, const thread_slot& from, uint64_t state) {
  memset(static_cast<void*>(&to), 0, sizeof to);
  to.state.store_relaxed(state);
  to.tid_index.store_relaxed(from.tid_index.load_relaxed());
  to.owner_object.store_relaxed(from.owner_object.load_relaxed());
  to.attach_ticks.store_relaxed(from.attach_ticks.load_relaxed());
  char system_name[thread_name_bytes] = {};
  const uint64_t version = from.name_version.load_acquire();
  for (unsigned i = 0; i < thread_name_bytes / 8; ++i) to.name[i].store_relaxed(from.name[i].load_acquire());
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (version == 0 && read_thread_name(tid_of(to), system_name)) {
    memcpy(static_cast<void*>(to.name), system_name, sizeof system_name);
    to.name_version.store_relaxed(2);
  } else if (version == from.name_version.load_relaxed()) {
    to.name_version.store_relaxed(version);
  }
  for (unsigned k = 0; k < lane_count; ++k) {
    const lane& writer = from.lanes[k];
    lane& copy = to.lanes[k];
    copy.cursor.store_relaxed(writer.cursor.load_acquire());
    copy.epoch_base.store_relaxed(writer.epoch_base.load_relaxed());
    copy.chunk.store_relaxed(writer.chunk.load_relaxed());
    copy.extra_words.store_relaxed(writer.extra_words.load_relaxed());
    copy.words_before.store_relaxed(writer.words_before.load_relaxed());
    copy.anchor_ticks.store_relaxed(writer.anchor_ticks.load_relaxed());
    copy.dropped.store_relaxed(writer.dropped.load_relaxed());
  }
  for (unsigned i = 0; i < frame_count; ++i) copy_frame(to.frames[i], from.frames[i]);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // all of the copy stays above the second look
  // The slot went to another thread meanwhile: nothing of this copy can be trusted.
  if (from.state.load_relaxed() != state) {
    to.state.store_relaxed(0);
    for (frame& at : to.frames) at.word.store_relaxed(0);
  }
}

inline bool is_listed(uint64_t state) {
  return static_cast<slot_state>(state & 0xff) == slot_state::live;
}

// ---- spans ---------------------------------------------------------------------------------------------------

inline bool is_begun(uint64_t state) {
  return (state & 3) == static_cast<uint64_t>(span_state::open) || (state & 3) == static_cast<uint64_t>(span_state::ending);
}

/// Copies an entry only if it held one span during the whole copy; else the copy is free.
inline void copy_span(span_entry& to, const span_entry& from) {
  // Acquire: what is in the entry was stored before it became open.
  const uint64_t state = from.state.load_acquire();
  memset(static_cast<void*>(&to), 0, sizeof to);
  if (!is_begun(state)) return;
  to.binding.store_relaxed(from.binding.load_relaxed());
  for (unsigned i = 0; i < span_words; ++i) to.words[i].store_relaxed(from.words[i].load_relaxed());
  for (unsigned i = 0; i < frame_payload_words; ++i) to.payload[i].store_relaxed(from.payload[i].load_relaxed());
  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // pairs with the release fence in begin_span_slowly
  const uint64_t after = from.state.load_acquire();  // if it has ended, its record is there for who copies the chunks next
  if (is_begun(after) && after >> 2 == state >> 2) to.state.store_relaxed(state);
}

// ---- chunks --------------------------------------------------------------------------------------------------

/// Copies one chunk with its extent filled in; false, and the copy empty with ticket 0, when it was recycled meanwhile.
inline bool copy_chunk(chunk& to, const image_view& image, uint64_t index) {
  const chunk& from = image.chunks[index];
  const atomic_word& state = image.chunk_states[index];
  atomic_word* const words = reinterpret_cast<atomic_word*>(&to);
  const auto invalid = [&] {
    memset(static_cast<void*>(&to), 0, sizeof to);
    return false;
  };
  // Acquire pairs with the release that opened or sealed it: the header is whole.
  const uint64_t before = state.load_acquire();
  if (state_of(before) != chunk_state::open && state_of(before) != chunk_state::sealed) return invalid();

  // The extent comes first: the words below it were released before it was.
  uint64_t end_bytes = extent_bytes(from.extent.load_acquire());
  if (end_bytes == 0) {
    const lane* writer = lane_of(image, from);
    if (writer == nullptr) return invalid();
    const uint64_t cursor = writer->cursor.load_acquire();
    const uint64_t begin = reinterpret_cast<uint64_t>(&from);
    if (cursor >= begin + chunk_header_bytes && cursor <= begin + chunk_bytes) {
      end_bytes = cursor - begin;
    } else {
      // The writer's cursor is elsewhere: the chunk was sealed just now, or is not written to yet.
      end_bytes = extent_bytes(from.extent.load_acquire());
      if (end_bytes == 0) end_bytes = chunk_header_bytes;
    }
  }
  if (end_bytes < chunk_header_bytes || end_bytes > chunk_bytes) return invalid();

  const atomic_word* const source = reinterpret_cast<const atomic_word*>(&from);
  const uint64_t count = end_bytes / 8;
  for (uint64_t i = 0; i < count; ++i) words[i].value = source[i].load_relaxed();
  memset(static_cast<void*>(words + count), 0, chunk_bytes - end_bytes);
  // Pairs with the release fence in take_chunk: if any word above came from the next owner, its state is seen below.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const uint64_t after = state.load_relaxed();
  if (ticket_of(after) != ticket_of(before) || state_of(after) == chunk_state::taking) return invalid();
  to.ticket.value = ticket_of(before);
  to.extent.value = end_bytes;
  return true;
}

/// Whether a chunk may hold records that ended at or after `cutoff`.
inline bool is_wanted(const image_view& image, uint64_t index, uint64_t cutoff) {
  const uint64_t state = image.chunk_states[index].load_acquire();
  if (state_of(state) == chunk_state::open) return true;
  return state_of(state) == chunk_state::sealed && image.chunks[index].sealed_ticks.load_relaxed() >= cutoff;
}

// ---- the dump ------------------------------------------------------------------------------------------------

/// Ticks per second from the start until now, far better than what start measured in 50 us; the kernel's clock may be
/// slewed, so this is the rate that the reader will find too.
inline uint64_t tick_rate(const superblock& live, const clock_anchor& now) {
  const uint64_t ns = now.monotonic_ns - live.start.monotonic_ns;
  if (ns < 1'000'000) return live.tick_hz;
  const uint128 ticks = now.ticks - live.start.ticks;
  const uint64_t hz = static_cast<uint64_t>(ticks * 1'000'000'000U / ns);
  return hz < 100'000 ? live.tick_hz : hz;  // one of the clocks could not be read
}

/// The tick before which nothing belongs to a window of `window_ns` that ends now; the start for no window.
inline uint64_t window_begin(const superblock& live, uint64_t now, uint64_t window_ns, uint64_t tick_hz) {
  const uint64_t start = live.start.ticks;
  if (window_ns == 0) return start;
  const uint128 ticks = static_cast<uint128>(window_ns) * tick_hz / 1'000'000'000U;
  const uint64_t back = ticks > now ? now : static_cast<uint64_t>(ticks);
  return now - back > start ? now - back : start;
}

/// What dumps and streams take over from the live superblock. The rest is zero, but for the places of its parts.
inline void copy_superblock(superblock& super, const superblock& live, image_kind kind) {
  memcpy(static_cast<void*>(&super), &live, __builtin_offsetof(superblock, next_ticket));
  super.next_ticket.store_relaxed(live.next_ticket.load_relaxed());
  super.next_id.store_relaxed(live.next_id.load_relaxed());
  super.arena_used.store_relaxed(live.arena_used.load_relaxed());
  super.attached.store_relaxed(live.attached.load_relaxed());
  super.attached_slots.store_relaxed(live.attached_slots.load_relaxed());
  for (unsigned i = 0; i < 8; ++i) super.dropped[i].store_relaxed(live.dropped[i].load_relaxed());
  super.overwritten_ticks.store_relaxed(live.overwritten_ticks.load_relaxed());
  super.next_span.store_relaxed(live.next_span.load_relaxed());
  super.next_flow.store_relaxed(live.next_flow.load_relaxed());
  constexpr size_t rest = __builtin_offsetof(superblock, dump);
  memset(reinterpret_cast<char*>(&super) + rest, 0, sizeof super - rest);
  super.kind = kind;
  super.thread_states = live.thread_states;
  super.thread_states_error = live.thread_states_error;
  super.perf_event_paranoid = live.perf_event_paranoid;
  super.unwatched_threads = live.unwatched_threads;
}

/// Writes the dump. One at a time in the image's work space: the caller holds process.dumping. Returns 0 or an errno
/// value.
// Async-signal-safe.
inline int write_dump(process_state& process, image_view& image, const dump_request& request, const dump_sink& sink) {
  const superblock& live = *image.super;
  const state_functions* const states = thread_states_of(process);
  const uint64_t switch_buffers = states == nullptr ? 0 : states->count();
  char* const scratch = request.scratch != nullptr ? request.scratch : image.scratch;
  char* at = scratch;
  uint32_t* const chosen = reinterpret_cast<uint32_t*>(at);
  at += (image.chunk_count * sizeof(uint32_t) + 63) & ~uint64_t{63};
  superblock& super = *reinterpret_cast<superblock*>(at);
  at += sizeof(superblock);
  uint64_t* const switch_room = reinterpret_cast<uint64_t*>(at);
  at += (switch_buffers * sizeof(uint64_t) + 63) & ~uint64_t{63};
  const size_t capacity = static_cast<size_t>(scratch + image.scratch_bytes - at);
  dump_output output(sink, at, capacity);

  const clock_anchor now = take_anchor(process);
  const uint64_t tick_hz = tick_rate(live, now);
  const uint64_t cutoff = window_begin(live, now.ticks, request.window_ns, tick_hz);

  // Frozen before the superblock is written, since it states the counts: which slots, how many bindings, which chunks.
  // What is in them is copied later, so a slot may be free and a chunk torn by then.
  uint64_t slots = 0;
  for (uint64_t i = 0; i < image.slot_count; ++i) slots += is_listed(image.slots[i].state.load_acquire());
  uint64_t spans = 0;
  for (uint64_t i = 0; i < image.span_count; ++i) spans += is_begun(image.spans[i].state.load_relaxed());
  const binding& overflow = *binding_of(image, overflow_id);
  uint64_t early_end = 1;
  uint64_t early_bytes = overflow.bytes;
  for (const binding* entry; (entry = binding_of(image, early_end)) != nullptr; ++early_end) early_bytes += entry->bytes;
  uint64_t chunks = 0;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    if (is_wanted(image, i, cutoff)) chosen[chunks++] = static_cast<uint32_t>(i);
  }

  const bool is_all = request.window_ns == 0 || request.window_ns > now.monotonic_ns;
  const uint64_t since_ns = is_all ? 0 : now.monotonic_ns - request.window_ns;
  const uint64_t switches_bytes =
      switch_buffers == 0 ? 0 : states->measure(switch_room, switch_buffers, since_ns) + switch_buffers * sizeof(switch_buffer);

  copy_superblock(super, live, image_kind::dump);
  super.tick_hz = tick_hz;
  super.base_address = reinterpret_cast<uint64_t>(image.super);
  super.slots_offset = sizeof(superblock);
  super.slot_count = static_cast<uint32_t>(slots);
  super.chunk_states_offset = 0;
  const uint64_t spans_offset = super.slots_offset + slots * sizeof(thread_slot);
  super.bindings_offset = spans_offset + spans * sizeof(span_entry);
  super.bindings_bytes = early_bytes;
  super.binding_index_offset = 0;
  super.binding_index_count = 0;
  super.chunks_offset = super.bindings_offset + early_bytes;
  super.chunk_count = static_cast<uint32_t>(chunks);
  const uint64_t switches_offset = super.chunks_offset + chunks * chunk_bytes;
  super.switches_offset = switches_offset;
  super.switches_bytes = switches_bytes;
  super.switch_buffer_bytes = sizeof(switch_buffer);
  super.switch_buffer_count = static_cast<uint32_t>(switch_buffers);
  super.late_bindings_offset = switches_offset + switches_bytes;
  super.scratch_offset = 0;
  super.scratch_bytes = 0;
  super.image_bytes = live.image_bytes;
  super.dump = now;
  super.window_ns = request.window_ns;
  super.cutoff_ticks = cutoff;
  super.dump_sequence = static_cast<uint32_t>(request.sequence);
  super.dump_signal = request.signal;
  super.dump_tid = current_tid();
  if (request.crash != nullptr) super.crash = *request.crash;
  if (request.trigger != nullptr) {
    super.trigger_ticks = request.trigger->ticks;
    memcpy(super.trigger, request.trigger->text, sizeof super.trigger);
  }
  super.spans_offset = spans_offset;
  super.span_bytes = sizeof(span_entry);
  super.span_count = static_cast<uint32_t>(spans);
  output.add(&super, sizeof super);

  uint64_t copied = 0;
  for (uint64_t i = 0; i < image.slot_count && copied < slots; ++i) {
    const uint64_t state = image.slots[i].state.load_acquire();
    if (!is_listed(state)) continue;
    thread_slot& copy = *reinterpret_cast<thread_slot*>(output.reserve(sizeof(thread_slot)));
    copy_slot(copy, image.slots[i], state);
    if (states != nullptr) copy.thread_state.store_relaxed(static_cast<uint64_t>(states->state_of(tid_of(copy))));
    ++copied;
  }
  for (; copied < slots; ++copied) memset(output.reserve(sizeof(thread_slot)), 0, sizeof(thread_slot));

  copied = 0;
  for (uint64_t i = 0; i < image.span_count && copied < spans; ++i) {
    if (!is_begun(image.spans[i].state.load_relaxed())) continue;
    copy_span(*reinterpret_cast<span_entry*>(output.reserve(sizeof(span_entry))), image.spans[i]);
    ++copied;
  }
  for (; copied < spans; ++copied) memset(output.reserve(sizeof(span_entry)), 0, sizeof(span_entry));

  output.add(&overflow, overflow.bytes);
  for (uint64_t id = 1; id < early_end; ++id) {
    const binding* entry = binding_of(image, id);
    output.add(entry, entry->bytes);
  }

  end_of_dump end;
  for (uint64_t i = 0; i < chunks && output.error() == 0; ++i) {
    if (copy_chunk(*reinterpret_cast<chunk*>(output.reserve(chunk_bytes)), image, chosen[i])) {
      ++end.chunks_written;
    } else {
      ++end.chunks_torn;
    }
  }
  // After the chunks, so that the states of all that is in them are known.
  if (switch_buffers != 0) states->copy(output, switches_offset, switch_room, switch_buffers);
  // Acquire, as everywhere: an id that a copied chunk carries was published before the record was.
  const uint64_t next_id = image.super->next_id.load_acquire();
  for (uint64_t id = early_end; id < next_id && id <= image.id_count; ++id) {
    if (const binding* entry = binding_of(image, id)) output.add(entry, entry->bytes);
  }
  end.anchor = take_anchor(process);
  end.total_bytes = output.total() + sizeof end;
  output.add(&end, sizeof end);
  output.flush();
  return output.error();
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline error incompatible() {
  return {error_code::incompatible,
          "Another shared object of this process carries an incompatible version of contrail: build both with the same "
          "version."};
}

inline error not_running() {
  return {error_code::not_running, "No flight recorder runs: call contrail::flight_recorder::start() first."};
}

/// One dump at a time; a second one gets an error instead of waiting.
class dump_turn {
 public:
  struct wait_tag {};
  static constexpr wait_tag wait{};

  explicit dump_turn(process_state& process)
      : process_(process), taken_(take_turn(process.dumping, self_.name()) != 0) {}
  /// For start, which no signal handler calls.
  dump_turn(process_state& process, wait_tag) : process_(process), taken_(true) {
    // Hence a dump of this very thread was left by a jump, however deep it was.
    while (take_turn(process.dumping, self_.name() | turn_holder::places) == 0) sched_yield();
  }
  ~dump_turn() {
    if (taken_) process_.dumping.store_release(0);
  }
  dump_turn(const dump_turn&) = delete;
  dump_turn& operator=(const dump_turn&) = delete;
  bool taken() const { return taken_; }

 private:
  turn_holder self_;
  process_state& process_;
  bool taken_;
};

inline uint64_t window_ns(const process_state& process, duration last) {
  const uint64_t limit = process.window_ns.load_relaxed();
  const uint64_t wanted = static_cast<uint64_t>(last.ns);
  return limit != 0 && (wanted == 0 || wanted > limit) ? limit : wanted;
}

inline error negative_window() { return {error_code::bad_option, "dump_options.last must not be negative."}; }

inline int write_to_descriptor(void* context, const void* bytes, size_t size) {
  return write_all(*static_cast<int*>(context), bytes, size);
}

/// Every dump goes through here. `write` is called with pieces of the dump, in order. `sequence` is its number, 0 to
/// take the next one.
// Async-signal-safe, as far as `sink` is.
inline error dump_to(const dump_sink& sink, duration last, uint32_t signal, const char* where,
                     const crash_note* crash = nullptr, uint64_t sequence = 0, const trigger_note* trigger = nullptr) {
  if (last.ns < 0) return negative_window();
  process_state* process = joined_process();
  if (process == nullptr || process->recording.load_acquire() == 0) return not_running();
  const dump_turn turn(*process);
  const write_signal_hold no_death_by_writing;
  image_view& image = *current_image(*process);
  dump_request request{window_ns(*process, last), signal, crash, 0, trigger};
  if (!turn.taken()) {
    // Only a crash cannot wait: this very thread may have crashed within the other dump.
    void* const own = crash == nullptr ? MAP_FAILED
                                       : mmap(nullptr, image.scratch_bytes, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) return {error_code::busy, "Another dump is being written; try again when it is done."};
    request.scratch = static_cast<char*>(own);
  }
  request.sequence = sequence != 0 ? sequence : process->dump_count.fetch_add_relaxed(1) + 1;
  const int failed = write_dump(*process, image, request, sink);
  if (request.scratch != nullptr) munmap(request.scratch, image.scratch_bytes);
  if (failed != 0) {
    return file_error("Could not write the dump", where, failed);
  }
  return {};
}

/// `made`, if not null, receives the path.
// Async-signal-safe.
inline error dump_to_path(const char* pattern, duration last, uint32_t signal, const crash_note* crash = nullptr,
                          const trigger_note* trigger = nullptr, char* made = nullptr) {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr || process->recording.load_acquire() == 0) return not_running();
  const char* const executable = name_in_path(current_image(*process)->super->executable);
  const uint64_t pid = static_cast<uint64_t>(getpid());
  const uint64_t sequence = process->dump_count.fetch_add_relaxed(1) + 1;
  char path[longest_path_bytes];
  const path_values values{pid, kernel_clock_ns(CLOCK_REALTIME) / 1'000'000'000U, sequence, executable};
  if (error failed = expand_path(pattern, values, path)) return failed;

  replacing_file file(path, pid, sequence);
  if (!file.is_open()) return file_error("Could not create the dump", path, file.error());
  for (const image_view* image = current_image(*process); image != nullptr; image = image->replaced) {
    if (image->is_shared != 0 && file.replaces(image->device, image->inode)) {
      return path_error(error_code::path, "A dump must not replace the recorder's own file: name another one than ", path, ".");
    }
  }
  int descriptor = file.descriptor();
  if (error failed = dump_to({write_to_descriptor, &descriptor}, last, signal, path, crash, sequence, trigger)) {
    return failed;
  }
  if (const int failed = file.commit()) return file_error("Could not finish the dump", path, failed);
  if (made != nullptr) memcpy(made, path, sizeof path);
  return {};
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <setjmp.h>
#include <signal.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr int fatal_signals[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
inline constexpr uint64_t terminate_bit = 1;  ///< in sets of signals, where a signal is the bit of its number

/// What the owner of the crash does: it dumps, or has dumped and passes the crash on.
enum crash_phase : uint64_t { crash_dumps = 1, crash_passes = 2 };

/// One for the process, in the object that first asked for dumps of crashes.
struct crash_state {
  atomic_word wanted;     ///< set of signals
  atomic_word installed;  ///< set of signals whose handler was ours at some time
  atomic_word last_ns;
  atomic_word watchdog_ns;
  atomic_word owner;  ///< name of the owner's turn_holder; 0: nobody crashed
  atomic_word phase;  ///< crash_phase of the owner
  atomic_word timer;  ///< id of its watchdog's timer plus 1; 0: none
  atomic_word path_in_use;
  char path[2][longest_path_bytes];
  struct sigaction before[32];
  void (*on_signal)(int, siginfo_t*, void*);
  void (*on_terminate)();
  void (*terminate_before)();
  sigjmp_buf escape;  ///< out of the dump
};

CONTRAIL_DETAIL_HIDDEN inline constinit crash_state own_crash_state{};

// std::set_terminate, without <exception>; null in a program without the C++ runtime.
void (*set_terminate_handler(void (*handler)()) noexcept)() __asm__("_ZSt13set_terminatePFvvE")
    __attribute__((weak, visibility("default")));

/// Calls sigprocmask for all signals but the fatal ones, or for these only.
inline void mask_signals(int how, bool fatal, sigset_t* before) {
  sigset_t set;
  fatal ? sigemptyset(&set) : sigfillset(&set);
  for (const int signal : fatal_signals) fatal ? sigaddset(&set, signal) : sigdelset(&set, signal);
  sigprocmask(how, &set, before);
}

/// On stderr, if that takes it at once: nobody may be reading there.
inline void tell_crash(const char* message) {
  char line[sizeof(error) + 16];
  text_writer text(line, sizeof line);
  text.add("contrail: ").add(message).add('\n');
  struct {
    int file;
    short wanted, found;
  } can_write{STDERR_FILENO, 4, 0};  // pollfd and POLLOUT
  const timespec at_once{};
  if (syscall(SYS_ppoll, &can_write, 1, &at_once, nullptr, 0) != 1) return;
  const ssize_t ignored = write(STDERR_FILENO, line, text.size());
  static_cast<void>(ignored);
}

/// Makes the kernel send `signal` to this thread when the crash dump takes too long. timer_create itself may allocate.
template <class = void>
inline void set_watchdog(crash_state& state, uint32_t tid, int signal) {
  int timer = 0;
  // The kernel's sigevent; libraries differ in what they call the tid. With 4, SIGEV_THREAD_ID, the signal comes to
  // this thread: another one may be waiting for it.
  const struct {
    void* value;
    int signal, notify;
    uint32_t tid, rest[11];
  } event{&state, signal, 4, tid, {}};
  const uint64_t ns = state.watchdog_ns.load_relaxed();
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  when.it_value.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) return;
  state.timer.store_relaxed(static_cast<uint64_t>(timer) + 1);
  syscall(SYS_timer_settime, timer, 0, &when, nullptr);
}

inline bool is_watchdog(const crash_state& state, const siginfo_t& info) {
  return info.si_code == SI_TIMER && info.si_value.sival_ptr == &state;
}

// What follows are templates, so that translation units that ask for no dumps of crashes get away with less: 2 ms.

/// Notes the crash in the live image, for those who find it in a file or a core, then dumps.
template <class = void>
inline void note_and_dump(crash_state& state, process_state& process, const crash_note& note) {
  if (process.recording.load_acquire() == 0) return;
  superblock& super = *current_image(process)->super;
  if (super.pid != static_cast<uint32_t>(getpid())) return;  // a child of vfork: it is its parent that records
  crash_note& live = super.crash;
  memcpy(&live.signal, &note.signal, sizeof note - __builtin_offsetof(crash_note, signal));
  crash_cause cause = note.cause;
  __atomic_store(&live.cause, &cause, __ATOMIC_RELEASE);
  const duration last{static_cast<int64_t>(state.last_ns.load_relaxed())};
  if (error failed = dump_to_path(state.path[state.path_in_use.load_acquire()], last, note.signal, &note)) {
    tell_crash(failed.message());
  }
}

/// Writes the dump; the caller owns the crash. Always returns, also when the dump faults or gets stuck.
template <class = void>
__attribute__((noinline)) inline void dump_crash(crash_state& state, crash_note& note) {
  process_state* const process = joined_process();
  if (process == nullptr) return;
  const write_signal_hold no_death_by_writing;
  uint64_t name[thread_name_bytes / 8];
  read_system_thread_name(name);
  memcpy(note.thread, name, sizeof note.thread);
  // Fatal signals are let in: else a fault of the dump would end the process by its own signal, and the watchdog wait.
  sigset_t before;
  mask_signals(SIG_SETMASK, false, &before);
  const int left_by = sigsetjmp(state.escape, 0);
  if (left_by == 0) {
    state.phase.store_release(crash_dumps);
    set_watchdog(state, note.tid, note.signal != 0 ? static_cast<int>(note.signal) : SIGABRT);
    note_and_dump(state, *process, note);
  } else {
    tell_crash(left_by == SI_TIMER ? "The dump of this crash took too long and was given up."
                                   : "The dump of this crash failed by a fault of its own.");
    uint64_t holder = process->dumping.load_acquire();
    if (tid_of_holder(holder) == note.tid) process->dumping.compare_exchange(holder, 0);
  }
  // It must not fire later; if it does now, the dump is there all the same, or given up already.
  if (const uint64_t timer = state.timer.load_relaxed()) syscall(SYS_timer_delete, static_cast<int>(timer - 1));
  state.timer.store_relaxed(0);
  state.phase.store_release(crash_passes);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

/// Makes this thread the owner of the crash. False when another one is, or when this is a crash of an earlier handler
/// that the crash was passed to: then there is nothing to dump, or no hope.
template <class = void>
inline bool own_crash(crash_state& state, const turn_holder& self) {
  constexpr uint64_t second = 1'000'000'000;
  const uint64_t begin = kernel_clock_ns(CLOCK_MONOTONIC);
  uint64_t found = 0;
  while (!state.owner.compare_exchange(found, self.name())) {
    if (tid_of_holder(found) == tid_of_holder(self.name())) {
      // An earlier handler that jumped out leaves the crash owned; one that crashed is still there.
      if (!is_gone(found, self.name())) return false;
    } else if (is_thread_alive(tid_of_holder(found))) {
      const bool dumps = state.phase.load_acquire() == crash_dumps;
      if (kernel_clock_ns(CLOCK_MONOTONIC) - begin < (dumps ? state.watchdog_ns.load_relaxed() + second : second)) {
        const timespec pause{0, 1'000'000};
        nanosleep(&pause, nullptr);
        found = 0;
      } else if (dumps) {
        return false;
      }
    }
  }
  state.phase.store_release(crash_passes);
  return true;
}

/// Does what would have happened without contrail.
template <class = void>
inline void pass_on(crash_state& state, const turn_holder& self, int signal, siginfo_t* info, void* context) {
  struct sigaction& before = state.before[signal];
  const struct sigaction action = before;
  const unsigned flags = static_cast<unsigned>(action.sa_flags);  // SA_RESETHAND is unsigned
  const bool takes_info = (flags & SA_SIGINFO) != 0;
  bool survived = !takes_info && action.sa_handler == SIG_IGN && info->si_code <= 0;
  if (takes_info || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)) {
    if ((flags & SA_RESETHAND) != 0) {
      before.sa_flags = 0;
      before.sa_handler = SIG_DFL;
    }
    // The mask that the kernel would have given it.
    sigset_t own;
    sigemptyset(&own);
    if ((flags & SA_NODEFER) == 0) sigaddset(&own, signal);
    sigprocmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
    sigprocmask(SIG_BLOCK, &action.sa_mask, nullptr);
    sigprocmask(SIG_BLOCK, &own, nullptr);
    takes_info ? action.sa_sigaction(signal, info, context) : action.sa_handler(signal);
    // Many return to the default action: then the fault that comes again ends the process, and the crash stays owned.
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL) return;
    survived = true;
  }
  if (survived) {
    uint64_t mine = self.name();
    if (!state.owner.compare_exchange(mine, 0)) return;
    const process_state* const process = joined_process();
    if (process == nullptr || process->recording.load_relaxed() == 0) return;
    superblock& super = *current_image(*process)->super;
    crash_cause none = crash_cause::none;
    if (super.pid == static_cast<uint32_t>(getpid())) __atomic_store(&super.crash.cause, &none, __ATOMIC_RELAXED);
    return;
  }
  // The default action, when the handler returns: what was interrupted is then what a core file shows. The signal is
  // sent as it came, since not every one comes again by itself as a fault does.
  struct sigaction fatal {};
  sigaction(signal, &fatal, nullptr);
  mask_signals(SIG_BLOCK, true, nullptr);
  syscall(SYS_rt_tgsigqueueinfo, getpid(), current_tid(), signal, info);
}

// Async-signal-safe.
template <class = void>
inline void on_crash_signal(int signal, siginfo_t* info, void* context) {
  const errno_keeper keep;
  crash_state& state = own_crash_state;
  const turn_holder self;
  const uint32_t tid = tid_of_holder(self.name());
  if (tid_of_holder(state.owner.load_acquire()) == tid && state.phase.load_acquire() == crash_dumps) {
    // Somebody who sends one more fatal signal must not end the dump.
    if (info->si_code == SI_USER || info->si_code == SI_QUEUE) return;
    siglongjmp(state.escape, is_watchdog(state, *info) ? SI_TIMER : 1);
  }
  if (is_watchdog(state, *info)) return;  // it fired as the dump ended
  const struct sigaction& before = state.before[signal];
  // What is sent and ignored is no crash. But abort raises SIGABRT, and ends the process whether that is ignored or
  // not.
  const bool is_abort = signal == SIGABRT && info->si_code == SI_TKILL && info->si_pid == getpid();
  const bool is_ignored = (before.sa_flags & SA_SIGINFO) == 0 && before.sa_handler == SIG_IGN && info->si_code <= 0 && !is_abort;
  if (!is_ignored && (state.wanted.load_relaxed() >> signal & 1) != 0 && own_crash(state, self)) {
    crash_note note{crash_cause::signal, static_cast<uint32_t>(signal), info->si_code, tid, 0, 0, 0, {}};
    if (info->si_code > 0) note.address = reinterpret_cast<uint64_t>(info->si_addr);
    else note.sender = static_cast<uint32_t>(info->si_pid);
    dump_crash(state, note);
  }
  pass_on(state, self, signal, info, context);
}

/// std::terminate's handler. The abort that follows finds the crash owned, and dumps no more.
template <class = void>
inline void on_crash_terminate() {
  crash_state& state = own_crash_state;
  const turn_holder self;
  if ((state.wanted.load_relaxed() & terminate_bit) != 0 && own_crash(state, self)) {
    crash_note note{crash_cause::terminate, 0, 0, tid_of_holder(self.name()), 0, 0, 0, {}};
    dump_crash(state, note);
  }
  if (state.terminate_before != nullptr) state.terminate_before();
  __builtin_abort();
}

/// Puts our handler before the one that is there. One that somebody installed over ours stays: if it calls ours, ours
/// must not call it.
template <class = void>
inline void install_crash_handler(crash_state& state, int signal) {
  struct sigaction there {};
  if (sigaction(signal, nullptr, &there) != 0) return;
  const bool is_handler =
      (there.sa_flags & SA_SIGINFO) != 0 || (there.sa_handler != SIG_DFL && there.sa_handler != SIG_IGN);
  if ((state.installed.load_relaxed() >> signal & 1) != 0 && is_handler) return;
  state.before[signal] = there;
  struct sigaction ours {};
  ours.sa_sigaction = state.on_signal;
  // A system call that the signal interrupts goes on where it would have without ours.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (is_handler ? there.sa_flags & SA_RESTART : SA_RESTART);
  sigfillset(&ours.sa_mask);
  sigaction(signal, &ours, nullptr);
  state.installed.fetch_add_relaxed((state.installed.load_relaxed() >> signal & 1) != 0 ? 0 : uint64_t{1} << signal);
}

/// The signals and std::terminate that `wanted` names, as crash_state::wanted has them, into `signals`.
inline error check_crash_dump(const char* path, const crash_options& wanted, uint64_t& signals) {
  if (wanted.last.ns < 0) return {error_code::bad_option, "crash_options.last must not be negative."};
  if (wanted.watchdog.ns <= 0) return {error_code::bad_option, "crash_options.watchdog must be positive."};
  char ignored[longest_path_bytes];
  if (error failed = expand_path(path, {1, 1, 1, "e"}, ignored)) return failed;
  signals = wanted.terminate ? terminate_bit : 0;
  for (const int signal : wanted.signals) {
    bool is_fatal = signal == 0;
    for (const int known : fatal_signals) is_fatal = is_fatal || signal == known;
    if (!is_fatal) {
      return {error_code::bad_option, "crash_options.signals takes SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and "
                                      "SIGSYS: for another signal use dump_on_signal."};
    }
    if (signal != 0) signals |= uint64_t{1} << signal;
  }
  return {};
}

/// Held: control.
template <class = void>
inline error place_crash_dump(process_state& process, const char* path, const crash_options& wanted, uint64_t signals) {
  if (process.stacks.load_relaxed() == 0) {
    stack_pool* const stacks = make_stack_pool();
    if (stacks == nullptr) {
      return {error_code::out_of_memory, "The system gave no address space for alternate signal stacks."};
    }
    process.stacks.store_release(reinterpret_cast<uint64_t>(stacks));
  }
  if (process.crash.load_relaxed() == 0) {
    own_crash_state.on_signal = on_crash_signal<>;
    own_crash_state.on_terminate = on_crash_terminate<>;
    process.crash.store_release(reinterpret_cast<uint64_t>(&own_crash_state));
  }
  crash_state& state = *reinterpret_cast<crash_state*>(process.crash.load_relaxed());
  const uint64_t other = 1 - state.path_in_use.load_relaxed();
  text_writer(state.path[other], longest_path_bytes).add(path);
  state.path_in_use.store_release(other);
  state.last_ns.store_relaxed(static_cast<uint64_t>(wanted.last.ns));
  state.watchdog_ns.store_relaxed(static_cast<uint64_t>(wanted.watchdog.ns));
  state.wanted.store_release(signals);
  for (const int signal : fatal_signals) {
    if ((signals >> signal & 1) != 0) install_crash_handler(state, signal);
  }
  if (wanted.terminate && set_terminate_handler != nullptr && state.terminate_before == nullptr) {
    state.terminate_before = set_terminate_handler(state.on_terminate);
  }
  atomic_word number;
  if (wanted.caller_stack) keep_stack(process, number);
  return {};
}

template <class = void>
inline error install_crash_dump(const char* path, const crash_options& wanted) {
  uint64_t signals = 0;
  if (error failed = check_crash_dump(path, wanted, signals)) return failed;
  process_state* const process = join_process();
  if (process == nullptr) return incompatible();
  // As in install_signal_dump.
  pin_object(reinterpret_cast<const void*>(&on_crash_signal<>));
  const control_lock lock(*process);
  return place_crash_dump(*process, path, wanted, signals);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/dump_signal.hpp ===============================================================================
// Dumps on a signal.
#ifndef CONTRAIL_DETAIL_DUMP_SIGNAL_HPP
#define CONTRAIL_DETAIL_DUMP_SIGNAL_HPP

#include <signal.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr unsigned most_signal_dumps = 8;

/// What to do at one signal. Written before the handler is installed, constant afterwards but for the path's place.
struct signal_dump {
  atomic_word signal;  ///< 0: unused
  atomic_word last_ns;
  struct sigaction before;
  char path[2][longest_path_bytes];
  atomic_word path_in_use;  ///< which of the two; a new path goes into the other one first
};

CONTRAIL_DETAIL_HIDDEN inline constinit signal_dump signal_dumps[most_signal_dumps]{};

/// Dumps, then calls the handler that was there before; a signal's default action is not taken. A failure is told on
/// stderr, since a handler has nobody to return it to.
// Async-signal-safe.
inline void on_dump_signal(int signal, siginfo_t* info, void* context) {
  const errno_keeper keep;
  for (signal_dump& wanted : signal_dumps) {
    if (wanted.signal.load_acquire() != static_cast<uint64_t>(signal)) continue;
    const duration last{static_cast<int64_t>(wanted.last_ns.load_relaxed())};
    const char* const path = wanted.path[wanted.path_in_use.load_acquire()];
    if (error failed = dump_to_path(path, last, static_cast<uint32_t>(signal))) {
      char line[sizeof(error) + 16];
      text_writer text(line, sizeof line);
      text.add("contrail: ").add(failed.message()).add('\n');
      const write_signal_hold no_death_by_writing;
      write_all(STDERR_FILENO, line, text.size());
    }
    if ((wanted.before.sa_flags & SA_SIGINFO) != 0 && wanted.before.sa_sigaction != nullptr) {
      wanted.before.sa_sigaction(signal, info, context);
    } else if (wanted.before.sa_handler != SIG_DFL && wanted.before.sa_handler != SIG_IGN) {
      wanted.before.sa_handler(signal);
    }
    return;
  }
}

inline bool is_fault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGTRAP ||
         signal == SIGSYS;
}

inline error check_signal_dump(int signal, const char* path, duration last) {
  if (last.ns < 0) return negative_window();
  char ignored[longest_path_bytes];
  if (error failed = expand_path(path, {1, 1, 1, "e"}, ignored)) return failed;
  if (is_fault(signal)) {
    return {error_code::bad_option,
            "A dump on a fault such as SIGSEGV would repeat for ever, since the fault comes back: use another signal."};
  }
  return {};
}

/// Held: control.
inline error place_signal_dump(int signal, const char* path, duration last) {
  signal_dump* place = nullptr;
  for (signal_dump& at : signal_dumps) {
    const uint64_t used_for = at.signal.load_relaxed();
    if (used_for == static_cast<uint64_t>(signal)) {
      place = &at;
      break;
    }
    if (used_for == 0 && place == nullptr) place = &at;
  }
  if (place == nullptr) {
    return {error_code::bad_option, "Eight signals have a dump already: contrail has no room for another one."};
  }
  const uint64_t other = 1 - place->path_in_use.load_relaxed();
  text_writer(place->path[other], longest_path_bytes).add(path);
  place->last_ns.store_relaxed(static_cast<uint64_t>(last.ns));
  place->path_in_use.store_release(other);

  struct sigaction action {};
  action.sa_sigaction = on_dump_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  struct sigaction there {};
  if (sigaction(signal, nullptr, &there) != 0) {
    return {error_code::bad_option, "The system takes no handler for that signal: use another one, such as SIGUSR2."};
  }
  if (place->signal.load_relaxed() != 0) {
    if ((there.sa_flags & SA_SIGINFO) != 0 && there.sa_sigaction == on_dump_signal) return {};
    // Ours over it again would call each other for ever if that handler calls the one that it found.
    return {error_code::bad_option,
            "The program has put another handler over contrail's for that signal: call contrail_dump in that handler."};
  }
  place->before = there;
  place->signal.store_release(static_cast<uint64_t>(signal));
  if (sigaction(signal, &action, nullptr) != 0) {
    place->signal.store_release(0);
    return {error_code::bad_option, "The system takes no handler for that signal: use another one, such as SIGUSR2."};
  }
  return {};
}

inline error install_signal_dump(int signal, const char* path, duration last) {
  if (error failed = check_signal_dump(signal, path, last)) return failed;
  process_state* process = join_process();
  if (process == nullptr) return incompatible();
  // The handler's code must outlive dlclose of the library that asked for it. Before the lock, since the dynamic linker
  // has one of its own.
  pin_object(reinterpret_cast<const void*>(&on_dump_signal));
  const control_lock lock(*process);
  return place_signal_dump(signal, path, last);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/fork.hpp ======================================================================================
// Processes that fork. The child leaves its parent's recording before it does anything else; with options::follow_fork
// it gets an image of its own. What runs here is async-signal-safe, as all that a child of a process with threads may
// do.
#ifndef CONTRAIL_DETAIL_FORK_HPP
#define CONTRAIL_DETAIL_FORK_HPP

// ==== contrail/detail/start.hpp =====================================================================================
// Makes an image: how the memory is divided, and what stands in the superblock.
#ifndef CONTRAIL_DETAIL_START_HPP
#define CONTRAIL_DETAIL_START_HPP

// ==== contrail/detail/image_file.hpp ================================================================================
// Images in files, which outlive their process. A file is made whole under a temporary name, with all its space
// reserved; then an older one of its name moves aside, and it takes its own. Its mapping holds a lock (flock) for as
// long as the process lives, whatever becomes of descriptors: so nobody moves or removes a file that is in use.
#ifndef CONTRAIL_DETAIL_IMAGE_FILE_HPP
#define CONTRAIL_DETAIL_IMAGE_FILE_HPP

// ==== contrail/detail/storage.hpp ===================================================================================
// The image's pages.
#ifndef CONTRAIL_DETAIL_STORAGE_HPP
#define CONTRAIL_DETAIL_STORAGE_HPP

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
// ==== contrail/detail/span.hpp ======================================================================================
// Tasks and asynchronous spans: what begins on one thread and may end on another. While one is open it stands in a
// table in the image, where every dump finds it; its end turns it into one record of the thread that ends it.
#ifndef CONTRAIL_DETAIL_SPAN_HPP
#define CONTRAIL_DETAIL_SPAN_HPP

// ==== contrail/detail/slow_records.hpp ==============================================================================
// The slow half of ends and points: every record that does not go the quick way, and those that have a long form.
#ifndef CONTRAIL_DETAIL_SLOW_RECORDS_HPP
#define CONTRAIL_DETAIL_SLOW_RECORDS_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Before a lane closes its chunk, as it may for want of `room` words: a frame in use above the one that writes may be
/// of an end that a jump left between counting words and publishing them.
inline void note_left_frames(thread_slot& slot, unsigned lane_index, const frame* at, unsigned room) {
  if (words_in_chunk(slot.lanes[lane_index]) + room < chunk_words) return;
  for (const frame* above = at + 1; above < end_frame_of(slot, lane_index); ++above) {
    if (!is_free(*above)) return slot.recount[lane_index].store_relaxed(1);
  }
}

/// Tells triggers of a region that took as long as this, before its record is written to `place` and published.
inline void note_if_long(const image_view& image, uint64_t place, uint64_t ticks) {
  if (ticks < epoch_ticks) return;
  const auto* const watch = reinterpret_cast<const recycling_watch*>(image.watch.load_acquire());
  if (watch == nullptr) return;
  watch->note_long_region(image, (place - reinterpret_cast<uint64_t>(image.chunks)) / chunk_bytes, ticks);
}

/// Writes a region's record in its shortest form. The lane, that of `top`, is busy.
inline void write_region(process_state& process, image_view& image, frame* top, uint64_t word, uint64_t start,
                         uint64_t end, const atomic_word* payload, unsigned words) {
  if (!prepare_lane(process, image, top, words + 3, end)) return;
  note_if_long(image, lane_of(top).cursor.load_relaxed(), end - start);
  // The region's 18 low bits come back out of its frame's word.
  const uint64_t site = ((start << duration_shift) - word) & site_word_mask;
  const bool is_short = end - start < epoch_ticks && (site & 3) != static_cast<uint64_t>(record_tag::long_form) &&
                        words <= max_short_region_words;
  uint64_t record[3 + frame_payload_words];
  unsigned count = 0;
  if (is_short) {
    const uint64_t length = words << id_shift;
    record[count++] = end << end_time_shift | (end - start) << duration_shift | (site + length);
  } else {
    record[count++] = long_header(long_form::region, id_of_site_word(site), 2 + words);
    record[count++] = start;
    record[count++] = end;
  }
  for (unsigned i = 0; i < words; ++i) record[count++] = payload[i].load_relaxed();
  append(lane_of(top), record, count, false);
}

/// Writes a long record as the running thread's next one where that needs another lane, a chunk, a time epoch or a
/// slot.
__attribute__((noinline)) inline void write_long_slowly(process_state& process, image_view& image, caller from,
                                                        uint64_t* record, unsigned count, unsigned time_at,
                                                        bool bookkeeping) {
  const errno_keeper keep;
  if (!is_in_image(image, *from.next_frame) && !attach_thread(process, image, from)) return;
  frame* at = *from.next_frame;
  if (!is_in_image(image, at)) return;  // a handler attached to a newer image
  thread_slot& slot = slot_of(at);
  const uint64_t stack_pointer = CONTRAIL_DETAIL_CALLERS_STACK_POINTER();
  const auto free_mark = [&] { return at == end_frame_of(slot, lane_index_of(slot, at)) ? frame_busy : 0; };
  if (at->start_ticks.load_relaxed() != free_mark()) {
    constexpr uint64_t no_site = ~uint64_t{0};
    at = find_place(image, at, no_site, stack_pointer);
    if (at == nullptr) return;
  }
  const unsigned lane_index = lane_index_of(slot, at);
  mark_point(*at, stack_pointer);
  signal_fence();
  note_left_frames(slot, lane_index, at, count + 16);
  record[time_at] = now_ticks(process);
  if (prepare_lane(process, image, at, count, record[time_at])) {
    if (long_form_of(record[0]) == long_form::async_region) {
      note_if_long(image, slot.lanes[lane_index].cursor.load_relaxed(), record[2] - record[1]);
    }
    append(slot.lanes[lane_index], record, count, bookkeeping);
  }
  if (at == first_frame_of(slot, lane_index)) slot.interrupted[lane_index].store_relaxed(0);
  at->owner = &slot.lanes[lane_index];
  signal_fence();
  at->start_ticks.store_relaxed(free_mark());
}

/// Writes a long record of `count` words, `Most` at most, as the running thread's next one, attaching it if it has no
/// slot. `fill(words, now)` stores it; the time stands in word `time_at`. The quick way is that of point_inline.
template <unsigned Most, class Fill>
CONTRAIL_DETAIL_ALWAYS_INLINE void write_long(process_state& process, image_view& image, caller from, unsigned count,
                                              unsigned time_at, bool bookkeeping, const Fill& fill) {
  frame* const at = *from.next_frame;
  if (__builtin_expect(is_in_image(image, at) && is_free(*at), 1)) {
    lane& writer = *at->owner;
    mark_point_here(*at);
    signal_fence();
    const uint64_t now = hardware_ticks();
    atomic_word* const words = reinterpret_cast<atomic_word*>(writer.cursor.load_owned());
    // The chunk has room, and one word more: the cursor must not rest at its end.
    const bool fits = now < writer.deadline.load_owned() && is_in_one_chunk(words, words + count);
    if (__builtin_expect(fits, 1)) {
      prefetch_for_writing(words);
      fill(words, now);
      // As append.
      writer.extra_words.add_owned(bookkeeping ? count : count - 1);
      writer.cursor.store_release(reinterpret_cast<uint64_t>(words + count));
    }
    signal_fence();
    at->start_ticks.store_relaxed(0);
    if (__builtin_expect(fits, 1)) return;
  }
  atomic_word record[Most];
  fill(record, 0);
  write_long_slowly(process, image, from, &record->value, count, time_at, bookkeeping);
}

/// A region that ends on another thread than it began on, as regions of coroutines do: recorded by the thread that ends
/// it, as an asynchronous slice, since it need not nest with anything there.
inline void end_elsewhere(process_state& process, image_view& image, caller from, frame& origin, uint64_t word,
                          unsigned words) {
  thread_slot& origin_slot = slot_of(&origin);
  const uint64_t start = origin.start_ticks.load_relaxed();
  const uint64_t site = ((start << duration_shift) - word) & site_word_mask;
  const uint64_t tid = tid_of(origin_slot);
  uint64_t payload[frame_payload_words];
  for (unsigned i = 0; i < words; ++i) payload[i] = origin.payload[i].load_relaxed();
  // Its own thread frees it first where it purges frames. The start tells this region from the frame's next one.
  uint64_t expected = start;
  if (!origin.start_ticks.compare_exchange(expected, 0)) return count_drop(image, drop_reason::misnested);

  const auto fill = [&](atomic_word* to, uint64_t now) __attribute__((always_inline)) {
    if (now != 0) note_if_long(image, reinterpret_cast<uint64_t>(to), now - start);
    to[0].store_relaxed(long_header(long_form::async_region, id_of_site_word(site), 3 + words));
    to[1].store_relaxed(start);
    to[2].store_relaxed(now);
    to[3].store_relaxed(tid);
    for (unsigned i = 0; i < words; ++i) to[4 + i].store_relaxed(payload[i]);
  };
  write_long<4 + frame_payload_words>(process, image, from, 4 + words, 2, false, fill);
}

/// After the last region of a handler that stepped aside to another lane.
inline void go_back(caller from, atomic_word& interrupted) {
  frame* const back = reinterpret_cast<frame*>(interrupted.load_relaxed());
  interrupted.store_relaxed(0);
  if (back != nullptr && !is_free(*back)) *from.next_frame = back;
}

inline void end_region_slowly(caller from, frame* at, uint64_t word, unsigned words) {
  const errno_keeper keep;
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  if (!is_in_image(image, at)) {
    // Begun before a start that made another image. Its frame stays busy, so that nothing begins there again.
    if (at->start_ticks.load_relaxed() >= process.start_ticks.load_relaxed()) count_drop(image, drop_reason::misnested);
    if (*from.next_frame == at + 1) *from.next_frame = at;
    at->start_ticks.store_relaxed(frame_busy);
    return;
  }
  if (!holds_region(*at, word)) return count_drop(image, drop_reason::misnested);
  frame* const top = *from.next_frame;
  thread_slot& slot = slot_of(at);
  if (!is_in_image(image, top) || &slot_of(top) != &slot) return end_elsewhere(process, image, from, *at, word, words);

  const unsigned lane_index = lane_index_of(slot, at);
  const unsigned top_lane = lane_index_of(slot, top);
  const bool in_order = top == at + 1;
  // In order, the frame itself is the busy mark. Else handlers look at the top, which must say so if they would write
  // into the same lane.
  const uint64_t free_mark = top == end_frame_of(slot, lane_index) ? frame_busy : 0;
  const bool mark_top = !in_order && top_lane == lane_index && top->start_ticks.load_relaxed() == free_mark;
  if (in_order) *from.next_frame = at;
  if (mark_top) mark_point(*top, CONTRAIL_DETAIL_CALLERS_STACK_POINTER());
  signal_fence();
  note_left_frames(slot, lane_index, in_order ? at : top, words + 16);
  frame* const top_of_lane = in_order ? at : top_lane == lane_index ? top : end_frame_of(slot, lane_index);
  write_region(process, image, top_of_lane, word, at->start_ticks.load_relaxed(), now_ticks(process), at->payload,
               words);
  at->owner = &slot.lanes[lane_index];
  signal_fence();
  if (mark_top) top->start_ticks.store_relaxed(free_mark);
  set_free(*at);
  if (in_order && at == first_frame_of(slot, lane_index)) go_back(from, slot.interrupted[lane_index]);
  if (in_order) return;
  if (top_lane == lane_index || top_frame(slot, top_lane) == first_frame_of(slot, top_lane)) {
    frame* const next = top_frame(slot, lane_index);
    mark_frames(next, top_lane == lane_index ? top : end_frame_of(slot, lane_index));  // as in find_frame
    *from.next_frame = next;
  }
}

inline void roll_chunk_slowly(frame* at, uint64_t ticks) {
  const errno_keeper keep;
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  lane& writer = *at->owner;
  if (!is_in_image(image, at)) {
    writer.deadline.store_relaxed(0);
    at->start_ticks.store_relaxed(frame_busy);
    return;
  }
  thread_slot& slot = slot_of(at);
  writer.deadline.store_relaxed(0);
  signal_fence();
  writer.cursor.store_release((writer.cursor.load_relaxed() | (chunk_bytes - 1)) + 1);
  note_left_frames(slot, lane_index_of(slot, at), at, 16);
  open_chunk(process, image, at, ticks);
  at->owner = &writer;  // a new time epoch takes open regions from their lane, this one too
  signal_fence();
  set_free(*at);
}

/// Writes a point's record: `record` holds the payload from its second word on.
inline void write_point_slowly(frame* at, uint64_t word, uint64_t stack_pointer, uint64_t* record, unsigned words) {
  const errno_keeper keep;
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  if (!is_in_image(image, at)) return;  // another image took over since the frame was claimed
  thread_slot& slot = slot_of(at);
  const unsigned lane_index = lane_index_of(slot, at);
  mark_point(*at, stack_pointer);
  signal_fence();
  note_left_frames(slot, lane_index, at, words + 16);
  const uint64_t now = now_ticks(process);
  if (prepare_lane(process, image, at, words + 1, now)) {
    record[0] = now << end_time_shift | static_cast<uint64_t>(words) << duration_shift | word;
    append(slot.lanes[lane_index], record, words + 1, false);
  }
  if (at == first_frame_of(slot, lane_index)) slot.interrupted[lane_index].store_relaxed(0);
  at->owner = &slot.lanes[lane_index];
  signal_fence();
  set_free(*at);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Ids stay unique when another image takes over.
inline constexpr unsigned span_image_shift = 40;

inline uint64_t id_of_span(const image_view& image, uint64_t generation, uint64_t index) {
  return image.generation << span_image_shift | (generation * image.span_count + index);
}
inline uint64_t span_state_word(uint64_t generation, span_state state) {
  return generation << 2 | static_cast<uint64_t>(state);
}

/// The entry of an open span, null when it has ended.
inline span_entry* find_span(const image_view& image, uint64_t id) {
  span_entry& at = image.spans[(id & ((1ULL << span_image_shift) - 1)) % image.span_count];
  const uint64_t state = at.state.load_acquire();
  const bool is_open = (state & 3) == static_cast<uint64_t>(span_state::open);
  return is_open && at.words[span_id].load_relaxed() == id ? &at : nullptr;
}

/// The slot of the running thread; null when it has none in this image.
inline thread_slot* own_slot(const image_view& image, caller from) {
  frame* const at = *from.next_frame;
  return is_in_image(image, at) ? &slot_of(at) : nullptr;
}

/// What the parent hands down: by `parent`, or by the running thread's current task.
inline task_context parent_of(const image_view& image, caller from, const task_context* parent) {
  if (parent != nullptr) return *parent;
  task_context found;
  const thread_slot* const slot = own_slot(image, from);
  if (slot == nullptr) return found;
  found.id = slot->current_task.load_relaxed();
  if (const span_entry* const at = found.id == 0 ? nullptr : find_span(image, found.id)) {
    found.trace_high = at->words[span_trace_high].load_relaxed();
    found.trace_low = at->words[span_trace_low].load_relaxed();
    found.span = at->words[span_own].load_relaxed();
    if (at->words[span_id].load_acquire() != found.id) return {};  // it ended meanwhile, and another one began
  }
  return found;
}

inline span_entry* claim_span(image_view& image, uint64_t& generation, uint64_t& index) {
  for (uint64_t i = 0; i < image.span_count; ++i) {
    index = image.super->next_span.fetch_add_relaxed(1) % image.span_count;
    span_entry& at = image.spans[index];
    uint64_t found = at.state.load_acquire();
    if ((found & 3) != static_cast<uint64_t>(span_state::free)) continue;
    generation = (found >> 2) + 1;
    if (!at.state.compare_exchange(found, span_state_word(generation, span_state::claimed))) continue;
    // Entries are taken in turn, so that ids do not repeat for long: the next one has not been touched for as long.
    const char* const next = reinterpret_cast<const char*>(index + 1 == image.span_count ? image.spans : &at + 1);
    __builtin_prefetch(next, 1);
    __builtin_prefetch(next + 64, 1);
    return &at;
  }
  count_drop(image, drop_reason::no_span);
  return nullptr;
}

inline open_span begin_span_slowly(caller from, call_site& site, const task_context* parent, const atomic_word* payload,
                                   unsigned form) {
  process_state* const process = joined_process();
  if (process == nullptr) return {};
  image_view* const current = current_image(*process);
  const uint64_t word = known_or_resolved_site(*process, current, *from.object, site);
  if (word == site_off) return {};
  image_view& image = *current;
  uint64_t generation = 0, index = 0;
  span_entry* const at = claim_span(image, generation, index);
  if (at == nullptr) return {};
  // A dump that sees a word of this span also sees that the entry has changed since.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  const task_context above = parent_of(image, from, parent);
  task_context own{id_of_span(image, generation, index), 0, 0, 0};
  const bool is_task = (form & span_is_task) != 0;
  if (is_task) {
    const superblock& super = *image.super;
    const bool is_root = (above.trace_high | above.trace_low) == 0;
    own.trace_high = is_root ? scramble(super.seed[0] + own.id) : above.trace_high;
    own.trace_low = is_root ? scramble(super.seed[1] + own.id) : above.trace_low;
    own.span = scramble(super.seed[0] ^ scramble(own.id));
  }
  const thread_slot* const slot = own_slot(image, from);  // asking the system takes longer than all the rest
  const uint64_t tid = slot != nullptr ? slot->tid_index.load_relaxed() & 0xffff'ffffU : current_tid();
  at->words[span_id].store_relaxed(own.id);
  at->words[span_parent].store_relaxed(above.id);
  at->words[span_tid].store_relaxed(tid);
  at->words[span_trace_high].store_relaxed(own.trace_high);
  at->words[span_trace_low].store_relaxed(own.trace_low);
  at->words[span_own].store_relaxed(own.span);
  at->words[span_from].store_relaxed(is_task ? above.span : 0);
  const unsigned words = form & ~span_is_task;
  for (unsigned i = 0; i < words; ++i) at->payload[i].store_relaxed(payload[i].load_relaxed());
  at->binding.store_relaxed(id_of_site_word(word) | uint64_t{words} << 32);
  at->words[span_start].store_relaxed(now_ticks(*process));
  at->state.store_release(span_state_word(generation, span_state::open));
  return {at, own};
}

inline bool is_in_image(const image_view& image, const span_entry* at) {
  return at >= image.spans && at < image.spans + image.span_count;
}

inline void end_span_slowly(caller from, span_entry* at, uint64_t id) {
  process_state& process = *joined_process();
  image_view& image = *current_image(process);
  if (!is_in_image(image, at)) {  // begun before a start that made another image, or in a parent
    if (process.recording.load_relaxed() != 0) count_drop(image, drop_reason::misnested);
    return;
  }
  uint64_t found = at->state.load_acquire();
  if ((found & 3) != static_cast<uint64_t>(span_state::open) || at->words[span_id].load_relaxed() != id) return;
  const uint64_t generation = found >> 2;
  if (!at->state.compare_exchange(found, span_state_word(generation, span_state::ending))) return;
  const uint64_t bound = at->binding.load_relaxed();
  const unsigned words = static_cast<unsigned>(bound >> 32);
  if (process.recording.load_relaxed() != 0) {
    constexpr unsigned most = 2 + span_words + frame_payload_words;
    const unsigned count = 2 + span_words + words;
    write_long<most>(process, image, from, count, 1, false, [=](atomic_word* to, uint64_t now) __attribute__((always_inline)) {
      to[0].store_relaxed(long_header(long_form::span, bound & 0xffff, count - 1));
      to[1].store_relaxed(now);
      for (unsigned i = 0; i < span_words; ++i) to[2 + i].store_relaxed(at->words[i].load_relaxed());
      for (unsigned i = 0; i < words; ++i) to[2 + span_words + i].store_relaxed(at->payload[i].load_relaxed());
    });
  }
  // After the record: a dump copies this table before the chunks.
  at->state.store_release(span_state_word(generation, span_state::free));
}

/// Makes a task the running thread's current one; returns the one before. Also while nothing records, for a scope that
/// ends then: the next recording may go on in this image, and would have the thread in that task for ever.
inline uint64_t set_current_task_slowly(caller from, uint64_t id) {
  process_state* const process = joined_process();
  image_view* const current = process == nullptr ? nullptr : current_image(*process);
  if (current == nullptr) return 0;
  image_view& image = *current;
  thread_slot* slot = own_slot(image, from);
  if (slot == nullptr) {
    const errno_keeper keep;
    if (process->recording.load_acquire() == 0 || !attach_thread(*process, image, from)) return 0;
    slot = own_slot(image, from);
    if (slot == nullptr) return 0;
  }
  const uint64_t before = slot->current_task.load_relaxed();
  slot->current_task.store_relaxed(id);
  write_long<3>(*process, image, from, 3, 1, true, [id](atomic_word* to, uint64_t now) __attribute__((always_inline)) {
    to[0].store_relaxed(long_header(long_form::current_task, 0, 2));
    to[1].store_relaxed(now);
    to[2].store_relaxed(id);
  });
  return before;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <fcntl.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint64_t smallest_image_bytes = 1U << 20;
inline constexpr uint64_t largest_image_bytes = 1ULL << 34;  ///< 34 bits of offsets stay far from every field's limit

// ---- clock ---------------------------------------------------------------------------------------------------

/// Whether the processor's counter runs at a constant rate through sleep states, and the kernel still lists it as a
/// clock: it withdraws the TSC when it finds the cores' counters apart.
inline bool hardware_clock_is_trusted() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(0x8000'0007, &eax, &ebx, &ecx, &edx) == 0 || (edx & 1U << 8) == 0) return false;
  const int file =
      open("/sys/devices/system/clocksource/clocksource0/available_clocksource", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char sources[256];
  const ssize_t size = read(file, sources, sizeof sources - 1);
  close(file);
  if (size <= 0) return false;
  sources[size] = '\0';
  return strstr(sources, "tsc") != nullptr;
#else
  return true;
#endif
}

/// Nominal ticks per second, measured between two anchors some 50 us apart; anchors in the chunks are far better.
inline uint64_t estimate_tick_hz(const clock_anchor& from, const clock_anchor& to) {
  const uint64_t ns = to.monotonic_ns - from.monotonic_ns;
  const uint64_t hz = ns == 0 ? 0 : static_cast<uint64_t>(static_cast<uint128>(to.ticks - from.ticks) * 1'000'000'000U / ns);
  // No counter is as slow: a clock failed, and others divide by this.
  return hz < 100'000 ? 1'000'000'000 : hz;
}

// ---- layout --------------------------------------------------------------------------------------------------

/// How an image of some size is divided. Everything counts: the chunks get what the rest leaves.
struct image_layout {
  uint64_t image_bytes;
  uint64_t slots_offset, slot_count;
  uint64_t index_offset, id_count;
  uint64_t hashes_offset, hash_count;
  uint64_t arena_offset, arena_bytes;
  uint64_t spans_offset, span_count;
  uint64_t scratch_offset, scratch_bytes;
  uint64_t states_offset;
  uint64_t chunks_offset, chunk_count;
};

inline constexpr uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

inline constexpr image_layout divide(uint64_t bytes) {
  image_layout layout{};
  layout.image_bytes = bytes & ~uint64_t{sizeof(thread_slot) - 1};
  uint64_t at = sizeof(thread_slot);  // the superblock, the view, and padding up to the slots' alignment
  layout.slots_offset = at;
  // An eighth for threads: 256 of them in 32 MiB.
  layout.slot_count = layout.image_bytes / 8 / sizeof(thread_slot);
  at += layout.slot_count * sizeof(thread_slot);
  // Tasks and spans that are open at the same time: 1024 in 32 MiB.
  layout.spans_offset = at;
  layout.span_count = layout.image_bytes / 128 / sizeof(span_entry);
  at += layout.span_count * sizeof(span_entry);
  layout.id_count = layout.image_bytes / 4096;
  if (layout.id_count > max_id) layout.id_count = max_id;
  layout.index_offset = at;
  at += round_up((layout.id_count + 1) * 4, 64);
  layout.hash_count = 1;
  while (layout.hash_count < layout.id_count * 3 / 2) layout.hash_count *= 2;
  layout.hashes_offset = at;
  at += layout.hash_count * 8;
  layout.arena_offset = at;
  layout.arena_bytes = layout.id_count * 256;  // what a call site with two arguments and a long path takes
  at += layout.arena_bytes;
  const uint64_t most_chunks = layout.image_bytes / chunk_bytes;
  layout.states_offset = at;
  at += round_up(most_chunks * 8, 64);
  layout.scratch_offset = at;
  layout.scratch_bytes = round_up(most_chunks * 4, 64) + sizeof(superblock) + 4 * sizeof(thread_slot);
  at += layout.scratch_bytes;
  layout.chunks_offset = round_up(at, chunk_bytes);
  layout.chunk_count = (layout.image_bytes - layout.chunks_offset) / chunk_bytes;
  return layout;
}

/// Copies a string into a field of the superblock, cut to fit and zero padded.
template <size_t Size>
inline void copy_text(char (&to)[Size], const char* from) {
  size_t i = 0;
  for (; from[i] != '\0' && i + 1 < Size; ++i) to[i] = from[i];
  memset(to + i, 0, Size - i);
}

/// Who this process is.
inline void identify(superblock& super) {
  super.pid = static_cast<uint32_t>(getpid());
  read_executable(super.executable);
  char host[64] = {};
  if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  copy_text(super.host, host);
}

/// Where the recording begins in time.
inline void start_clock(process_state& process, superblock& super) {
  super.source = process.hardware_clock.load_relaxed() == 0 ? clock_source::monotonic
#if defined(__aarch64__)
                                                            : clock_source::cntvct;
#else
                                                            : clock_source::tsc;
#endif
  super.start = take_anchor(process);
  process.start_ticks.store_relaxed(super.start.ticks);
  // Bounded: where reading the clock is a system call that a sandbox refuses, time stands still.
  for (int i = 0; i < 1'000; ++i) {
    super.ready = take_anchor(process);
    const uint64_t passed_ns = super.ready.monotonic_ns - super.start.monotonic_ns;
    if (passed_ns >= 50'000 || (passed_ns == 0 && i >= 50)) break;
  }
  super.tick_hz = estimate_tick_hz(super.start, super.ready);
  process.tick_hz.store_relaxed(super.tick_hz);
}

/// The overflow binding's descriptor: what call sites bind to when there is no room for theirs.
CONTRAIL_DETAIL_HIDDEN inline constexpr descriptor overflow_descriptor{
    binding_kind::overflow, 0, text{"(more call sites than contrail has room for)"}, {}, {}, {}, 0, 0, nullptr, 0};

/// Makes an image of memory that is all zero.
inline image_view* fill_image(process_state& process, const image_layout& layout, char* base, uint64_t generation) {
  superblock& super = *reinterpret_cast<superblock*>(base);
  image_view& view = *reinterpret_cast<image_view*>(base + sizeof(superblock));
  view.super = &super;
  view.slots = reinterpret_cast<thread_slot*>(base + layout.slots_offset);
  view.slot_count = layout.slot_count;
  view.chunk_states = reinterpret_cast<atomic_word*>(base + layout.states_offset);
  view.chunks = reinterpret_cast<chunk*>(base + layout.chunks_offset);
  view.chunk_count = layout.chunk_count;
  view.binding_index = reinterpret_cast<uint32_t*>(base + layout.index_offset);
  view.id_count = layout.id_count;
  view.arena = base + layout.arena_offset;
  view.arena_bytes = layout.arena_bytes;
  view.binding_hashes = reinterpret_cast<atomic_word*>(base + layout.hashes_offset);
  view.hash_count = layout.hash_count;
  view.spans = reinterpret_cast<span_entry*>(base + layout.spans_offset);
  view.span_count = layout.span_count;
  view.scratch = base + layout.scratch_offset;
  view.scratch_bytes = layout.scratch_bytes;
  view.image_bytes = layout.image_bytes;
  view.generation = generation;
  view.replaced = current_image(process);

  super.version_major = format_major;
  super.version_minor = format_minor;
  super.superblock_bytes = sizeof(superblock);
  super.kind = image_kind::live;
  super.image_bytes = layout.image_bytes;
  super.base_address = reinterpret_cast<uint64_t>(base);
  super.slots_offset = layout.slots_offset;
  super.slot_bytes = sizeof(thread_slot);
  super.slot_count = static_cast<uint32_t>(layout.slot_count);
  super.chunk_states_offset = layout.states_offset;
  super.chunks_offset = layout.chunks_offset;
  super.chunk_bytes = chunk_bytes;
  super.chunk_count = static_cast<uint32_t>(layout.chunk_count);
  super.binding_index_offset = layout.index_offset;
  super.binding_index_count = layout.id_count + 1;
  super.bindings_offset = layout.arena_offset;
  super.bindings_bytes = layout.arena_bytes;
  super.spans_offset = layout.spans_offset;
  super.span_bytes = sizeof(span_entry);
  super.span_count = static_cast<uint32_t>(layout.span_count);
  super.scratch_offset = layout.scratch_offset;
  super.scratch_bytes = layout.scratch_bytes;
  super.lane_count = lane_count;
  super.frame_bytes = sizeof(frame);
  super.frame_count = frame_count;
  for (unsigned i = 0; i < lane_count; ++i) super.lane_first_frame[i] = first_frame[i];
  // Ticket modulo count is the chunk; the first ticket is above the 0 of a chunk that was never taken.
  super.next_ticket.store_relaxed(layout.chunk_count);
  super.next_id.store_relaxed(1);
  identify(super);
  start_clock(process, super);
  constexpr int at_once = 1;  // GRND_NONBLOCK
  if (syscall(SYS_getrandom, super.seed, sizeof super.seed, at_once) != static_cast<long>(sizeof super.seed)) {
    super.seed[0] = super.start.realtime_ns ^ uint64_t{super.pid} << 32;
    super.seed[1] = super.start.ticks;
  }
  binding_output overflow;
  serialise(overflow_descriptor, overflow);
  publish_binding(view, overflow_descriptor, overflow.size(), overflow_id);
  // Last: whoever scans memory for the magic finds a whole superblock.
  __atomic_store_n(&super.magic, ~complement_of_image_magic, __ATOMIC_RELEASE);
  return &view;
}

/// Maps and fills an image in the file that `wanted` names. Null, and in `failed` why, when it cannot be made.
inline image_view* make_image_file(process_state& process, const options& wanted, uint64_t generation, error& failed) {
  if (wanted.keep_files > most_kept_files) {
    failed = {error_code::bad_option, "options.keep_files must not be above 64."};
    return nullptr;
  }
  char path[longest_path_bytes];
  failed = expand_image_path(wanted.file, generation, path);
  if (failed) return nullptr;
  const image_layout layout = divide(wanted.memory);
  replacing_file file(path, static_cast<uint64_t>(getpid()), generation, true);
  struct stat made {};
  if (!file.is_open() || fstat(file.descriptor(), &made) != 0) {
    failed = file_error("Could not create the recorder's file", path, file.is_open() ? errno : file.error());
    return nullptr;
  }
  if (const int cause = reserve_space(file.descriptor(), layout.image_bytes)) {
    failed = file_error("Could not reserve the space for the recorder's file", path, cause);
    return nullptr;
  }
  void* const base = map_image(layout.image_bytes, sizeof(thread_slot), wanted.prefault, file.descriptor());
  if (base == nullptr) {
    failed = file_error("Could not map the recorder's file", path, errno);
    return nullptr;
  }
  image_view& view = *fill_image(process, layout, static_cast<char*>(base), generation);
  view.is_shared = 1;
  view.device = made.st_dev;
  view.inode = made.st_ino;
  text_writer(view.file, sizeof view.file).add(path);
  text_writer(view.file_pattern, sizeof view.file_pattern).add(wanted.file);
  view.keep_files = wanted.keep_files;
  view.super->storage = image_storage::file;
  failed = take_name(process, file, path);
  if (failed) {
    munmap(base, layout.image_bytes);
    return nullptr;
  }
  remove_oldest(process, wanted.file, path, name_in_path(view.super->executable), wanted.keep_files);
  return &view;
}

/// Maps and fills an image. Null, and in `failed` why, when it cannot be made.
inline image_view* make_image(process_state& process, const options& wanted, uint64_t generation, error& failed) {
  if (wanted.file != nullptr) return make_image_file(process, wanted, generation, failed);
  const image_layout layout = divide(wanted.memory);
  if (void* const base = map_image(layout.image_bytes, sizeof(thread_slot), wanted.prefault)) {
    return fill_image(process, layout, static_cast<char*>(base), generation);
  }
  failed = {error_code::out_of_memory,
            "The system gave no memory for the flight recorder: ask for less with options.memory."};
  return nullptr;
}

/// Without an error: null when there is no memory.
inline image_view* make_image(process_state& process, const options& wanted, uint64_t generation) {
  error ignored;
  return make_image(process, wanted, generation, ignored);
}

/// Makes threads leave an image that another one replaces: their next begin there takes the slow path and attaches
/// anew. The image stays mapped, since a thread may hold a frame in it for as long as it likes; its chunks' memory is
/// given back to the system.
inline void retire_image(image_view& image) {
  // Whoever gives a lane a new deadline looks at this afterwards.
  image.retired.store_relaxed(1);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  for (uint64_t i = 0; i < image.slot_count; ++i) {
    thread_slot& slot = image.slots[i];
    if (generation_of(slot) == 0) continue;  // never used: its pages are not even there
    for (lane& writer : slot.lanes) writer.deadline.store_relaxed(0);
    for (frame& at : slot.frames) {
      uint64_t free = 0;
      at.start_ticks.compare_exchange(free, frame_busy);
    }
  }
  if (image.session_count.load_acquire() != 0) return;  // they still copy what was recorded until now
  madvise(image.chunks, image.chunk_count * chunk_bytes, MADV_DONTNEED);
}

// ---- thread states -------------------------------------------------------------------------------------------

/// Held: control.
// Async-signal-safe.
inline void begin_thread_states(process_state& process, superblock& live, const thread_state_source* source) {
  const state_functions* const functions = static_cast<const state_functions*>(source);
  process.thread_states.store_release(reinterpret_cast<uint64_t>(functions));
  live.thread_states = state_recording::unwanted;
  if (functions != nullptr) functions->open(live);
}

/// Held: control.
inline void end_thread_states(process_state& process) {
  if (const state_functions* const source = thread_states_of(process)) source->close();
}

// ---- objects that come and go --------------------------------------------------------------------------------

/// Slots of objects that were unloaded: no thread can be in their code any more. Held: control.
inline void free_slots_of_unloaded_objects(process_state& process, image_view& image) {
  for (uint64_t i = 0; i < image.slot_count; ++i) {
    const uint64_t found = image.slots[i].state.load_acquire();
    if (static_cast<slot_state>(found & 0xff) != slot_state::live) continue;
    type_range* object = process.objects;
    while (object != nullptr &&
           reinterpret_cast<uint64_t>(&object_of(*object)) != image.slots[i].owner_object.load_relaxed()) {
      object = object->next;
    }
    if (object == nullptr) free_slot(process, image, image.slots[i], found, turn_holder());
  }
}

/// Takes in an object that was loaded after the first start. Held: control.
inline void take_in_object(object_root& object) {
  process_state& process = *joined_process();
  object.epoch.store_release(process.epoch.load_relaxed());
  if (process.recording.load_relaxed() == 0) return;
  image_view& image = *current_image(process);
  bind_types(image, object.types);
  free_slots_of_unloaded_objects(process, image);
}

/// What every object's records call when the quick path does not do.
CONTRAIL_DETAIL_HIDDEN inline constexpr slow_half slow_functions{
    claim_frame,       end_region_slowly, roll_chunk_slowly,       write_point_slowly, name_thread_slowly,
    begin_span_slowly, end_span_slowly,   set_current_task_slowly, take_in_object,     nullptr};

/// Tells in a file's image that its process ended by itself, after all other destructors of this object.
template <class>
struct exit_note {
  __attribute__((destructor(101), used)) static void on_exit() {
    const process_state* const process = joined_process();
    // Another object that may be unloaded holds a copy of this function. The one whose functions are in use is pinned.
    if (process == nullptr || process->recording.load_relaxed() == 0) return;
    if (process->slow_table.load_relaxed() == reinterpret_cast<uint64_t>(&slow_functions)) {
      note_end(*process, image_end::exited);
    }
  }
  static void require() { (void)&on_exit; }
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

// pthread_atfork under a name of our own: <pthread.h> takes longer to compile than this whole header.
int at_fork(void (*prepare)(), void (*parent)(), void (*child)()) __asm__("pthread_atfork")
    __attribute__((visibility("default")));

// ---- what start leaves for children --------------------------------------------------------------------------

/// In process_state::follow_fork. The rest of start's options stand in the state and in the image.
inline constexpr uint64_t follow_flag = 1;
inline constexpr uint64_t follow_prefault_flag = 2;

inline uint64_t follow_flags(const options& wanted) {
  return !wanted.follow_fork ? 0 : follow_flag | (wanted.prefault ? follow_prefault_flag : 0);
}

/// Whether children can have files of their own. %n does not make them differ: two children of one process have one.
inline error check_follow(const options& wanted) {
  if (!wanted.follow_fork || wanted.file == nullptr) return {};
  for (const char* at = wanted.file; *at != '\0'; ++at) {
    if (*at != '%') continue;
    if (*++at == 'p') return {};
    if (*at == '\0') break;
  }
  return {error_code::bad_option,
          "options.follow_fork needs %p in options.file: each process keeps its recorder in a file of its own."};
}

// ---- signals -------------------------------------------------------------------------------------------------
// A child whose image is still its parent's file must not run a handler that traces: signals wait until fork is done.

struct forking_thread {
  atomic_word next_frame;  ///< its address, which tells threads apart on both sides of a fork; 0: unused
  uint64_t signal_mask;
};

/// More threads than this that fork at the same moment do so with signals on.
CONTRAIL_DETAIL_HIDDEN inline constinit forking_thread forking_threads[16]{};

inline uint64_t set_signal_mask(uint64_t mask) {
  constexpr int set_mask = 2;  // SIG_SETMASK
  uint64_t before = 0;
  syscall(SYS_rt_sigprocmask, set_mask, &mask, &before, sizeof mask);
  return before;
}

// Async-signal-safe.
inline void before_fork() {
  const errno_keeper keep;
  process_state* const process = joined_process();
  // A start of another thread: what that has mapped and opened so far, the child would keep.
  if (process != nullptr) take_control(*process, current_tid() | fork_mark);
  const image_view* image = process == nullptr ? nullptr : current_image(*process);
  while (image != nullptr && image->is_shared == 0) image = image->replaced;
  if (image == nullptr) return;
  // The C library keeps 32 and 33 to itself, and waits for threads that block them.
  const uint64_t before = set_signal_mask(~(3ULL << 31));
  for (forking_thread& place : forking_threads) {
    uint64_t free = 0;
    if (!place.next_frame.compare_exchange(free, reinterpret_cast<uint64_t>(&next_frame))) continue;
    place.signal_mask = before;
    return;
  }
  set_signal_mask(before);
}

// Async-signal-safe.
inline void after_fork() {
  const errno_keeper keep;
  if (process_state* const process = joined_process()) give_control(*process, current_tid() | fork_mark);
  for (forking_thread& place : forking_threads) {
    if (place.next_frame.load_relaxed() != reinterpret_cast<uint64_t>(&next_frame)) continue;
    const uint64_t before = place.signal_mask;
    place.next_frame.store_release(0);
    set_signal_mask(before);
    return;
  }
}

// ---- the child -----------------------------------------------------------------------------------------------

/// Where a child cannot be taken off its parent's file, which it would write to.
[[noreturn]] inline void give_up_child() {
  constexpr char message[] =
      "contrail: A forked child ends, as there is no memory to take it off the file of its parent's recorder.\n";
  const ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
  static_cast<void>(ignored);
  _exit(127);
}

/// Maps private memory over pages of a shared image, of the same content if `keep`.
inline void make_private(char* at, uint64_t bytes, bool keep) {
  constexpr uint64_t page_bytes = 4096;
  const uint64_t step = keep ? page_bytes : bytes;
  for (char* const end = at + bytes; at < end; at += step) {
    char content[page_bytes];
    if (keep) memcpy(content, at, page_bytes);
    if (mmap(at, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
      give_up_child();
    }
    if (keep) memcpy(at, content, page_bytes);
  }
}

/// Takes a child off its parent's shared image. Code that a fork in a signal handler interrupted goes on there with
/// addresses that it holds in registers, so the range stays, and holds what such code follows: the view, the slots in
/// use, and the overflow binding, which is the first. All else is zero; nothing that it writes is ever read.
inline void leave_shared_image(image_view& shared) {
  char* const base = reinterpret_cast<char*>(shared.super);
  char* at = base;
  const auto keep = [&](const void* from, uint64_t bytes) {
    char* const begin = const_cast<char*>(static_cast<const char*>(from));
    char* const page = base + (static_cast<uint64_t>(begin - base) & ~uint64_t{4095});
    char* const end = base + round_up(static_cast<uint64_t>(begin + bytes - base), 4096);
    if (page > at) make_private(at, static_cast<uint64_t>(page - at), false);
    if (end > at) make_private(page > at ? page : at, static_cast<uint64_t>(end - (page > at ? page : at)), true);
    if (end > at) at = end;
  };
  keep(base, sizeof(superblock) + sizeof(image_view));
  for (uint64_t i = 0; i < shared.slot_count; ++i) {
    if (generation_of(shared.slots[i]) != 0) keep(&shared.slots[i], sizeof(thread_slot));
  }
  keep(shared.binding_index, sizeof *shared.binding_index);
  keep(shared.arena, sizeof(binding));
  make_private(at, static_cast<uint64_t>(base + shared.image_bytes - at), false);
  shared.is_shared = 0;
}

/// Begins a recording in the child like the one that its parent has. Without memory, or space for its file, the child
/// records nothing.
inline void follow_into_child(process_state& process, image_view& parent, const thread_state_source* thread_states) {
  options wanted;
  wanted.memory = parent.image_bytes;
  wanted.prefault = (process.follow_fork.load_relaxed() & follow_prefault_flag) != 0;
  if (parent.file_pattern[0] != '\0') wanted.file = parent.file_pattern;
  wanted.keep_files = static_cast<unsigned>(parent.keep_files);
  // Somewhere else, not over the parent's, for the sake of that interrupted code.
  image_view* const own = make_image(process, wanted, parent.generation + 1);
  if (own == nullptr) return;
  process.image.store_release(reinterpret_cast<uint64_t>(own));
  retire_image(parent);
  process.forked.store_relaxed(0);
  for (const type_range* types = process.objects; types != nullptr; types = types->next) bind_types(*own, *types);
  begin_thread_states(process, *own->super, thread_states);
  process.recording.store_release(1);
  begin_epoch(process);
}

/// In a forked child, before fork returns. The parent's other threads do not exist here: what they held, locks and
/// turns, nobody else gives back; what they had claimed of the parent's image, the child's own does not know.
// Async-signal-safe.
inline void after_fork_in_child() {
  const errno_keeper keep;
  process_state* process = joined_process();
  if (process == nullptr) return;
  image_view* const parent = current_image(*process);
  for (image_view* image = parent; image != nullptr; image = image->replaced) {
    if (image->is_shared != 0) leave_shared_image(*image);
  }
  const bool was_recording = process->recording.load_relaxed() != 0;
  const state_functions* const thread_states = thread_states_of(*process);
  if (thread_states != nullptr) thread_states->forget();
  process->thread_states.store_relaxed(0);
  process->control.store_relaxed(0);
  process->dumping.store_relaxed(0);
  process->recording.store_relaxed(0);
  process->forked.store_relaxed(1);
  adopt_stack(*process);
  begin_epoch(*process);
  if (was_recording && process->follow_fork.load_relaxed() != 0) follow_into_child(*process, *parent, thread_states);
  after_fork();
  for (forking_thread& other : forking_threads) other.next_frame.store_relaxed(0);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

/// Writes a dump as flight_recorder::dump does, for debuggers (`call contrail_dump("now.contrail")`) and other
/// languages. Returns 0, or the number of an error_code. Part of every program that calls flight_recorder::start.
// Async-signal-safe.
extern "C" int contrail_dump(const char* path);

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Keeps the objects loaded that others depend on from the first start on: the state's, and this one, which has the
/// slow half, the fork hook, and a function that only debuggers call and that this keeps in the program.
inline void pin_starter(process_state& process) {
  pin_object(reinterpret_cast<const void*>(&after_fork_in_child));
  pin_object(reinterpret_cast<const void*>(&contrail_dump));
  pin_object(&process);
}

inline error store_filter(process_state& process, const filter_options& wanted) {
  const char* const categories = wanted.categories == nullptr ? "" : wanted.categories;
  const char* const names = wanted.names == nullptr ? "" : wanted.names;
  const size_t categories_size = strlen(categories);
  const size_t names_size = strlen(names);
  if (categories_size >= filter_bytes || names_size >= filter_bytes) {
    return {error_code::bad_option, "A filter is longer than 255 bytes: use fewer or shorter globs."};
  }
  process.categories.store(categories, categories_size);
  process.names.store(names, names_size);
  return {};
}

/// Begins to record. Held: control, and the turn to dump.
template <class>
inline error begin_recording(process_state& process, const options& wanted) {
  if (wanted.memory < smallest_image_bytes || wanted.memory > largest_image_bytes) {
    return {error_code::bad_option, "options.memory must lie between 1 MiB and 16 GiB."};
  }
  if (wanted.window.ns < 0) return {error_code::bad_option, "options.window must not be negative."};
  if (error failed = check_follow(wanted)) return failed;
  if (error failed = store_filter(process, wanted.filter)) return failed;

  image_view* image = current_image(process);
  const bool reuse = image != nullptr && process.forked.load_relaxed() == 0 &&
                     image->image_bytes == divide(wanted.memory).image_bytes && is_where_wanted(*image, wanted);
  if (reuse) {
    start_clock(process, *image->super);
    image->super->ended = image_end::none;
    image->super->crash.cause = crash_cause::none;
    for (atomic_word& count : image->super->dropped) count.store_relaxed(0);
  } else {
    if (!has_slow_half(process)) {
      // A table that waits for the environment came with the hook.
      if (process.slow_table.load_relaxed() == 0 && at_fork(before_fork, after_fork, after_fork_in_child) != 0) {
        return {error_code::out_of_memory, "The system gave no memory to watch for forks: free some, and start again."};
      }
      process.slow_table.store_release(reinterpret_cast<uint64_t>(&slow_functions));
    }
    process.hardware_clock.store_relaxed(hardware_clock_is_trusted());
    error failed;
    image_view* fresh = make_image(process, wanted, image == nullptr ? 1 : image->generation + 1, failed);
    if (fresh == nullptr) return failed;
    process.image.store_release(reinterpret_cast<uint64_t>(fresh));
    if (image != nullptr) retire_image(*image);
    process.forked.store_relaxed(0);
    image = fresh;
  }
  for (const type_range* types = process.objects; types != nullptr; types = types->next) {
    bind_types(*image, *types);
  }
  begin_thread_states(process, *image->super, wanted.thread_states);
  process.window_ns.store_relaxed(static_cast<uint64_t>(wanted.window.ns));
  process.follow_fork.store_relaxed(follow_flags(wanted));
  process.recordings.fetch_add_relaxed(1);
  process.recording.store_release(1);
  begin_epoch(process);
  return {};
}

}  // namespace detail

/// The flight recorder of this process, as contrail::flight_recorder: there is one, whichever shared object asks.
///
/// All functions may be called from any thread. `start`, `stop` and `set_filter` take a short lock and may allocate
/// address space: not in signal handlers. The dump functions are async-signal-safe, and never make a thread that
/// records wait.
// A template, so that translation units that only record do not compile it.
template <class T = void>
class CONTRAIL_DETAIL_HIDDEN basic_flight_recorder {
 public:
  basic_flight_recorder() = delete;

  /// Begins to record. Fails with already_running when a recorder runs, with bad_option, out_of_memory or incompatible,
  /// and with options::file also with path or file. Creates no thread. A second start after stop with the same memory
  /// and file goes on in the same image.
  static error start(const options& wanted = {}) {
    using namespace detail;
    link_object();
    exit_note<T>::require();
    process_state* process = join_process();
    if (process == nullptr) return incompatible();
    const auto refused = [] {
      return error{error_code::already_running,
                   "A flight recorder runs already: stop it first, or use set_filter to change what it records."};
    };
    // Without waiting for a dump.
    if (process->recording.load_acquire() != 0 && process->environment.load_relaxed() != environment_started) {
      return refused();
    }
    // Before the lock, since the dynamic linker has one of its own, under which objects link themselves.
    if (!has_slow_half(*process)) pin_starter(*process);
    if (wanted.thread_states != nullptr) pin_object(wanted.thread_states);
    // A dump that began before the last stop may still be copying; nobody may rewrite what it reads.
    const dump_turn turn(*process, dump_turn::wait);
    const control_lock lock(*process);
    if (process->recording.load_relaxed() != 0) {
      // The program did not know: it gets what it wanted, as the environment wants it.
      if (process->environment.load_relaxed() == environment_started) {
        process->environment.store_relaxed(environment_read);
        return {};
      }
      return refused();
    }
    if (const slow_half* const waiting = reinterpret_cast<const slow_half*>(process->slow_table.load_relaxed());
        waiting != nullptr && waiting->start_from_environment != nullptr &&
        waiting->start_from_environment(*process, wanted)) {
      return {};
    }
    return begin_recording<T>(*process, wanted);
  }

  /// Ends recording; call sites cost as much as filtered ones from now on. What was recorded can no longer be dumped.
  /// Memory stays mapped for the next start. Fails with not_running.
  static error stop() {
    using namespace detail;
    object_link<T>::require();
    process_state* process = join_process();
    if (process == nullptr) return not_running();
    const control_lock lock(*process);
    if (process->recording.load_relaxed() == 0) return not_running();
    process->recording.store_release(0);
    begin_epoch(*process);
    end_thread_states(*process);
    note_end(*process, image_end::stopped);
    return {};
  }

  /// What the recorder holds. Never fails; all zero when nothing records.
  // Async-signal-safe.
  static recorder_status status() {
    using namespace detail;
    object_link<T>::require();
    recorder_status result;
    process_state* process = joined_process();
    if (process == nullptr || process->recording.load_acquire() == 0) return result;
    const image_view& image = *current_image(*process);
    result.state = recorder_state::recording;
    result.memory_bytes = image.image_bytes;
    result.threads = image.super->attached_slots.load_relaxed();
    const uint64_t bound = image.super->next_id.load_relaxed() - 1;
    result.call_sites = bound < image.id_count ? bound : image.id_count;
    for (const atomic_word& count : image.super->dropped) result.dropped += count.load_relaxed();
    const uint64_t start = process->start_ticks.load_relaxed();
    for (uint64_t i = 0; i < image.chunk_count; ++i) count_chunk(image, i, start, result);
    const uint64_t overwritten = image.super->overwritten_ticks.load_relaxed();
    const uint64_t complete_since = overwritten > start ? overwritten : start;
    const uint64_t now = now_ticks(*process);
    const detail::uint128 ns =
        static_cast<detail::uint128>(now - complete_since) * 1'000'000'000U / process->tick_hz.load_relaxed();
    result.window_ns = static_cast<uint64_t>(ns);
    return result;
  }

  /// Writes a dump to a file. The path may hold %p (pid), %t (seconds since 1970), %n (number of the dump),
  /// %e (executable's name) and %%. The file appears complete or not at all; an older one of that name stays whole
  /// until then. Mode 0600. Fails with not_running, busy, path or file.
  // Async-signal-safe.
  static error dump(const char* path, const dump_options& wanted = {}) {
    detail::object_link<T>::require();
    return detail::dump_to_path(path, wanted.last, 0);
  }

  /// Writes a dump to an open descriptor: a file, a pipe, a socket. What a failed dump wrote is no dump.
  // Async-signal-safe.
  static error dump(int descriptor, const dump_options& wanted = {}) {
    detail::object_link<T>::require();
    const detail::errno_keeper keep;
    return detail::dump_to({detail::write_to_descriptor, &descriptor}, wanted.last, 0, "the descriptor");
  }

  /// Writes a dump into an empty container of bytes such as std::string or std::vector<char>. A container that holds
  /// something is refused with bad_option: it may be meant as a path. Allocates: not in signal handlers.
  template <class Bytes>
    requires requires(Bytes& bytes) {
      bytes.resize(bytes.size());
      bytes.data();
    }
  static error dump(Bytes& bytes, const dump_options& wanted = {}) {
    static_assert(sizeof(*bytes.data()) == 1, "contrail: a dump goes into a container of bytes.");
    detail::object_link<T>::require();
    if (bytes.size() != 0) {
      return {error_code::bad_option,
              "A dump into memory needs an empty container; to write a file, pass its path as const char*."};
    }
    const auto append = [](void* context, const void* from, size_t size) {
      Bytes& to = *static_cast<Bytes*>(context);
      const size_t before = to.size();
      to.resize(before + size);
      detail::memcpy(to.data() + before, from, size);
      return 0;
    };
    return detail::dump_to({append, &bytes}, wanted.last, 0, "memory");
  }

  /// Writes a dump to `path` whenever the process receives `signal`, such as SIGUSR2. The handler that was installed
  /// before is called afterwards. At most 8 signals for each shared object; the path is copied. Fails with bad_option
  /// or path, and with incompatible.
  static error dump_on_signal(int signal, const char* path, const dump_options& wanted = {}) {
    detail::object_link<T>::require();
    return detail::install_signal_dump(signal, path, wanted.last);
  }

  /// Writes a dump to `path` when the process crashes: by a fatal signal or std::terminate. Earlier handlers are called
  /// afterwards, and the process dies as it would have. Each thread that records gets an alternate signal stack, unless
  /// it has one. A second call replaces path and options. Fails with bad_option, path, out_of_memory or incompatible.
  static error dump_on_crash(const char* path, const crash_options& wanted = {}) {
    detail::object_link<T>::require();
    return detail::install_crash_dump(path, wanted);
  }

  /// Replaces the filter. Takes effect at each call site's next hit; regions in flight end as they began.
  static error set_filter(const filter_options& wanted) {
    using namespace detail;
    object_link<T>::require();
    process_state* process = join_process();
    if (process == nullptr) return not_running();
    const control_lock lock(*process);
    if (process->recording.load_relaxed() == 0) return not_running();
    if (error failed = store_filter(*process, wanted)) return failed;
    begin_epoch(*process);
    return {};
  }

 private:
  /// Adds what one chunk holds to the status.
  static void count_chunk(const detail::image_view& image, uint64_t index, uint64_t start,
                          recorder_status& result) {
    using namespace detail;
    const uint64_t before = image.chunk_states[index].load_acquire();
    if (state_of(before) != chunk_state::open && state_of(before) != chunk_state::sealed) return;
    const chunk& at = image.chunks[index];
    const uint64_t sealed = at.sealed_ticks.load_relaxed();
    if (sealed != 0 && sealed < start) return;
    uint64_t records = extent_records(at.extent.load_relaxed());
    if (state_of(before) == chunk_state::open) {
      const lane* owner = lane_of(image, at);
      if (owner == nullptr || owner->chunk.load_relaxed() != reinterpret_cast<uint64_t>(&at)) return;
      records = owner->words_before.load_relaxed() + words_in_chunk(*owner) - owner->extra_words.load_relaxed() -
                at.records_before.load_relaxed();
    }
    if (image.chunk_states[index].load_acquire() != before) return;
    result.used_bytes += chunk_bytes;
    // The counts of an open chunk change one after the other while its thread writes.
    if (records <= chunk_words) result.records += records;
  }
};

using flight_recorder = basic_flight_recorder<>;

CONTRAIL_DETAIL_NAMESPACE_END

extern "C" inline int contrail_dump(const char* path) {
  return static_cast<int>(contrail::detail::dump_to_path(path, {}, 0).code());
}

#endif
#endif
#else
// ==== contrail/disabled.hpp =========================================================================================
// What is left where nothing can be recorded: under CONTRAIL_DISABLED, and on platforms that contrail does not support.
// Macros type-check their arguments and never evaluate them. The functions that control the recorder exist, in an
// inline namespace of their own so that translation units may differ, and say why they do nothing.
#ifndef CONTRAIL_DISABLED_HPP
#define CONTRAIL_DISABLED_HPP

// ==== contrail/task_context.hpp =====================================================================================
// What names a task to others: to threads of this process, and by W3C Trace Context to other processes and tracing
// systems.
#ifndef CONTRAIL_TASK_CONTEXT_HPP
#define CONTRAIL_TASK_CONTEXT_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN

inline constexpr unsigned traceparent_bytes = 55;

/// The name of a task, to be copied and passed on: it keeps nothing alive. Empty if there is no task.
// What reads and writes text is a template each, so that only who uses it compiles it.
struct task_context {
  uint64_t id = 0;          ///< in this process; 0: none, or a task of another process
  uint64_t trace_high = 0;  ///< the trace id, 128 bits; 0: none
  uint64_t trace_low = 0;
  uint64_t span = 0;        ///< the task's own id in that trace

  constexpr explicit operator bool() const { return id != 0 || span != 0; }

  /// Of the text of a `traceparent` header, as another process sent it: a task that has it as its parent joins that
  /// trace. Empty where the text is null, malformed, or of all zeros.
  // Async-signal-safe.
  template <class = void>
  static constexpr task_context from_traceparent(const char* text) {
    task_context found;
    uint64_t version = 0, flags = 0;
    const bool is_good = text != nullptr && take_hex(text, 2, '-', version) && take_hex(text, 16, 0, found.trace_high) &&
                         take_hex(text, 16, '-', found.trace_low) && take_hex(text, 16, '-', found.span) &&
                         take_hex(text, 2, 0, flags);
    // Later versions may have more behind a dash.
    if (!is_good || version == 0xff || (*text != '\0' && (version == 0 || *text != '-'))) return {};
    if ((found.trace_high | found.trace_low) == 0 || found.span == 0) return {};
    return found;
  }

  /// The header to send with a request, 55 characters and a NUL; empty text, and false, where there is no trace.
  // Async-signal-safe.
  template <class = void>
  constexpr bool write_traceparent(char (&text)[traceparent_bytes + 1]) const {
    text[0] = '\0';
    if (span == 0) return false;
    char* at = put_hex(text, 0, 2);
    *at++ = '-';
    at = put_hex(put_hex(at, trace_high, 16), trace_low, 16);
    *at++ = '-';
    at = put_hex(at, span, 16);
    *at++ = '-';
    *put_hex(at, 1, 2) = '\0';  // recorded
    return true;
  }

 private:
  /// Takes `digits` hexadecimal digits, in lower case as the standard wants, and the character `end` behind them.
  template <class = void>
  static constexpr bool take_hex(const char*& at, unsigned digits, char end, uint64_t& value) {
    value = 0;
    for (unsigned i = 0; i < digits; ++i, ++at) {
      const bool is_letter = *at >= 'a' && *at <= 'f';
      if (!is_letter && (*at < '0' || *at > '9')) return false;
      value = value << 4 | static_cast<uint64_t>(is_letter ? *at - 'a' + 10 : *at - '0');
    }
    return end == 0 || *at++ == end;
  }
  template <class = void>
  static constexpr char* put_hex(char* at, uint64_t value, unsigned digits) {
    for (unsigned i = digits; i-- != 0;) *at++ = "0123456789abcdef"[value >> 4 * i & 0xf];
    return at;
  }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif

namespace contrail {
inline namespace disabled_v0 {

namespace detail {

/// Never called: it checks that every argument is an expression, and uses it in the compiler's eyes, so that nothing
/// that exists only for a macro is warned about.
template <class... Args>
constexpr void checked(const Args&...) noexcept {}

constexpr error nothing_records() {
#ifdef CONTRAIL_DISABLED
  return {error_code::compiled_out, "contrail was compiled out of this translation unit by CONTRAIL_DISABLED."};
#else
  return {error_code::not_supported, "contrail is not supported here: it records on Linux, x86-64 and arm64, with g++ "
                                     "or clang."};
#endif
}

}  // namespace detail

/// See contrail/flight_recorder.hpp. Everything fails here, with error_code::compiled_out or not_supported.
template <class = void>
class basic_flight_recorder {
 public:
  basic_flight_recorder() = delete;
  static error start(const options& = {}) { return detail::nothing_records(); }
  static error stop() { return detail::nothing_records(); }
  static recorder_status status() { return {}; }
  static error dump(const char*, const dump_options& = {}) { return detail::nothing_records(); }
  static error dump(int, const dump_options& = {}) { return detail::nothing_records(); }
  template <class Bytes>
    requires requires(Bytes& bytes) { bytes.resize(bytes.size()); }
  static error dump(Bytes&, const dump_options& = {}) {
    return detail::nothing_records();
  }
  static error dump_on_signal(int, const char*, const dump_options& = {}) { return detail::nothing_records(); }
  static error dump_on_crash(const char*, const crash_options& = {}) { return detail::nothing_records(); }
  static error set_filter(const filter_options&) { return detail::nothing_records(); }
};
using flight_recorder = basic_flight_recorder<>;

/// The variable of CONTRAIL_REGION_VAR. Its arguments are ordinary function arguments: they are evaluated.
class region {
 public:
  template <class Value>
  constexpr void set(const char*, const Value&) {}
  constexpr void end() {}
};

/// See contrail/task.hpp.
class task {
 public:
  constexpr task() = default;
  constexpr task(task&&) noexcept {}
  constexpr task& operator=(task&&) noexcept { return *this; }
  constexpr ~task() {}
  constexpr void end() {}
  constexpr task_context context() const { return {}; }
  constexpr explicit operator bool() const { return false; }
};
class task_scope {
 public:
  explicit task_scope(const task&) {}
  explicit task_scope(const task_context&) {}
  ~task_scope() {}
  task_scope(const task_scope&) = delete;
  task_scope& operator=(const task_scope&) = delete;
};
struct flow_out {
  uint64_t id;
};
struct flow_in {
  uint64_t id;
};
struct flow {
  uint64_t id = 0;
  static flow begin() { return {}; }
  constexpr flow_out out() const { return {id}; }
  constexpr flow_in in() const { return {id}; }
};

}  // namespace disabled_v0
}  // namespace contrail

// Spelt out in full, as contrail/reader.hpp brings the other namespace detail.
#define CONTRAIL_DETAIL_CHECK(...) \
  (false ? ::contrail::disabled_v0::detail::checked(__VA_ARGS__) : static_cast<void>(0))

#define CONTRAIL_REGION(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_SCOPE(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_FUNCTION(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_REGION_VAR(variable, ...) \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__);      \
  [[maybe_unused]] ::contrail::region variable
#define CONTRAIL_BLOCKED(reason, ...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_TASK(variable, ...)  \
  CONTRAIL_DETAIL_CHECK(__VA_ARGS__); \
  [[maybe_unused]] ::contrail::task variable
#define CONTRAIL_TASK_OF(variable, parent, ...) \
  CONTRAIL_DETAIL_CHECK(parent, __VA_ARGS__);   \
  [[maybe_unused]] ::contrail::task variable
#define CONTRAIL_ASYNC(variable, ...) CONTRAIL_TASK(variable, __VA_ARGS__)
#define CONTRAIL_FRAME(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_INSTANT(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_COUNTER(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_LOG(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_EMIT(...) CONTRAIL_DETAIL_CHECK(__VA_ARGS__)
#define CONTRAIL_THREAD_NAME(name) CONTRAIL_DETAIL_CHECK(name)
#define CONTRAIL_EVENT_TYPE(type, ...) static_assert(sizeof(type) != 0)
#define CONTRAIL_CATEGORY(name) static_assert(sizeof(name) != 0)

#endif
#endif

// ==== contrail/short_macros.hpp =====================================================================================
// The one list of short names. CONTRAIL_NO_SHORT_MACROS leaves them out.
#ifndef CONTRAIL_SHORT_MACROS_HPP
#define CONTRAIL_SHORT_MACROS_HPP

#ifndef CONTRAIL_NO_SHORT_MACROS

#if defined(TRACE_REGION) || defined(TRACE_SCOPE) || defined(TRACE_FUNCTION) || defined(TRACE_REGION_VAR) ||    \
    defined(TRACE_INSTANT) || defined(TRACE_COUNTER) || defined(TRACE_LOG) || defined(TRACE_EMIT) ||            \
    defined(TRACE_EVENT_TYPE) || defined(TRACE_CATEGORY) || defined(TRACE_THREAD_NAME) || defined(TRACE_TASK) ||  \
    defined(TRACE_TASK_OF) || defined(TRACE_ASYNC) || defined(TRACE_BLOCKED) || defined(TRACE_FRAME)
#error "contrail: another header defines a TRACE_ macro already. Define CONTRAIL_NO_SHORT_MACROS before including contrail and write CONTRAIL_REGION and so on."
#endif

#define TRACE_REGION(...) CONTRAIL_REGION(__VA_ARGS__)
#define TRACE_SCOPE(...) CONTRAIL_SCOPE(__VA_ARGS__)
#define TRACE_FUNCTION(...) CONTRAIL_FUNCTION(__VA_ARGS__)
#define TRACE_REGION_VAR(...) CONTRAIL_REGION_VAR(__VA_ARGS__)
#define TRACE_BLOCKED(...) CONTRAIL_BLOCKED(__VA_ARGS__)
#define TRACE_TASK(...) CONTRAIL_TASK(__VA_ARGS__)
#define TRACE_TASK_OF(...) CONTRAIL_TASK_OF(__VA_ARGS__)
#define TRACE_ASYNC(...) CONTRAIL_ASYNC(__VA_ARGS__)
#define TRACE_FRAME(...) CONTRAIL_FRAME(__VA_ARGS__)
#define TRACE_INSTANT(...) CONTRAIL_INSTANT(__VA_ARGS__)
#define TRACE_COUNTER(...) CONTRAIL_COUNTER(__VA_ARGS__)
#define TRACE_LOG(...) CONTRAIL_LOG(__VA_ARGS__)
#define TRACE_EMIT(...) CONTRAIL_EMIT(__VA_ARGS__)
#define TRACE_EVENT_TYPE(...) CONTRAIL_EVENT_TYPE(__VA_ARGS__)
#define TRACE_CATEGORY(...) CONTRAIL_CATEGORY(__VA_ARGS__)
#define TRACE_THREAD_NAME(...) CONTRAIL_THREAD_NAME(__VA_ARGS__)

#endif

#endif

#endif

#if defined(CONTRAIL_WITH_BLOCKING) || defined(CONTRAIL_WITH_ENV) || defined(CONTRAIL_WITH_FMT) || defined(CONTRAIL_WITH_HTTP) || defined(CONTRAIL_WITH_PFR) || defined(CONTRAIL_WITH_READER) || defined(CONTRAIL_WITH_SESSION) || defined(CONTRAIL_WITH_THREAD_STATES) || defined(CONTRAIL_WITH_TRIGGER)
#include "contrail_opt_ins.hpp"
#endif
