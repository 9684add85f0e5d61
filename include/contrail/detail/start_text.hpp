// SPDX-License-Identifier: MIT
// What to start, as a text: "window=5s,memory=64M,signal=USR2:dump-%n.contrail". Async-signal-safe throughout.
#ifndef CONTRAIL_DETAIL_START_TEXT_HPP
#define CONTRAIL_DETAIL_START_TEXT_HPP

#include "contrail/thread_states.hpp"

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
