// SPDX-License-Identifier: MIT
// contrail 0.1.0, a flight recorder for C++20 programs, and its opt-in headers: contrail.hpp beside it includes this.
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

#ifndef CONTRAIL_CONTRAIL_HPP
#include "contrail.hpp"
#endif
#if CONTRAIL_DETAIL_ENABLED
#ifdef CONTRAIL_WITH_PFR
// ==== contrail/pfr.hpp ==============================================================================================
// Opt-in: lets plain aggregates register without a list of their fields, by Boost.PFR. The only includer of it.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/pfr.hpp>
//
//   struct point { int x, y; };
//   TRACE_EVENT_TYPE(point);
//
// Limits, which an explicit list does not have: the type is an aggregate of at most some 100 members without base
// classes; members are no C arrays (std::array is fine), no references and no bit-fields.
#ifndef CONTRAIL_PFR_HPP
#define CONTRAIL_PFR_HPP

#if CONTRAIL_DETAIL_ENABLED

#include <boost/pfr/core.hpp>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// An object that is declared and never made: only addresses of its members are taken, as constants.
template <class T>
struct never_made {
  const T value;
};
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wundefined-var-template"
#pragma clang diagnostic ignored "-Wundefined-internal"
#endif
template <class T>
extern const never_made<T> never_made_object;

/// A pointer to a member of an object is a template argument on g++; clang before 18 takes it inside a class only.
template <class Member>
struct member_address {
  const Member* address;
};

template <class T, size_type Index>
constexpr auto address_of_member() {
  const auto& member = boost::pfr::get<Index>(never_made_object<T>.value);
  return member_address<bare<decltype(member)>>{&member};
}
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

template <auto Address>
constexpr text pretty_function_of_member() {
  return __PRETTY_FUNCTION__;
}

/// The name of an aggregate's member, out of "… {(& never_made_object<ns::point>…::value.ns::point::x)}]". PFR names
/// members itself from 2.2 on, by the same means; this works with 2.0 and 2.1 as well.
template <class T, size_type Index>
constexpr text aggregate_member_name() {
  text pretty = pretty_function_of_member<address_of_member<T, Index>()>();
  uint32_t end = pretty.size;
  while (end != 0 && !is_identifier(pretty[end - 1])) --end;
  uint32_t begin = end;
  while (begin != 0 && is_identifier(pretty[begin - 1])) --begin;
  return part(pretty, begin, end);
}

template <class T, class Indices>
struct aggregate_names;
template <class T, size_type... Index>
struct aggregate_names<T, integer_pack<size_type, Index...>> {
  using types = type_list<boost::pfr::tuple_element_t<Index, T>...>;
  static constexpr text names[sizeof...(Index) + 1] = {aggregate_member_name<T, Index>()...};

  template <class Visitor>
  CONTRAIL_DETAIL_ALWAYS_INLINE static void visit(const T& object, const Visitor& visitor) {
    visitor(boost::pfr::get<Index>(object)...);
  }
};

template <class T>
struct aggregate_fields : aggregate_names<T, make_integer_pack<size_type, boost::pfr::tuple_size_v<T>>> {
  static constexpr text member_name(uint32_t index) { return aggregate_fields::names[index]; }
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
#endif
#ifdef CONTRAIL_WITH_FMT
// ==== contrail/fmt.hpp ==============================================================================================
// Opt-in: checks TRACE_LOG's format strings fully at compile time, and prints records as text in the process. The only
// includer of fmt.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/fmt.hpp>
//
//   TRACE_LOG("{:d}", "five");                     // an error now: no integer
//   std::string s = contrail::to_text(point{1, 2});  // "point{x: 1, y: 2}"
#ifndef CONTRAIL_FMT_HPP
#define CONTRAIL_FMT_HPP

#if CONTRAIL_DETAIL_ENABLED

#include <fmt/args.h>
#include <fmt/format.h>

#include <string>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

constexpr fmt::string_view view_of(text t) { return {t.data, t.size}; }

/// An enumeration's value: its name, or its number where a format asks for one.
struct enumeration_value {
  int64_t value = 0;
  text name;
};

/// What fmt is told that an argument is; as the converter formats it.
template <class T>
constexpr auto fmt_argument_of() {
  using type = bare<T>;
  constexpr value_kind kind = kind_of<type>;
  if constexpr (kind == value_kind::enumeration) {
    return type_tag<enumeration_value>{};
  } else if constexpr (kind == value_kind::pointer || kind == value_kind::function) {
    return type_tag<const void*>{};
  } else if constexpr (kind != value_kind::scalar) {
    return type_tag<fmt::string_view>{};
  } else if constexpr (leaf_type<type>() == field_type::code_point || leaf_type<type>() == field_type::character) {
    return type_tag<char>{};
  } else if constexpr (is_same<type, long double>) {
    return type_tag<double>{};
  } else {
    return type_tag<type>{};
  }
}

/// In place of count_placeholders. fmt's own errors run to a hundred lines, so that only its verdict is taken.
struct check_with_fmt {
  template <class Site, class... Args>
  static constexpr bool check() {
    constexpr bool fits =
        accepts<format_of<Site, Args...>, typename decltype(fmt_argument_of<Args>())::type...>(nullptr);
    static_assert(fits,
                  "contrail: fmt refuses this format for these arguments: the part of a {} after its colon does "
                  "not suit the argument's type.");
    return fits;
  }

 private:
  template <class Site, class... Args>
  struct format_of {
    static constexpr fmt::string_view value = view_of(site_descriptor<Site, binding_kind::log, Args...>.name);
  };
  template <int>
  struct constant {};
  template <class Format, class... Types>
  static constexpr bool accepts(constant<(static_cast<void>(fmt::format_string<Types...>(Format::value)), 0)>*) {
    return true;
  }
  template <class Format, class... Types>
  static constexpr bool accepts(...) {
    return false;
  }
};

/// One record's payload, read field by field.
class payload_reader {
 public:
  payload_reader(const descriptor& what, const uint64_t* payload, size_type words)
      : what_(what), bytes_(reinterpret_cast<const char*>(payload)), size_(words * 8) {
    for (uint32_t i = 0; i < what.field_count; ++i) {
      const field& f = what.fields[i];
      tail_ = static_cast<size_type>(f.offset) + bytes_of(f.type) * f.count;
    }
  }

  /// Calls use(field, element index, value) for each element in order; value is of a type that fmt formats. A payload
  /// that ends too early gives no more.
  template <class Use>
  void for_each(Use&& use) {
    for (uint32_t i = 0; i < what_.field_count; ++i) {
      const field& f = what_.fields[i];
      for (uint32_t k = 0; k < f.count; ++k) {
        const size_type at = f.offset + static_cast<size_type>(bytes_of(f.type)) * k;
        if (at + bytes_of(f.type) > size_) return;
        read(f, bytes_ + at, [&](const auto& value) { use(f, k, value); });
      }
    }
  }

 private:
  template <class T>
  static T load(const char* from) {
    T value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
  }
  template <class T, class Use>
  static void use_integer(const field& f, T value, Use&& use) {
    if (f.enumerator_count == 0) return use(value);
    for (uint32_t i = 0; i < f.enumerator_count; ++i) {
      if (static_cast<T>(f.enumerators[i].value) == value) {
        return use(enumeration_value{f.enumerators[i].value, f.enumerators[i].name});
      }
    }
    use(value);
  }
  template <class Use>
  void read(const field& f, const char* from, Use&& use) {
    switch (f.type) {
      case field_type::boolean: return use_integer(f, load<uint8_t>(from) != 0, use);
      case field_type::character: return use_integer(f, load<char>(from), use);
      case field_type::int8: return use_integer(f, load<int8_t>(from), use);
      case field_type::uint8: return use_integer(f, load<uint8_t>(from), use);
      case field_type::int16: return use_integer(f, load<int16_t>(from), use);
      case field_type::uint16: return use_integer(f, load<uint16_t>(from), use);
      case field_type::int32: return use_integer(f, load<int32_t>(from), use);
      case field_type::uint32: return use_integer(f, load<uint32_t>(from), use);
      case field_type::int64: return use_integer(f, load<int64_t>(from), use);
      case field_type::uint64: return use_integer(f, load<uint64_t>(from), use);
      case field_type::int128: return use(load<int128>(from));
      case field_type::uint128: return use(load<uint128>(from));
      case field_type::float32: return use(load<float>(from));
      case field_type::float64: return use(load<double>(from));
      case field_type::pointer: return use(load<const void*>(from));
      case field_type::flow_out:
      case field_type::flow_in: return use(load<uint64_t>(from));
      case field_type::duration: return use(fmt::format("{}ns", load<int64_t>(from)));
      case field_type::code_point: return use(utf8(load<uint32_t>(from)));
      case field_type::string: {
        const size_type size = load<uint16_t>(from) & ~string_cut & 0xffff;
        const size_type begin = tail_;
        if (begin + size > size_) return;
        tail_ += size;
        return use(std::string(bytes_ + begin, size) + ((load<uint16_t>(from) & string_cut) != 0 ? "\u2026" : ""));
      }
    }
  }
  static std::string utf8(uint32_t c) {
    char bytes[4];
    character_sink sink{bytes};
    sink.put_code_point(c < 0x110000 ? c : 0xfffd);
    return {bytes, sink.size};
  }

  const descriptor& what_;
  const char* bytes_;
  size_type size_;
  size_type tail_ = 0;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

/// Takes what either of its two forms takes; a type letter of integers asks for the number.
template <>
struct fmt::formatter<contrail::detail::enumeration_value> {
  constexpr auto parse(fmt::format_parse_context& context) {
    auto end = context.begin();
    for (int depth = 0; end != context.end() && (depth != 0 || *end != '}'); ++end) {
      if (*end == '{') ++depth;
      if (*end == '}') --depth;
    }
    const char letter = end != context.begin() ? *(end - 1) : '\0';
    as_number_ = letter == 'd' || letter == 'x' || letter == 'X' || letter == 'b' || letter == 'B' || letter == 'o';
    return as_number_ ? number_.parse(context) : name_.parse(context);
  }
  template <class Context>
  auto format(const contrail::detail::enumeration_value& e, Context& context) const {
    return as_number_ ? number_.format(e.value, context) : name_.format({e.name.data, e.name.size}, context);
  }

 private:
  fmt::formatter<fmt::string_view> name_;
  fmt::formatter<int64_t> number_;
  bool as_number_ = false;
};

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// One record as text: a log line as TRACE_LOG meant it, anything else as "name{key: value, key: value}". `payload` are
/// the `words` words after the record's header and times. Allocates; not for signal handlers.
inline std::string format_record(const descriptor& what, const uint64_t* payload, detail::size_type words) {
  detail::payload_reader reader(what, payload, words);
  if (what.kind == detail::binding_kind::log) {
    fmt::dynamic_format_arg_store<fmt::format_context> arguments;
    std::string list;
    reader.for_each([&](const field& f, uint32_t index, const auto& value) {
      if (!f.is_array) return arguments.push_back(value);
      list += fmt::format("{}{}", index == 0 ? "[" : ", ", value);
      if (index + 1U == f.count) arguments.push_back(list + "]");
      if (index + 1U == f.count) list.clear();
    });
    return fmt::vformat(detail::view_of(what.name), arguments);
  }
  std::string out(what.name.data, what.name.size);
  const char* separator = "{";
  reader.for_each([&](const field& f, uint32_t index, const auto& value) {
    if (index == 0) out += fmt::format("{}{}: {}", separator, detail::view_of(f.name), f.is_array ? "[" : "");
    out += fmt::format("{}{}", index == 0 ? "" : ", ", value);
    if (f.is_array && index + 1U == f.count) out += "]";
    separator = ", ";
  });
  if (separator[0] == ',') out += "}";
  return out;
}

/// An object of a registered type as contrail would record it, as text: "point{x: 1, y: 2}".
template <class T>
std::string to_text(const T& object) {
  static_assert(detail::registered<T>, "contrail: to_text takes an object of a type registered with TRACE_EVENT_TYPE.");
  detail::atomic_word words[detail::max_point_words];
  const unsigned used = detail::encode(words, detail::max_point_words, object);
  return format_record(detail::type_descriptor<T>, &words[0].value, used);
}

CONTRAIL_DETAIL_NAMESPACE_END

#undef CONTRAIL_DETAIL_LOG_CHECKER
#define CONTRAIL_DETAIL_LOG_CHECKER ::contrail::detail::check_with_fmt

#endif

#endif
#endif
#endif
#if defined(CONTRAIL_WITH_THREAD_STATES) || defined(CONTRAIL_WITH_ENV)
// ==== contrail/thread_states.hpp ====================================================================================
// Opt-in: dumps that show when each thread ran, waited, and waited for a processor, and each region's processor time,
// from the kernel's records of this process's context switches.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/thread_states.hpp>
//
//   contrail::flight_recorder::start({.thread_states = contrail::context_switches});
#ifndef CONTRAIL_THREAD_STATES_HPP
#define CONTRAIL_THREAD_STATES_HPP

#if CONTRAIL_DETAIL_ENABLED

#ifdef CONTRAIL_MACROS_ONLY
#error "contrail/thread_states.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

// ==== contrail/detail/switch_buffers.hpp ============================================================================
// The kernel's buffers of context switches, one for each processor: each is a flight recorder of its own, since the
// kernel writes it backwards and overwrites the oldest. They lie in a range of addresses that stays reserved for good,
// so that a dump that runs beside `stop` finds zeros there, not a hole.
#ifndef CONTRAIL_DETAIL_SWITCH_BUFFERS_HPP
#define CONTRAIL_DETAIL_SWITCH_BUFFERS_HPP

// ==== contrail/detail/perf_event.hpp ================================================================================
// The part of perf_event_open that thread states need: records of the context switches of one's own threads. Stated
// here, as <linux/perf_event.h> of older systems lacks some of it.
#ifndef CONTRAIL_DETAIL_PERF_EVENT_HPP
#define CONTRAIL_DETAIL_PERF_EVENT_HPP

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

struct perf_event_request {
  uint32_t type = 1;         // software
  uint32_t size = 96;        // of this structure, as in Linux 4.1
  uint64_t config = 9;       // a counter that never counts: only what comes with it is wanted
  uint64_t period = 0;
  uint64_t sample_type = 1U << 1 | 1U << 2;  // ids of the thread and the time end each record
  uint64_t read_format = 0;
  uint64_t flags = 0;
  uint32_t wakeup = 0;
  uint32_t breakpoint = 0;
  uint64_t config1 = 0;
  uint64_t config2 = 0;
  uint64_t branches = 0;
  uint64_t registers = 0;
  uint32_t stack = 0;
  int32_t clock = CLOCK_MONOTONIC;
};
static_assert(sizeof(perf_event_request) == 96);

inline constexpr uint64_t perf_inherit = 1ULL << 1;         ///< threads begun later too
inline constexpr uint64_t perf_exclude_kernel = 1ULL << 5;  ///< what an ordinary user may ask for
inline constexpr uint64_t perf_exclude_hypervisor = 1ULL << 6;
inline constexpr uint64_t perf_task = 1ULL << 13;           ///< records of threads that begin and end
inline constexpr uint64_t perf_sample_id_all = 1ULL << 18;
inline constexpr uint64_t perf_use_clock = 1ULL << 25;
inline constexpr uint64_t perf_context_switch = 1ULL << 26;
inline constexpr uint64_t perf_write_backward = 1ULL << 27;  ///< the newest record comes first, and overwrites the oldest
inline constexpr uint64_t perf_inherit_thread = 1ULL << 35;  ///< not child processes; since Linux 5.13
inline constexpr uint64_t perf_remove_on_exec = 1ULL << 36;

inline constexpr unsigned long perf_set_output = 0x2405;      // PERF_EVENT_IOC_SET_OUTPUT
inline constexpr unsigned long perf_get_id = 0x80082407;      // PERF_EVENT_IOC_ID

/// Context switches of a thread, 0 for this one, on one processor. A descriptor, or a negative errno value.
// Async-signal-safe.
inline int open_switch_event(uint32_t tid, uint32_t cpu) {
  constexpr int close_on_exec = 8;  // PERF_FLAG_FD_CLOEXEC
  perf_event_request wanted;
  wanted.flags = perf_inherit | perf_exclude_kernel | perf_exclude_hypervisor | perf_task | perf_sample_id_all |
                 perf_use_clock | perf_context_switch | perf_write_backward | perf_inherit_thread | perf_remove_on_exec;
  long made = syscall(SYS_perf_event_open, &wanted, tid, cpu, -1, close_on_exec);
  if (made < 0 && errno == EINVAL) {
    wanted.flags &= ~(perf_inherit_thread | perf_remove_on_exec);  // an older kernel: readers leave other processes out
    made = syscall(SYS_perf_event_open, &wanted, tid, cpu, -1, close_on_exec);
  }
  return made < 0 ? -errno : static_cast<int>(made);
}

// ---- the buffer: a page of which only data_head is of interest, then a power of two of bytes -------------------------

inline constexpr uint64_t perf_page_bytes = 4096;
inline constexpr uint64_t perf_head_offset = 1024;

struct perf_record_header {
  uint32_t type;
  uint16_t flags;
  uint16_t bytes;
};

/// How many bytes were ever written: the kernel counts down from 0. Acquire: all of them are there.
inline uint64_t perf_bytes_written(const char* buffer) {
  return 0 - __atomic_load_n(reinterpret_cast<const uint64_t*>(buffer + perf_head_offset), __ATOMIC_ACQUIRE);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

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

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

CONTRAIL_DETAIL_HIDDEN inline constexpr state_functions switch_source{
    {},
    open_switch_buffers,
    close_switch_buffers,
    forget_switch_buffers,
    count_switch_buffers,
    measure_switch_buffers,
    copy_switch_buffers,
    state_of_thread};

}  // namespace detail

/// For options::thread_states: what the kernel tells by perf_event_open, which needs no rights where
/// kernel.perf_event_paranoid is 2 or less and no sandbox forbids the call. It takes up to 512 KiB of the kernel's
/// memory for each processor, besides options::memory; in these the last 10,000 times that threads of this process ran
/// on it.
CONTRAIL_DETAIL_HIDDEN inline constexpr const thread_state_source* context_switches = &detail::switch_source;

CONTRAIL_DETAIL_NAMESPACE_END

#else

namespace contrail {
inline namespace disabled_v0 {

/// See above. Nothing records here.
inline constexpr const thread_state_source* context_switches = nullptr;

}  // namespace disabled_v0
}  // namespace contrail

#endif

#endif
#endif
#if CONTRAIL_DETAIL_ENABLED
#ifndef CONTRAIL_MACROS_ONLY
#if defined(CONTRAIL_WITH_SESSION) || defined(CONTRAIL_WITH_TRIGGER)
// ==== contrail/detail/session_claim.hpp =============================================================================
// Marks for whoever reads all that is recorded, and must know what was overwritten before: a session, or a trigger.
#ifndef CONTRAIL_DETAIL_SESSION_CLAIM_HPP
#define CONTRAIL_DETAIL_SESSION_CLAIM_HPP

// ==== contrail/detail/session_marks.hpp =============================================================================
// What a session has copied of each chunk, or a trigger looked at, for whoever recycles one. Losses are counted where
// they arise, each record once, and a session can keep writers from overwriting what it has not copied. Nobody waits.
// And which chunks hold a region that a trigger may want to know of, so that it need not read the others.
//
// A mark is ticket << 20 | words copied << 10 | records copied. The session moves it on by compare-exchange when it has
// a valid copy, the recycler when it has the chunk; whoever comes second learns of the first. So a record is either
// copied or counted as lost.
#ifndef CONTRAIL_DETAIL_SESSION_MARKS_HPP
#define CONTRAIL_DETAIL_SESSION_MARKS_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Followed by a mark for each chunk of its image, and then by the ticket of each in which a long region was recorded.
/// It stays in the image's list, and mapped, since a recycler may be in it; a later session of the image takes it over.
struct session_marks {
  session_marks* next;
  atomic_word in_use;       ///< 1: a session has it
  atomic_word is_blocking;  ///< 1: writers drop records rather than overwrite what was not copied
  atomic_word begin_ticks;  ///< chunks that were sealed before are no part of the session
  atomic_word lost;         ///< records in the low 40 bits; above, the number of the session
  atomic_word lost_chunks;
  atomic_word least_ticks;  ///< of a trigger, above 0: only chunks matter that hold a region as long, an epoch at least

  atomic_word& operator[](uint64_t chunk_index) { return reinterpret_cast<atomic_word*>(this + 1)[chunk_index]; }
  atomic_word& long_region_in(const image_view& image, uint64_t chunk_index) {
    return (*this)[image.chunk_count + chunk_index];
  }
  /// Whether a chunk holds anything that matters. Of an open one the answer may become true.
  bool matters(const image_view& image, uint64_t chunk_index, uint64_t ticket) {
    return least_ticks.load_relaxed() == 0 || long_region_in(image, chunk_index).load_relaxed() == ticket;
  }
};

inline constexpr uint64_t lost_bits = 40;
inline constexpr uint64_t lost_mask = (1ULL << lost_bits) - 1;

inline constexpr uint64_t all_copied = 1023;  ///< in place of the words copied: nothing more will be
inline constexpr uint64_t mark_word(uint64_t ticket, uint64_t words, uint64_t records) {
  return ticket << 20 | words << 10 | records;
}
inline constexpr bool is_marked(uint64_t mark, uint64_t ticket) { return mark >> 20 == ticket; }
inline constexpr uint64_t marked_words(uint64_t mark, uint64_t ticket) {
  return is_marked(mark, ticket) ? mark >> 10 & 1023 : 0;
}
inline constexpr uint64_t marked_records(uint64_t mark, uint64_t ticket) {
  return is_marked(mark, ticket) ? mark & 1023 : 0;
}

inline session_marks* first_session(const image_view& image) {
  return reinterpret_cast<session_marks*>(image.sessions.load_acquire());
}

/// Of the words of a chunk, from the first one to `end`, the records that had ended before `ticks`. A chunk that was
/// open when a session began has some; they are no part of it. Records stand in the order in which they ended.
inline uint64_t records_ended_before(uint64_t epoch_base, const atomic_word* at, const atomic_word* end, uint64_t ticks) {
  uint64_t records = 0;
  uint64_t base = epoch_base;
  while (base < ticks && at < end) {
    const uint64_t word = at->load_relaxed();
    const auto tag = static_cast<record_tag>(word & 3);
    const auto form = long_form_of(word);
    uint64_t words = 0;
    uint64_t ended = base + (word >> end_time_shift);
    if (tag == record_tag::point) words = word >> duration_shift & 0xff;
    if (tag == record_tag::region_payload) words = word >> id_shift & 0xf;
    bool is_record = true;
    if (tag == record_tag::long_form) {
      is_record = form != long_form::epoch && form != long_form::anchor && form != long_form::current_task;
      if (form == long_form::epoch) base = word & ~(epoch_ticks - 1);
      else words = word >> 6 & 0x3ff;
      const uint64_t end_word = form == long_form::point || form == long_form::span ? 1 : 2;
      if (is_record && words >= end_word) ended = at[end_word].load_relaxed();
    }
    if (is_record && ended >= ticks) break;
    records += is_record;
    at += 1 + words;
  }
  return records;
}

/// Whether any session holds this sealed chunk back.
inline bool is_held_back(const image_view& image, uint64_t index, uint64_t ticket) {
  const uint64_t sealed_ticks = image.chunks[index].sealed_ticks.load_relaxed();
  for (session_marks* session = first_session(image); session != nullptr; session = session->next) {
    if (session->in_use.load_acquire() == 0 || session->is_blocking.load_relaxed() == 0) continue;
    if (sealed_ticks < session->begin_ticks.load_relaxed()) continue;
    if (marked_words((*session)[index].load_relaxed(), ticket) != all_copied) return true;
  }
  return false;
}

/// Tells all sessions that a sealed chunk is gone. The caller has taken it, and not touched what it holds.
inline void count_recycled(const image_view& image, uint64_t index, uint64_t ticket) {
  const uint64_t sealed_ticks = image.chunks[index].sealed_ticks.load_relaxed();
  const uint64_t records = extent_records(image.chunks[index].extent.load_relaxed());
  for (session_marks* session = first_session(image); session != nullptr; session = session->next) {
    if (session->in_use.load_acquire() == 0) continue;
    uint64_t total = session->lost.load_acquire();  // before the moment it began: a later session's is another number
    if (sealed_ticks < session->begin_ticks.load_relaxed() || !session->matters(image, index, ticket)) continue;
    atomic_word& mark = (*session)[index];
    uint64_t found = mark.load_relaxed();
    while (!mark.compare_exchange(found, mark_word(ticket, all_copied, 0))) {
    }
    uint64_t known = marked_records(found, ticket);
    if (marked_words(found, ticket) == 0) {
      const chunk& gone = image.chunks[index];
      const atomic_word* const end = gone.words + (extent_bytes(gone.extent.load_relaxed()) - chunk_header_bytes) / 8;
      known = records_ended_before(gone.epoch_base.load_relaxed(), gone.words, end, session->begin_ticks.load_relaxed());
    }
    if (marked_words(found, ticket) == all_copied || records <= known) continue;
    const uint64_t lost = records - known;
    const uint64_t number = total >> lost_bits;
    while (total >> lost_bits == number && !session->lost.compare_exchange(total, total + lost)) {
    }
    if (total >> lost_bits == number) session->lost_chunks.fetch_add_relaxed(1);
  }
}

/// Tells those whom it concerns of a region that took a time epoch or more. Its record is published after that, in this
/// chunk, which is the caller's.
inline void note_long_region(const image_view& image, uint64_t index, uint64_t ticks) {
  for (session_marks* session = first_session(image); session != nullptr; session = session->next) {
    const uint64_t least = session->in_use.load_acquire() == 0 ? 0 : session->least_ticks.load_relaxed();
    if (least == 0 || ticks < least) continue;
    session->long_region_in(image, index).store_relaxed(image.chunks[index].ticket.load_relaxed());
  }
}

CONTRAIL_DETAIL_HIDDEN inline constexpr recycling_watch the_recycling_watch{&is_held_back, &count_recycled,
                                                                            &note_long_region};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <sys/mman.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Marks in this image: those that somebody had before, or new ones; null when the system has no memory. Held: control.
/// Who calls this has pinned the object that count_recycled is in.
inline session_marks* claim_marks(image_view& image) {
  session_marks* found = first_session(image);
  while (found != nullptr && found->in_use.load_acquire() != 0) found = found->next;
  if (found == nullptr) {
    const uint64_t bytes = sizeof(session_marks) + 2 * image.chunk_count * sizeof(atomic_word);
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    found = static_cast<session_marks*>(memory);
    found->next = first_session(image);
    image.sessions.store_release(reinterpret_cast<uint64_t>(found));
    // For good: whoever takes a chunk may be about to call these. The object that has them stays loaded.
    if (image.watch.load_relaxed() == 0) image.watch.store_release(reinterpret_cast<uint64_t>(&the_recycling_watch));
  }
  // What those before wrote. The second half is touched only if a trigger had it: else it needs no memory.
  const uint64_t count = found->least_ticks.load_relaxed() == 0 ? image.chunk_count : 2 * image.chunk_count;
  for (uint64_t i = 0; i < count; ++i) (*found)[i].store_relaxed(0);
  found->least_ticks.store_relaxed(0);
  return found;
}

/// Lets the marks count from now on; when that is, in ticks. A chunk that is sealed after that moment and recycled
/// before the moment is known would be counted by nobody: so no ticket may be drawn in between.
inline uint64_t begin_marks(const process_state& process, const image_view& image, session_marks& marks,
                            bool is_blocking) {
  marks.is_blocking.store_relaxed(is_blocking);
  marks.lost_chunks.store_relaxed(0);
  uint64_t begin = 0;
  for (int tries = 0; tries < 100; ++tries) {
    const uint64_t ticket = image.super->next_ticket.load_acquire();
    begin = now_ticks(process);
    marks.begin_ticks.store_relaxed(begin);
    marks.lost.store_relaxed(((marks.lost.load_relaxed() >> lost_bits) + 1) << lost_bits);
    marks.in_use.store_release(1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);  // all that is known before the second look
    if (image.super->next_ticket.load_acquire() == ticket) break;
  }
  return begin;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
#endif
#endif
#endif
#if CONTRAIL_DETAIL_ENABLED
#ifndef CONTRAIL_MACROS_ONLY
#if defined(CONTRAIL_WITH_SESSION) || defined(CONTRAIL_WITH_TRIGGER)
// ==== contrail/detail/session_copy.hpp ==============================================================================
// Pieces of chunks for a stream, or a trigger's look: of a sealed chunk all that was not copied yet, of an open one
// what was published since the last look; and of threads and spans as they are now. It runs beside the writers; nobody
// waits for anybody.
#ifndef CONTRAIL_DETAIL_SESSION_COPY_HPP
#define CONTRAIL_DETAIL_SESSION_COPY_HPP

// ==== contrail/detail/stream.hpp ====================================================================================
// Every byte of a stream that image.hpp does not have. What a session writes: a superblock, then blocks, each a
// stream_block and its content. A reader takes them in order up to the last whole one, which may be anywhere: the
// process may have been killed. A header of its own, since what only records need not compile it.
#ifndef CONTRAIL_DETAIL_STREAM_HPP
#define CONTRAIL_DETAIL_STREAM_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

enum class block_type : uint32_t {
  binding = 1,  ///< one entry; before the first block with its id
  slot = 2,     ///< a thread_slot without its frames, then each open region's index as a word and its frame
  chunk = 3,    ///< a chunk's header with its extent so far, then the words from `begin` to there
  state = 4,    ///< a stream_state of that moment
  end = 5,      ///< a stream_state: nothing follows
  span = 6      ///< an open span's span_entry; without content: what that entry held has ended
};

struct stream_block {
  block_type type;
  uint32_t begin;  ///< of a chunk: bytes from its start to the first word that is here; of a span: its index; else 0
  uint64_t bytes;  ///< of the content, a multiple of 8
};
static_assert(sizeof(stream_block) == 16);

/// Why a stream has an end.
enum class stream_cause : uint32_t {
  none = 0,      ///< it has none yet
  stopped = 1,   ///< session::stop, or the end of the session's scope
  failed = 2,    ///< a write failed, with the errno value beside it
  recorder = 3   ///< the flight recorder was stopped
};

struct stream_state {
  clock_anchor anchor;
  uint64_t next_ticket;
  uint64_t attached;
  uint64_t attached_slots;
  uint64_t dropped[8];      ///< as in the superblock: since the recorder's start
  uint64_t lost_records;    ///< recycled before the session had copied them, or not written
  uint64_t lost_chunks;     ///< those that lost any
  uint64_t chunks;          ///< of which a part is in the stream
  stream_cause cause;
  int32_t error_number;
};
static_assert(sizeof(stream_state) == 152);

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr size_t longest_piece_bytes = sizeof(stream_block) + chunk_bytes;

/// What copy_piece made.
struct chunk_piece {
  size_t bytes = 0;      ///< 0: nothing
  uint64_t records = 0;  ///< in these words
  bool is_first = false;  ///< of its chunk
  bool is_last = false;
};

/// Bytes from an unsealed chunk's start to the end of what is published; 0: none can be told.
inline uint64_t open_extent(const image_view& image, const chunk& from) {
  const lane* const writer = lane_of(image, from);
  if (writer == nullptr) return 0;
  const uint64_t cursor = writer->cursor.load_acquire();
  const uint64_t begin = reinterpret_cast<uint64_t>(&from);
  if (cursor >= begin + chunk_header_bytes && cursor <= begin + chunk_bytes) return cursor - begin;
  // The writer's cursor is elsewhere: the chunk was sealed just now, or is not written to yet.
  return extent_bytes(from.extent.load_acquire());
}

/// Copies to `to` what was not copied before of a chunk, by these marks, as a block, and marks it. Nothing if there is
/// nothing new, or if the chunk was recycled meanwhile: then the recycler has counted it. Reads in the order of
/// copy_chunk.
inline chunk_piece copy_piece(char* to, const image_view& image, uint64_t index, session_marks& marks, bool open_too) {
  const chunk& from = image.chunks[index];
  const atomic_word& state = image.chunk_states[index];
  const uint64_t before = state.load_acquire();
  const bool is_sealed = state_of(before) == chunk_state::sealed;
  if (!is_sealed && (!open_too || state_of(before) != chunk_state::open)) return {};
  const uint64_t ticket = ticket_of(before);
  uint64_t mark = marks[index].load_acquire();
  const uint64_t copied = marked_words(mark, ticket);
  if (copied == all_copied) return {};
  if (is_sealed && copied == 0 && from.sealed_ticks.load_relaxed() < marks.begin_ticks.load_relaxed()) return {};

  const uint64_t extent = from.extent.load_acquire();
  const uint64_t end_bytes = extent_bytes(extent) != 0 ? extent_bytes(extent) : open_extent(image, from);
  const uint64_t begin_bytes = chunk_header_bytes + 8 * copied;
  if (end_bytes < begin_bytes || end_bytes > chunk_bytes || (!is_sealed && end_bytes == begin_bytes)) return {};

  const atomic_word* const source = reinterpret_cast<const atomic_word*>(&from);
  char* const header = to + sizeof(stream_block);
  atomic_word* const head = reinterpret_cast<atomic_word*>(header);
  atomic_word* const words = head + chunk_header_bytes / 8;
  for (uint64_t i = 0; i < chunk_header_bytes / 8; ++i) head[i].value = source[i].load_relaxed();
  const uint64_t count = (end_bytes - begin_bytes) / 8;
  for (uint64_t i = 0; i < count; ++i) words[i].value = source[begin_bytes / 8 + i].load_relaxed();
  // Pairs with the release fence in take_chunk, as in copy_chunk.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const uint64_t after = state.load_relaxed();
  if (ticket_of(after) != ticket || state_of(after) == chunk_state::taking) return {};

  // A chunk that was sealed during the copy may be taken for an open one: the rest comes with the next look.
  const uint64_t marked = marked_records(mark, ticket);
  const uint64_t records = is_sealed ? extent_records(extent) - marked : count_records(words, words + count);
  const uint64_t fresh = is_sealed ? mark_word(ticket, all_copied, 0)
                                   : mark_word(ticket, copied + count, marked + records);
  // By exchange: if it was recycled just now, the recycler has counted these records, and they are not in the stream.
  if (!marks[index].compare_exchange(mark, fresh)) return {};

  chunk& copy = *reinterpret_cast<chunk*>(header);
  copy.ticket.value = ticket;
  copy.extent.value = end_bytes;
  if (!is_sealed) copy.sealed_ticks.value = 0;
  // What had ended before the session began is no part of it, and so no loss either.
  const uint64_t before_it = copied != 0 ? 0
                                         : records_ended_before(copy.epoch_base.value, words, words + count,
                                                                marks.begin_ticks.load_relaxed());
  const stream_block block{block_type::chunk, static_cast<uint32_t>(begin_bytes), chunk_header_bytes + 8 * count};
  memcpy(to, &block, sizeof block);
  return {sizeof block + block.bytes, records - before_it, copied == 0 && !is_marked(mark, ticket), is_sealed};
}

/// Copies a thread's slot to `to` as a block, with its open regions; 0 if nobody has it. `work` has room for a slot.
inline size_t copy_slot_block(char* to, thread_slot& work, const thread_slot& from) {
  const uint64_t state = from.state.load_acquire();
  if (!is_listed(state)) return 0;
  copy_slot(work, from, state);
  if (work.state.load_relaxed() != state) return 0;
  constexpr size_t head = __builtin_offsetof(thread_slot, frames);
  char* at = to + sizeof(stream_block);
  memcpy(at, &work, head);
  at += head;
  for (uint64_t i = 0; i < frame_count; ++i) {
    if (work.frames[i].word.load_relaxed() == 0) continue;
    memcpy(at, &i, sizeof i);
    memcpy(at + sizeof i, &work.frames[i], sizeof(frame));
    at += sizeof i + sizeof(frame);
  }
  const size_t bytes = static_cast<size_t>(at - to);
  const stream_block block{block_type::slot, 0, bytes - sizeof block};
  memcpy(to, &block, sizeof block);
  return bytes;
}
inline constexpr size_t longest_slot_block_bytes = sizeof(stream_block) + sizeof(thread_slot) + 8 * frame_count;

/// Copies an open span to `to` as a block. Its generation; 0 if the entry holds none, or it ended meanwhile: then its
/// record tells of it.
inline uint64_t copy_span_block(char* to, const image_view& image, uint64_t index) {
  span_entry copy;
  copy_span(copy, image.spans[index]);
  if (copy.state.load_relaxed() == 0) return 0;
  const stream_block block{block_type::span, static_cast<uint32_t>(index), sizeof copy};
  memcpy(to, &block, sizeof block);
  memcpy(to + sizeof block, &copy, sizeof copy);
  return copy.state.load_relaxed() >> 2;
}
inline constexpr size_t span_block_bytes = sizeof(stream_block) + sizeof(span_entry);

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
#endif
#endif
#endif
#if defined(CONTRAIL_WITH_SESSION)
// ==== contrail/session.hpp ==========================================================================================
// Opt-in: streams all that the running flight recorder records to a file or descriptor, until it is stopped.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/session.hpp>
//
//   contrail::flight_recorder::start();
//   contrail::session session;
//   if (auto failed = session.start({.file = "run.contrail"})) puts(failed.message());
//   ...
//   const contrail::session_result result = session.stop();
//   if (result.failed) puts(result.failed.message());
#ifndef CONTRAIL_SESSION_HPP
#define CONTRAIL_SESSION_HPP

#if CONTRAIL_DETAIL_ENABLED
#ifdef CONTRAIL_MACROS_ONLY
#error "contrail/session.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif
// ==== contrail/detail/session_start.hpp =============================================================================
// Begins and ends sessions: their memory, their file, their thread.
#ifndef CONTRAIL_DETAIL_SESSION_START_HPP
#define CONTRAIL_DETAIL_SESSION_START_HPP

// ==== contrail/detail/session_thread.hpp ============================================================================
// A session's thread: it looks at the table of chunk states again and again and writes what is new. It runs beside all
// others and is waited for only by session::stop.
//
// Order within a look: open regions and spans, chunks, then the bindings that were made until then, which stand before
// all of them in the stream: so every id resolves wherever the stream ends, and what ends in between is in both.
#ifndef CONTRAIL_DETAIL_SESSION_THREAD_HPP
#define CONTRAIL_DETAIL_SESSION_THREAD_HPP

// ==== contrail/detail/session_sink.hpp ==============================================================================
// Where a stream goes: a file of its own, or somebody's descriptor. The first failed write is the last one, but for the
// stream's end: a file is cut behind its last whole block, which makes room for that on a full disk too.
#ifndef CONTRAIL_DETAIL_SESSION_SINK_HPP
#define CONTRAIL_DETAIL_SESSION_SINK_HPP

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

#include <pthread.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr size_t session_buffer_bytes = 1U << 20;
inline constexpr size_t most_buffered_blocks = 4096;

/// Where a block of the buffer ends, and what would be lost with it.
struct buffered_block {
  uint32_t end;
  uint32_t records;
};

/// A running session, in memory of its own. Only its thread writes it, but for what stop and start say.
struct session_state {
  process_state* process;
  image_view* image;
  session_marks* marks;
  uint64_t recording;  ///< the number of the one that it streams
  uint64_t dropped_before;
  uint64_t interval_ns, look_ns;
  int pid;
  stream_sink sink;
  char path[longest_path_bytes];  ///< or what the descriptor is called in messages

  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  bool stop_wanted;     ///< under the mutex
  atomic_word is_done;  ///< 1: the thread has written the end, or failed to
  stream_cause cause;
  atomic_word chunks;        ///< of which the stream has a part
  atomic_word unwritten;     ///< records that were copied and could not be written
  atomic_word has_left;      ///< 1: the marks are no longer its own, and the next three tell
  atomic_word lost_at_end, dropped_at_end;
  uint64_t lost_chunks_at_end;

  uint64_t bindings_done;    ///< all ids below are in the stream
  bool overflow_done;
  uint64_t memory_bytes;     ///< of all this
  uint8_t* is_bound;         ///< by id: it is in the stream
  uint64_t* slot_hashes;     ///< by slot: of its last block
  uint64_t* spans;           ///< by entry: the generation that the stream shows as open; 0: none
  thread_slot* slot_work;    ///< also where pieces go that will not be written
  buffered_block* blocks;
  size_t block_count;
  char* buffer;
  size_t used;
  bool is_buffer_begun;  ///< it is being written, or that failed
  atomic_word dropped[8];  ///< as in the superblock, at the last look
};

// ---- writing ---------------------------------------------------------------------------------------------------

/// What its recording has dropped for this reason. A recorder that was started again in the same image counts anew:
/// then what it was at the last look.
inline uint64_t dropped_until_now(const session_state& session, unsigned reason) {
  const uint64_t now = session.image->super->dropped[reason].load_acquire();
  const uint64_t known = session.dropped[reason].load_relaxed();
  const bool is_its_own = session.process->recordings.load_relaxed() == session.recording;
  return is_its_own && now > known ? now : known;
}

/// Records that were recycled before they were copied.
inline uint64_t recycled_records(const session_state& session) {
  const uint64_t now = session.marks->lost.load_acquire() & lost_mask;
  return session.has_left.load_acquire() != 0 ? session.lost_at_end.load_relaxed() : now;
}

inline uint64_t lost_records(const session_state& session) {
  return recycled_records(session) + session.unwritten.load_relaxed();
}

inline uint64_t dropped_records(const session_state& session) {
  uint64_t now = 0;
  for (unsigned i = 0; i < 8; ++i) now += dropped_until_now(session, i);
  return session.has_left.load_acquire() != 0 ? session.dropped_at_end.load_relaxed() : now - session.dropped_before;
}

/// Nothing is counted any more, and writers need not spare chunks. The marks may be another session's from here on.
inline void leave_marks(session_state& session) {
  if (session.has_left.load_relaxed() != 0) return;
  session.lost_at_end.store_relaxed(recycled_records(session));
  session.lost_chunks_at_end = session.marks->lost_chunks.load_relaxed();
  session.dropped_at_end.store_relaxed(dropped_records(session));
  session.has_left.store_release(1);
  session.marks->in_use.store_release(0);
  session.image->session_count.fetch_add_relaxed(~uint64_t{0});
}

struct state_block {
  stream_block head;
  stream_state state;
};
static_assert(sizeof(state_block) == sizeof(stream_block) + sizeof(stream_state));

inline state_block make_state(const session_state& session, block_type type) {
  const superblock& super = *session.image->super;
  state_block made{};
  made.head = {type, 0, sizeof made.state};
  made.state.anchor = take_anchor(*session.process);
  made.state.next_ticket = super.next_ticket.load_relaxed();
  made.state.attached = super.attached.load_relaxed();
  made.state.attached_slots = super.attached_slots.load_relaxed();
  for (unsigned i = 0; i < 8; ++i) made.state.dropped[i] = dropped_until_now(session, i);
  made.state.lost_records = lost_records(session);
  const bool has_left = session.has_left.load_relaxed() != 0;
  made.state.lost_chunks = has_left ? session.lost_chunks_at_end : session.marks->lost_chunks.load_relaxed();
  made.state.chunks = session.chunks.load_relaxed();
  made.state.cause = session.cause;
  made.state.error_number = session.sink.error();
  return made;
}

inline bool write_binding(session_state& session, const binding& entry) {
  const stream_block head{block_type::binding, 0, entry.bytes};
  return session.sink.put(&head, sizeof head, &entry, entry.bytes);
}

/// Writes the bindings made since the last time. An id is taken before its entry is there, so there may be gaps for a
/// while.
inline bool write_bindings(session_state& session) {
  const image_view& image = *session.image;
  if (!session.overflow_done) {
    if (!write_binding(session, *binding_of(image, overflow_id))) return false;
    session.overflow_done = true;
  }
  // Acquire, as in dumps: an id that a copied chunk carries was published before the record was.
  const uint64_t next_id = image.super->next_id.load_acquire();
  for (uint64_t id = session.bindings_done; id < next_id && id <= image.id_count; ++id) {
    const binding* const entry = session.is_bound[id] != 0 ? nullptr : binding_of(image, id);
    if (entry != nullptr) {
      if (!write_binding(session, *entry)) return false;
      session.is_bound[id] = 1;
    }
    if (session.is_bound[id] != 0 && id == session.bindings_done) ++session.bindings_done;
  }
  return true;
}

/// Writes what the buffer holds, behind the bindings that it needs.
inline bool write_buffer(session_state& session) {
  if (!write_bindings(session)) return false;
  session.is_buffer_begun = true;
  if (!session.sink.put(session.buffer, session.used)) return false;
  session.is_buffer_begun = false;
  session.used = session.block_count = 0;
  return true;
}

/// After a failed write: counts what did not get into the stream, and ends it there if it can.
inline void give_up(session_state& session) {
  session.cause = stream_cause::failed;
  const size_t taken = session.is_buffer_begun ? session.sink.taken() : 0;
  size_t kept = 0;
  uint64_t unwritten = 0;
  for (size_t i = 0; i < session.block_count; ++i) {
    if (session.blocks[i].end + sizeof(state_block) <= taken) {
      kept = session.blocks[i].end;
    } else {
      unwritten += session.blocks[i].records;
    }
  }
  session.unwritten.store_relaxed(session.unwritten.load_relaxed() + unwritten);
  const state_block end = make_state(session, block_type::end);
  session.sink.end_after_failure(kept, &end, sizeof end);
}

// ---- looking ---------------------------------------------------------------------------------------------------

inline bool make_buffer_room(session_state& session, size_t bytes) {
  if (session.used + bytes <= session_buffer_bytes && session.block_count < most_buffered_blocks) return true;
  return write_buffer(session);
}

inline void add_block(session_state& session, size_t bytes, uint64_t records) {
  session.used += bytes;
  session.blocks[session.block_count++] = {static_cast<uint32_t>(session.used), static_cast<uint32_t>(records)};
}

/// The threads and their open regions, as far as they changed.
inline bool copy_slots(session_state& session) {
  for (uint64_t i = 0; i < session.image->slot_count; ++i) {
    if (!make_buffer_room(session, longest_slot_block_bytes)) return false;
    char* const at = session.buffer + session.used;
    const size_t bytes = copy_slot_block(at, *session.slot_work, session.image->slots[i]);
    if (bytes == 0) continue;
    uint64_t hash = 0xcbf2'9ce4'8422'2325ULL;
    for (size_t k = 0; k < bytes; k += 8) {
      uint64_t word;
      memcpy(&word, at + k, 8);
      hash = (hash ^ word) * 0x100'0000'01b3ULL;
      hash ^= hash >> 32;
    }
    if (hash == session.slot_hashes[i]) continue;
    session.slot_hashes[i] = hash;
    add_block(session, bytes, 0);
  }
  return true;
}

inline constexpr uint64_t ended_span = ~uint64_t{0};

/// Entries that ever held a span: those behind them are untouched memory.
inline uint64_t touched_spans(const image_view& image) {
  const uint64_t taken = image.super->next_span.load_relaxed();
  return taken < image.span_count ? taken : image.span_count;
}

/// The tasks and asynchronous spans that are open, as far as the stream does not show them.
inline bool copy_spans(session_state& session) {
  const image_view& image = *session.image;
  for (uint64_t i = 0; i < touched_spans(image); ++i) {
    const uint64_t state = image.spans[i].state.load_acquire();
    if (!is_begun(state)) {
      if (session.spans[i] != 0) session.spans[i] = ended_span;
      continue;
    }
    if (session.spans[i] == state >> 2) continue;
    if (!make_buffer_room(session, span_block_bytes)) return false;
    const uint64_t generation = copy_span_block(session.buffer + session.used, image, i);
    if (generation == 0) continue;
    session.spans[i] = generation;
    add_block(session, span_block_bytes, 0);
  }
  return true;
}

/// Takes back the spans that had ended before the chunks were copied: their records are in the stream now, or lost.
inline bool end_spans(session_state& session) {
  for (uint64_t i = 0; i < touched_spans(*session.image); ++i) {
    if (session.spans[i] != ended_span) continue;
    if (!make_buffer_room(session, sizeof(stream_block))) return false;
    const stream_block block{block_type::span, static_cast<uint32_t>(i), 0};
    memcpy(session.buffer + session.used, &block, sizeof block);
    add_block(session, sizeof block, 0);
    session.spans[i] = 0;
  }
  return true;
}

/// The chunks, from the one that will be recycled next. How many pieces there were.
inline uint64_t copy_chunks(session_state& session, bool open_too) {
  const image_view& image = *session.image;
  uint64_t pieces = 0;
  const uint64_t hand = image.super->next_ticket.load_relaxed() % image.chunk_count;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    const uint64_t index = hand + i < image.chunk_count ? hand + i : hand + i - image.chunk_count;
    if (!make_buffer_room(session, longest_piece_bytes)) return pieces;
    const chunk_piece made = copy_piece(session.buffer + session.used, image, index, *session.marks, open_too);
    if (made.bytes == 0) continue;
    add_block(session, made.bytes, made.records);
    if (made.is_first) session.chunks.store_relaxed(session.chunks.load_relaxed() + 1);
    ++pieces;
  }
  return pieces;
}

/// After a failed write: what was recorded until now and is not even copied is lost too.
inline void count_uncopied(session_state& session) {
  const image_view& image = *session.image;
  for (uint64_t i = 0; i < image.chunk_count; ++i) {
    const chunk_piece rest = copy_piece(reinterpret_cast<char*>(session.slot_work), image, i, *session.marks, true);
    session.unwritten.store_relaxed(session.unwritten.load_relaxed() + rest.records);
  }
}

inline void note_drops(session_state& session) {
  for (unsigned i = 0; i < 8; ++i) session.dropped[i].store_relaxed(dropped_until_now(session, i));
}

/// One look; with `all` also at what is not finished: open chunks, open regions and spans, counters.
inline uint64_t look(session_state& session, bool all) {
  note_drops(session);
  if (all && !(copy_slots(session) && copy_spans(session))) return 0;
  const uint64_t pieces = copy_chunks(session, all);
  if (all && !end_spans(session)) return pieces;
  if ((session.used != 0 || all) && write_buffer(session) && all) {
    const state_block state = make_state(session, block_type::state);
    session.sink.put(&state, sizeof state);
  }
  return pieces;
}

/// Waits until the next look; whether stop was called.
inline bool wait_for_look(session_state& session, bool at_once) {
  pthread_mutex_lock(&session.mutex);
  if (!session.stop_wanted && !at_once) {
    timespec until{};
    clock_gettime(CLOCK_MONOTONIC, &until);
    const uint64_t ns = static_cast<uint64_t>(until.tv_nsec) + session.look_ns;
    until.tv_sec += static_cast<time_t>(ns / 1'000'000'000);
    until.tv_nsec = static_cast<long>(ns % 1'000'000'000);
    pthread_cond_timedwait(&session.wake, &session.mutex, &until);
  }
  const bool stop_wanted = session.stop_wanted;
  pthread_mutex_unlock(&session.mutex);
  return stop_wanted;
}

inline bool still_records(const session_state& session) {
  const process_state& process = *session.process;
  return process.recording.load_acquire() != 0 && process.recordings.load_relaxed() == session.recording;
}

/// What the thread runs.
inline void* run_session(void* argument) {
  session_state& session = *static_cast<session_state*>(argument);
  constexpr int set_name = 15;  // PR_SET_NAME
  syscall(SYS_prctl, set_name, "contrail", 0, 0, 0);
  session.sink.put(session.buffer, session.used);  // the superblock, if it is not there yet
  session.used = 0;
  uint64_t next_full = 0;
  for (bool is_busy = true;;) {
    const bool stop_wanted = wait_for_look(session, is_busy);
    const bool is_recording = still_records(session);
    const bool is_last = stop_wanted || !is_recording;
    const uint64_t now = kernel_clock_ns(CLOCK_MONOTONIC);
    const bool is_full = is_last || now >= next_full;
    if (is_full) next_full = now + session.interval_ns;
    const uint64_t pieces = look(session, is_full);
    // Where an eighth of all chunks is new, the next look had better come at once.
    is_busy = !is_full && pieces > session.image->chunk_count / 8;
    if (session.sink.error() != 0) break;
    if (!is_last) continue;
    leave_marks(session);
    session.cause = is_recording ? stream_cause::stopped : stream_cause::recorder;
    const state_block end = make_state(session, block_type::end);
    session.sink.put(&end, sizeof end);
    break;
  }
  if (session.sink.error() != 0) count_uncopied(session);
  leave_marks(session);
  if (session.sink.error() != 0) give_up(session);
  session.sink.finish();
  session.is_done.store_release(1);
  return nullptr;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <fcntl.h>
#include <signal.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Maps a session's memory; null when the system has none.
inline session_state* make_session(const image_view& image) {
  uint64_t bytes = (sizeof(session_state) + 63) & ~uint64_t{63};
  const auto place = [&](uint64_t size) {
    const uint64_t at = bytes;
    bytes += (size + 63) & ~uint64_t{63};
    return at;
  };
  const uint64_t work = place(sizeof(thread_slot));
  const uint64_t hashes = place(image.slot_count * sizeof(uint64_t));
  const uint64_t spans = place(image.span_count * sizeof(uint64_t));
  const uint64_t bound = place(image.id_count + 1);
  const uint64_t blocks = place(most_buffered_blocks * sizeof(buffered_block));
  const uint64_t buffer = place(session_buffer_bytes);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* const base = static_cast<char*>(memory);
  // Zero is what all of its members begin with, but for the descriptor, which is given below.
  session_state& made = *static_cast<session_state*>(memory);
  made.memory_bytes = bytes;
  made.slot_work = reinterpret_cast<thread_slot*>(base + work);
  made.slot_hashes = reinterpret_cast<uint64_t*>(base + hashes);
  made.spans = reinterpret_cast<uint64_t*>(base + spans);
  made.is_bound = reinterpret_cast<uint8_t*>(base + bound);
  made.blocks = reinterpret_cast<buffered_block*>(base + blocks);
  made.buffer = base + buffer;
  return &made;
}

/// What stands at the stream's start.
inline void fill_stream_superblock(superblock& super, const process_state& process, const image_view& image,
                                   uint64_t begin_ticks, uint64_t sequence) {
  copy_superblock(super, *image.super, image_kind::stream);
  super.dump = take_anchor(process);
  super.tick_hz = tick_rate(*image.super, super.dump);
  super.base_address = reinterpret_cast<uint64_t>(image.super);
  super.slots_offset = super.chunk_states_offset = super.chunks_offset = 0;
  super.slot_count = super.chunk_count = 0;
  super.binding_index_offset = super.binding_index_count = 0;
  super.bindings_offset = super.bindings_bytes = super.late_bindings_offset = 0;
  super.scratch_offset = super.scratch_bytes = 0;
  super.cutoff_ticks = begin_ticks;
  super.dump_sequence = static_cast<uint32_t>(sequence);
  super.dump_tid = current_tid();
}

/// Creates the session's thread with all signals blocked, so that it runs no handler of the program. 0 or an errno
/// value.
inline int start_session_thread(session_state& session) {
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_cond_init(&session.wake, &clock);
  pthread_condattr_destroy(&clock);
  pthread_mutex_init(&session.mutex, nullptr);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int failed = pthread_create(&session.thread, nullptr, run_session, &session);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return failed;
}

inline void free_session(session_state* session) {
  leave_marks(*session);
  session->sink.finish();
  munmap(session, session->memory_bytes);
}

inline error no_memory_for_a_session() {
  return {error_code::out_of_memory, "The system gave no memory or no thread for the session: free some, and try again."};
}

/// Names the file, and makes it with the superblock in it.
inline error open_stream(session_state& session, const char* pattern, const superblock& super) {
  const uint64_t pid = super.pid;
  const uint64_t sequence = super.dump_sequence;
  const path_values values{pid, kernel_clock_ns(CLOCK_REALTIME) / 1'000'000'000U, sequence, name_in_path(super.executable)};
  if (error failed = expand_path(pattern, values, session.path)) return failed;
  if (const int failed = session.sink.create(session.path, pid, sequence, super)) {
    return file_error("Could not create the stream", session.path, failed);
  }
  return {};
}

/// Whether the descriptor can be written to.
inline error check_descriptor(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) return {};
  return file_error("Could not begin the stream", "session_options::descriptor", EBADF);
}

struct session_request {
  const char* file;
  int descriptor;
  uint64_t interval_ns;
  bool is_blocking;
};

/// Begins a session; null, and in `failed` why, if it cannot.
inline session_state* begin_session(const session_request& wanted, error& failed) {
  process_state* const process = join_process();
  if (process == nullptr) {
    failed = incompatible();
    return nullptr;
  }
  pin_object(reinterpret_cast<const void*>(&count_recycled));  // also for the thread; before the lock, as start does
  const control_lock lock(*process);
  if (process->recording.load_relaxed() == 0) {
    failed = not_running();
    return nullptr;
  }
  image_view& image = *current_image(*process);
  session_state* const made = make_session(image);
  session_marks* const marks = made == nullptr ? nullptr : claim_marks(image);
  if (marks == nullptr) {
    if (made != nullptr) munmap(made, made->memory_bytes);
    failed = no_memory_for_a_session();
    return nullptr;
  }
  image.session_count.fetch_add_relaxed(1);
  session_state& session = *made;
  session.process = process;
  session.image = &image;
  session.marks = marks;
  session.recording = process->recordings.load_relaxed();
  session.interval_ns = wanted.interval_ns;
  // Chunks must not go round between two looks: 4 us for each are half of them at a gigabyte a second.
  const uint64_t safe_ns = image.chunk_count * 4'000;
  session.look_ns = safe_ns < wanted.interval_ns ? safe_ns : wanted.interval_ns;
  if (session.look_ns < 1'000'000) session.look_ns = 1'000'000;
  session.pid = getpid();
  session.bindings_done = 1;
  const uint64_t begin = begin_marks(*process, image, *marks, wanted.is_blocking);

  superblock& super = *reinterpret_cast<superblock*>(session.buffer);
  fill_stream_superblock(super, *process, image, begin, process->dump_count.fetch_add_relaxed(1) + 1);
  for (unsigned i = 0; i < 8; ++i) {
    session.dropped[i].store_relaxed(super.dropped[i].load_relaxed());
    session.dropped_before += super.dropped[i].load_relaxed();
  }
  if (wanted.file != nullptr) {
    failed = open_stream(session, wanted.file, super);
  } else {
    failed = check_descriptor(wanted.descriptor);
    session.sink.use(wanted.descriptor);
    text_writer(session.path, sizeof session.path).add("the descriptor");
    session.used = sizeof super;  // for the thread to write, as the descriptor may make it wait
  }
  if (!failed && start_session_thread(session) != 0) failed = no_memory_for_a_session();
  if (failed) {
    free_session(&session);
    return nullptr;
  }
  return &session;
}

/// What became of it so far.
inline error failure_of(const session_state& session) {
  if (session.is_done.load_acquire() == 0) return {};
  if (session.sink.error() != 0) return file_error("Could not write the stream", session.path, session.sink.error());
  if (session.cause == stream_cause::recorder) {
    return {error_code::not_running,
            "The flight recorder was stopped before the session: the stream holds what was recorded until then."};
  }
  return {};
}

/// In a child of fork the thread does not exist, and the stream is the parent's.
inline bool is_of_other_process(const session_state& session) { return session.pid != getpid(); }

/// Ends the thread when it has written all that was recorded until now.
inline void join_session(session_state& session) {
  pthread_mutex_lock(&session.mutex);
  session.stop_wanted = true;
  pthread_cond_signal(&session.wake);
  pthread_mutex_unlock(&session.mutex);
  pthread_join(session.thread, nullptr);
  pthread_cond_destroy(&session.wake);
  pthread_mutex_destroy(&session.mutex);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
#else
namespace contrail {
inline namespace disabled_v0 {
#endif

/// What gives way where more is recorded than the stream takes. No thread that records ever waits.
enum class session_policy {
  drop,  ///< the session: writers overwrite the oldest as always, and the stream has gaps
  block  ///< writers: they drop new records rather than overwrite what is not in the stream
};

/// Options of session::start. New members are only appended.
struct session_options {
  /// The stream's file, with placeholders as in the path of a dump. It has its name from the start on, so that a killed
  /// process leaves a stream; an older file of that name is replaced. Mode 0600.
  const char* file = nullptr;
  /// Instead of a file: where to write. It must stay open until stop, and is not closed.
  int descriptor = -1;
  /// How far the stream is behind what is recorded at most, as long as the file or descriptor is quick enough. At least
  /// 1 ms.
  duration interval{100'000'000};
  session_policy when_slow = session_policy::drop;
};

/// What session::stop and session::status tell.
struct session_result {
  error failed;                  ///< what ended the session early
  uint64_t bytes = 0;            ///< written, in whole blocks
  uint64_t chunks = 0;           ///< of which the stream has a part
  uint64_t lost_records = 0;     ///< recorded and not in the stream: overwritten before, or not written. Exact
  uint64_t dropped_records = 0;  ///< not recorded meanwhile, as recorder_status::dropped counts them
};

#if CONTRAIL_DETAIL_ENABLED

/// A continuous stream of the running flight recorder, from start to stop. A thread of its own copies chunks beside
/// those that record; several sessions may run at once. Each object is used by one thread at a time, but for `status`.
/// Not in signal handlers.
class CONTRAIL_DETAIL_HIDDEN session {
 public:
  session() = default;
  session(session&& from) noexcept : state_(from.state_) { from.state_ = nullptr; }
  session& operator=(session&& from) noexcept {
    if (this != &from) {
      stop();
      state_ = from.state_;
      from.state_ = nullptr;
    }
    return *this;
  }
  /// Stops it.
  ~session() { stop(); }

  /// Begins to stream what is recorded from now on. Fails with not_running, already_running, bad_option, path, file,
  /// out_of_memory or incompatible.
  error start(const session_options& wanted) {
    detail::object_link<void>::require();
    if (state_ != nullptr) return {error_code::already_running, "This session was started already: stop it first."};
    if ((wanted.file == nullptr) == (wanted.descriptor < 0)) {
      return {error_code::bad_option, "session_options needs either a file or a descriptor."};
    }
    if (wanted.interval.ns < 1'000'000) {
      return {error_code::bad_option, "session_options.interval must be at least 1 ms."};
    }
    error failed;
    state_ = detail::begin_session({wanted.file, wanted.descriptor, static_cast<uint64_t>(wanted.interval.ns),
                                    wanted.when_slow == session_policy::block},
                                   failed);
    return failed;
  }

  /// Writes what was recorded until now and ends the stream; waits for that, however slow a pipe's reader is. Without a
  /// running session it returns zeros. The first error of all is in `failed`: one that ended the stream before, and
  /// not_running if the flight recorder was stopped first. In a forked child the session does not exist.
  session_result stop() {
    if (state_ == nullptr) return {};
    session_result result;
    if (detail::is_of_other_process(*state_)) {
      result.failed = {error_code::not_running, "The session belongs to the process that forked this one."};
    } else {
      detail::join_session(*state_);
      result = status();
    }
    detail::free_session(state_);
    state_ = nullptr;
    return result;
  }

  /// What stop would return now, less what it still has to write. Any thread, while no other starts or stops the
  /// session.
  session_result status() const {
    session_result result;
    if (state_ == nullptr) return result;
    result.failed = detail::failure_of(*state_);
    result.bytes = state_->sink.bytes();
    result.chunks = state_->chunks.load_relaxed();
    result.lost_records = detail::lost_records(*state_);
    result.dropped_records = detail::dropped_records(*state_);
    return result;
  }

  /// Whether it was started, and neither stopped nor ended by an error.
  bool is_running() const {
    return state_ != nullptr && !detail::is_of_other_process(*state_) && state_->is_done.load_acquire() == 0;
  }

 private:
  detail::session_state* state_ = nullptr;
};

CONTRAIL_DETAIL_NAMESPACE_END

#else

/// See above. Nothing records here: start fails with error_code::compiled_out or not_supported.
class session {
 public:
  session() = default;
  session(session&&) noexcept {}
  session& operator=(session&&) noexcept { return *this; }
  ~session() {}
  error start(const session_options&) { return detail::nothing_records(); }
  session_result stop() { return {}; }
  session_result status() const { return {}; }
  bool is_running() const { return false; }
};

}  // namespace disabled_v0
}  // namespace contrail
#endif

#endif
#endif
#if defined(CONTRAIL_WITH_ENV)
// ==== contrail/env.hpp ==============================================================================================
// Opt-in: starts the recorder as a text says, which may come from the environment.
//
//   #include <contrail/env.hpp>    // in one translation unit of the program, which needs no other change
//
//   $ CONTRAIL="window=5s,memory=64M,signal=USR2:dump-%n.contrail,crash=crash-%p.contrail,categories=net;db*" ./program
//
// The variable is read once, when the first call site is hit or flight_recorder::start is called, and not in a process
// that runs with more rights than its user. A mistake in it is one line on stderr. CONTRAIL_NO_ENV, defined before this
// header, leaves start_from and no variable.
#ifndef CONTRAIL_ENV_HPP
#define CONTRAIL_ENV_HPP

#if CONTRAIL_DETAIL_ENABLED && defined(CONTRAIL_MACROS_ONLY)
#error "contrail/env.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

// ==== contrail/detail/start_text.hpp ================================================================================
// What to start, as a text: "window=5s,memory=64M,signal=USR2:dump-%n.contrail". Async-signal-safe throughout.
#ifndef CONTRAIL_DETAIL_START_TEXT_HPP
#define CONTRAIL_DETAIL_START_TEXT_HPP

#if CONTRAIL_DETAIL_ENABLED

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr size_t longest_start_text = 4096;

/// What such a text asks for. Its strings are in itself.
struct start_request {
  options recorder;
  struct {
    int number;
    const char* path;
  } signals[most_signal_dumps];
  unsigned signal_count = 0;
  const char* crash_path = nullptr;
  char text[longest_start_text];
};

/// A whole or decimal number followed by letters: "1.5s". In millionths; false when it is none, or beyond 2^63.
inline bool read_number(const char*& at, uint64_t& millionths) {
  uint128 value = 0;
  int decimals = -1;
  bool any = false;
  for (; (*at >= '0' && *at <= '9') || (*at == '.' && decimals < 0); ++at) {
    if (*at == '.') {
      decimals = 0;
      continue;
    }
    any = true;
    if (decimals >= 6) continue;
    value = value * 10 + static_cast<unsigned>(*at - '0');
    if (decimals >= 0) ++decimals;
    if (value >> 63 != 0) return false;
  }
  for (; decimals < 6 && decimals >= 0; ++decimals) value *= 10;
  if (decimals < 0) value *= 1'000'000;
  millionths = static_cast<uint64_t>(value);
  return any && value >> 63 == 0;
}

struct unit {
  const char* name;
  uint64_t factor;
};
CONTRAIL_DETAIL_HIDDEN inline constexpr unit duration_units[] = {{"ns", 1},
                                                                 {"us", 1'000},
                                                                 {"ms", 1'000'000},
                                                                 {"s", 1'000'000'000},
                                                                 {"m", 60'000'000'000},
                                                                 {"min", 60'000'000'000},
                                                                 {"h", 3'600'000'000'000}};
CONTRAIL_DETAIL_HIDDEN inline constexpr unit memory_units[] = {{"", 1},
                                                               {"K", 1ULL << 10},
                                                               {"M", 1ULL << 20},
                                                               {"G", 1ULL << 30},
                                                               {"KiB", 1ULL << 10},
                                                               {"MiB", 1ULL << 20},
                                                               {"GiB", 1ULL << 30}};

CONTRAIL_DETAIL_HIDDEN inline constexpr unit plain_units[] = {{"", 1}};

/// "1.5s" in nanoseconds, "64M" in bytes. False: not a number with one of the units, or too large.
template <size_t Count>
inline bool read_quantity(const char* text, const unit (&units)[Count], uint64_t& value) {
  uint64_t millionths = 0;
  if (!read_number(text, millionths)) return false;
  for (const unit& each : units) {
    if (strcmp(text, each.name) != 0) continue;
    if (each.factor == 1 && millionths % 1'000'000 != 0) return false;
    const uint128 exact = static_cast<uint128>(millionths) * each.factor / 1'000'000;
    value = static_cast<uint64_t>(exact);
    return exact >> 63 == 0;
  }
  return false;
}

/// "USR2", "SIGUSR2" or "12"; 0 when it is none.
inline int signal_number(const char* name) {
  static constexpr unit known[] = {{"HUP", SIGHUP},       {"INT", SIGINT},    {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
                                   {"USR2", SIGUSR2},     {"ALRM", SIGALRM},  {"TERM", SIGTERM}, {"URG", SIGURG},
                                   {"XCPU", SIGXCPU},     {"IO", SIGIO},      {"PROF", SIGPROF}, {"PWR", SIGPWR},
                                   {"VTALRM", SIGVTALRM}, {"WINCH", SIGWINCH}};
  if (name[0] == 'S' && name[1] == 'I' && name[2] == 'G') name += 3;
  for (const unit& each : known) {
    if (strcmp(name, each.name) == 0) return static_cast<int>(each.factor);
  }
  uint64_t millionths = 0;
  if (!read_number(name, millionths) || *name != '\0' || millionths % 1'000'000 != 0) return 0;
  return millionths <= 64'000'000 ? static_cast<int>(millionths / 1'000'000) : 0;
}

/// `"<item>" <what is wrong>`: the item is cut where it would leave no room for that.
inline error start_text_error(const char* item, const char* wrong) {
  char message[sizeof(error)];
  text_writer writer(message, sizeof message);
  writer.add('"');
  size_t kept = 0;
  for (; item[kept] != '\0' && kept < 80; ++kept) writer.add(item[kept]);
  writer.add(item[kept] == '\0' ? "\" " : "…\" ").add(wrong);
  return {error_code::bad_option, message};
}

/// One item, `key` and what follows its '='; `value` is null without one. `item` is both, for what is said.
inline error read_start_item(const char* item, const char* key, char* value, start_request& into) {
  const auto is = [key](const char* name) { return strcmp(key, name) == 0; };
  uint64_t number = 0;
  static constexpr const char* flags[] = {"on", "prefault", "follow_fork", "thread_states"};
  static constexpr const char* keys[] = {"window", "memory", "file",       "keep_files",
                                         "signal", "crash",  "categories", "names"};
  for (const char* const flag : flags) {
    if (!is(flag)) continue;
    if (value != nullptr) return start_text_error(item, "is wrong: it takes no value.");
    into.recorder.prefault |= is("prefault");
    into.recorder.follow_fork |= is("follow_fork");
    if (is("thread_states")) into.recorder.thread_states = context_switches;
    return {};
  }
  for (const char* const known : keys) {
    if (is(known) && (value == nullptr || *value == '\0')) return start_text_error(item, "needs a value after '='.");
  }
  if (is("window")) {
    if (!read_quantity(value, duration_units, number) || number == 0) {
      return start_text_error(item,
                              "is no time: write a number above 0 with ns, us, ms, s, m or h, such as window=5s.");
    }
    into.recorder.window = duration(static_cast<int64_t>(number));
  } else if (is("memory")) {
    if (!read_quantity(value, memory_units, number) || number < smallest_image_bytes || number > largest_image_bytes) {
      return start_text_error(item, "is no size: write 1M to 16G, such as memory=64M.");
    }
    into.recorder.memory = number;
  } else if (is("keep_files")) {
    if (!read_quantity(value, plain_units, number) || number > most_kept_files) {
      return start_text_error(item, "is no number of files: write 0 to 64.");
    }
    into.recorder.keep_files = static_cast<unsigned>(number);
  } else if (is("categories") || is("names")) {
    // The comma separates items already.
    for (char* at = value; *at != '\0'; ++at) {
      if (*at == ';') *at = ',';
    }
    if (strlen(value) >= filter_bytes) return start_text_error(item, "is too long: a filter has 255 bytes at most.");
    (is("names") ? into.recorder.filter.names : into.recorder.filter.categories) = value;
  } else if (is("file") || is("crash") || is("signal")) {
    char* path = value;
    if (is("signal")) {
      while (*path != '\0' && *path != ':') ++path;
      if (*path == '\0') {
        return start_text_error(item, "needs a signal and a path, such as signal=USR2:dump-%n.contrail.");
      }
      *path++ = '\0';
      const int signal = signal_number(value);
      if (signal == 0 || signal == SIGKILL || signal == SIGSTOP) {
        return start_text_error(value, "is no signal to dump at: write a name such as USR2, or a number.");
      }
      if (into.signal_count == most_signal_dumps) {
        return start_text_error(item, "is one signal too many: 8 can have a dump.");
      }
      into.signals[into.signal_count++] = {signal, path};
      if (error failed = check_signal_dump(signal, path, {})) return failed;
    } else {
      char ignored[longest_path_bytes];
      if (error failed = expand_path(path, {1, 1, 1, "e"}, ignored)) return failed;
      (is("file") ? into.recorder.file : into.crash_path) = path;
    }
  } else {
    return start_text_error(item,
                            "is unknown: on, window, memory, file, keep_files, prefault, follow_fork, thread_states, signal, "
                            "crash, categories and names exist.");
  }
  return {};
}

/// Reads the items of `text` over what `into` has already. Fails with bad_option or path, and says which item is wrong.
inline error read_start_text(const char* text, start_request& into) {
  if (strlen(text) >= sizeof into.text) {
    return {error_code::bad_option, "The text that says what to start is longer than 4095 bytes."};
  }
  memcpy(into.text, text, strlen(text) + 1);
  for (char* at = into.text; *at != '\0';) {
    while (*at == ' ' || *at == ',') ++at;
    char* const item = at;
    while (*at != '\0' && *at != ',') ++at;
    char* end = at;
    if (*at == ',') ++at;
    while (end != item && end[-1] == ' ') --end;
    *end = '\0';
    if (item == end) continue;
    char whole[128];  // the item is taken apart
    text_writer(whole, sizeof whole).add(item);
    char* value = item;
    while (*value != '\0' && *value != '=') ++value;
    if (*value == '=') *value++ = '\0';
    else value = nullptr;
    if (error failed = read_start_item(whole, item, value, into)) return failed;
  }
  return {};
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif

#if CONTRAIL_DETAIL_ENABLED

#include <sys/auxv.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Asks for the dumps that a text names. Held: control.
template <class T>
inline error place_dumps(process_state& process, const start_request& wanted) {
  for (unsigned i = 0; i < wanted.signal_count; ++i) {
    if (error failed = place_signal_dump(wanted.signals[i].number, wanted.signals[i].path, {})) return failed;
  }
  if (wanted.crash_path == nullptr) return {};
  uint64_t signals = 0;
  if (error failed = check_crash_dump(wanted.crash_path, {}, signals)) return failed;
  return place_crash_dump<T>(process, wanted.crash_path, {}, signals);
}

template <class T>
inline error begin_as_text_says(process_state& process, const start_request& wanted) {
  if (error failed = begin_recording<T>(process, wanted.recorder)) return failed;
  return place_dumps<T>(process, wanted);
}

/// Keeps everything loaded that handlers need. Not while a lock of ours is held: the dynamic linker has its own.
inline void pin_handlers(process_state& process) {
  pin_starter(process);
  pin_object(reinterpret_cast<const void*>(&on_dump_signal));
}

}  // namespace detail

/// Starts the recorder as `text` says: items `key=value` with commas between them, of which each overrides `defaults`.
/// window=5s memory=64M file=PATH keep_files=4 prefault follow_fork thread_states are members of options;
/// categories=net;db* and names=... are its filter, with ';' between globs; signal=USR2:PATH is dump_on_signal, and
/// crash=PATH dump_on_crash; `on` is no more than a word. Fails as these functions do; with a mistake in the text
/// before anything is changed.
template <class T = void>
inline error start_from(const char* text, const options& defaults = {}) {
  using namespace detail;
  link_object();
  exit_note<T>::require();
  start_request wanted;
  wanted.recorder = defaults;
  if (text == nullptr) return {error_code::bad_option, "There is no text that says what to start."};
  if (error failed = read_start_text(text, wanted)) return failed;
  if (error failed = flight_recorder::start(wanted.recorder)) return failed;
  process_state& process = *join_process();
  pin_handlers(process);
  error failed;
  {
    const control_lock lock(process);
    failed = place_dumps<T>(process, wanted);
  }
  if (failed) flight_recorder::stop();
  return failed;
}

#ifndef CONTRAIL_NO_ENV

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The variable's value; null where there is none, or where the process has rights that its user has not. getenv is not
/// async-signal-safe, as C libraries may lock; this reads the same list, and what changes it meanwhile does as much
/// harm.
// Async-signal-safe.
inline const char* contrail_variable() {
  if (getauxval(AT_SECURE) != 0 || environ == nullptr) return nullptr;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (__builtin_strncmp(*entry, "CONTRAIL=", 9) == 0) return (*entry)[9] == '\0' ? nullptr : *entry + 9;
  }
  return nullptr;
}

/// In slow_half. Reads the variable, the first time. Held: control.
// Async-signal-safe.
template <class T>
bool start_from_environment(process_state& process, const options& defaults) {
  if (process.environment.load_relaxed() != environment_unread) return false;
  process.environment.store_relaxed(environment_read);
  const char* const text = contrail_variable();
  if (text == nullptr) return false;
  start_request wanted;
  wanted.recorder = defaults;
  error failed = read_start_text(text, wanted);
  if (!failed) failed = begin_as_text_says<T>(process, wanted);
  if (failed) {
    char line[sizeof(error) + 64];
    text_writer writer(line, sizeof line);
    writer.add("contrail: in the environment variable CONTRAIL: ");
    for (const char* at = failed.message(); *at != '\0'; ++at) writer.add(*at >= 0 && *at < ' ' ? '?' : *at);
    writer.add('\n');
    const write_signal_hold no_death_by_writing;
    write_all(STDERR_FILENO, line, writer.size());
  }
  return process.recording.load_relaxed() != 0;
}

enum class first_hit { later, off, on };

/// At a first hit. It may be in a signal handler, so it does not wait for what this very thread may hold.
// Async-signal-safe.
template <class T>
first_hit look_at_environment(process_state& process) {
  if (process.recording.load_acquire() != 0) return first_hit::on;
  if (process.environment.load_acquire() != environment_unread) return first_hit::off;
  uint64_t free = 0;
  const uint64_t own = current_tid();
  if (!process.control.compare_exchange(free, own)) return first_hit::later;
  // Somebody else may have started it just now.
  if (process.recording.load_relaxed() == 0 && start_from_environment<T>(process, {})) {
    process.environment.store_relaxed(environment_started);
  }
  give_control(process, own);
  return process.recording.load_acquire() != 0 ? first_hit::on : first_hit::off;
}

/// Stands for claim_frame until the first start.
// Async-signal-safe.
template <class T>
claim claim_at_first_hit(caller from, call_site& site, uint64_t stack_pointer) {
  const errno_keeper keep;
  // Read first, as in resolve_site: a start after this makes the word stored below stale.
  const uint64_t epoch = from.object->epoch.load_acquire();
  const first_hit found = look_at_environment<T>(*joined_process());
  if (found == first_hit::on) return claim_frame(from, site, stack_pointer);
  if (found == first_hit::off) site.word.store_release(epoch + site_off);
  return {nullptr, 0};
}

// Async-signal-safe.
template <class T>
open_span begin_span_at_first_hit(caller from, call_site& site, const task_context* parent, const atomic_word* payload,
                                  unsigned form) {
  const errno_keeper keep;
  const uint64_t epoch = from.object->epoch.load_acquire();
  const first_hit found = look_at_environment<T>(*joined_process());
  if (found == first_hit::on) return begin_span_slowly(from, site, parent, payload, form);
  if (found == first_hit::off) site.word.store_release(epoch + site_off);
  return {};
}

// Async-signal-safe.
template <class T>
void name_thread_at_first_hit(caller from, const char* name, size_t size) {
  const errno_keeper keep;
  if (look_at_environment<T>(*joined_process()) == first_hit::on) name_thread_slowly(from, name, size);
}

template <class T>
CONTRAIL_DETAIL_HIDDEN inline constexpr slow_half functions_of_first_hit{
    claim_at_first_hit<T>,       end_region_slowly, roll_chunk_slowly,        write_point_slowly,
    name_thread_at_first_hit<T>, begin_span_at_first_hit<T>, end_span_slowly, set_current_task_slowly,
    take_in_object,              start_from_environment<T>};

/// Sends the first call site that is hit the slow way: call sites that find another epoch than the one they were made
/// with ask what to do. Where nothing is asked for, each asks once, and costs then what a site costs that is off.
template <class T>
struct environment_hook {
  __attribute__((constructor(101), used)) static void on_load() {
    link_object();
    exit_note<T>::require();
    process_state* const process = join_process();
    if (process == nullptr || process->slow_table.load_acquire() != 0) return;
    // Here, as neither may be called in a signal handler.
    pin_handlers(*process);
    const control_lock lock(*process);
    if (process->slow_table.load_relaxed() != 0 || at_fork(before_fork, after_fork, after_fork_in_child) != 0) return;
    process->slow_table.store_release(reinterpret_cast<uint64_t>(&functions_of_first_hit<T>));
    begin_epoch(*process);
  }
};
[[maybe_unused]] static constexpr void (*environment_is_hooked)() = &environment_hook<void>::on_load;

}  // namespace detail

#endif

CONTRAIL_DETAIL_NAMESPACE_END

#else

namespace contrail {
inline namespace disabled_v0 {

/// See contrail/env.hpp. Fails here with error_code::compiled_out or not_supported.
inline error start_from(const char*, const options& = {}) { return detail::nothing_records(); }

}  // namespace disabled_v0
}  // namespace contrail

#endif

#endif
#endif
#if defined(CONTRAIL_WITH_TRIGGER)
// ==== contrail/trigger.hpp ==========================================================================================
// Opt-in: dumps by themselves when something is wrong: a region over its budget, a thread that hangs, a counter over a
// limit, or whatever the program says.
//
//   contrail::trigger watchdog({.path = "slow-%p-%n.contrail", .last = 5s, .after = 200ms});
//   watchdog.latency("request", 50ms);
//   watchdog.stall(2s);
//   if (auto failed = watchdog.start()) puts(failed.message());
//
// A thread of the trigger reads the recorder's memory as a dump does; call sites know nothing of it and cost the same.
#ifndef CONTRAIL_TRIGGER_HPP
#define CONTRAIL_TRIGGER_HPP

#if CONTRAIL_DETAIL_ENABLED && defined(CONTRAIL_MACROS_ONLY)
#error "contrail/trigger.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// Options of a trigger.
struct trigger_options {
  /// Where its dumps go; with %n, %t or %p in it, each has a name of its own. The string is copied.
  const char* path = "trigger-%p-%n.contrail";
  /// How far back from the moment of firing a dump reaches; 0: as far as `options::window` says.
  duration last{};
  /// How long it goes on recording before it dumps; the dump reaches that much further.
  duration after{};
  /// Less than this after a dump no other one is made, only counted.
  duration at_most_every{10'000'000'000};
  /// How many dumps stay: the newest, of all triggers and processes of this executable with this path. 0: all.
  unsigned keep = 8;
  /// How many bytes they may have together; the newest stays in any case. 0: any.
  uint64_t keep_bytes = 0;
  /// How often it looks; what it finds is later by that at most.
  duration look_every{100'000'000};
};

/// What a trigger has done.
struct trigger_status {
  uint64_t fired = 0;       ///< conditions that came to hold, and calls of `fire`
  uint64_t dumps = 0;       ///< that were written
  uint64_t suppressed = 0;  ///< firings without a dump of their own, by `at_most_every` or since one was on its way
  uint64_t failed = 0;      ///< dumps that could not be written
  error last_failure;       ///< why
  uint64_t missed_records = 0;  ///< overwritten before a look at them, where one may have been over its limit. Exact
};

CONTRAIL_DETAIL_NAMESPACE_END

#if CONTRAIL_DETAIL_ENABLED

// ==== contrail/detail/kept_dumps.hpp ================================================================================
// The dumps of triggers that stay: the newest of those that a path could have made.
#ifndef CONTRAIL_DETAIL_KEPT_DUMPS_HPP
#define CONTRAIL_DETAIL_KEPT_DUMPS_HPP

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
// ==== contrail/detail/watch.hpp =====================================================================================
// What triggers see: the recorder's memory, read beside its writers as a dump reads it. Each look takes in the open
// regions of all threads, and of what was recorded since the look before that which a condition may concern.
#ifndef CONTRAIL_DETAIL_WATCH_HPP
#define CONTRAIL_DETAIL_WATCH_HPP

#if CONTRAIL_DETAIL_ENABLED
// ==== contrail/detail/watch_conditions.hpp ==========================================================================
// The conditions of a trigger: which of them concern a call site, and how many clock ticks are too many for it.
#ifndef CONTRAIL_DETAIL_WATCH_CONDITIONS_HPP
#define CONTRAIL_DETAIL_WATCH_CONDITIONS_HPP

#if CONTRAIL_DETAIL_ENABLED
// ==== contrail/detail/watch_records.hpp =============================================================================
// Records as a trigger needs them: when they began and ended, and their first number.
#ifndef CONTRAIL_DETAIL_WATCH_RECORDS_HPP
#define CONTRAIL_DETAIL_WATCH_RECORDS_HPP

#if CONTRAIL_DETAIL_ENABLED

#include <stdio.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// A record in a copy of a piece of its chunk.
struct seen_record {
  uint64_t id, start, end;  ///< of a point start and end are equal
  bool is_region;
  bool is_async;  ///< a region that another thread ended than began it
  const atomic_word* payload;
  unsigned words;
};

/// Visits the records of a piece of a chunk, from `words` to `end`. `epoch_base` is the time base of the first one, and
/// then of what follows the last.
template <class Visit>
inline void read_records(const atomic_word* words, const atomic_word* end, uint64_t& epoch_base, Visit&& visit) {
  const atomic_word* at = words;
  while (at < end) {
    const uint64_t word = at->value;
    const uint64_t duration = word >> duration_shift & (epoch_ticks - 1);
    seen_record record{word >> id_shift & 0xffff, 0, epoch_base + (word >> end_time_shift), true, false, at + 1, 0};
    bool is_record = true;
    switch (static_cast<record_tag>(word & 3)) {
      case record_tag::point:
        record.words = static_cast<unsigned>(word >> duration_shift & 0xff);
        record.start = record.end;
        record.is_region = false;
        break;
      case record_tag::region: record.start = record.end - duration; break;
      case record_tag::region_payload:
        record.id = word >> payload_region_id_shift & max_payload_region_id;
        record.words = static_cast<unsigned>(word >> id_shift & 0xf);
        record.start = record.end - duration;
        break;
      case record_tag::long_form: {
        record.id = word >> 16 & 0xffff;
        record.words = static_cast<unsigned>(word >> 6 & 0x3ff);
        const long_form form = long_form_of(word);
        if (form == long_form::epoch) {
          record.words = 0;
          epoch_base = word & ~(epoch_ticks - 1);
        }
        const unsigned skip = form == long_form::point ? 1 : form == long_form::region ? 2 : 3;
        is_record = (form == long_form::region || form == long_form::async_region || form == long_form::point) &&
                    record.words >= skip && at + record.words < end;
        if (!is_record) break;
        record.is_region = form != long_form::point;
        record.is_async = form == long_form::async_region;
        record.start = at[1].value;
        record.end = record.is_region ? at[2].value : record.start;
        record.payload += skip;
        at += skip;
        record.words -= skip;
        break;
      }
    }
    at += 1 + record.words;
    if (is_record && at <= end) visit(record);
  }
}

inline text name_of(const binding& entry) {
  const char* const strings = reinterpret_cast<const char*>(&entry + 1) + entry.field_count * sizeof(binding_field) +
                              entry.enumerator_count * sizeof(binding_enumerator);
  return {strings, entry.name_bytes};
}

/// The first field of a payload as a number; false when it is none.
inline bool number_of(const binding& entry, const seen_record& record, double& value) {
  if (entry.field_count == 0 || record.words == 0) return false;
  const binding_field& field = *reinterpret_cast<const binding_field*>(&entry + 1);
  const auto as = [&](auto number) {
    if (field.offset + sizeof number > record.words * 8) return false;
    memcpy(&number, reinterpret_cast<const char*>(record.payload) + field.offset, sizeof number);
    value = static_cast<double>(number);
    return true;
  };
  switch (static_cast<field_type>(field.type)) {
    case field_type::boolean: return as(uint8_t{});
    case field_type::character: return as(char{});
    case field_type::int8: return as(int8_t{});
    case field_type::uint8: return as(uint8_t{});
    case field_type::int16: return as(int16_t{});
    case field_type::uint16: return as(uint16_t{});
    case field_type::int32: return as(int32_t{});
    case field_type::uint32: return as(uint32_t{});
    case field_type::int64: return as(int64_t{});
    case field_type::uint64: return as(uint64_t{});
    case field_type::float32: return as(float{});
    case field_type::float64: return as(double{});
    default: return false;
  }
}

/// "12.5 ms" into `to`.
inline const char* brief_time(char (&to)[32], uint64_t ns) {
  const double value = static_cast<double>(ns);
  if (ns >= 1'000'000'000) snprintf(to, sizeof to, "%.4g s", value / 1e9);
  else if (ns >= 1'000'000) snprintf(to, sizeof to, "%.4g ms", value / 1e6);
  else snprintf(to, sizeof to, "%.4g us", value / 1e3);
  return to;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
// ==== contrail/detail/zeroed_array.hpp ==============================================================================
// An array from the heap for those that may allocate, and bear it when there is no memory.
#ifndef CONTRAIL_DETAIL_ZEROED_ARRAY_HPP
#define CONTRAIL_DETAIL_ZEROED_ARRAY_HPP

#if CONTRAIL_DETAIL_ENABLED

#include <stdlib.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Memory that is zero; gives it back.
template <class T>
class zeroed_array {
 public:
  zeroed_array() = default;
  ~zeroed_array() { free(items_); }
  zeroed_array(const zeroed_array&) = delete;
  zeroed_array& operator=(const zeroed_array&) = delete;
  bool make(uint64_t count) {
    free(items_);
    items_ = static_cast<T*>(calloc(count, sizeof(T)));
    return items_ != nullptr;
  }
  T& operator[](uint64_t i) { return items_[i]; }

 private:
  T* items_ = nullptr;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr unsigned most_conditions = 15;

enum class condition_kind { latency, stall, counter, predicate };

struct condition {
  condition_kind kind;
  char names[filter_bytes];  ///< globs of regions or counters; a predicate's own name
  uint64_t limit_ns;
  double limit;
  bool (*holds)(void*);
  void* context;
  bool held;  ///< a predicate's last answer
};

/// All conditions of a trigger, in one recording after the other.
class CONTRAIL_DETAIL_HIDDEN watch_conditions {
 public:
  condition items[most_conditions];
  unsigned count = 0;

  /// Begins with an image: nothing is known of its ids. False when there is no memory.
  bool begin(const image_view& image) {
    image_ = &image;
    return ids_.make(overflow_id + 1);
  }

  /// Limits in ticks, by the rate of the clock.
  void set_clock(uint64_t tick_hz) {
    tick_hz_ = tick_hz;
    for (unsigned i = 0; i < count; ++i) {
      const uint128 least = ((uint128{items[i].limit_ns} + 1) * tick_hz + 999'999'999) / 1'000'000'000;
      least_over_[i] = least > ~uint64_t{0} ? ~uint64_t{0} : static_cast<uint64_t>(least);
    }
  }

  uint64_t ns_of(uint64_t ticks) const {
    return static_cast<uint64_t>(static_cast<uint128>(ticks) * 1'000'000'000U / tick_hz_);
  }

  /// Ticks of the shortest region that a record is read for; 0: all records are read. Writers tell of regions from a
  /// time epoch on.
  uint64_t least_that_matters() const {
    uint64_t least = ~uint64_t{0};
    for (unsigned i = 0; i < count; ++i) {
      switch (items[i].kind) {
        case condition_kind::predicate: break;
        case condition_kind::latency:
          if (least_over_[i] < least) least = least_over_[i];
          break;
        default: return 0;
      }
    }
    return least < epoch_ticks ? 0 : least;
  }

  /// Which conditions a call site is subject to, one bit each.
  unsigned of(uint64_t id) {
    constexpr unsigned is_known = 1U << most_conditions;
    if ((ids_[id] & is_known) != 0) return ids_[id] & ~is_known;
    const binding* const entry = binding_of(*image_, id);
    if (entry == nullptr) return 0;
    unsigned found = is_known;
    for (unsigned i = 0; i < count; ++i) {
      const condition_kind kind = items[i].kind;
      const bool is_meant = kind == condition_kind::counter
                                ? entry->kind == binding_kind::counter
                                : entry->kind == binding_kind::region && kind != condition_kind::predicate;
      if (is_meant && passes_globs(items[i].names, name_of(*entry))) found |= 1U << i;
    }
    ids_[id] = static_cast<uint16_t>(found);
    return found & ~is_known;
  }

  /// The first condition whose budget a region is over; `count`: none.
  unsigned over_limit(uint64_t id, uint64_t ticks) {
    const unsigned meant = of(id);
    for (unsigned i = 0; meant >> i != 0; ++i) {
      const bool is_latency = (meant >> i & 1) != 0 && items[i].kind == condition_kind::latency;
      if (is_latency && ticks >= least_over_[i]) return i;
    }
    return count;
  }

 private:
  const image_view* image_ = nullptr;
  uint64_t tick_hz_ = 0;
  uint64_t least_over_[most_conditions];  ///< ticks, the fewest for which ns_of is over the limit
  zeroed_array<uint16_t> ids_;            ///< by id, see of
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif

#include <stdio.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Whether a chunk stands among those that may have more to come, and whether it has.
enum class chunk_progress : uint8_t { none, unread, read };

/// Looks at the recorder for conditions that hold.
class CONTRAIL_DETAIL_HIDDEN watch {
 public:
  watch_conditions conditions;
  uint64_t fired = 0;  ///< how often any of them held

  watch() = default;
  ~watch() { leave(); }
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;

  /// Records that were overwritten before a look at them. Exact: who recycles a chunk counts them.
  uint64_t missed() const {
    return missed_before_ + (marks_ == nullptr ? 0 : marks_->lost.load_acquire() & lost_mask);
  }
  /// Ends the looking, so that nobody counts any more.
  void leave() {
    if (marks_ == nullptr) return;
    missed_before_ = missed();
    marks_->in_use.store_release(0);
    marks_ = nullptr;
    image_ = nullptr;
  }

  /// What happened since the look before. True when a condition holds that did not before; the first is noted. The
  /// first look at a recording begins here and now.
  bool look(process_state& process, trigger_note& note) {
    const uint64_t before = fired;
    note_ = &note;
    note.ticks = 0;
    now_ = now_ticks(process);
    for (unsigned i = 0; i < conditions.count; ++i) {
      condition& each = conditions.items[i];
      if (each.kind != condition_kind::predicate) continue;
      const bool holds = each.holds(each.context);
      if (holds && !each.held) fire(now_, "%.80s holds", each.names);
      each.held = holds;
    }
    if (process.recording.load_acquire() != 0 && begin(process)) {
      // Stacks first, as in a dump: a region that ends in between is a record.
      const uint64_t slots = used_slots();
      for (uint64_t i = 0; i < slots; ++i) look_at_stacks(image_->slots[i], slots_[i]);
      look_at_chunks();
      for (uint64_t i = 0; i < slots; ++i) look_for_stall(image_->slots[i], slots_[i]);
    }
    return fired != before;
  }

 private:
  struct reported_region {
    uint64_t start, id;
  };
  /// What is known of a thread.
  struct thread_progress {
    uint64_t generation;
    uint64_t last_end;   ///< of its newest region
    uint64_t outermost;  ///< start of the oldest region that is open; 0: none
    uint64_t innermost;  ///< start of the newest one
    uint64_t innermost_id;
    uint64_t stalled;             ///< since when it was quiet as that was reported
    reported_region reported[8];  ///< that were over their budgets while they were open
    unsigned next_reported;
    unsigned idle_looks;  ///< in a row that found nothing open, and read of nothing that ended
    uint64_t idle_since;  ///< last_end, then
    bool has_ended;       ///< and left nothing open: its slot may be used for long, but not by it
  };

  /// Goes on in the recording that runs. False when there is no memory.
  bool begin(process_state& process) {
    image_view* const image = current_image(process);
    const uint64_t start = process.start_ticks.load_relaxed();
    if (image != image_ || start != start_) {
      leave();
      if (!epoch_bases_.make(image->chunk_count) || !slots_.make(image->slot_count) || !over_.make(overflow_id + 1) ||
          !unread_.make(image->chunk_count) || !progress_.make(image->chunk_count) || !conditions.begin(*image)) {
        return false;
      }
      unread_count_ = 0;
      next_ticket_ = image->chunk_count;  // an image's first
      const control_lock lock(process);
      const bool goes_on = process.recording.load_acquire() != 0 && current_image(process) == image &&
                           process.start_ticks.load_relaxed() == start;
      marks_ = goes_on ? claim_marks(*image) : nullptr;
      if (marks_ == nullptr) return false;
      conditions.set_clock(process.tick_hz.load_relaxed());
      marks_->least_ticks.store_relaxed(conditions.least_that_matters());
      begin_marks(process, *image, *marks_, false);
      since_ = now_ticks(process);  // who ends a region after this has seen the marks
      image_ = image;
      start_ = start;
    }
    return true;
  }

  __attribute__((format(printf, 3, 4))) void fire(uint64_t ticks, const char* format, ...) {
    ++fired;
    if (note_->ticks != 0) return;
    note_->ticks = ticks == 0 ? 1 : ticks;
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    vsnprintf(note_->text, sizeof note_->text, format, arguments);
    __builtin_va_end(arguments);
  }

  void look_at_stacks(const thread_slot& slot, thread_progress& thread) {
    const uint64_t state = slot.state.load_acquire();
    if (thread.has_ended && thread.generation == state >> 8) return;
    if (thread.generation != state >> 8) {
      // What was reported stays: a record of the thread before may not have been seen yet.
      thread.generation = state >> 8;
      thread.last_end = thread.outermost = thread.stalled = thread.idle_since = 0;
      thread.idle_looks = 0;
      thread.has_ended = false;
    }
    const bool asks = asks_whether_alive(thread);
    thread.outermost = thread.innermost = 0;
    if (phase_of(state) != slot_state::live) return;
    // Before its regions are looked at, so that it cannot begin another one.
    const bool is_gone = asks && !is_thread_alive(tid_of(slot));
    constexpr unsigned most_free = 16;  // frames between regions, as those leave that end on other threads
    for (unsigned k = 0; k < lane_count; ++k) {
      unsigned free_frames = 0;
      for (unsigned i = 0; i < lane_depth[k] && free_frames < most_free; ++i) {
        const frame& at = slot.frames[first_frame[k] + i];
        const uint64_t start = at.start_ticks.load_acquire();
        ++free_frames;
        if (!is_region(start)) continue;
        const uint64_t word = at.word.load_acquire();
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (at.start_ticks.load_relaxed() != start || (start << duration_shift) - word > site_word_mask) continue;
        free_frames = 0;
        look_at_open_region(slot, thread, start, id_of_site_word((start << duration_shift) - word));
      }
    }
    thread.has_ended = is_gone && thread.outermost == 0;
  }

  /// A thread's slot stays until somebody needs it: many of those in use may belong to threads that ended. Those that
  /// are idle are asked for ever less often, but from time to time: of a thread whose records are not read, nothing
  /// tells that it is busy.
  static bool asks_whether_alive(thread_progress& thread) {
    const bool is_idle = thread.outermost == 0 && thread.last_end == thread.idle_since;
    thread.idle_since = thread.last_end;
    thread.idle_looks = is_idle ? thread.idle_looks + 1 : 0;
    constexpr unsigned longest = 64;
    return is_idle && ((thread.idle_looks & (thread.idle_looks - 1)) == 0 || thread.idle_looks % longest == 0);
  }

  void look_at_open_region(const thread_slot& slot, thread_progress& thread, uint64_t start, uint64_t id) {
    if (thread.outermost == 0 || start < thread.outermost) thread.outermost = start;
    if (start >= thread.innermost) {
      thread.innermost = start;
      thread.innermost_id = id;
    }
    if (start < start_ || start > now_) return;
    const unsigned limit = conditions.over_limit(id, now_ - start);
    if (limit == conditions.count || is_reported(thread, start, id)) return;
    thread.reported[thread.next_reported++ % 8] = {start, id};
    fire_latency(now_, id, conditions.ns_of(now_ - start), limit, tid_of(slot), "is open for");
  }

  static bool is_reported(const thread_progress& thread, uint64_t start, uint64_t id) {
    for (const reported_region& each : thread.reported) {
      if (each.start == start && each.id == id) return true;
    }
    return false;
  }

  /// A region that another thread ended was open on the one that began it, whose slot the record does not tell.
  bool is_reported_of_any(const seen_record& record) {
    for (uint64_t i = 0; i < image_->slot_count; ++i) {
      if (is_reported(slots_[i], record.start, record.id)) return true;
    }
    return false;
  }

  void fire_latency(uint64_t ticks, uint64_t id, uint64_t ns, unsigned limit, uint32_t tid, const char* did) {
    const text name = name_of(*binding_of(*image_, id));
    char took[32], budget[32];
    fire(ticks, "%.*s %s %s on thread %u, more than %s", static_cast<int>(name.size < 48 ? name.size : 48), name.data,
         did, brief_time(took, ns), tid, brief_time(budget, conditions.items[limit].limit_ns));
  }

  /// The slots that threads have had so far: the first ones, since each takes the first that is free.
  uint64_t used_slots() const {
    constexpr unsigned most_unused = 16;  // that others are about to take
    unsigned unused = 0;
    uint64_t i = 0;
    for (; i < image_->slot_count && unused < most_unused; ++i) {
      unused = generation_of(image_->slots[i]) == 0 ? unused + 1 : 0;
    }
    return i;
  }

  /// Looks at the chunks that had more to come at the look before, and at those that were taken since then, in the
  /// order in which they were taken. An image has thousands, and to look at each would drive the program's data out of
  /// the caches.
  void look_at_chunks() {
    const uint64_t next = image_->super->next_ticket.load_acquire();
    const uint64_t first = next - next_ticket_ > image_->chunk_count ? next - image_->chunk_count : next_ticket_;
    next_ticket_ = next;
    const uint64_t older = unread_count_;
    for (uint64_t i = 0; i < older; ++i) {
      const bool is_older = ticket_of(image_->chunk_states[unread_[i]].load_relaxed()) < first;
      if (is_older && look_at_chunk(unread_[i])) progress_[unread_[i]] = chunk_progress::read;
    }
    for (uint64_t ticket = first; ticket < next; ++ticket) {
      const uint64_t index = ticket % image_->chunk_count;
      if (progress_[index] == chunk_progress::none) unread_[unread_count_++] = static_cast<uint32_t>(index);
      progress_[index] = look_at_chunk(index) ? chunk_progress::read : chunk_progress::unread;
    }
    uint64_t left = 0;
    for (uint64_t i = 0; i < unread_count_; ++i) {
      chunk_progress& progress = progress_[unread_[i]];
      if (progress == chunk_progress::unread) unread_[left++] = unread_[i];
      else progress = chunk_progress::none;
    }
    unread_count_ = left;
  }

  /// Of those that were given out for a chunk.
  uint64_t newest_ticket(uint64_t index) const {
    const uint64_t last = next_ticket_ - 1;
    return last - (last - index) % image_->chunk_count;
  }

  /// Reads what a chunk holds more than at the look before. True when nothing can follow before its next ticket.
  bool look_at_chunk(uint64_t index) {
    const uint64_t state = image_->chunk_states[index].load_acquire();
    const uint64_t ticket = ticket_of(state);
    // Who has the newest ticket may be about to take the chunk, or has found that it is not to be had.
    const bool is_newest = ticket >= newest_ticket(index);
    if (state_of(state) == chunk_state::free) return is_newest;
    const chunk& live = image_->chunks[index];
    if (!marks_->matters(*image_, index, ticket)) {
      return is_newest && (state_of(state) == chunk_state::sealed ||
                           (state_of(state) == chunk_state::open && has_ended(live)));
    }
    const chunk_piece piece = copy_piece(piece_, *image_, index, *marks_, true);
    if (piece.bytes != 0) read_piece(index, piece);
    if (!is_newest) return false;
    if (state_of(state) == chunk_state::open) return piece.bytes == 0 && has_ended(live);
    const bool is_copied = marked_words((*marks_)[index].load_relaxed(), ticket) == all_copied;
    return state_of(state) == chunk_state::sealed && (is_copied || live.sealed_ticks.load_relaxed() < since_);
  }

  /// Whether the thread that wrote a chunk was found to have ended.
  bool has_ended(const chunk& written) {
    const uint64_t writer = written.writer.load_relaxed();
    const uint64_t slot = writer & 0xffff'ffff;
    return slot < image_->slot_count && slots_[slot].has_ended && slots_[slot].generation == writer >> 32;
  }

  void read_piece(uint64_t index, const chunk_piece& piece) {
    const chunk& part = *reinterpret_cast<const chunk*>(piece_ + sizeof(stream_block));
    if (piece.is_first) epoch_bases_[index] = part.epoch_base.value;
    const uint64_t slot_index = part.writer.value & 0xffff'ffff;
    if (slot_index >= image_->slot_count) return;
    thread_progress& thread = slots_[slot_index];
    const bool is_current = thread.generation == part.writer.value >> 32;
    const uint32_t tid = static_cast<uint32_t>(part.tid_lane.value);
    const atomic_word* const end = part.words + (piece.bytes - sizeof(stream_block) - chunk_header_bytes) / 8;
    read_records(part.words, end, epoch_bases_[index], [&](const seen_record& record) {
      if (record.end < since_) return;
      if (!record.is_region) return look_at_counter(record);
      if (is_current && record.end > thread.last_end) thread.last_end = record.end;
      const uint64_t took = record.end - record.start;
      const unsigned limit = conditions.over_limit(record.id, took);
      if (limit == conditions.count) return;
      if (record.is_async ? !is_reported_of_any(record) : !is_reported(thread, record.start, record.id)) {
        fire_latency(record.end, record.id, conditions.ns_of(took), limit, tid, "took");
      }
    });
  }

  void look_at_counter(const seen_record& record) {
    const unsigned meant = conditions.of(record.id);
    if (meant == 0) return;
    const binding& entry = *binding_of(*image_, record.id);
    double value = 0;
    if (!number_of(entry, record, value)) return;
    for (unsigned i = 0; meant >> i != 0; ++i) {
      if ((meant >> i & 1) == 0 || conditions.items[i].kind != condition_kind::counter) continue;
      const bool was_over = (over_[record.id] >> i & 1) != 0;
      const bool is_over = value > conditions.items[i].limit;
      if (is_over && !was_over) {
        const text name = name_of(entry);
        fire(record.end, "%.*s is %.10g, over %.10g", static_cast<int>(name.size < 60 ? name.size : 60), name.data,
             value, conditions.items[i].limit);
      }
      over_[record.id] = static_cast<uint16_t>((over_[record.id] & ~(1U << i)) | (is_over ? 1U << i : 0));
    }
  }

  void look_for_stall(const thread_slot& slot, thread_progress& thread) {
    if (thread.outermost == 0) return;
    uint64_t quiet_since = thread.last_end > thread.outermost ? thread.last_end : thread.outermost;
    if (quiet_since < since_) quiet_since = since_;  // what ended before is not known
    if (quiet_since == thread.stalled || quiet_since >= now_) return;
    const uint64_t quiet = conditions.ns_of(now_ - quiet_since);
    const unsigned meant = conditions.of(thread.innermost_id);
    for (unsigned i = 0; meant >> i != 0; ++i) {
      const bool is_stall = (meant >> i & 1) != 0 && conditions.items[i].kind == condition_kind::stall;
      if (!is_stall || quiet <= conditions.items[i].limit_ns) continue;
      thread.stalled = quiet_since;
      const text name = name_of(*binding_of(*image_, thread.innermost_id));
      char time[32];
      fire(now_, "thread %u ended no region for %s, in %.*s", tid_of(slot), brief_time(time, quiet),
           static_cast<int>(name.size < 48 ? name.size : 48), name.data);
      return;
    }
  }

  image_view* image_ = nullptr;
  session_marks* marks_ = nullptr;
  uint64_t missed_before_ = 0;  ///< in recordings that ended
  uint64_t start_ = 0, since_ = 0, now_ = 0;
  uint64_t next_ticket_ = 0;  ///< the first that no look has seen
  uint64_t unread_count_ = 0;
  zeroed_array<uint32_t> unread_;  ///< chunks that may have more to come, each once
  zeroed_array<chunk_progress> progress_;
  zeroed_array<uint64_t> epoch_bases_;  ///< by chunk, of the record that comes next
  zeroed_array<thread_progress> slots_;
  zeroed_array<uint16_t> over_;  ///< by id, the counters' conditions that hold
  trigger_note* note_ = nullptr;
  alignas(8) char piece_[longest_piece_bytes];
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif

#include <pthread.h>
#include <time.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

class mutex_hold {
 public:
  explicit mutex_hold(pthread_mutex_t& mutex) : mutex_(mutex) { pthread_mutex_lock(&mutex_); }
  ~mutex_hold() { pthread_mutex_unlock(&mutex_); }
  mutex_hold(const mutex_hold&) = delete;
  mutex_hold& operator=(const mutex_hold&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

}  // namespace detail

/// Watches for conditions, and dumps when one comes to hold. One thread sets it up: conditions first, then `start`.
/// Works whether a recorder runs already or is started later. Not in a forked child.
class CONTRAIL_DETAIL_HIDDEN trigger {
 public:
  explicit trigger(const trigger_options& wanted = {}) : wanted_(wanted) {
    const bool fits = wanted.path != nullptr && detail::strlen(wanted.path) < sizeof path_;
    detail::text_writer(path_, sizeof path_).add(fits ? wanted.path : "");
  }
  ~trigger() { stop(); }
  trigger(const trigger&) = delete;
  trigger& operator=(const trigger&) = delete;

  /// Fires when a region takes longer than `budget`: as it ends, or while it is open, whichever is seen first.
  /// `regions` are globs of names as in a filter: "request*,-request.slow".
  error latency(const char* regions, duration budget) {
    if (budget.ns <= 0) return {error_code::bad_option, "The budget of a region must be above 0."};
    return add({detail::condition_kind::latency, {}, static_cast<uint64_t>(budget.ns), 0, nullptr, nullptr, false},
               regions);
  }

  /// Fires when a thread has ended no region for `quiet` while one is open; once each time. `regions` are globs of the
  /// innermost open region's name, to leave out where a thread may wait: "-idle*".
  error stall(duration quiet, const char* regions = "") {
    if (quiet.ns <= 0) return {error_code::bad_option, "The time after which a thread has stalled must be above 0."};
    return add({detail::condition_kind::stall, {}, static_cast<uint64_t>(quiet.ns), 0, nullptr, nullptr, false},
               regions);
  }

  /// Fires when a counter's value is above `limit` and the one before was not. `counters` are globs of names.
  error counter(const char* counters, double limit) {
    return add({detail::condition_kind::counter, {}, 0, limit, nullptr, nullptr, false}, counters);
  }

  /// Fires when `holds(context)` answers true and did not the time before. It is asked at each look, by the trigger's
  /// thread, and neither throws nor stops its trigger.
  error predicate(const char* name, bool (*holds)(void* context), void* context = nullptr) {
    if (holds == nullptr) return {error_code::bad_option, "The predicate is null."};
    return add({detail::condition_kind::predicate, {}, 0, 0, holds, context, false}, name);
  }

  /// Begins to watch. Fails with bad_option, path, already_running, or out_of_memory where the system gives no thread.
  error start() {
    using namespace detail;
    if (is_started_) return {error_code::already_running, "This trigger is started already."};
    if (wanted_.last.ns < 0 || wanted_.after.ns < 0 || wanted_.at_most_every.ns < 0 || wanted_.look_every.ns <= 0) {
      return {error_code::bad_option, "The times in trigger_options must not be negative, and look_every not 0."};
    }
    char ignored[longest_path_bytes];
    if (error failed = expand_path(path_, {1, 1, 1, "e"}, ignored)) return failed;
    if (join_process() == nullptr) return incompatible();
    link_object();
    pin_object(reinterpret_cast<const void*>(&count_recycled));
    __atomic_store_n(&stopping_, 0U, __ATOMIC_RELAXED);
    // Signals are the program's threads' business.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(
        &thread_, nullptr,
        [](void* self) -> void* {
          static_cast<trigger*>(self)->run();
          return nullptr;
        },
        this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (failed != 0)
      return {error_code::out_of_memory, "The system gave no thread for the trigger: free some, and try again."};
    is_started_ = true;
    owner_ = getpid();
    return {};
  }

  /// Ends watching. A dump that is on its way is written now. Harmless when it is not started.
  void stop() {
    if (!is_started_) return;
    is_started_ = false;
    if (getpid() != owner_) return;  // the thread stayed in the parent
    __atomic_store_n(&stopping_, 1U, __ATOMIC_RELEASE);
    wake();
    pthread_join(thread_, nullptr);
  }

  /// Fires now, as by a condition. `what` is not copied: a string literal. The dump is made by the trigger's thread.
  // Async-signal-safe.
  void fire(const char* what) {
    const detail::process_state* const process = detail::joined_process();
    __atomic_store_n(&called_ticks_, process == nullptr ? 0 : detail::now_ticks(*process), __ATOMIC_RELAXED);
    __atomic_fetch_add(&calls_, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&called_, what, __ATOMIC_RELEASE);
    wake();
  }

  trigger_status status() const {
    const detail::mutex_hold hold(mutex_);
    return status_;
  }

 private:
  error add(const detail::condition& what, const char* names) {
    if (is_started_) return {error_code::bad_option, "This trigger is started already: add conditions before."};
    if (watch_.conditions.count == detail::most_conditions) {
      return {error_code::bad_option, "A trigger takes 15 conditions: use another one for more."};
    }
    if (names == nullptr || detail::strlen(names) >= detail::filter_bytes) {
      return {error_code::bad_option, "The names of a trigger's condition are missing, or longer than 255 bytes."};
    }
    detail::condition& added = watch_.conditions.items[watch_.conditions.count];
    added = what;
    detail::text_writer(added.names, sizeof added.names).add(names);
    ++watch_.conditions.count;
    return {};
  }

  // Not a semaphore or a condition: those may not be used in signal handlers, or wait by a clock that can be set.
  void wake() {
    const detail::errno_keeper keep;
    __atomic_fetch_add(&wakes_, 1U, __ATOMIC_RELEASE);
    constexpr int wake_private = 1 | 128;
    syscall(SYS_futex, &wakes_, wake_private, 1, nullptr, nullptr, 0);
  }
  void wait(uint32_t wakes, uint64_t ns) {
    const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    constexpr int wait_private = 0 | 128;
    syscall(SYS_futex, &wakes_, wait_private, wakes, &time, nullptr, 0);
  }

  static uint64_t now_ns() { return detail::kernel_clock_ns(CLOCK_MONOTONIC); }

  void run() {
    pthread_setname_np(pthread_self(), "contrail");
    for (;;) {
      const uint32_t wakes = __atomic_load_n(&wakes_, __ATOMIC_ACQUIRE);
      const bool last_round = __atomic_load_n(&stopping_, __ATOMIC_ACQUIRE) != 0;
      look();
      const uint64_t now = now_ns();
      if (is_pending_ && (now >= due_ns_ || last_round)) dump(last_round);
      if (last_round) return watch_.leave();
      uint64_t pause = static_cast<uint64_t>(wanted_.look_every.ns);
      if (is_pending_ && due_ns_ - now < pause) pause = due_ns_ > now ? due_ns_ - now : 1;
      wait(wakes, pause);
    }
  }

  void look() {
    detail::process_state& process = *detail::joined_process();
    detail::trigger_note found;
    uint64_t times = watch_.fired;
    watch_.look(process, found);
    times = watch_.fired - times;
    const uint64_t missed = watch_.missed();
    if (const char* const what = __atomic_exchange_n(&called_, static_cast<const char*>(nullptr), __ATOMIC_ACQUIRE)) {
      times += __atomic_exchange_n(&calls_, uint64_t{0}, __ATOMIC_RELAXED);
      if (found.ticks == 0) {
        found.ticks = __atomic_load_n(&called_ticks_, __ATOMIC_RELAXED);
        detail::text_writer(found.text, sizeof found.text).add(what);
      }
    }
    const detail::mutex_hold hold(mutex_);
    status_.missed_records = missed;
    if (times == 0) return;
    const uint64_t now = now_ns();
    const bool is_soon = has_dumped_ && now - dumped_ns_ < static_cast<uint64_t>(wanted_.at_most_every.ns);
    const bool begins = !is_pending_ && !is_soon;
    if (begins) {
      note_ = found;
      if (missed != 0) {
        const size_t used = detail::strlen(note_.text);
        snprintf(note_.text + used, sizeof note_.text - used, "; missed %llu records",
                 static_cast<unsigned long long>(missed));
      }
      is_pending_ = true;
      tries_ = 0;
      fired_ns_ = now;
      due_ns_ = now + static_cast<uint64_t>(wanted_.after.ns);
    }
    status_.fired += times;
    status_.suppressed += times - (begins ? 1 : 0);
  }

  void dump(bool last_round) {
    duration last = wanted_.last;
    // From the moment of firing, which a look found somewhat later.
    const uint64_t reach =
        static_cast<uint64_t>(last.ns) + (now_ns() - fired_ns_) + static_cast<uint64_t>(wanted_.look_every.ns);
    if (last.ns != 0)
      last.ns = reach < static_cast<uint64_t>(__INT64_MAX__) ? static_cast<int64_t>(reach) : __INT64_MAX__;
    char made[detail::longest_path_bytes];
    const error failed = detail::dump_to_path(path_, last, 0, nullptr, &note_, made);
    constexpr unsigned most_tries = 100;
    if (failed.code() == error_code::busy && !last_round && ++tries_ < most_tries) {
      due_ns_ = now_ns() + 10'000'000;  // somebody else dumps
      return;
    }
    is_pending_ = false;
    if (!failed) {
      has_dumped_ = true;
      dumped_ns_ = now_ns();
      detail::remove_old_dumps(path_, made, wanted_.keep, wanted_.keep_bytes);
    }
    const detail::mutex_hold hold(mutex_);
    status_.dumps += failed ? 0 : 1;
    status_.failed += failed ? 1 : 0;
    if (failed) status_.last_failure = failed;
  }

  trigger_options wanted_;
  char path_[detail::longest_path_bytes];
  detail::watch watch_;

  bool is_started_ = false;
  pid_t owner_ = 0;
  pthread_t thread_{};
  uint32_t stopping_ = 0, wakes_ = 0;
  const char* called_ = nullptr;
  uint64_t called_ticks_ = 0, calls_ = 0;

  // Of the thread.
  detail::trigger_note note_;
  bool is_pending_ = false, has_dumped_ = false;
  uint64_t fired_ns_ = 0, due_ns_ = 0, dumped_ns_ = 0;
  unsigned tries_ = 0;

  mutable pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  trigger_status status_;
};

/// Fires a trigger when its scope took longer than `budget`, exactly and at once, also where no region is: two clock
/// reads for this scope, nothing for any other. `what` is a string literal.
class CONTRAIL_DETAIL_HIDDEN latency_budget {
 public:
  latency_budget(trigger& which, const char* what, duration budget)
      : trigger_(which), what_(what), budget_ns_(budget.ns), began_ns_(detail::kernel_clock_ns(CLOCK_MONOTONIC)) {}
  ~latency_budget() {
    if (static_cast<int64_t>(detail::kernel_clock_ns(CLOCK_MONOTONIC) - began_ns_) > budget_ns_) trigger_.fire(what_);
  }
  latency_budget(const latency_budget&) = delete;
  latency_budget& operator=(const latency_budget&) = delete;

 private:
  trigger& trigger_;
  const char* what_;
  int64_t budget_ns_;
  uint64_t began_ns_;
};

CONTRAIL_DETAIL_NAMESPACE_END

#else

namespace contrail {
inline namespace disabled_v0 {

/// See contrail/trigger.hpp. Everything fails here, with error_code::compiled_out or not_supported.
class trigger {
 public:
  explicit trigger(const trigger_options& = {}) {}
  trigger(const trigger&) = delete;
  trigger& operator=(const trigger&) = delete;
  error latency(const char*, duration) { return detail::nothing_records(); }
  error stall(duration, const char* = "") { return detail::nothing_records(); }
  error counter(const char*, double) { return detail::nothing_records(); }
  error predicate(const char*, bool (*)(void*), void* = nullptr) { return detail::nothing_records(); }
  error start() { return detail::nothing_records(); }
  void stop() {}
  void fire(const char*) {}
  trigger_status status() const { return {}; }
};

class latency_budget {
 public:
  latency_budget(trigger&, const char*, duration) {}
};

}  // namespace disabled_v0
}  // namespace contrail

#endif

#endif
#endif
#if defined(CONTRAIL_WITH_HTTP)
// ==== contrail/http.hpp =============================================================================================
// Opt-in: dumps over HTTP, with any framework: a handler that takes a query and gives an answer.
//
//   server.Get("/trace", [](const Request& in, Response& out) {
//     contrail::http_trace(in.query, [&](contrail::http_answer&& answer) {
//       out.status = answer.status;
//       for (const auto& header : answer.headers) out.set_header(header.name, header.value);
//       out.body = std::move(answer.body);
//     });
//   });
//
//   curl -OJ 'http://localhost:8080/trace?last=5s'       the last 5 seconds
//   curl -OJ 'http://localhost:8080/trace?seconds=10'    the next 10 seconds
#ifndef CONTRAIL_HTTP_HPP
#define CONTRAIL_HTTP_HPP

#if CONTRAIL_DETAIL_ENABLED && defined(CONTRAIL_MACROS_ONLY)
#error "contrail/http.hpp needs all of contrail: leave out CONTRAIL_MACROS_ONLY in this translation unit."
#endif

#include <time.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if CONTRAIL_DETAIL_ENABLED
CONTRAIL_DETAIL_NAMESPACE_BEGIN
#else
namespace contrail {
inline namespace disabled_v0 {
#endif

struct http_header {
  std::string name, value;
};

/// What to send: 200 with a dump; or 400 bad value, 429 busy, 503 off or cancelled, with a sentence.
struct http_answer {
  int status = 200;
  std::vector<http_header> headers;
  std::string body;
};

#if CONTRAIL_DETAIL_ENABLED
namespace detail CONTRAIL_DETAIL_HIDDEN {
#else
namespace detail {
#endif

inline http_answer http_refusal(int status, const char* why) {
  http_answer answer{
      status, {{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}}, why};
  answer.body += '\n';
  if (status == 429) answer.headers.push_back({"Retry-After", "1"});
  return answer;
}

}  // namespace detail

#if CONTRAIL_DETAIL_ENABLED

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// A text's %XX and + as what they stand for.
inline std::string url_decoded(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      plain += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      plain += text[i] == '+' ? ' ' : text[i];
    }
  }
  return plain;
}

/// Finds a parameter; of several the first.
inline bool find_parameter(std::string_view query, std::string_view name, std::string& value) {
  if (!query.empty() && query.front() == '?') query.remove_prefix(1);
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(one.size() < query.size() ? one.size() + 1 : one.size());
    const std::string_view key = one.substr(0, one.find('='));
    if (url_decoded(key) != name) continue;
    value = key.size() < one.size() ? url_decoded(one.substr(key.size() + 1)) : std::string();
    return true;
  }
  return false;
}

inline constexpr int64_t longest_http_ns = 86'400'000'000'000;  // a day

/// "5s", "250ms", or seconds without a unit, above 0 and up to a day, in ns; 0 when it is none.
inline int64_t http_duration(const std::string& text) {
  const char* at = text.c_str();
  const char* const end = at + text.size();
  uint64_t whole = 0, scale = 1'000'000'000;
  bool any = false;
  for (; *at >= '0' && *at <= '9'; ++at, any = true) {
    whole = whole * 10 + static_cast<uint64_t>(*at - '0');
    if (whole > 100'000'000'000'000) return 0;
  }
  uint64_t fraction = 0, digits = 1;
  if (*at == '.') {
    for (++at; *at >= '0' && *at <= '9'; ++at, any = true) {
      if (digits >= 1'000'000'000) continue;
      fraction = fraction * 10 + static_cast<uint64_t>(*at - '0');
      digits *= 10;
    }
  }
  const std::string_view unit(at, static_cast<size_t>(end - at));
  if (unit == "ns")
    scale = 1;
  else if (unit == "us")
    scale = 1'000;
  else if (unit == "ms")
    scale = 1'000'000;
  else if (unit == "m" || unit == "min")
    scale = 60'000'000'000;
  else if (unit == "h")
    scale = 3'600'000'000'000;
  else if (unit != "s" && !unit.empty())
    return 0;
  const uint128 exact = static_cast<uint128>(whole) * scale + static_cast<uint128>(fraction) * scale / digits;
  return any && exact <= static_cast<uint128>(longest_http_ns) ? static_cast<int64_t>(exact) : 0;
}

/// What only one request does at a time.
class http_turn {
 public:
  explicit http_turn(atomic_word& turn) : turn_(turn) {
    const uint64_t self = static_cast<uint64_t>(getpid());
    uint64_t found = turn_.load_relaxed();
    // What a request of the parent had when this process was forked, nobody gives back here.
    taken_ = found != self && turn_.compare_exchange(found, self);
  }
  ~http_turn() {
    if (taken_) turn_.store_release(0);
  }
  http_turn(const http_turn&) = delete;
  http_turn& operator=(const http_turn&) = delete;
  bool taken() const { return taken_; }

 private:
  atomic_word& turn_;
  bool taken_;
};

CONTRAIL_DETAIL_HIDDEN inline constinit atomic_word http_waiting{};  ///< a request with ?seconds: its process
CONTRAIL_DETAIL_HIDDEN inline constinit atomic_word http_sending{};  ///< a request that holds a dump: likewise

inline void http_pause() {
  const timespec moment{0, 20'000'000};
  nanosleep(&moment, nullptr);
}

/// The answer for a dump that reaches back `last`.
inline http_answer http_dump(duration last) {
  http_answer answer;
  const error failed = flight_recorder::dump(answer.body, {last});
  if (failed) return http_refusal(failed.code() == error_code::busy ? 429 : 503, failed.message());
  const process_state& process = *joined_process();
  const image_view* const image = current_image(process);
  const char* const executable = image == nullptr ? "" : name_in_path(image->super->executable);
  std::string name;
  for (const char* at = executable; *at != '\0'; ++at) {
    // What a quoted string in a header cannot hold, and what a shell would make something of, is a file name's no more.
    const bool is_plain = (is_identifier(*at) && *at > 0 && *at != '$') || *at == '.' || *at == '-';
    name += is_plain ? *at : '_';
  }
  name += '-' + std::to_string(getpid()) + '-' + std::to_string(process.dump_count.load_relaxed()) + ".contrail";
  answer.headers = {{"Content-Type", "application/octet-stream"},
                    {"X-Content-Type-Options", "nosniff"},
                    {"Content-Disposition", "attachment; filename=\"" + name + '"'}};
  return answer;
}

}  // namespace detail

/// Answers a request for a dump. `query` is what follows '?' in its URL: "last=5s" for the window up to now,
/// "seconds=10" to record that much longer and get just that, nothing for all that memory holds. `sink` is called once,
/// with the http_answer, on this thread. `stop` is asked some 50 times a second while a request waits: true ends that,
/// for servers that shut down or see their client gone.
///
/// One request is served at a time: others get 429 until its sink has returned, so that the memory for dumps is bounded
/// until then, however many clients ask; what a sink keeps, to send it later, is the server's to bound. One more may be
/// waiting for its seconds to pass. Allocates: not in signal handlers.
template <class Sink, class Stop>
void http_trace(std::string_view query, Sink&& sink, Stop&& stop) {
  using namespace detail;
  const auto answer_with = [&](http_answer&& answer) { static_cast<void>(sink(std::move(answer))); };
  std::string text;
  const bool has_last = find_parameter(query, "last", text);
  const int64_t last_ns = has_last ? http_duration(text) : 0;
  if (has_last && last_ns == 0) {
    return answer_with(http_refusal(400, "last takes a time above 0 and up to a day: last=5s, last=250ms, last=2m."));
  }
  const bool has_seconds = find_parameter(query, "seconds", text);
  const int64_t seconds_ns = has_seconds ? http_duration(text) : 0;
  if (has_seconds && seconds_ns == 0) {
    return answer_with(http_refusal(400, "seconds takes a number above 0 and up to 86400: seconds=10, seconds=0.5."));
  }
  if (has_seconds && has_last) return answer_with(http_refusal(400, "Ask for last or for seconds, not for both."));
  const process_state* const process = join_process();
  if (process == nullptr) return answer_with(http_refusal(503, incompatible().message()));
  if (process->recording.load_acquire() == 0) return answer_with(http_refusal(503, not_running().message()));

  const char* const busy = "Another dump is on its way; try again when it is done.";
  if (has_seconds) {
    const http_turn waiting(http_waiting);
    if (!waiting.taken()) return answer_with(http_refusal(429, busy));
    const uint64_t begin = kernel_clock_ns(CLOCK_MONOTONIC);
    const auto waited = [begin] { return static_cast<int64_t>(kernel_clock_ns(CLOCK_MONOTONIC) - begin); };
    while (waited() < seconds_ns) {
      if (stop()) return answer_with(http_refusal(503, "The request was cancelled."));
      if (process->recording.load_acquire() == 0) return answer_with(http_refusal(503, not_running().message()));
      const int64_t rest = seconds_ns - waited();
      if (rest > 20'000'000)
        http_pause();
      else if (rest > 0) {
        const timespec moment{0, static_cast<long>(rest)};
        nanosleep(&moment, nullptr);
      }
    }
    // Who has waited that long is not sent away because somebody else came first.
    for (;;) {
      const http_turn sending(http_sending);
      if (sending.taken()) {
        http_answer answer = http_dump(duration(waited()));
        if (answer.status != 429) return answer_with(std::move(answer));
      }
      if (stop() || waited() > seconds_ns + 5'000'000'000) return answer_with(http_refusal(429, busy));
      http_pause();
    }
  }
  const http_turn sending(http_sending);
  if (!sending.taken()) return answer_with(http_refusal(429, busy));
  answer_with(http_dump(duration(last_ns)));
}

#else

template <class Sink, class Stop>
void http_trace(std::string_view, Sink&& sink, Stop&&) {
  sink(detail::http_refusal(503, detail::nothing_records().message()));
}

#endif

/// The same without a way to end it early.
template <class Sink>
void http_trace(std::string_view query, Sink&& sink) {
  http_trace(query, std::forward<Sink>(sink), [] { return false; });
}

#if CONTRAIL_DETAIL_ENABLED
CONTRAIL_DETAIL_NAMESPACE_END
#else
}  // namespace disabled_v0
}  // namespace contrail
#endif

#endif
#endif
#if defined(CONTRAIL_WITH_READER)
// ==== contrail/reader.hpp ===========================================================================================
// Opt-in: reads what contrail recorded, a dump, a stream, or the image file of a process that runs or was killed, in
// C++. It needs no recorder, and g++ or clang for a 64-bit machine, whichever recorded. The input may be damaged or
// hostile: what can be read is, warnings() says what could not, and memory is bounded by the input's size. No function
// throws but for want of memory.
//
//   #include <contrail/reader.hpp>
//
//   contrail::reader reader(bytes.data(), bytes.size());  // which must outlive it
//   if (!reader) return fail(reader.reason());
//   for (const contrail::event& e : reader) {
//     std::cout << e.thread().name << ": " << e.name() << " took " << e.duration_ns() << " ns\n";
//     for (const contrail::event_field& f : e.fields()) std::cout << "  " << f.name << '\n';
//   }
#ifndef CONTRAIL_READER_HPP
#define CONTRAIL_READER_HPP

// ==== contrail/detail/reader_threads.hpp ============================================================================
// What each thread did: the records of all slots that it used, in order, and the regions that it left open.
#ifndef CONTRAIL_DETAIL_READER_THREADS_HPP
#define CONTRAIL_DETAIL_READER_THREADS_HPP

// ==== contrail/detail/reader_image.hpp ==============================================================================
// A dump, a stream or a live image as its parts: superblock, thread slots, bindings, and which chunks hold what. The
// order of the checks is that of tools/contrail.py, so that both say the same of a damaged input.
#ifndef CONTRAIL_DETAIL_READER_IMAGE_HPP
#define CONTRAIL_DETAIL_READER_IMAGE_HPP

// ==== contrail/detail/reader_bindings.hpp ===========================================================================
// What an id in a dump stands for, and how the payloads of its records read.
#ifndef CONTRAIL_DETAIL_READER_BINDINGS_HPP
#define CONTRAIL_DETAIL_READER_BINDINGS_HPP

// ==== contrail/detail/reader_bytes.hpp ==============================================================================
// Bytes that anyone may have written: no read goes beyond them, and no sum of offsets wraps.
#ifndef CONTRAIL_DETAIL_READER_BYTES_HPP
#define CONTRAIL_DETAIL_READER_BYTES_HPP

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

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

inline constexpr uint64_t never = ~0ULL;  ///< a moment after all others; also where counts stop to grow

inline uint64_t saturating_add(uint64_t a, uint64_t b) { return a > never - b ? never : a + b; }

class untrusted_bytes {
 public:
  untrusted_bytes() = default;
  untrusted_bytes(const void* data, uint64_t size) : data_(static_cast<const char*>(data)), size_(size) {}

  uint64_t size() const { return size_; }
  bool has(uint64_t at, uint64_t size) const { return at <= size_ && size <= size_ - at; }

  /// A little-endian number; 0 where there are no such bytes.
  template <class T>
  T get(uint64_t at) const {
    static_assert(std::is_unsigned_v<T>);
    T value = 0;
    if (!has(at, sizeof(T))) return value;
    memcpy(&value, data_ + at, sizeof(T));
    if constexpr (std::endian::native == std::endian::big && sizeof(T) > 1) {
      T turned = 0;
      for (unsigned i = 0; i < sizeof(T); ++i, value = static_cast<T>(value >> 8)) {
        turned = static_cast<T>(turned << 8 | (value & 0xff));
      }
      value = turned;
    }
    return value;
  }
  uint8_t u8(uint64_t at) const { return get<uint8_t>(at); }
  uint16_t u16(uint64_t at) const { return get<uint16_t>(at); }
  uint32_t u32(uint64_t at) const { return get<uint32_t>(at); }
  uint64_t u64(uint64_t at) const { return get<uint64_t>(at); }

  clock_anchor anchor(uint64_t at) const { return {u64(at), u64(at + 8), u64(at + 16), u64(at + 24)}; }

  /// Empty where there are no such bytes.
  std::string_view view(uint64_t at, uint64_t size) const {
    return has(at, size) ? std::string_view(data_ + at, size) : std::string_view();
  }
  /// Up to the first zero.
  std::string_view c_string(uint64_t at, uint64_t size) const {
    const std::string_view all = view(at, size);
    return all.substr(0, all.find('\0'));
  }
  untrusted_bytes part(uint64_t at, uint64_t size) const {
    return has(at, size) ? untrusted_bytes(data_ + at, size) : untrusted_bytes();
  }

 private:
  const char* data_ = nullptr;
  uint64_t size_ = 0;
};

inline std::string decimal(uint128 magnitude, bool negative) {
  char digits[40];
  char* at = digits + sizeof(digits);
  do {
    *--at = static_cast<char>('0' + static_cast<unsigned>(magnitude % 10));
    magnitude /= 10;
  } while (magnitude != 0);
  if (negative) *--at = '-';
  return std::string(at, digits + sizeof(digits));
}
inline std::string decimal(uint128 value) { return decimal(value, false); }
inline std::string decimal(int128 value) {
  return decimal(value < 0 ? 0 - static_cast<uint128>(value) : static_cast<uint128>(value), value < 0);
}

/// 1500000 is "1.5 ms": exact, in the largest unit that leaves a whole part.
inline std::string duration_text(int128 ns) {
  const uint128 magnitude = ns < 0 ? 0 - static_cast<uint128>(ns) : static_cast<uint128>(ns);
  struct unit {
    const char* name;
    uint64_t size;
  };
  for (const unit& in : {unit{" s", 1'000'000'000}, unit{" ms", 1'000'000}, unit{" us", 1'000}}) {
    if (magnitude < in.size) continue;
    // The digits behind the point, with those zeros in front that a 1 before them keeps.
    std::string fraction = decimal(magnitude % in.size + in.size);
    fraction[0] = '.';
    fraction.erase(fraction.find_last_not_of('0') + 1);
    if (fraction == ".") fraction.clear();
    return decimal(magnitude / in.size, ns < 0) + fraction + in.name;
  }
  return decimal(ns) + " ns";
}

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <algorithm>
#include <deque>
#include <span>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// What a call site or type records. `unknown` is an id that the dump does not explain, which only damage brings about.
enum class event_kind : uint8_t {
  unknown = 0, region, instant, counter, log, event_type, overflow, task, async_span, frame
};

struct event_enumerator {
  int64_t value;
  std::string_view name;
};

/// A call site or event type, as the recorder described it. Texts are bytes of the input, UTF-8 unless it is damaged,
/// and at most 4096 of each.
struct CONTRAIL_DETAIL_HIDDEN event_binding {
  struct field {
    std::string_view name;
    field_type type;         ///< may be one that this reader does not know
    bool is_array;
    uint16_t count;          ///< 1, or the elements of an array
    uint16_t offset;         ///< in the payload
    uint16_t first_enumerator, enumerator_count;
  };

  uint16_t id = 0;
  event_kind kind = event_kind::unknown;
  uint8_t flags = 0;     ///< 1: something was cut to fit; 2: records may carry fields set at run time
  uint64_t type_id = 0;  ///< event_info<T>::id of a registered type, else 0
  uint32_t line = 0;
  std::string_view name, category, file, function;
  std::vector<field> fields;
  std::vector<event_enumerator> enumerators;

  // Not for users: what reading a payload needs.
  size_t readable = 0;             ///< fields before the first one that cannot be read
  uint64_t fixed_bytes = 0;        ///< of these
  std::vector<uint32_t> by_value;  ///< enumerators by value, then by index
};

/// One value of a field: which member holds it follows from the type.
struct event_value {
  field_type type;
  bool is_cut;            ///< a text that did not fit where it was recorded
  bool is_named;          ///< an enumerator's name is known
  uint64_t low, high;     ///< the number, sign extended to 128 bits; the bits of a float or double
  std::string_view text;  ///< of a string; of an enumeration the name

  int64_t as_int() const { return static_cast<int64_t>(low); }
  uint64_t as_uint() const { return low; }
  bool as_bool() const { return low != 0; }
  /// Of float and double; other numbers are converted.
  double as_double() const {
    if (type == field_type::float32) return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(low)));
    if (type == field_type::float64) return std::bit_cast<double>(low);
    return is_negative() ? -static_cast<double>(magnitude()) : static_cast<double>(magnitude());
  }
  /// The decimal digits of an integer, whatever its size.
  std::string to_string() const { return detail::reading::decimal(magnitude(), is_negative()); }

 private:
  bool is_negative() const { return high >> 63 != 0 && type != field_type::uint128; }
  detail::reading::uint128 magnitude() const {
    const auto all = static_cast<detail::reading::uint128>(high) << 64 | low;
    return is_negative() ? 0 - all : all;
  }
};

/// A field of one event: a value, or several if it is an array.
struct event_field {
  std::string_view name;
  field_type type;
  bool is_array;
  bool is_dynamic;  ///< it was set at run time
  std::span<const event_value> values;

  const event_value& value() const { return values.front(); }  ///< an array of a dump has an element at least
};

/// The fields of one event, in order.
class CONTRAIL_DETAIL_HIDDEN event_fields {
 public:
  event_fields() = default;
  event_fields(event_fields&&) = default;
  event_fields& operator=(event_fields&&) = default;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  size_t size() const { return fields_.size(); }
  const event_field& operator[](size_t i) const { return fields_[i]; }
  /// Null if there is none of that name.
  const event_field* find(std::string_view name) const {
    for (const event_field& f : fields_) {
      if (f.name == name) return &f;
    }
    return nullptr;
  }
  /// The payload contradicts its description; then there are no fields.
  bool is_damaged() const { return damaged_; }

  /// Reads a payload; what was here before is gone. Not for users: event::fields() is.
  void read(const event_binding& binding, const detail::reading::untrusted_bytes& payload) {
    values_.clear();
    fields_.clear();
    counts_.clear();
    damaged_ = payload.size() != 0 && !read_all(binding, payload);
    if (damaged_) fields_.clear();
    const event_value* first = values_.data();  // values move no more
    for (size_t i = 0; i < fields_.size(); first += counts_[i++]) fields_[i].values = {first, counts_[i]};
  }

 private:
  static constexpr bool is_integer(field_type type) {
    return (type >= field_type::boolean && type <= field_type::uint128) || type == field_type::code_point;
  }

  void add_field(std::string_view name, field_type type, bool is_array, bool is_dynamic, size_t count) {
    fields_.push_back({name, type, is_array, is_dynamic, {}});
    counts_.push_back(count);
  }

  bool read_all(const event_binding& binding, const detail::reading::untrusted_bytes& payload);
  bool read_dynamic(const detail::reading::untrusted_bytes& payload, uint64_t at);
  static void find_name(const event_binding& binding, const event_binding::field& field, event_value& value);

  std::vector<event_field> fields_;
  std::vector<event_value> values_;  ///< of all fields, in a row
  std::vector<size_t> counts_;       ///< how many of them are each field's
  bool damaged_ = false;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

inline constexpr uint64_t max_name_bytes = 4096;
inline constexpr uint64_t max_shared_enumerators = 1 << 16;

/// 0: not known to this version of the format.
inline constexpr unsigned bytes_of(field_type type) {
  constexpr uint8_t sizes[] = {0, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 4, 8, 8, 2, 8, 4, 8, 8};
  const auto index = static_cast<unsigned>(type);
  return index < sizeof(sizes) ? sizes[index] : 0;
}

/// One element of a field; the caller has checked that it is there.
inline event_value value_at(field_type type, const untrusted_bytes& payload, uint64_t at) {
  event_value value{type, false, false, 0, 0, {}};
  switch (bytes_of(type)) {
    case 1: value.low = payload.u8(at); break;
    case 2: value.low = payload.u16(at); break;
    case 4: value.low = payload.u32(at); break;
    case 8: value.low = payload.u64(at); break;
    default: value.low = payload.u64(at), value.high = payload.u64(at + 8);
  }
  const auto extend = [&](int64_t number) {
    value.low = static_cast<uint64_t>(number);
    value.high = number < 0 ? ~0ULL : 0;
  };
  switch (type) {
    case field_type::int8: extend(static_cast<int8_t>(value.low)); break;
    case field_type::int16: extend(static_cast<int16_t>(value.low)); break;
    case field_type::int32: extend(static_cast<int32_t>(value.low)); break;
    case field_type::int64:
    case field_type::duration: extend(static_cast<int64_t>(value.low)); break;
    default: break;
  }
  return value;
}

/// False when the entry contradicts itself. `entry` is as in the image.
inline bool read_binding(const untrusted_bytes& entry, event_binding& out) {
  const unsigned field_count = entry.u16(offsetof(binding, field_count));
  const unsigned enumerator_count = entry.u16(offsetof(binding, enumerator_count));
  const uint64_t fields_at = sizeof(binding), enumerators_at = fields_at + field_count * sizeof(binding_field);
  uint64_t at = enumerators_at + enumerator_count * sizeof(binding_enumerator);
  if (at > entry.size()) return false;
  bool complete = true;
  const auto name = [&](uint64_t size) {
    complete = complete && entry.has(at, size);
    const std::string_view text = entry.view(at, size);
    at += size;
    return text.substr(0, max_name_bytes);
  };

  out.id = entry.u16(offsetof(binding, id));
  out.kind = static_cast<event_kind>(entry.u8(offsetof(binding, kind)));
  out.flags = entry.u8(offsetof(binding, flags));
  out.type_id = entry.u64(offsetof(binding, type_id));
  out.line = entry.u32(offsetof(binding, line));
  out.name = name(entry.u16(offsetof(binding, name_bytes)));
  out.category = name(entry.u16(offsetof(binding, category_bytes)));
  out.file = name(entry.u16(offsetof(binding, file_bytes)));
  out.function = name(entry.u16(offsetof(binding, function_bytes)));

  uint64_t shared = 0;
  bool readable = true;
  out.fields.reserve(field_count);
  for (unsigned i = 0; i < field_count; ++i) {
    const uint64_t from = fields_at + i * sizeof(binding_field);
    event_binding::field f;
    f.name = name(entry.u16(from + offsetof(binding_field, name_bytes)));
    f.type = static_cast<field_type>(entry.u8(from + offsetof(binding_field, type)));
    f.is_array = entry.u16(from + offsetof(binding_field, is_array)) != 0;
    f.count = entry.u16(from + offsetof(binding_field, count));
    f.offset = entry.u16(from + offsetof(binding_field, offset));
    f.first_enumerator = entry.u16(from + offsetof(binding_field, first_enumerator));
    f.enumerator_count = entry.u16(from + offsetof(binding_field, enumerator_count));
    shared += f.enumerator_count;
    // Of a newer minor version, or damaged: this field and those after it cannot be read.
    readable = readable && bytes_of(f.type) != 0 && f.count != 0 && f.offset >= out.fixed_bytes;
    if (readable) {
      out.fixed_bytes = f.offset + uint64_t{bytes_of(f.type)} * f.count;
      ++out.readable;
    }
    out.fields.push_back(f);
  }
  out.enumerators.reserve(enumerator_count);
  for (unsigned i = 0; i < enumerator_count; ++i) {
    const uint64_t from = enumerators_at + i * sizeof(binding_enumerator);
    const auto value = static_cast<int64_t>(entry.u64(from + offsetof(binding_enumerator, value)));
    out.enumerators.push_back({value, name(entry.u16(from + offsetof(binding_enumerator, name_bytes)))});
  }
  if (shared > max_shared_enumerators) out.enumerators.clear();
  for (uint32_t i = 0; i < out.enumerators.size(); ++i) out.by_value.push_back(i);
  std::stable_sort(out.by_value.begin(), out.by_value.end(),
                   [&](uint32_t a, uint32_t b) { return out.enumerators[a].value < out.enumerators[b].value; });
  return complete;
}

}  // namespace reading
}  // namespace detail

/// Of several enumerators of a field with one value, the last.
inline void event_fields::find_name(const event_binding& binding, const event_binding::field& field,
                                    event_value& value) {
  const auto number = static_cast<int64_t>(value.low);
  if (value.high != (number < 0 ? ~0ULL : 0)) return;  // beyond what an enumerator can be
  const uint32_t end = uint32_t{field.first_enumerator} + field.enumerator_count;
  const auto found = std::partition_point(binding.by_value.begin(), binding.by_value.end(), [&](uint32_t i) {
    return binding.enumerators[i].value < number || (binding.enumerators[i].value == number && i < end);
  });
  if (found == binding.by_value.begin()) return;
  const uint32_t i = *(found - 1);
  if (i < field.first_enumerator || binding.enumerators[i].value != number) return;
  value.is_named = true;
  value.text = binding.enumerators[i].name;
}

inline bool event_fields::read_all(const event_binding& binding, const detail::reading::untrusted_bytes& payload) {
  uint64_t tail = binding.fixed_bytes;
  if (tail > payload.size()) return false;
  for (size_t n = 0; n < binding.readable; ++n) {
    const event_binding::field& field = binding.fields[n];
    const unsigned size = detail::reading::bytes_of(field.type);
    const unsigned count = field.is_array ? field.count : 1;
    add_field(field.name, field.type, field.is_array, false, count);
    for (unsigned i = 0; i < field.count; ++i) {
      event_value value = detail::reading::value_at(field.type, payload, field.offset + uint64_t{i} * size);
      if (field.type == field_type::string) {
        const uint64_t bytes = value.low & ~uint64_t{detail::string_cut};
        if (!payload.has(tail, bytes)) return false;
        value.is_cut = (value.low & detail::string_cut) != 0;
        value.text = payload.view(tail, bytes);
        tail += bytes;
      } else if (field.enumerator_count != 0 && is_integer(field.type)) {
        find_name(binding, field, value);
      }
      if (i < count) values_.push_back(value);
    }
  }
  return (binding.flags & detail::binding_flag_dynamic) == 0 || read_dynamic(payload, (tail + 7) & ~uint64_t{7});
}

inline bool event_fields::read_dynamic(const detail::reading::untrusted_bytes& payload, uint64_t at) {
  const size_t first = fields_.size(), first_value = values_.size();
  while (payload.has(at, 8)) {
    const uint64_t word = payload.u64(at);
    if (word == 0) break;
    const auto type = static_cast<field_type>(word & 0xff);
    const uint64_t key_bytes = word >> 16 & 0xffff, value_bytes = word >> 32 & 0xffff, at_value = at + 8 + key_bytes;
    if (!payload.has(at + 8, key_bytes)) return false;
    const std::string_view key = payload.view(at + 8, key_bytes);
    const uint64_t size = type == field_type::string ? value_bytes : detail::reading::bytes_of(type);
    if (detail::reading::bytes_of(type) != 0) {
      if (!payload.has(at_value, size)) return false;
      event_value value{type, (word >> 48 & 1) != 0, false, 0, 0, {}};
      if (type == field_type::string) {
        value.text = payload.view(at_value, size);
      } else {
        value = detail::reading::value_at(type, payload, at_value);
      }
      // A key given twice has its last value, in its first place.
      size_t n = first;
      while (n < fields_.size() && fields_[n].name != key) ++n;
      if (n == fields_.size()) {
        add_field(key, type, false, true, 1);
        values_.push_back(value);
      } else {
        fields_[n].type = type;
        values_[first_value + n - first] = value;
      }
    }
    at = (at_value + value_bytes + 7) & ~uint64_t{7};
  }
  return true;
}

CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/reader_clock.hpp ==============================================================================
// Ticks to monotonic nanoseconds, piecewise linear between clock anchors, in integers only.
#ifndef CONTRAIL_DETAIL_READER_CLOCK_HPP
#define CONTRAIL_DETAIL_READER_CLOCK_HPP

#include <algorithm>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

inline bool is_before(const clock_anchor& a, const clock_anchor& b) {
  if (a.ticks != b.ticks) return a.ticks < b.ticks;
  if (a.monotonic_ns != b.monotonic_ns) return a.monotonic_ns < b.monotonic_ns;
  if (a.realtime_ns != b.realtime_ns) return a.realtime_ns < b.realtime_ns;
  return a.boottime_ns < b.boottime_ns;
}

inline int128 magnitude(int128 value) { return value < 0 ? -value : value; }
inline int128 difference(uint64_t a, uint64_t b) { return static_cast<int128>(a) - static_cast<int128>(b); }

class reader_clock {
 public:
  reader_clock() = default;
  reader_clock(std::vector<clock_anchor> anchors, uint64_t nominal_hz) {
    anchors.erase(std::remove_if(anchors.begin(), anchors.end(), [](const clock_anchor& a) { return a.ticks == 0; }),
                  anchors.end());
    std::sort(anchors.begin(), anchors.end(), is_before);
    anchors.erase(std::unique(anchors.begin(), anchors.end(),
                              [](const auto& a, const auto& b) { return !is_before(a, b) && !is_before(b, a); }),
                  anchors.end());
    anchors = read_at_once(anchors);
    if (anchors.empty()) anchors.push_back({});
    const std::vector<clock_anchor> good = plausible(anchors, nominal_hz);
    ignored_ = anchors.size() - good.size();
    make_segments(thin(in_order(good)), nominal_hz);
  }

  /// Exactly a.monotonic_ns + floor((ticks - a.ticks) * (b.monotonic_ns - a.monotonic_ns) / (b.ticks - a.ticks)),
  /// held within 2^62 - 1 either way, so that the difference of two moments has 64 bits.
  int64_t ns(uint64_t ticks) const {
    const auto next = std::upper_bound(bounds_.begin(), bounds_.end(), ticks);
    const segment& on = segments_[static_cast<size_t>(next - bounds_.begin())];
    if (ticks >= on.from_ticks) {
      return limited(on.from_ns, static_cast<uint128>(ticks - on.from_ticks) * on.ns / on.ticks);
    }
    // Of a negative product the floor is the next one down.
    return limited_down(on.from_ns, (static_cast<uint128>(on.from_ticks - ticks) * on.ns + (on.ticks - 1)) / on.ticks);
  }
  /// Unix nanoseconds of a monotonic moment, as the newest anchor saw the offset.
  int64_t realtime(int64_t monotonic) const {
    return held(monotonic - static_cast<int128>(last_.monotonic_ns) + static_cast<int128>(last_.realtime_ns));
  }

  uint64_t hz() const { return hz_; }
  const clock_anchor& last() const { return last_; }
  size_t ignored() const { return ignored_; }  ///< anchors that contradict the others
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  /// Anchors nearer to each other would turn their reading noise into changes of rate.
  static constexpr uint64_t spacing_ns = 100'000'000;
  static constexpr int64_t suspend_ns = 1'000'000, slow_ns = 1'000'000'000;
  static constexpr int64_t bound = (int64_t{1} << 62) - 1;

  struct segment {
    uint64_t from_ticks, from_ns;
    uint64_t ticks, ns;  ///< of its length
  };

  static int64_t held(int128 ns) {
    return ns > bound ? bound : ns < -bound ? -bound : static_cast<int64_t>(ns);
  }
  static int64_t limited(uint64_t from, uint128 more) {
    return more > static_cast<uint128>(bound) ? bound : held(static_cast<int128>(from) + static_cast<int128>(more));
  }
  static int64_t limited_down(uint64_t from, uint128 less) {
    return less >> 64 > 1 ? -bound : held(static_cast<int128>(from) - static_cast<int128>(less));
  }
  static int128 asleep(const clock_anchor& a) { return difference(a.boottime_ns, a.monotonic_ns); }

  /// Without those whose clocks were read one long after the other, since their thread was interrupted: they say more
  /// time asleep, which was read last.
  static std::vector<clock_anchor> read_at_once(const std::vector<clock_anchor>& anchors) {
    std::vector<clock_anchor> kept;
    for (size_t i = 0; i < anchors.size(); ++i) {
      const int128 more = stands_out(anchors, i);
      if (more <= suspend_ns || more >= slow_ns) kept.push_back(anchors[i]);
    }
    return kept;
  }

  /// How much more time asleep an anchor says than both its neighbours; 0 where these do not agree.
  static int128 stands_out(const std::vector<clock_anchor>& anchors, size_t i) {
    if (i == 0 || i + 1 >= anchors.size()) return 0;
    const int128 before = asleep(anchors[i - 1]), after = asleep(anchors[i + 1]);
    return magnitude(before - after) < suspend_ns ? asleep(anchors[i]) - before : 0;
  }

  /// Without the anchors that damage moved: those off the nominal rate by half, seen from the median.
  static std::vector<clock_anchor> plausible(const std::vector<clock_anchor>& anchors, uint64_t hz) {
    const auto rate = static_cast<int128>(hz);
    const auto offset = [&](const clock_anchor& a) {
      return static_cast<int128>(a.monotonic_ns) * rate - static_cast<int128>(a.ticks) * 1'000'000'000;
    };
    std::vector<clock_anchor> order = anchors;
    std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) { return offset(a) < offset(b); });
    const clock_anchor middle = order[order.size() / 2];

    const auto fits = [&](const clock_anchor& a) {
      const int128 expected = difference(a.ticks, middle.ticks) * 1'000'000'000;
      const int128 slack = magnitude(expected) / 2 + 1'000'000 * rate;
      return magnitude(difference(a.monotonic_ns, middle.monotonic_ns) * rate - expected) <= slack ||
             magnitude(difference(a.boottime_ns, middle.boottime_ns) * rate - expected) <= slack;
    };
    std::vector<clock_anchor> good;
    for (size_t i = 0; i < anchors.size(); ++i) {
      // Only damage undoes a suspend.
      if (fits(anchors[i]) && magnitude(stands_out(anchors, i)) <= suspend_ns) good.push_back(anchors[i]);
    }
    return 2 * good.size() >= anchors.size() ? good : anchors;
  }

  /// Without those that go back. Threads that read the clocks at once may come in either order; more is damage.
  std::vector<clock_anchor> in_order(const std::vector<clock_anchor>& anchors) {
    std::vector<clock_anchor> kept;
    for (const clock_anchor& a : anchors) {
      if (kept.empty() || (a.ticks > kept.back().ticks && a.monotonic_ns >= kept.back().monotonic_ns)) {
        kept.push_back(a);
      } else if (magnitude(difference(a.monotonic_ns, kept.back().monotonic_ns)) > suspend_ns) {
        ++ignored_;
      }
    }
    return kept;
  }

  /// The first, the last, those around a suspend, and in between what is spacing_ns apart.
  std::vector<clock_anchor> thin(const std::vector<clock_anchor>& anchors) {
    std::vector<size_t> kept{0};
    const size_t last = anchors.size() - 1;
    const auto since_kept = [&](size_t i) { return anchors[i].monotonic_ns - anchors[kept.back()].monotonic_ns; };
    for (size_t i = 1; i < anchors.size(); ++i) {
      const int128 slept = asleep(anchors[i]) - asleep(anchors[i - 1]);
      if (magnitude(slept) > suspend_ns) {
        notes_.push_back("the machine was suspended for " + duration_text(slept) +
                         "; times around it are less exact");
        if (kept.back() != i - 1) kept.push_back(i - 1);
        kept.push_back(i);
      } else if (since_kept(i) >= spacing_ns) {
        kept.push_back(i);
      }
    }
    if (kept.size() > 1 && since_kept(last) > 0 && since_kept(last) < spacing_ns && notes_.empty()) kept.pop_back();
    if (kept.back() != last) kept.push_back(last);
    std::vector<clock_anchor> chosen;
    for (const size_t i : kept) chosen.push_back(anchors[i]);
    return chosen;
  }

  void make_segments(const std::vector<clock_anchor>& chosen, uint64_t nominal_hz) {
    const clock_anchor& first = chosen.front();
    last_ = chosen.back();
    segments_.clear();
    if (last_.monotonic_ns - first.monotonic_ns < 10'000) {
      segments_.push_back({first.ticks, first.monotonic_ns, nominal_hz, 1'000'000'000});
    } else {
      for (size_t i = 0; i + 1 < chosen.size(); ++i) {
        const clock_anchor &a = chosen[i], &b = chosen[i + 1];
        segments_.push_back({a.ticks, a.monotonic_ns, b.ticks - a.ticks, b.monotonic_ns - a.monotonic_ns});
        if (i > 0) bounds_.push_back(a.ticks);
      }
    }
    uint64_t ticks = 0, ns = 0;
    for (const segment& s : segments_) ticks += s.ticks, ns += s.ns;
    const uint128 hz = static_cast<uint128>(ticks) * 1'000'000'000 / ns;
    hz_ = hz > never ? never : static_cast<uint64_t>(hz);
    size_t off = 0;
    for (const segment& s : segments_) {
      const uint128 here = static_cast<uint128>(s.ns) * ticks, overall = static_cast<uint128>(s.ticks) * ns;
      off += (here > overall ? here - overall : overall - here) > overall / 1000;
    }
    if (off != 0) {
      notes_.push_back("the clock's rate is off by more than 1000 ppm in " + std::to_string(off) + " of " +
                       std::to_string(segments_.size()) + " segments");
    }
  }

  std::vector<segment> segments_{{0, 0, 1, 1}};
  std::vector<uint64_t> bounds_;  ///< where the second segment begins, the third, …
  clock_anchor last_{};
  uint64_t hz_ = 0;
  size_t ignored_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/reader_records.hpp ============================================================================
// From a chunk's words to records.
#ifndef CONTRAIL_DETAIL_READER_RECORDS_HPP
#define CONTRAIL_DETAIL_READER_RECORDS_HPP

#include <algorithm>
#include <utility>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

/// A record, in ticks. A payload stands in the input.
struct reader_record {
  static constexpr uint16_t open_mark = 0x8000;

  uint64_t start, end;
  uint64_t payload_at;
  uint16_t id;
  uint16_t words;  ///< of the payload, with open_mark if the region has not ended
  uint32_t tid;    ///< of an async region: who began it
  static constexpr uint64_t span_words_before = 8 * (span_words - span_id);  ///< bytes before the payload of a span

  bool is_open() const { return (words & open_mark) != 0; }
  uint64_t payload_bytes() const { return 8 * uint64_t{words & 0x3ffU}; }
};

/// In the order in which they were written.
struct reader_records {
  std::vector<reader_record> regions, points, asyncs, spans;
  std::vector<clock_anchor> anchors;
  std::vector<std::pair<uint64_t, uint64_t>> switches;  ///< ticks, the thread's current task from then on

  size_t count() const { return regions.size() + points.size() + asyncs.size() + spans.size(); }
};

struct reader_chunk {
  uint64_t at, end;  ///< in the input; what lies behind `end` is no record
  uint64_t ticket, records_before, epoch_base, sealed_ticks;
  uint64_t writer_generation;
  uint32_t writer_index, tid, lane;
  clock_anchor anchor;
  std::string_view thread_name;
};

inline constexpr uint64_t anchor_word = long_header(long_form::anchor, 0, 4);

/// Ticks between which the times of a chunk's records lie.
struct record_bounds {
  uint64_t earliest;  ///< when the recording began: no region of it began before
  uint64_t oldest;    ///< end of a record
  uint64_t latest;
};

/// A long form whose words are all there; false for a time that cannot be, or too few words.
inline bool decode_long_form(const untrusted_bytes& data, uint64_t word, uint64_t at, const record_bounds& bounds,
                             reader_records& out) {
  constexpr uint8_t fixed_words[] = {0, 4, 2, 1, 3, 1 + span_words, 2};
  const unsigned form = word >> 2 & 15, words = word >> 6 & 1023;
  if (form >= sizeof(fixed_words)) return true;  // of a newer minor version
  const unsigned fixed = fixed_words[form];
  if (words < fixed) return false;
  const auto id = static_cast<uint16_t>(word >> 16);
  const uint64_t first = data.u64(at), second = data.u64(at + 8), payload_at = at + 8 * uint64_t{fixed};
  const auto payload_words = static_cast<uint16_t>(words - fixed);
  if (form == static_cast<unsigned>(long_form::anchor)) {
    if (word == anchor_word) out.anchors.push_back(data.anchor(at));
    return true;
  }
  if (form == static_cast<unsigned>(long_form::span)) {  // the end comes first
    if (second > first || first < bounds.oldest || first > bounds.latest) return false;
    out.spans.push_back({std::max(second, std::min(bounds.earliest, first)), first, payload_at, id, payload_words, 0});
    return true;
  }
  if (form == static_cast<unsigned>(long_form::current_task)) {
    if (first < bounds.oldest || first > bounds.latest) return false;
    out.switches.emplace_back(first, second);
    return true;
  }
  if (form == static_cast<unsigned>(long_form::point)) {
    if (first < bounds.oldest || first > bounds.latest) return false;
    out.points.push_back({first, first, payload_at, id, payload_words, 0});
    return true;
  }
  if (first > second || second < bounds.oldest || second > bounds.latest) return false;
  // A region cannot have begun before the recording did.
  const uint64_t begin = std::max(first, std::min(bounds.earliest, second));
  const bool is_async = form == static_cast<unsigned>(long_form::async_region);
  (is_async ? out.asyncs : out.regions)
      .push_back({begin, second, payload_at, id, payload_words, is_async ? data.u32(at + 16) : 0});
  return true;
}

/// Appends a chunk's records; false when it is damaged: then those before the damage.
inline bool decode_chunk(const untrusted_bytes& data, const reader_chunk& chunk, uint64_t earliest, uint64_t latest,
                         reader_records& out) {
  uint64_t base = chunk.epoch_base, at = chunk.at + chunk_header_bytes;
  // A chunk that was opened before the recording began can hold records of an earlier one.
  const record_bounds bounds{earliest, base >= earliest ? earliest : 0, latest};
  if (at < chunk.end && (base == 0 || base > latest)) return false;
  while (at < chunk.end) {
    const uint64_t word = data.u64(at);
    at += 8;
    const uint64_t left = (chunk.end - at) / 8;
    const uint64_t end = base + (word >> end_time_shift), duration = word >> duration_shift & (epoch_ticks - 1);
    unsigned words = 0;
    switch (static_cast<record_tag>(word & 3)) {
      case record_tag::region:
        out.regions.push_back({end - duration, end, 0, static_cast<uint16_t>(word >> id_shift), 0, 0});
        break;
      case record_tag::region_payload:
        words = word >> 2 & 15;
        if (words > left) return false;
        out.regions.push_back({end - duration, end, at, static_cast<uint16_t>(word >> payload_region_id_shift & 0xfff),
                               static_cast<uint16_t>(words), 0});
        break;
      case record_tag::point:
        words = word >> duration_shift & 0xff;
        if (words > left || word == 0) return false;
        out.points.push_back({end, end, at, static_cast<uint16_t>(word >> id_shift), static_cast<uint16_t>(words), 0});
        break;
      case record_tag::long_form:
        if ((word >> 2 & 15) == static_cast<unsigned>(long_form::epoch)) {
          base = word & ~(epoch_ticks - 1);
          if (base == 0 || base > latest) return false;
          break;
        }
        words = word >> 6 & 1023;
        if (words > left || !decode_long_form(data, word, at, bounds, out)) return false;
        break;
    }
    at += 8 * uint64_t{words};
  }
  return true;
}

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
// ==== contrail/detail/reader_stream.hpp =============================================================================
// A session's stream as its parts, up to the last whole block: bindings, thread slots, open spans, and chunks put
// together from their pieces.
#ifndef CONTRAIL_DETAIL_READER_STREAM_HPP
#define CONTRAIL_DETAIL_READER_STREAM_HPP

// ==== contrail/detail/stream.hpp ====================================================================================
// Every byte of a stream that image.hpp does not have. What a session writes: a superblock, then blocks, each a
// stream_block and its content. A reader takes them in order up to the last whole one, which may be anywhere: the
// process may have been killed. A header of its own, since what only records need not compile it.
#ifndef CONTRAIL_DETAIL_STREAM_HPP
#define CONTRAIL_DETAIL_STREAM_HPP

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

enum class block_type : uint32_t {
  binding = 1,  ///< one entry; before the first block with its id
  slot = 2,     ///< a thread_slot without its frames, then each open region's index as a word and its frame
  chunk = 3,    ///< a chunk's header with its extent so far, then the words from `begin` to there
  state = 4,    ///< a stream_state of that moment
  end = 5,      ///< a stream_state: nothing follows
  span = 6      ///< an open span's span_entry; without content: what that entry held has ended
};

struct stream_block {
  block_type type;
  uint32_t begin;  ///< of a chunk: bytes from its start to the first word that is here; of a span: its index; else 0
  uint64_t bytes;  ///< of the content, a multiple of 8
};
static_assert(sizeof(stream_block) == 16);

/// Why a stream has an end.
enum class stream_cause : uint32_t {
  none = 0,      ///< it has none yet
  stopped = 1,   ///< session::stop, or the end of the session's scope
  failed = 2,    ///< a write failed, with the errno value beside it
  recorder = 3   ///< the flight recorder was stopped
};

struct stream_state {
  clock_anchor anchor;
  uint64_t next_ticket;
  uint64_t attached;
  uint64_t attached_slots;
  uint64_t dropped[8];      ///< as in the superblock: since the recorder's start
  uint64_t lost_records;    ///< recycled before the session had copied them, or not written
  uint64_t lost_chunks;     ///< those that lost any
  uint64_t chunks;          ///< of which a part is in the stream
  stream_cause cause;
  int32_t error_number;
};
static_assert(sizeof(stream_state) == 152);

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <array>
#include <map>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

class stream_parts {
 public:
  struct place {
    uint64_t at, end;
  };
  /// What one slot held last, and one that nobody has any more.
  struct slot {
    place where;
    std::array<uint64_t, lane_count> dropped_before;  ///< by lane, when the session began
    bool is_left;
  };
  using writer = std::pair<uint32_t, uint32_t>;  ///< a slot's index and generation

  explicit stream_parts(const untrusted_bytes& data) : data_(data) {
    uint64_t at = sizeof(superblock);
    while (!has_end && data.has(at, sizeof(stream_block))) {
      const uint32_t kind = data.u32(at + offsetof(stream_block, type));
      const uint32_t begin = data.u32(at + offsetof(stream_block, begin));
      const uint64_t size = data.u64(at + offsetof(stream_block, bytes));
      at += sizeof(stream_block);
      if (size % 8 != 0 || !data.has(at, size)) break;
      take(static_cast<block_type>(kind), {at, at + size}, begin);
      at += size;
    }
  }

  /// The input, and behind it the chunks that are spread over several blocks. `chunks` says afterwards where each is.
  std::string assemble() {
    std::string all(data_.view(0, data_.size()));
    for (auto& [ticket, pieces] : pieces_) {
      place made = pieces.back();
      if (pieces.size() > 1) {
        made.at = all.size();
        all += data_.view(pieces.back().at, chunk_header_bytes);
        for (const place& piece : pieces) {
          const uint64_t words = piece.at + chunk_header_bytes;
          all += data_.view(words, piece.end - words);
        }
        made.end = all.size();
      }
      chunks.push_back(made);
    }
    return all;
  }

  std::vector<place> bindings;
  std::map<uint32_t, slot> slots;  ///< by index
  std::map<writer, std::string_view> names;
  std::map<uint32_t, place> spans;  ///< that are open, by index
  std::vector<place> chunks;  ///< by ticket
  uint64_t state_at = 0;      ///< of the last one; 0: there is none
  bool has_end = false;
  uint64_t damaged = 0;

 private:
  void take(block_type kind, place where, uint32_t begin) {
    const uint64_t size = where.end - where.at;
    if (kind == block_type::binding) {
      bindings.push_back(where);
    } else if (kind == block_type::slot && size >= offsetof(thread_slot, frames)) {
      take_slot(where);
    } else if (kind == block_type::chunk) {
      damaged += !take_piece(where, begin);
    } else if (kind == block_type::span && size >= sizeof(span_entry)) {
      spans[begin] = where;
    } else if (kind == block_type::span) {
      spans.erase(begin);
    } else if (kind == block_type::state || kind == block_type::end) {
      if (size >= sizeof(stream_state)) state_at = where.at;
      has_end = kind == block_type::end;
    }
  }

  void take_slot(place where) {
    const uint64_t state = data_.u64(where.at + offsetof(thread_slot, state));
    const uint32_t index = data_.u32(where.at + offsetof(thread_slot, tid_index) + 4);
    const uint64_t name_version = data_.u64(where.at + offsetof(thread_slot, name_version));
    const auto name = data_.c_string(where.at + offsetof(thread_slot, name), thread_name_bytes);
    if (name_version != 0 && name_version % 2 == 0 && !name.empty() && state >> 40 == 0) {
      names[{index, static_cast<uint32_t>(state >> 8)}] = name;
    }
    if (state_at == 0) {
      for (unsigned i = 0; i < lane_count; ++i) before_[{index, state >> 8}][i] = dropped_at(where, i);
    }
    const auto before = before_.find({index, state >> 8});
    const auto found = slots.find(index);
    if ((state & 0xff) != 0) {
      slots[index] = {where, before == before_.end() ? std::array<uint64_t, lane_count>{} : before->second, false};
    } else if (found != slots.end()) {
      found->second.is_left = true;
    }
  }
  uint64_t dropped_at(place where, unsigned lane_index) const {
    return data_.u64(where.at + offsetof(thread_slot, lanes) + lane_index * sizeof(lane) + offsetof(lane, dropped));
  }

  /// False for one that does not begin where the one before ended.
  bool take_piece(place where, uint32_t begin) {
    if (where.end - where.at < chunk_header_bytes) return false;
    const uint64_t ticket = data_.u64(where.at + offsetof(chunk, ticket));
    const uint32_t extent = data_.u32(where.at + offsetof(chunk, extent));
    const auto found = pieces_.find(ticket);
    const uint64_t filled =
        found == pieces_.end() ? uint64_t{chunk_header_bytes} : data_.u32(found->second.back().at + offsetof(chunk, extent));
    const uint64_t words_end = begin + (where.end - where.at - chunk_header_bytes);
    if (ticket == 0 || begin != filled || words_end != extent || extent > chunk_bytes) return false;
    pieces_[ticket].push_back(where);
    return true;
  }

  untrusted_bytes data_;
  std::map<uint64_t, std::vector<place>> pieces_;
  std::map<std::pair<uint32_t, uint64_t>, std::array<uint64_t, lane_count>> before_;
};

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

struct reader_slot {
  uint64_t at;  ///< in the input
  uint64_t frames_at, frames, frame_step;
  std::array<uint64_t, lane_count> dropped_before;  ///< of a stream: by lane, when the session began
  uint64_t generation, attach_ticks;
  uint32_t tid, index;
  std::string_view name;
};

class reader_image {
 public:
  explicit reader_image(const untrusted_bytes& data) : data_(data), input_bytes_(data.size()) {
    if (!read_superblock()) return;
    if (is_stream_) read_stream();
    cut_ = std::max(start().ticks, is_dump_ ? in_superblock(offsetof(superblock, cutoff_ticks)) : 0);
    if (!is_stream_) {
      read_slots();
      read_spans();
      read_chunks();
      read_bindings();
    }
    make_clock();
    const uint64_t hour = 3600 * tick_hz_;
    // No record can be much younger than the newest clock reading; a damaged time would stretch the whole trace.
    latest_ = saturating_add(clock_.last().ticks, hour);
  }

  const untrusted_bytes& data() const { return data_; }
  const std::string& reason() const { return reason_; }  ///< empty if it can be read
  uint64_t input_bytes() const { return input_bytes_; }
  bool is_dump() const { return is_dump_; }      ///< or a stream
  bool is_stream() const { return is_stream_; }
  uint64_t lost() const { return lost_; }        ///< of a stream: records that the session counted as lost
  uint64_t tick_hz() const { return tick_hz_; }
  uint64_t cut() const { return cut_; }
  uint64_t torn() const { return torn_; }
  clock_anchor start() const { return data_.anchor(offsetof(superblock, start)); }
  clock_anchor dump() const { return is_dump_ ? data_.anchor(offsetof(superblock, dump)) : clock_anchor{}; }
  uint64_t in_superblock(uint64_t offset) const { return data_.u64(offset); }
  uint32_t half_in_superblock(uint64_t offset) const { return data_.u32(offset); }
  const reader_clock& clock() const { return clock_; }
  const std::vector<reader_slot>& slots() const { return slots_; }
  const std::vector<reader_chunk>& chunks() const { return chunks_; }  ///< by ticket
  const std::vector<reader_record>& open_spans() const { return open_spans_; }
  uint64_t latest() const { return latest_; }
  std::vector<std::string>& warnings() { return warnings_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::vector<std::string>& notes() const { return notes_; }

  /// Null if the dump does not explain it.
  const event_binding* binding_of(uint16_t id) const {
    return id < by_id_.size() && by_id_[id] != 0 ? &bindings_[by_id_[id] - 1] : nullptr;
  }
  const std::deque<event_binding>& bindings() const { return bindings_; }

  /// Appends a chunk's records; false when it is damaged: then those before the damage.
  bool decode(const reader_chunk& chunk, reader_records& out) const {
    return decode_chunk(data_, chunk, start().ticks, latest_, out);
  }

  /// The regions of a slot that were open, the outer first.
  std::vector<reader_record> open_regions(const reader_slot& slot) const {
    std::vector<reader_record> found;
    for (uint64_t i = 0; i < slot.frames; ++i) {
      const uint64_t at = slot.frames_at + i * slot.frame_step;
      const uint64_t word = data_.u64(at + offsetof(frame, word)), start = data_.u64(at + offsetof(frame, start_ticks));
      const uint64_t site = (start << duration_shift) - word;
      if (word == 0 || (site & 3) == 0 || site > site_word_mask) continue;
      if (start < this->start().ticks || start > latest_) continue;
      const bool has_payload = (site & 3) == static_cast<unsigned>(record_tag::region_payload);
      const auto id = static_cast<uint16_t>(site >> (has_payload ? payload_region_id_shift : id_shift));
      found.push_back({start, 0, at + offsetof(frame, payload), id,
                       static_cast<uint16_t>(frame_payload_words | reader_record::open_mark), 0});
    }
    return found;
  }

 private:
  struct entries {
    uint64_t at, count, size;
    uint64_t end() const { return at + count * size; }
  };

  bool read_superblock();
  void read_slots();
  void read_spans();
  void read_span_at(uint64_t at);
  reader_slot slot_at(uint64_t at) const;
  void index_slots();
  void read_chunks();
  reader_chunk chunk_at(uint64_t at) const;
  void read_stream();
  uint64_t open_end(uint64_t at) const;
  void read_bindings();
  bool read_binding_at(uint64_t at, uint64_t limit);

  void warn(std::string what) { warnings_.push_back(std::move(what)); }

  /// `count` entries at `at`, as far as they lie within the input.
  entries fitting(const char* what, uint64_t at, uint64_t count, uint64_t size) {
    uint64_t fit = 0;
    if (at >= sizeof(superblock) && at <= data_.size()) fit = std::min(count, (data_.size() - at) / size);
    if (fit < count) {
      warn("only " + std::to_string(fit) + " of " + std::to_string(count) + " " + what + " are in the file");
    }
    return {at, fit, size};
  }

  void make_clock() {
    std::vector<clock_anchor> anchors{start(), data_.anchor(offsetof(superblock, ready))};
    if (is_dump_) anchors.push_back(dump());
    if (is_stream_) anchors.push_back(session_start_);
    if (end_of_dump_at_ != 0) anchors.push_back(data_.anchor(end_of_dump_at_ + offsetof(end_of_dump, anchor)));
    reader_records found;
    for (const reader_chunk& chunk : chunks_) {
      anchors.push_back(chunk.anchor);
      if (has_anchor(chunk)) decode_chunk(data_, chunk, start().ticks, never, found);
      found.regions.clear();
      found.points.clear();
      found.asyncs.clear();
    }
    anchors.insert(anchors.end(), found.anchors.begin(), found.anchors.end());
    clock_ = reader_clock(std::move(anchors), tick_hz_);
    if (clock_.ignored() != 0) warn(std::to_string(clock_.ignored()) + " clock anchors contradict the others");
    notes_.insert(notes_.end(), clock_.notes().begin(), clock_.notes().end());
  }
  bool has_anchor(const reader_chunk& chunk) const {
    for (uint64_t at = chunk.at + chunk_header_bytes; at < chunk.end; at += 8) {
      if (data_.u64(at) == anchor_word) return true;
    }
    return false;
  }

  untrusted_bytes data_;
  uint64_t input_bytes_;
  std::string assembled_;  ///< of a stream: data_
  std::string reason_;
  bool is_dump_ = false, is_stream_ = false;
  uint64_t lost_ = 0;
  clock_anchor session_start_{};
  uint64_t tick_hz_ = 0, cut_ = 0, latest_ = 0, torn_ = 0;
  std::vector<reader_slot> slots_;
  std::vector<reader_record> open_spans_;
  std::vector<uint32_t> slot_by_index_;  ///< order in slots_ by (index, order)
  std::vector<reader_chunk> chunks_;
  std::deque<event_binding> bindings_;  ///< in the order in which they were met; none moves
  std::vector<uint32_t> by_id_;         ///< 1 more than the place in bindings_, or 0
  uint64_t bindings_read_to_ = sizeof(superblock);
  uint64_t end_of_dump_at_ = 0;
  reader_clock clock_;
  std::vector<std::string> warnings_, notes_;
};

inline bool reader_image::read_superblock() {
  if (data_.size() == 0) {
    reason_ = "it is empty";
  } else if (data_.u64(offsetof(superblock, magic)) != ~complement_of_image_magic) {
    reason_ = "it is not a contrail dump (it does not begin with contrail's magic bytes)";
  } else if (const unsigned major = data_.u16(offsetof(superblock, version_major));
             data_.size() >= 12 && major != format_major) {
    reason_ = "it has format version " + std::to_string(major) + "." +
              std::to_string(data_.u16(offsetof(superblock, version_minor))) + ", and this reader reads " +
              std::to_string(format_major) + ".x; use the one that came with the header which wrote it";
  } else if (data_.size() < sizeof(superblock)) {
    reason_ = "it is truncated: " + std::to_string(data_.size()) + " bytes do not hold the first " +
              std::to_string(sizeof(superblock));
  } else if (const uint32_t kind = data_.u32(offsetof(superblock, kind));
             kind < static_cast<uint32_t>(image_kind::live) || kind > static_cast<uint32_t>(image_kind::stream)) {
    reason_ = "it is damaged, or newer than this reader: its kind is " + std::to_string(kind) +
              ", neither a live image nor a dump nor a stream";
  }
  if (!reason_.empty()) return false;
  is_dump_ = data_.u32(offsetof(superblock, kind)) != static_cast<uint32_t>(image_kind::live);
  is_stream_ = data_.u32(offsetof(superblock, kind)) == static_cast<uint32_t>(image_kind::stream);

  const struct {
    const char* name;
    size_t offset;
    uint64_t value;
  } fixed[] = {{"superblock_bytes", offsetof(superblock, superblock_bytes), sizeof(superblock)},
               {"slot_bytes", offsetof(superblock, slot_bytes), sizeof(thread_slot)},
               {"chunk_bytes", offsetof(superblock, chunk_bytes), chunk_bytes},
               {"lane_count", offsetof(superblock, lane_count), lane_count},
               {"frame_bytes", offsetof(superblock, frame_bytes), sizeof(frame)},
               {"frame_count", offsetof(superblock, frame_count), frame_count}};
  for (const auto& size : fixed) {
    const uint32_t found = data_.u32(size.offset);
    if (found == size.value) continue;
    warn(std::string("the superblock's ") + size.name + " is " + std::to_string(found) + " instead of " +
         std::to_string(size.value));
  }
  tick_hz_ = data_.u64(offsetof(superblock, tick_hz));
  if (tick_hz_ < 100'000 || tick_hz_ > 100'000'000'000) {
    warn("the superblock's tick_hz is " + std::to_string(tick_hz_));
    tick_hz_ = 1'000'000'000;
  }
  return true;
}

/// A slot as dumps and live images have it.
inline reader_slot reader_image::slot_at(uint64_t at) const {
  const uint64_t state = data_.u64(at + offsetof(thread_slot, state));
  const uint64_t name_version = data_.u64(at + offsetof(thread_slot, name_version));
  const uint64_t tid_index = at + offsetof(thread_slot, tid_index);
  reader_slot slot{at, at + offsetof(thread_slot, frames), frame_count, sizeof(frame), {}, state >> 8,
                   data_.u64(at + offsetof(thread_slot, attach_ticks)), data_.u32(tid_index), data_.u32(tid_index + 4),
                   {}};
  if (name_version != 0 && name_version % 2 == 0) {
    slot.name = data_.c_string(at + offsetof(thread_slot, name), thread_name_bytes);
  }
  return slot;
}

inline void reader_image::read_slots() {
  const entries all = fitting("thread slots", data_.u64(offsetof(superblock, slots_offset)),
                              data_.u32(offsetof(superblock, slot_count)), sizeof(thread_slot));
  std::vector<reader_slot> found;
  for (uint64_t at = all.at; at < all.end(); at += all.size) {
    if ((data_.u64(at + offsetof(thread_slot, state)) & 0xff) != 0) found.push_back(slot_at(at));
  }
  // Of several slots with one index, which only damage brings about, the last one holds, in the first one's place.
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < found.size(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return found[a].index < found[b].index; });
  std::vector<bool> is_first(found.size(), false);
  for (size_t i = 0; i < order.size();) {
    size_t next = i + 1;
    while (next < order.size() && found[order[next]].index == found[order[i]].index) ++next;
    is_first[order[i]] = true;
    found[order[i]] = found[order[next - 1]];
    i = next;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (is_first[i]) slots_.push_back(found[i]);
  }
  index_slots();
}

inline void reader_image::index_slots() {
  for (uint32_t i = 0; i < slots_.size(); ++i) slot_by_index_.push_back(i);
  std::sort(slot_by_index_.begin(), slot_by_index_.end(),
            [&](uint32_t a, uint32_t b) { return slots_[a].index < slots_[b].index; });
}

/// The bytes in use of a chunk that a live image's thread still writes; 0: none can be told.
inline uint64_t reader_image::open_end(uint64_t at) const {
  const uint64_t writer = at + offsetof(chunk, writer);
  const uint32_t index = data_.u32(writer), lane_index = data_.u32(at + offsetof(chunk, tid_lane) + 4);
  const auto found = std::partition_point(slot_by_index_.begin(), slot_by_index_.end(),
                                          [&](uint32_t i) { return slots_[i].index < index; });
  if (found == slot_by_index_.end() || slots_[*found].index != index || lane_index >= lane_count) return 0;
  const reader_slot& slot = slots_[*found];
  if (slot.generation != data_.u32(writer + 4)) return 0;
  const uint64_t cursor = data_.u64(slot.at + offsetof(thread_slot, lanes) + lane_index * sizeof(lane));
  const uint64_t base = data_.u64(offsetof(superblock, base_address));
  if (cursor < base || cursor - base < at) return 0;
  const uint64_t end = cursor - base - at;
  return end >= chunk_header_bytes && end <= chunk_bytes ? end : 0;
}

/// A chunk's header, whose words are from there on.
inline reader_chunk reader_image::chunk_at(uint64_t at) const {
  return {at, 0, data_.u64(at + offsetof(chunk, ticket)), data_.u64(at + offsetof(chunk, records_before)),
          data_.u64(at + offsetof(chunk, epoch_base)), data_.u64(at + offsetof(chunk, sealed_ticks)),
          data_.u32(at + offsetof(chunk, writer) + 4), data_.u32(at + offsetof(chunk, writer)),
          data_.u32(at + offsetof(chunk, tid_lane)), data_.u32(at + offsetof(chunk, tid_lane) + 4),
          data_.anchor(at + offsetof(chunk, anchor)), data_.c_string(at + offsetof(chunk, thread_name), thread_name_bytes)};
}

/// In the order of their tickets.
inline void reader_image::read_chunks() {
  const uint64_t count = data_.u32(offsetof(superblock, chunk_count));
  entries all = fitting("chunks", data_.u64(offsetof(superblock, chunks_offset)), count, chunk_bytes);
  entries states{};
  uint64_t told = all.count, skipped = 0, damaged = 0;
  if (!is_dump_) {
    states = fitting("chunk states", data_.u64(offsetof(superblock, chunk_states_offset)), count, 8);
    told = std::min(all.count, states.count);
  } else if (all.count < count && all.end() >= sizeof(superblock) && data_.has(all.end(), chunk_header_bytes)) {
    told = ++all.count;  // of the next chunk the beginning is there
  }
  for (uint64_t i = 0; i < told; ++i) {
    const uint64_t at = all.at + i * chunk_bytes;
    reader_chunk found = chunk_at(at);
    uint64_t end = data_.u32(at + offsetof(chunk, extent));
    if (is_dump_) {
      if (found.ticket == 0) {
        ++torn_;
        continue;
      }
    } else {
      const uint64_t state = data_.u64(states.at + 8 * i);
      if ((state & 3) != static_cast<unsigned>(chunk_state::open) &&
          (state & 3) != static_cast<unsigned>(chunk_state::sealed)) {
        continue;
      }
      if (end == 0) end = open_end(at);
      if (end == 0 || found.ticket != state >> 2) {
        ++skipped;  // the process died while it took, opened or sealed this chunk
        continue;
      }
    }
    if (end >= chunk_header_bytes && end <= chunk_bytes && end % 8 == 0 && found.lane < lane_count &&
        found.epoch_base % epoch_ticks == 0) {
      found.end = at + std::min(end, (data_.size() - at) & ~uint64_t{7});
      chunks_.push_back(found);
    } else {
      ++damaged;
    }
  }
  std::stable_sort(chunks_.begin(), chunks_.end(), [](const auto& a, const auto& b) { return a.ticket < b.ticket; });
  const std::string of = " of " + std::to_string(all.count) + " chunks ";
  if (skipped != 0) notes_.push_back(std::to_string(skipped) + of + "were changing hands when the process ended");
  if (damaged != 0) warn(std::to_string(damaged) + of + "are damaged");
}

/// Those that were open, without an end.
inline void reader_image::read_spans() {
  const uint64_t count = data_.u32(offsetof(superblock, span_count));
  if (count == 0) return;
  const entries all = fitting("spans", data_.u64(offsetof(superblock, spans_offset)), count, sizeof(span_entry));
  for (uint64_t at = all.at; at < all.end(); at += sizeof(span_entry)) read_span_at(at);
}

inline void reader_image::read_span_at(uint64_t at) {
  const uint64_t state = data_.u64(at + offsetof(span_entry, state)), bound = data_.u64(at + offsetof(span_entry, binding));
  const uint64_t words = bound >> 32;
  if ((state & 3) < static_cast<uint64_t>(span_state::open) || words > frame_payload_words) return;
  open_spans_.push_back({data_.u64(at + offsetof(span_entry, words)), never, at + offsetof(span_entry, payload),
                         static_cast<uint16_t>(bound), static_cast<uint16_t>(words | reader_record::open_mark), 0});
}

/// Keeps the binding at `at`, unless it is of a newer minor version. False if it is damaged, or within another one.
inline bool reader_image::read_binding_at(uint64_t at, uint64_t limit) {
  if (at < bindings_read_to_ || at > limit || limit - at < sizeof(binding)) return false;
  const uint64_t size = data_.u32(at + offsetof(binding, bytes));
  if (size < sizeof(binding) || size > limit - at || size % 8 != 0) return false;
  const uint16_t id = data_.u16(at + offsetof(binding, id));
  const uint8_t kind = data_.u8(at + offsetof(binding, kind));
  if (kind == static_cast<uint8_t>(binding_kind::end_of_dump)) {
    if (!is_stream_ && !data_.has(at, sizeof(end_of_dump))) return false;
    if (!is_stream_) end_of_dump_at_ = at;
  } else if (kind != 0 && kind <= static_cast<uint8_t>(binding_kind::frame_mark) && binding_of(id) == nullptr) {
    event_binding found;
    if (!read_binding(data_.part(at, size), found)) return false;
    bindings_.push_back(std::move(found));
    if (by_id_.size() <= id) by_id_.resize(size_t{id} + 1);
    by_id_[id] = static_cast<uint32_t>(bindings_.size());
  }
  bindings_read_to_ = at + size;
  return true;
}

inline void reader_image::read_bindings() {
  const uint64_t offset = data_.u64(offsetof(superblock, bindings_offset));
  const uint64_t early_end =
      std::min(saturating_add(offset, data_.u64(offsetof(superblock, bindings_bytes))), data_.size());
  uint64_t damaged = 0;
  if (is_dump_) {
    const std::pair<uint64_t, uint64_t> runs[] = {
        {offset, early_end}, {data_.u64(offsetof(superblock, late_bindings_offset)), data_.size()}};
    for (auto [at, limit] : runs) {
      for (; at < limit && end_of_dump_at_ == 0; at = bindings_read_to_) {
        if (read_binding_at(at, limit)) continue;
        ++damaged;
        break;
      }
    }
  } else {
    const entries index = fitting("binding index entries", data_.u64(offsetof(superblock, binding_index_offset)),
                                  data_.u64(offsetof(superblock, binding_index_count)), 4);
    std::vector<uint32_t> places;
    for (uint64_t at = index.at; at < index.end(); at += 4) places.push_back(data_.u32(at));
    std::vector<uint32_t> order = places;
    std::sort(order.begin(), order.end());
    order.erase(std::unique(order.begin(), order.end()), order.end());
    for (const uint32_t place : order) {
      const uint64_t at = saturating_add(offset, uint64_t{place} - 1);
      if (place != 0 && at < early_end && end_of_dump_at_ == 0 && !read_binding_at(at, early_end)) ++damaged;
    }
    for (size_t id = 0; id < places.size(); ++id) {
      const size_t stands_for = id != 0 ? id : overflow_id;
      const bool is_known = stands_for <= 0xffff && binding_of(static_cast<uint16_t>(stands_for)) != nullptr;
      damaged += places[id] != 0 && !is_known;
    }
  }
  if (damaged != 0) warn("some bindings are damaged, so that some names are lost");
  if (is_dump_ && end_of_dump_at_ == 0) {
    warn("the dump is truncated: its end is missing");
  } else if (is_dump_) {
    const uint64_t total = data_.u64(end_of_dump_at_ + offsetof(end_of_dump, total_bytes));
    if (total == data_.size()) return;
    warn("the dump should have " + std::to_string(total) + " bytes and has " + std::to_string(data_.size()));
  }
}

/// All of a stream. What its last state says stands in the superblock afterwards, as in that of a dump.
inline void reader_image::read_stream() {
  stream_parts parts(data_);
  session_start_ = dump();
  assembled_ = parts.assemble();
  data_ = untrusted_bytes(assembled_.data(), assembled_.size());
  uint64_t damaged_bindings = 0;
  for (const stream_parts::place& where : parts.bindings) damaged_bindings += !read_binding_at(where.at, where.end);

  for (const auto& [index, from] : parts.slots) {
    reader_slot slot = slot_at(from.where.at);
    slot.frame_step = sizeof(uint64_t) + sizeof(frame);  // each stands behind its index
    slot.frames = from.is_left ? 0 : (from.where.end - slot.frames_at) / slot.frame_step;
    slot.frames_at += sizeof(uint64_t);
    slot.dropped_before = from.dropped_before;
    slots_.push_back(slot);
  }
  index_slots();
  for (const auto& [index, where] : parts.spans) read_span_at(where.at);

  for (const stream_parts::place& where : parts.chunks) {
    reader_chunk found = chunk_at(where.at);
    found.end = where.end;
    if (found.lane >= lane_count || found.epoch_base % epoch_ticks != 0) {
      ++parts.damaged;
      continue;
    }
    const auto name = parts.names.find({found.writer_index, static_cast<uint32_t>(found.writer_generation)});
    if (name != parts.names.end()) found.thread_name = name->second;
    chunks_.push_back(found);
  }

  const auto put = [&](uint64_t to, uint64_t value) {
    for (unsigned i = 0; i < 8; ++i) assembled_[to + i] = static_cast<char>(value >> 8 * i);
  };
  const uint64_t state = parts.state_at;
  if (state != 0) {
    for (unsigned i = 0; i < 8; ++i) {
      const uint64_t at = offsetof(superblock, dropped) + 8 * i;
      put(at, data_.u64(state + offsetof(stream_state, dropped) + 8 * i) - data_.u64(at));
    }
    for (unsigned i = 0; i < 4; ++i) put(offsetof(superblock, dump) + 8 * i, data_.u64(state + 8 * i));
    put(offsetof(superblock, attached), data_.u64(state + offsetof(stream_state, attached)));
    lost_ = data_.u64(state + offsetof(stream_state, lost_records));
  }
  if (damaged_bindings != 0) warn("some bindings are damaged, so that some names are lost");
  if (parts.damaged != 0) warn(std::to_string(parts.damaged) + " pieces of chunks are damaged");
  const uint32_t cause = state == 0 ? 0 : data_.u32(state + offsetof(stream_state, cause));
  if (!parts.has_end || state == 0) {
    warn("the stream has no end: its process was killed or still writes it, or it was cut; all up to the last whole block "
         "is here");
  } else if (cause == static_cast<uint32_t>(stream_cause::failed)) {
    const auto number = static_cast<int32_t>(data_.u32(state + offsetof(stream_state, error_number)));
    warn("a write of the session failed (system error " + std::to_string(number) + "), which ended the stream");
  } else if (cause == static_cast<uint32_t>(stream_cause::recorder)) {
    notes_.push_back("the flight recorder was stopped before the session");
  }
}

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <map>
#include <utility>

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// A thread of the dump. Two threads that had the same id one after the other are two of these.
struct CONTRAIL_DETAIL_HIDDEN event_thread {
  uint32_t tid = 0;              ///< the system's
  bool is_again = false;         ///< an earlier thread had this id
  std::string_view name;         ///< empty if it has none
  uint64_t overwritten = 0;      ///< records that newer ones replaced
  uint64_t missing = 0;          ///< records that should stand between others
  uint64_t dropped = 0;          ///< records that found no room
  uint64_t open = 0;             ///< regions that had not ended
  uint64_t region_count() const { return found.regions.size(); }  ///< the open ones too
  uint64_t point_count() const { return found.points.size(); }
  uint64_t async_count() const { return found.asyncs.size(); }
  uint64_t span_count() const { return found.spans.size(); }  ///< tasks and asynchronous spans that ended here
  detail::reading::reader_records found;  ///< not for users
};

namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

/// One thread's use of one slot; a thread has several when several shared objects record.
struct reader_life {
  uint32_t tid;
  const reader_slot* slot;  ///< null if only chunks tell of it
  std::string_view name;
  uint64_t begin = never, end = 0;
  std::vector<std::pair<uint32_t, std::vector<const reader_chunk*>>> lanes;

  reader_life(uint32_t of, const reader_slot* in) : tid(of), slot(in) {
    if (slot == nullptr) return;
    begin = slot->attach_ticks != 0 ? slot->attach_ticks : never;
    end = never;
    name = slot->name;
  }
  /// Chunks come in the order of their tickets, so the newest name wins.
  void add(const reader_chunk& chunk) {
    auto lane = std::find_if(lanes.begin(), lanes.end(), [&](const auto& one) { return one.first == chunk.lane; });
    if (lane == lanes.end()) lane = lanes.insert(lanes.end(), {chunk.lane, {}});
    lane->second.push_back(&chunk);
    begin = std::min(begin, chunk.anchor.ticks);
    end = std::max(end, chunk.sealed_ticks != 0 ? chunk.sealed_ticks : never);
    if ((slot == nullptr || slot->name.empty()) && !chunk.thread_name.empty()) name = chunk.thread_name;
  }
};

/// Everything in an image, decoded.
class reader_trace {
 public:
  explicit reader_trace(reader_image& image) : image_(image) {
    make_threads();
    uint64_t damaged = 0;
    for (size_t i = 0; i < threads_.size(); ++i) damaged += decode(threads_[i], lives_of_[i]);
    if (damaged != 0) {
      image_.warnings().push_back(std::to_string(damaged) +
                                  " chunks are damaged; the records before the damage were read");
    }
    newest_ = image_.start().ticks;
    for (const event_thread& t : threads_) {
      for (const auto* records : {&t.found.regions, &t.found.points, &t.found.asyncs, &t.found.spans}) {
        if (!records->empty()) newest_ = std::max(newest_, records->back().end);
      }
    }
    now_ = image_.dump().ticks != 0 ? image_.dump().ticks : newest_;
    add_open_regions();
    add_open_spans();
    find_first();
  }

  std::vector<event_thread>& threads() { return threads_; }
  std::vector<reader_record>& open_spans() { return open_spans_; }
  uint64_t first() const { return first_; }    ///< ticks of the first event
  uint64_t newest() const { return newest_; }  ///< when the last record ended
  uint64_t now() const { return now_; }        ///< when the dump was made

 private:
  /// (thread, start, id) of a region.
  using region_key = std::pair<std::pair<uint32_t, uint64_t>, uint16_t>;

  void make_threads() {
    std::map<std::pair<uint32_t, uint64_t>, size_t> known;  // by slot and generation
    for (const reader_slot& slot : image_.slots()) {
      known[{slot.index, slot.generation}] = lives_.size();
      lives_.emplace_back(slot.tid, &slot);
    }
    for (const reader_chunk& chunk : image_.chunks()) {
      const auto [at, is_new] = known.try_emplace({chunk.writer_index, chunk.writer_generation}, lives_.size());
      if (is_new) lives_.emplace_back(chunk.tid, nullptr);
      lives_[at->second].add(chunk);
    }
    std::vector<const reader_life*> order;
    for (const reader_life& life : lives_) order.push_back(&life);
    std::stable_sort(order.begin(), order.end(), [](const reader_life* a, const reader_life* b) {
      return a->tid != b->tid ? a->tid < b->tid : a->begin < b->begin;
    });
    for (const reader_life* life : order) {
      const bool same_tid = !threads_.empty() && threads_.back().tid == life->tid;
      if (!same_tid || is_later(*life, lives_of_.back())) {
        threads_.emplace_back();
        threads_.back().tid = life->tid;
        threads_.back().is_again = same_tid;
        lives_of_.emplace_back();
      }
      lives_of_.back().push_back(life);
      if (!life->name.empty()) threads_.back().name = life->name;
    }
  }

  /// Whether this is another thread than the one that had these lives.
  static bool is_later(const reader_life& life, const std::vector<const reader_life*>& others) {
    return std::all_of(others.begin(), others.end(), [&](const reader_life* other) {
      return life.begin > other->end && life.name != other->name;
    });
  }

  /// Fills the thread; the number of damaged chunks.
  uint64_t decode(event_thread& thread, const std::vector<const reader_life*>& lives) {
    uint64_t damaged = 0;
    size_t lanes = 0;
    for (const reader_life* life : lives) {
      for (const auto& [number, chunks] : life->lanes) {
        ++lanes;
        damaged += decode_lane(thread, chunks);
      }
      for (unsigned i = 0; life->slot != nullptr && i < lane_count; ++i) {
        const uint64_t at = life->slot->at + offsetof(thread_slot, lanes) + i * sizeof(lane) + offsetof(lane, dropped);
        thread.dropped = saturating_add(thread.dropped, image_.data().u64(at) - life->slot->dropped_before[i]);
      }
    }
    if (lanes > 1) {
      const auto by_end = [](const reader_record& a, const reader_record& b) { return a.end < b.end; };
      std::stable_sort(thread.found.regions.begin(), thread.found.regions.end(), by_end);
      std::stable_sort(thread.found.points.begin(), thread.found.points.end(), by_end);
      std::stable_sort(thread.found.switches.begin(), thread.found.switches.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    return damaged;
  }

  uint64_t decode_lane(event_thread& thread, const std::vector<const reader_chunk*>& chunks) {
    uint64_t damaged = 0, expected = 0;
    for (const reader_chunk* chunk : chunks) {
      const uint64_t missing = chunk->records_before > expected ? chunk->records_before - expected : 0;
      uint64_t& lost = chunk == chunks.front() ? thread.overwritten : thread.missing;
      // In a stream that is what the thread wrote before the session, or its beginning is lost.
      if (chunk != chunks.front() || !image_.is_stream()) lost = saturating_add(lost, missing);
      reader_records& to = thread.found;
      const size_t regions = to.regions.size(), points = to.points.size(), asyncs = to.asyncs.size(), spans = to.spans.size();
      const size_t before = to.count();
      damaged += !image_.decode(*chunk, to);
      expected = saturating_add(chunk->records_before, to.count() - before);
      if (chunk->epoch_base < image_.cut()) {
        keep_from_cut(to.regions, regions);
        keep_from_cut(to.points, points);
        keep_from_cut(to.asyncs, asyncs);
        keep_from_cut(to.spans, spans);
      }
    }
    return damaged;
  }
  void keep_from_cut(std::vector<reader_record>& records, size_t from) const {
    const auto first = records.begin() + static_cast<ptrdiff_t>(from);
    records.erase(std::remove_if(first, records.end(), [&](const auto& r) { return r.end < image_.cut(); }),
                  records.end());
  }

  /// A region that ended while the dump was written is in both the frames and the chunks: then only the record counts.
  void add_open_regions() {
    std::vector<region_key> ended_elsewhere;
    for (const event_thread& t : threads_) {
      for (const reader_record& r : t.found.asyncs) ended_elsewhere.push_back({{r.tid, r.start}, r.id});
    }
    std::sort(ended_elsewhere.begin(), ended_elsewhere.end());
    for (size_t i = 0; i < threads_.size(); ++i) {
      event_thread& thread = threads_[i];
      std::vector<reader_record>& regions = thread.found.regions;
      std::vector<reader_record> open = open_regions(lives_of_[i]);
      std::vector<region_key> keys, ended;
      for (const reader_record& r : open) keys.push_back({{thread.tid, r.start}, r.id});
      std::sort(keys.begin(), keys.end());
      for (const reader_record& r : regions) {
        const region_key key{{thread.tid, r.start}, r.id};
        if (std::binary_search(keys.begin(), keys.end(), key)) ended.push_back(key);
      }
      std::sort(ended.begin(), ended.end());

      uint64_t until = std::max(now_, newest_);
      if (!regions.empty()) until = std::max(until, regions.back().end);
      for (const reader_record& r : open) until = std::max(until, r.start);
      std::vector<reader_record> all;
      all.reserve(open.size() + regions.size());
      for (reader_record& r : open) {
        const region_key key{{thread.tid, r.start}, r.id};
        if (std::binary_search(ended.begin(), ended.end(), key) ||
            std::binary_search(ended_elsewhere.begin(), ended_elsewhere.end(), key)) {
          continue;
        }
        r.end = until;
        all.push_back(r);
      }
      thread.open = all.size();
      // Records stand in the order in which they ended. Backwards, an outer region comes before its inner ones, and a
      // stable sort keeps that for those that start in the same tick.
      all.insert(all.end(), regions.rbegin(), regions.rend());
      std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
      regions = std::move(all);
    }
  }
  std::vector<reader_record> open_regions(const std::vector<const reader_life*>& lives) const {
    std::vector<reader_record> open;
    for (const reader_life* life : lives) {
      if (life->slot == nullptr) continue;
      const std::vector<reader_record> found = image_.open_regions(*life->slot);
      open.insert(open.end(), found.begin(), found.end());
    }
    return open;
  }

  /// A span that ended while the dump was written is in both the table and the chunks.
  void add_open_spans() {
    std::vector<uint64_t> ended;
    const auto id_of = [&](const reader_record& r) {
      return image_.data().u64(r.payload_at - reader_record::span_words_before);
    };
    for (const event_thread& t : threads_) {
      for (const reader_record& r : t.found.spans) ended.push_back(id_of(r));
    }
    std::sort(ended.begin(), ended.end());
    for (reader_record r : image_.open_spans()) {
      if (r.start < image_.start().ticks || r.start > image_.latest()) continue;
      if (std::binary_search(ended.begin(), ended.end(), id_of(r))) continue;
      r.end = std::max({r.start, now_, newest_});
      open_spans_.push_back(r);
    }
  }

  void find_first() {
    bool any = !open_spans_.empty();
    first_ = never;
    for (const reader_record& r : open_spans_) first_ = std::min(first_, r.start);
    for (const event_thread& t : threads_) {
      for (const auto* records : {&t.found.regions, &t.found.points, &t.found.asyncs, &t.found.spans}) {
        any = any || !records->empty();
        for (const reader_record& r : *records) first_ = std::min(first_, r.start);
      }
    }
    if (!any) first_ = now_;
  }

  reader_image& image_;
  std::vector<reader_life> lives_;
  std::vector<event_thread> threads_;
  std::vector<reader_record> open_spans_;
  std::vector<std::vector<const reader_life*>> lives_of_;  ///< of each thread
  uint64_t first_ = 0, newest_ = 0, now_ = 0;
};

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#include <iterator>
#include <set>

CONTRAIL_DETAIL_NAMESPACE_BEGIN

enum class event_form : uint8_t {
  region,       ///< began and ended on its thread
  open_region,  ///< had not ended when the dump was made
  point,        ///< a moment: an instant, counter, log line or object
  async_region, ///< began on another thread than the one that ended it
  span,         ///< a task or an asynchronous span, on the thread that ended it
  open_span     ///< one that had not ended
};

/// What a task or an asynchronous span is to others.
struct event_span {
  uint64_t id, parent;  ///< in the process; parent 0: none
  uint32_t begin_tid;   ///< of the thread that began it
  uint64_t trace_high, trace_low, own, from;  ///< of a task: W3C trace id, its id there, and its parent's or 0
};

/// What ended the process. The thread may be one that never recorded.
struct recording_crash {
  uint32_t cause;           ///< 0 nothing, 1 a signal, 2 std::terminate
  uint32_t signal;
  int32_t code;             ///< si_code: above 0 the kernel found a fault, else a process sent the signal
  uint32_t tid;
  uint64_t address;         ///< of a fault
  uint32_t sender;          ///< process that sent the signal
  std::string_view thread;  ///< name
};

/// What is known of the recording as a whole. Times with "unix" are of the wall clock.
struct CONTRAIL_DETAIL_HIDDEN recording_info {
  unsigned version_major, version_minor;  ///< of the format
  bool is_dump;                           ///< else the image of a process that runs or was killed
  uint64_t bytes;                         ///< of the input
  uint32_t pid;
  std::string_view executable, host;
  uint32_t clock_source;         ///< 1 tsc, 2 cntvct, 3 the kernel's monotonic clock
  uint64_t nominal_hz;           ///< ticks per second, as the recorder measured them at its start
  uint64_t measured_hz;          ///< as all clock readings together give them
  detail::clock_anchor started;  ///< on four clocks
  detail::clock_anchor dumped;   ///< zero in a live image
  detail::clock_anchor stopped;  ///< of a live image: when it ended, if `ended` is not 0
  uint32_t storage;              ///< of a live image: 0 memory, 1 a file
  uint32_t ended;                ///< of a live image: 0 not, or not in order; 1 by stop; 2 by exit
  recording_crash crash;
  uint64_t window_ns;            ///< asked for; 0: all
  uint64_t cutoff_ticks;         ///< what ended before is outside the window
  uint32_t dump_sequence, dump_signal, dump_tid;
  uint64_t trigger_ticks;    ///< when a trigger fired that made this dump; 0: none did
  std::string_view trigger;  ///< what it found
  uint64_t attached;         ///< threads that ever recorded
  uint64_t chunks;           ///< in the input
  int64_t zero_unix_ns;      ///< when the first event began, from which all times of events count
  int64_t covered_ns;        ///< to the end of the last record
  int64_t now_ns;            ///< the dump; in a live image the last record; in a stream its end
  bool is_stream;            ///< a session's; then is_dump is set too
};

/// Records that are not in the dump.
struct recording_loss {
  std::string_view why;
  uint64_t count;
};

class reader;

/// One thing that was recorded. Cheap to copy; valid while its reader is.
class CONTRAIL_DETAIL_HIDDEN event {
 public:
  event_form form() const { return form_; }
  event_kind kind() const { return binding_->kind; }
  std::string_view name() const { return binding_->name; }
  std::string_view category() const { return binding_->category; }
  const event_binding& binding() const { return *binding_; }
  const event_thread& thread() const { return *thread_; }

  inline int64_t start_ns() const;     ///< since the first event
  inline int64_t end_ns() const;       ///< of an open region the dump, or the newest record if that is later
  int64_t duration_ns() const { return end_ns() - start_ns(); }
  uint64_t start_ticks() const { return record_->start; }
  uint64_t end_ticks() const { return record_->end; }
  uint32_t begin_tid() const {
    return is_span() ? span().begin_tid : form_ == event_form::async_region ? record_->tid : thread_->tid;
  }
  bool is_span() const { return form_ == event_form::span || form_ == event_form::open_span; }
  /// Meant if is_span().
  inline event_span span() const;

  event_fields fields() const {
    event_fields found;
    read_fields(found);
    return found;
  }
  /// The same into an object that keeps its memory.
  inline void read_fields(event_fields& into) const;

 private:
  friend class reader;
  const reader* reader_ = nullptr;
  const event_thread* thread_ = nullptr;
  const event_binding* binding_ = nullptr;
  const detail::reading::reader_record* record_ = nullptr;
  event_form form_ = event_form::point;
};

/// The events of a dump, thread by thread: first a thread's regions in the order in which they began, an outer one
/// before its inner ones, then its points, its async regions and its spans, each in the order in which they ended. At
/// last come the spans that had not ended, on the first thread with the id that began them, or a nameless one. The
/// bytes must outlive it. Memory: some 6 times theirs in the constructor, and 4 times afterwards.
class CONTRAIL_DETAIL_HIDDEN reader {
 public:
  reader(const void* bytes, size_t size) : image_(detail::reading::untrusted_bytes(bytes, size)) {
    if (!*this) return;
    detail::reading::reader_trace trace(image_);
    first_ = trace.first();
    newest_ = trace.newest();
    now_ = trace.now();
    threads_ = std::move(trace.threads());
    open_spans_ = std::move(trace.open_spans());
    zero_ = image_.clock().ns(first_);
    name_unknown_ids();
  }
  explicit reader(std::span<const std::byte> bytes) : reader(bytes.data(), bytes.size()) {}
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;

  /// Whether there is anything to read; if not, reason() says why and all else is empty.
  explicit operator bool() const { return image_.reason().empty(); }
  const std::string& reason() const { return image_.reason(); }
  /// What could not be read, each a sentence.
  const std::vector<std::string>& warnings() const { return image_.warnings(); }
  /// What is worth knowing although all was read.
  const std::vector<std::string>& notes() const { return image_.notes(); }

  const std::vector<event_thread>& threads() const { return threads_; }
  /// Of several bindings of one id the first, in the order of the ids.
  std::vector<const event_binding*> bindings() const {
    std::vector<const event_binding*> all;
    for (const event_binding& b : image_.bindings()) all.push_back(&b);
    std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
    return all;
  }
  inline recording_info info() const;
  /// Only those that are not zero. Counts are exact, and stop at 2^64 - 1.
  inline std::vector<recording_loss> losses() const;

  /// A moment in nanoseconds since the first event.
  int64_t ns(uint64_t ticks) const { return image_.clock().ns(ticks) - zero_; }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = ptrdiff_t;
    using pointer = const event*;
    using reference = const event&;

    iterator() = default;
    const event& operator*() const { return event_; }
    const event* operator->() const { return &event_; }
    iterator& operator++() {
      ++index_;
      settle();
      return *this;
    }
    iterator operator++(int) {
      iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const iterator& other) const { return thread_ == other.thread_ && index_ == other.index_; }

   private:
    friend class reader;
    iterator(const reader* of, size_t thread) : reader_(of), thread_(thread) { settle(); }
    inline void settle();
    inline void settle_behind_threads();

    const reader* reader_ = nullptr;
    size_t thread_ = 0, index_ = 0;  ///< an event of all of the thread's; behind the threads, an open span
    event event_;
  };
  iterator begin() const { return iterator(this, 0); }
  iterator end() const { return iterator(this, threads_.size() + 1); }

 private:
  friend class event;

  const event_binding& binding_of(uint16_t id) const {
    const event_binding* found = image_.binding_of(id);
    if (found != nullptr) return *found;
    const auto unknown = std::lower_bound(unknown_.begin(), unknown_.end(), id,
                                          [](const event_binding& b, uint16_t wanted) { return b.id < wanted; });
    return *unknown;
  }
  inline void name_unknown_ids();
  inline recording_crash crash_note() const;

  detail::reading::reader_image image_;
  std::vector<event_thread> threads_;
  std::vector<detail::reading::reader_record> open_spans_;
  event_thread no_thread_;
  std::vector<event_binding> unknown_;  ///< of ids without a binding, by id
  std::deque<std::string> unknown_names_;
  uint64_t first_ = 0, newest_ = 0, now_ = 0;
  int64_t zero_ = 0;
};

inline int64_t event::start_ns() const { return reader_->ns(record_->start); }
inline int64_t event::end_ns() const { return reader_->ns(record_->end); }

inline event_span event::span() const {
  const detail::reading::untrusted_bytes& data = reader_->image_.data();
  const uint64_t at = record_->payload_at - detail::reading::reader_record::span_words_before;
  const auto word = [&](detail::span_word which) { return data.u64(at + 8 * (which - detail::span_id)); };
  return {word(detail::span_id),
          word(detail::span_parent),
          static_cast<uint32_t>(word(detail::span_tid)),
          word(detail::span_trace_high),
          word(detail::span_trace_low),
          word(detail::span_own),
          word(detail::span_from)};
}

inline void event::read_fields(event_fields& into) const {
  into.read(*binding_, reader_->image_.data().part(record_->payload_at, record_->payload_bytes()));
}

inline void reader::iterator::settle() {
  const std::vector<event_thread>& threads = reader_->threads_;
  while (thread_ < threads.size() && index_ == threads[thread_].found.count()) {
    ++thread_;
    index_ = 0;
  }
  event_.reader_ = reader_;
  if (thread_ >= threads.size()) return settle_behind_threads();
  const detail::reading::reader_records& found = threads[thread_].found;
  const size_t regions = found.regions.size(), points = found.points.size();
  if (index_ < regions) {
    event_.record_ = &found.regions[index_];
    event_.form_ = event_.record_->is_open() ? event_form::open_region : event_form::region;
  } else if (index_ - regions < points) {
    event_.record_ = &found.points[index_ - regions];
    event_.form_ = event_form::point;
  } else if (index_ - regions - points < found.asyncs.size()) {
    event_.record_ = &found.asyncs[index_ - regions - points];
    event_.form_ = event_form::async_region;
  } else {
    event_.record_ = &found.spans[index_ - regions - points - found.asyncs.size()];
    event_.form_ = event_form::span;
  }
  event_.thread_ = &threads[thread_];
  event_.binding_ = &reader_->binding_of(event_.record_->id);
}

inline void reader::iterator::settle_behind_threads() {
  if (thread_ == reader_->threads_.size() && index_ == reader_->open_spans_.size()) {
    ++thread_;
    index_ = 0;
  }
  if (thread_ != reader_->threads_.size()) return;
  event_.record_ = &reader_->open_spans_[index_];
  event_.form_ = event_form::open_span;
  event_.binding_ = &reader_->binding_of(event_.record_->id);
  event_.thread_ = &reader_->no_thread_;
  const uint32_t tid = event_.span().begin_tid;
  for (const event_thread& thread : reader_->threads_) {
    if (thread.tid != tid) continue;
    event_.thread_ = &thread;
    break;
  }
}

/// An id that the dump does not explain is part of a name of its own.
inline void reader::name_unknown_ids() {
  std::set<uint16_t> ids;
  for (const detail::reading::reader_record& r : open_spans_) {
    if (image_.binding_of(r.id) == nullptr) ids.insert(r.id);
  }
  for (const event_thread& thread : threads_) {
    for (const auto* records : {&thread.found.regions, &thread.found.points, &thread.found.asyncs, &thread.found.spans}) {
      for (const detail::reading::reader_record& r : *records) {
        if (image_.binding_of(r.id) == nullptr) ids.insert(r.id);
      }
    }
  }
  for (const uint16_t id : ids) {
    unknown_names_.push_back("unknown #" + std::to_string(id));
    unknown_.emplace_back();
    unknown_.back().id = id;
    unknown_.back().name = unknown_names_.back();
  }
  if (!ids.empty()) {
    image_.warnings().push_back(std::to_string(ids.size()) +
                                " ids have no binding: their events are named 'unknown #id'");
  }
}

inline recording_crash reader::crash_note() const {
  using note = detail::crash_note;
  const detail::reading::untrusted_bytes& data = image_.data();
  constexpr size_t at = offsetof(detail::superblock, crash);
  return {data.u32(at + offsetof(note, cause)),
          data.u32(at + offsetof(note, signal)),
          static_cast<int32_t>(data.u32(at + offsetof(note, code))),
          data.u32(at + offsetof(note, tid)),
          data.u64(at + offsetof(note, address)),
          data.u32(at + offsetof(note, sender)),
          data.c_string(at + offsetof(note, thread), sizeof(note::thread))};
}

inline recording_info reader::info() const {
  using detail::superblock;
  if (!*this) return {};
  const detail::reading::untrusted_bytes& data = image_.data();
  return {data.u16(offsetof(superblock, version_major)),
          data.u16(offsetof(superblock, version_minor)),
          image_.is_dump(),
          image_.input_bytes(),
          data.u32(offsetof(superblock, pid)),
          data.c_string(offsetof(superblock, executable), sizeof(superblock::executable)),
          data.c_string(offsetof(superblock, host), sizeof(superblock::host)),
          data.u32(offsetof(superblock, source)),
          image_.tick_hz(),
          image_.clock().hz(),
          image_.start(),
          image_.dump(),
          image_.is_dump() ? detail::clock_anchor{} : data.anchor(offsetof(superblock, end)),
          image_.is_dump() ? 0 : data.u32(offsetof(superblock, storage)),
          image_.is_dump() ? 0 : data.u32(offsetof(superblock, ended)),
          crash_note(),
          data.u64(offsetof(superblock, window_ns)),
          data.u64(offsetof(superblock, cutoff_ticks)),
          data.u32(offsetof(superblock, dump_sequence)),
          data.u32(offsetof(superblock, dump_signal)),
          data.u32(offsetof(superblock, dump_tid)),
          image_.is_dump() ? data.u64(offsetof(superblock, trigger_ticks)) : 0,
          data.c_string(offsetof(superblock, trigger), sizeof(superblock::trigger)),
          data.u64(offsetof(superblock, attached)),
          image_.chunks().size(),
          image_.clock().realtime(zero_),
          std::max<int64_t>(0, ns(newest_)),
          ns(now_),
          image_.is_stream()};
}

inline std::vector<recording_loss> reader::losses() const {
  using detail::superblock;
  if (!*this) return {};
  uint64_t overwritten = 0, missing = 0;
  for (const event_thread& t : threads_) {
    overwritten = detail::reading::saturating_add(overwritten, t.overwritten);
    missing = detail::reading::saturating_add(missing, t.missing);
  }
  const auto dropped = [&](detail::drop_reason why) {
    return image_.data().u64(offsetof(superblock, dropped) + 8 * static_cast<uint64_t>(why));
  };
  std::vector<recording_loss> all{
      {"overwritten by newer records", overwritten},
      {"missing between others", missing},
      {"chunks recycled while they were copied", image_.torn()},
      // The session counted all; gaps show those between others.
      {"missing at the ends of threads", image_.lost() > missing ? image_.lost() - missing : 0},
      {"dropped: no chunk free", dropped(detail::drop_reason::no_chunk)},
      {"dropped: more threads than slots", dropped(detail::drop_reason::no_slot)},
      {"dropped: no lane free in a signal handler", dropped(detail::drop_reason::no_lane)},
      {"dropped: regions open too deep", dropped(detail::drop_reason::too_deep)},
      {"dropped: regions not nested", dropped(detail::drop_reason::misnested)},
      {"dropped: more tasks open than entries", dropped(detail::drop_reason::no_span)}};
  all.erase(std::remove_if(all.begin(), all.end(), [](const auto& loss) { return loss.count == 0; }), all.end());
  return all;
}

CONTRAIL_DETAIL_NAMESPACE_END

#endif
#endif
#if defined(CONTRAIL_WITH_BLOCKING)
// ==== contrail/blocking.hpp =========================================================================================
// Opt-in: locks of the standard library that record when a thread really waited for them, and for whom. A lock that is
// free costs what the standard's own costs, a shared_mutex that is taken alone 3 % more.
//
//   #include <contrail/blocking.hpp>
//
//   contrail::mutex accounts{"accounts"};
//   std::lock_guard lock(accounts);     // a wait is a region "wait for mutex", blocked on sync
#ifndef CONTRAIL_BLOCKING_HPP
#define CONTRAIL_BLOCKING_HPP

#include <pthread.h>
#include <time.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <type_traits>

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)  // glibc 2.32
#include <sys/single_threaded.h>
#define CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED 1
#endif
#endif
#ifndef CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED
#define CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED 0
#endif

// On types that programs make members of theirs, which are visible: g++ warns of a type that is more visible than its
// members. So functions are hidden one by one.
#define CONTRAIL_DETAIL_MEMBER_OBJECT [[gnu::visibility("default")]]

namespace contrail {
// The locks are other types where nothing records: translation units that share one must agree.
#if CONTRAIL_DETAIL_ENABLED
inline namespace v0 {
#else
inline namespace disabled_v0 {
#endif
namespace detail CONTRAIL_DETAIL_HIDDEN {

#if CONTRAIL_DETAIL_ENABLED

/// Whether a mutex holds its owner's thread id, as those of glibc do. Reading it when somebody has to wait costs
/// nothing when nobody has to.
template <class Mutex>
concept knows_owner = requires(Mutex& mutex) { mutex.native_handle()->__data.__owner; };

/// Who holds a lock: the thread's place in the recorder, from which a waiting thread finds its id.
template <class Mutex>
class CONTRAIL_DETAIL_MEMBER_OBJECT lock_holder {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE void set() noexcept {
    __atomic_store_n(&frame_, reinterpret_cast<uint64_t>(next_frame), __ATOMIC_RELAXED);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void clear() noexcept { __atomic_store_n(&frame_, uint64_t{0}, __ATOMIC_RELAXED); }
  /// 0: nobody, or a thread that has not recorded yet.
  CONTRAIL_DETAIL_HIDDEN uint32_t tid(Mutex&) const noexcept {
    const process_state* const process = joined_process();
    const uint64_t address = __atomic_load_n(&frame_, __ATOMIC_RELAXED);
    if (process == nullptr || address == 0 || process->recording.load_acquire() == 0) return 0;
    const image_view& image = *current_image(*process);
    const uint64_t slots = reinterpret_cast<uint64_t>(image.slots);
    if (address < slots || address >= slots + image.slot_count * sizeof(thread_slot)) return 0;
    const thread_slot& slot = image.slots[(address - slots) / sizeof(thread_slot)];
    return static_cast<uint32_t>(slot.tid_index.load_relaxed());
  }

 private:
  uint64_t frame_ = 0;
};

template <knows_owner Mutex>
class CONTRAIL_DETAIL_MEMBER_OBJECT lock_holder<Mutex> {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE void set() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE void clear() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE uint32_t tid(Mutex& mutex) const noexcept {
    return static_cast<uint32_t>(__atomic_load_n(&mutex.native_handle()->__data.__owner, __ATOMIC_RELAXED));
  }
};

/// Whether the process is known to have no other thread.
CONTRAIL_DETAIL_ALWAYS_INLINE bool is_single_threaded() {
#if CONTRAIL_DETAIL_KNOWS_SINGLE_THREADED
  // Through a register: g++ would compare it where it lies, which makes a lock a tenth slower.
  unsigned is_single = static_cast<unsigned char>(__libc_single_threaded);
  asm("" : "+r"(is_single));
  return is_single != 0;
#else
  return false;
#endif
}

/// A deadline that has passed. glibc's locks with a deadline cost what its locks cost, and its try-locks one or two
/// nanoseconds more. Only to take a shared_mutex alone it is the other way round.
CONTRAIL_DETAIL_HIDDEN inline constexpr timespec long_ago{-1, 0};

/// Whether a shared_mutex is one of the system's locks. libstdc++'s says so with a void*.
template <class Mutex>
concept is_pthread_rwlock = std::is_same_v<Mutex, std::shared_mutex> && sizeof(Mutex) == sizeof(pthread_rwlock_t) &&
                            requires(Mutex& mutex) { static_cast<pthread_rwlock_t*>(mutex.native_handle()); };

/// Takes a mutex if it is free, as try_lock does, at the price of lock; whether it did.
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take(Mutex& mutex) {
  if constexpr (std::is_same_v<Mutex, std::mutex>) {
    // Without another thread glibc's lock is not atomic, and cannot meet a mutex that is held. Of a plain mutex it has
    // no error to tell: not to ask makes up for asking whether there are threads.
    if (__builtin_expect(is_single_threaded(), 1)) {
      pthread_mutex_lock(mutex.native_handle());
      return true;
    }
    return pthread_mutex_timedlock(mutex.native_handle(), &long_ago) == 0;
  } else {
    return mutex.try_lock();
  }
}
/// The same for a share of it.
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take_shared(Mutex& mutex) {
  if constexpr (is_pthread_rwlock<Mutex>) {
    return pthread_rwlock_timedrdlock(static_cast<pthread_rwlock_t*>(mutex.native_handle()), &long_ago) == 0;
  } else {
    return mutex.try_lock_shared();
  }
}

#else

template <class Mutex>
struct CONTRAIL_DETAIL_MEMBER_OBJECT lock_holder {
  CONTRAIL_DETAIL_ALWAYS_INLINE void set() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE void clear() noexcept {}
  CONTRAIL_DETAIL_ALWAYS_INLINE uint32_t tid(Mutex&) const noexcept { return 0; }
};

// Nobody asks who waits.
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take(Mutex& mutex) {
  return mutex.lock(), true;
}
template <class Mutex>
CONTRAIL_DETAIL_ALWAYS_INLINE bool take_shared(Mutex& mutex) {
  return mutex.lock_shared(), true;
}

#endif

}  // namespace detail

/// A mutex over `Mutex`, which may be any that has lock, try_lock and unlock. Usable with std::lock_guard and the like.
template <class Mutex>
class CONTRAIL_DETAIL_MEMBER_OBJECT basic_mutex {
 public:
  /// `name` stands in the records of waits; it must live as long as the mutex, as a literal does.
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit basic_mutex(const char* name = "") noexcept : name_(name) {}
  basic_mutex(const basic_mutex&) = delete;
  basic_mutex& operator=(const basic_mutex&) = delete;

  CONTRAIL_DETAIL_HIDDEN void lock() {
    if (!detail::take(inner_)) wait();
    holder_.set();
  }
  CONTRAIL_DETAIL_HIDDEN bool try_lock() {
    if (!inner_.try_lock()) return false;
    holder_.set();
    return true;
  }
  CONTRAIL_DETAIL_HIDDEN void unlock() {
    holder_.clear();
    inner_.unlock();
  }

 private:
  friend class condition_variable;

  CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) void wait() {
    CONTRAIL_BLOCKED(sync, "wait for mutex", "mutex", name_, "held by", holder_.tid(inner_));
    inner_.lock();
  }

  Mutex inner_;
  [[no_unique_address]] detail::lock_holder<Mutex> holder_;
  const char* name_;
};
using mutex = basic_mutex<std::mutex>;

/// The same over std::shared_mutex. Of shared holders nothing is known but that there are some.
class CONTRAIL_DETAIL_MEMBER_OBJECT shared_mutex {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit shared_mutex(const char* name = "") noexcept : name_(name) {}
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  CONTRAIL_DETAIL_HIDDEN void lock() {
    if (!detail::take(inner_)) wait();
    holder_.set();
  }
  CONTRAIL_DETAIL_HIDDEN bool try_lock() {
    if (!inner_.try_lock()) return false;
    holder_.set();
    return true;
  }
  CONTRAIL_DETAIL_HIDDEN void unlock() {
    holder_.clear();
    inner_.unlock();
  }
  CONTRAIL_DETAIL_HIDDEN void lock_shared() {
    if (!detail::take_shared(inner_)) wait_shared();
  }
  CONTRAIL_DETAIL_HIDDEN bool try_lock_shared() { return inner_.try_lock_shared(); }
  CONTRAIL_DETAIL_HIDDEN void unlock_shared() { inner_.unlock_shared(); }

 private:
  CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) void wait() {
    CONTRAIL_BLOCKED(sync, "wait for shared mutex", "mutex", name_, "held by", holder_.tid(inner_));
    inner_.lock();
  }
  CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) void wait_shared() {
    CONTRAIL_BLOCKED(sync, "wait to share mutex", "mutex", name_, "held by", holder_.tid(inner_));
    inner_.lock_shared();
  }

  std::shared_mutex inner_;
  [[no_unique_address]] detail::lock_holder<std::shared_mutex> holder_;
  const char* name_;
};

/// std::condition_variable for contrail::mutex. A wait is recorded if it waits: not where the predicate holds at once.
class CONTRAIL_DETAIL_MEMBER_OBJECT condition_variable {
  /// The mutex is nobody's while the thread waits.
  template <class Work>
  CONTRAIL_DETAIL_HIDDEN static auto with_inner(std::unique_lock<mutex>& lock, Work&& work) {
    mutex& held = *lock.mutex();
    struct taken {
      mutex& held;
      std::unique_lock<std::mutex> inner;
      explicit taken(mutex& of) : held(of), inner(of.inner_, std::adopt_lock) { held.holder_.clear(); }
      ~taken() {
        inner.release();
        held.holder_.set();
      }
    } inside(held);
    return work(inside.inner);
  }

 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE explicit condition_variable(const char* name = "") : name_(name) {}
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  CONTRAIL_DETAIL_HIDDEN void notify_one() noexcept { inner_.notify_one(); }
  CONTRAIL_DETAIL_HIDDEN void notify_all() noexcept { inner_.notify_all(); }

  CONTRAIL_DETAIL_HIDDEN void wait(std::unique_lock<mutex>& lock) {
    CONTRAIL_BLOCKED(sync, "wait for condition", "condition", name_);
    with_inner(lock, [&](std::unique_lock<std::mutex>& inner) { inner_.wait(inner); });
  }
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate stop) {
    while (!stop()) wait(lock);
  }
  template <class Clock, class Duration>
  CONTRAIL_DETAIL_HIDDEN std::cv_status wait_until(std::unique_lock<mutex>& lock,
                                                   const std::chrono::time_point<Clock, Duration>& deadline) {
    CONTRAIL_BLOCKED(sync, "wait for condition", "condition", name_);
    return with_inner(lock, [&](std::unique_lock<std::mutex>& inner) { return inner_.wait_until(inner, deadline); });
  }
  template <class Clock, class Duration, class Predicate>
  bool wait_until(std::unique_lock<mutex>& lock, const std::chrono::time_point<Clock, Duration>& deadline,
                  Predicate stop) {
    while (!stop()) {
      if (wait_until(lock, deadline) == std::cv_status::timeout) return stop();
    }
    return true;
  }
  template <class Rep, class Period>
  std::cv_status wait_for(std::unique_lock<mutex>& lock, const std::chrono::duration<Rep, Period>& time) {
    return wait_until(lock, deadline_after(time));
  }
  template <class Rep, class Period, class Predicate>
  bool wait_for(std::unique_lock<mutex>& lock, const std::chrono::duration<Rep, Period>& time, Predicate stop) {
    return wait_until(lock, deadline_after(time), std::move(stop));
  }

 private:
  /// In the clock's own unit: a float holds times of a long uptime to milliseconds or worse.
  template <class Rep, class Period>
  static std::chrono::steady_clock::time_point deadline_after(const std::chrono::duration<Rep, Period>& time) {
    return std::chrono::steady_clock::now() + std::chrono::ceil<std::chrono::steady_clock::duration>(time);
  }

  std::condition_variable inner_;
  const char* name_;
};

}  // inline namespace
}  // namespace contrail

#endif
#endif
