// SPDX-License-Identifier: MIT
// What the real converter makes of a dump: its events one by one, as text that a test can hold beside the statement
// that made them. Every trace also has to pass tests/python/trace_rules.py.
#ifndef CONTRAIL_TESTS_TRACE_HPP
#define CONTRAIL_TESTS_TRACE_HPP

#include "support/recorder.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <vector>

/// One event of the trace. `json` is its text without what differs between runs: pid, tid, ts, dur.
struct trace_event {
  std::string json;
  char phase;
  uint64_t tid;
  int64_t start_ns, end_ns;  ///< equal but for slices

  int64_t length_ns() const { return end_ns - start_ns; }
};

struct trace {
  std::vector<trace_event> events;    ///< without metadata, by start; those with one start as they were written
  std::vector<std::string> metadata;  ///< text of the metadata events, as above
  std::string text;                   ///< all of the JSON
  std::string warnings;               ///< the converter's stderr

  std::vector<std::string> json() const {
    std::vector<std::string> all;
    for (const trace_event& event : events) all.push_back(event.json);
    return all;
  }
  std::vector<trace_event> all(const std::string& name) const {
    std::vector<trace_event> found;
    for (const trace_event& event : events) {
      if (event.json.find("\"name\":\"" + name + "\"") != std::string::npos) found.push_back(event);
    }
    return found;
  }
  trace_event one(const std::string& name) const {
    INFO(name << " in\n" << text);
    REQUIRE(all(name).size() == 1);
    return all(name).front();
  }
};

/// Takes `,"key":number` out of an event's text and returns the number's characters. A string of the event cannot hold
/// the pattern, as its quotes would be escaped; arguments come last, and the first match counts.
inline std::string cut_number(std::string& json, const std::string& key) {
  const std::string pattern = ",\"" + key + "\":";
  const size_t at = json.find(pattern);
  const size_t arguments = json.find(",\"args\":");
  if (at == std::string::npos || at > arguments) return "";
  const size_t end = json.find_first_not_of("0123456789.", at + pattern.size());
  const std::string number = json.substr(at + pattern.size(), end - at - pattern.size());
  json.erase(at, end - at);
  return number;
}

/// Microseconds with three decimals, exactly.
inline int64_t ns_of(std::string microseconds) {
  microseconds.erase(std::remove(microseconds.begin(), microseconds.end(), '.'), microseconds.end());
  return microseconds.empty() ? 0 : std::stoll(microseconds);
}

inline std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Converts the dump at `path`; `arguments` are more of the command line. The converter must end with `code`.
inline trace convert_file(const std::string& path, const std::string& arguments = "", int code = 0) {
  const char* converter = std::getenv("CONTRAIL_PY");
  REQUIRE(converter != nullptr);
  const std::string contrail_py = converter;
  const std::string tests = contrail_py.substr(0, contrail_py.rfind("tools/")) + "tests/";
  const std::string json = path + ".json", errors = path + ".stderr";
  const std::string convert = "python3 '" + contrail_py + "' convert '" + path + "' -o '" + json + "' " + arguments +
                              " >/dev/null 2>'" + errors + "'";
  const int status = std::system(convert.c_str());
  trace result;
  result.warnings = file_text(errors);
  INFO(result.warnings);
  REQUIRE(WEXITSTATUS(status) == code);
  REQUIRE(std::system(("python3 '" + tests + "python/trace_rules.py' '" + json + "'").c_str()) == 0);

  std::ifstream file(json);
  for (std::string line; std::getline(file, line);) {
    result.text += line + "\n";
    if (line.rfind("{\"ph\":", 0) != 0) continue;
    if (line.back() == ',') line.pop_back();
    trace_event event{};
    event.phase = line[7];
    cut_number(line, "pid");
    event.tid = std::stoull("0" + cut_number(line, "tid"));
    event.start_ns = ns_of(cut_number(line, "ts"));
    event.end_ns = event.start_ns + ns_of(cut_number(line, "dur"));
    event.json = line;
    if (event.phase == 'M') {
      result.metadata.push_back(line);
    } else {
      result.events.push_back(event);
    }
  }
  std::stable_sort(result.events.begin(), result.events.end(),
                   [](const trace_event& a, const trace_event& b) { return a.start_ns < b.start_ns; });
  return result;
}

/// Converts a dump in memory.
inline trace convert(const std::string& bytes, const std::string& arguments = "", int code = 0) {
  const temporary_folder folder;
  const std::string path = folder / "dump.contrail";
  std::ofstream(path, std::ios::binary) << bytes;
  return convert_file(path, arguments, code);
}

inline trace convert_now(const contrail::dump_options& wanted = {}) { return convert(dump_bytes(wanted)); }

/// Expected events, in the order in which they begin.
class expectations {
 public:
  /// Stands beside the statement that records the event.
  void operator()(const std::string& json) { expected_.push_back(json); }
  /// Compares, event by event, and forgets.
  void check(const trace& converted) {
    const std::vector<std::string> got = converted.json();
    for (size_t i = 0; i < std::min(got.size(), expected_.size()); ++i) CHECK(got[i] == expected_[i]);
    INFO(converted.text);
    CHECK(got.size() == expected_.size());
    expected_.clear();
  }

 private:
  std::vector<std::string> expected_;
};

#endif
