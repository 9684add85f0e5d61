// SPDX-License-Identifier: MIT
// Every byte of the image: the recorder's memory, which is also the file format of a dump. docs/format.md is the
// prose of this header; tools/contrail.py mirrors it. No other C++ code knows an offset.
#ifndef CONTRAIL_DETAIL_IMAGE_HPP
#define CONTRAIL_DETAIL_IMAGE_HPP

#include "contrail/detail/atomic.hpp"

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
