// SPDX-License-Identifier: MIT
// A dump as the converter writes it: each event of the JSON as its line.
#ifndef CONTRAIL_TESTS_CONVERTED_HPP
#define CONTRAIL_TESTS_CONVERTED_HPP

#include "support/recorder.hpp"

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

inline std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

/// Runs the converter's command on a file; its exit code, what it wrote to `out`.
inline int run_converter(const std::string& arguments, const std::string& out) {
  const std::string here = __FILE__;
  const std::string script =
      environment("CONTRAIL_PY", (here.substr(0, here.rfind("/tests/")) + "/tools/contrail.py").c_str());
  const std::string command = environment("PYTHON", "python3") + " '" + script + "' " + arguments + " > '" + out + "' 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// The events of a converted dump.
class converted {
 public:
  /// Of a dump made now.
  converted() {
    temporary_folder folder;
    const std::string dump = folder / "dump";
    const contrail::error failed = flight_recorder::dump(dump.c_str());
    INFO(failed.message());
    REQUIRE_FALSE(failed);
    convert(dump, {});
  }
  explicit converted(const std::string& dump, const std::string& options = {}) { convert(dump, options); }

  const std::vector<std::string>& lines() const { return lines_; }

  /// Events of that name, without pid, tid, times and punctuation around them: ph, cat, name, args.
  std::vector<std::string> named(const std::string& name) const {
    std::vector<std::string> found;
    for (const std::string& line : lines_) {
      if (line.find("\"name\":\"" + name + "\"") == std::string::npos) continue;
      std::string rest = line;
      for (const char* member : {"pid", "tid", "ts", "dur", "id"}) remove(rest, member);
      found.push_back(rest);
    }
    return found;
  }
  /// The only event of that name.
  std::string one(const std::string& name) const {
    const auto found = named(name);
    INFO(name);
    REQUIRE(found.size() == 1);
    return found[0];
  }
  /// A numeric member of the only event of that name.
  double number(const std::string& name, const char* member) const {
    for (const std::string& line : lines_) {
      if (line.find("\"name\":\"" + name + "\"") == std::string::npos) continue;
      const size_t at = line.find("\"" + std::string(member) + "\":");
      REQUIRE(at != std::string::npos);
      return std::strtod(line.c_str() + at + std::strlen(member) + 3, nullptr);
    }
    FAIL("no event " << name);
    return 0;
  }

 private:
  void convert(const std::string& dump, const std::string& options) {
    temporary_folder folder;
    const std::string json = folder / "json";
    const int status = run_converter("convert " + options + " -o '" + json + "' '" + dump + "'", folder / "messages");
    INFO(text_of(folder / "messages"));
    REQUIRE(status == 0);
    read(text_of(json));
  }
  void read(const std::string& json) {
    std::istringstream in(json);
    for (std::string line; std::getline(in, line);) {
      if (!line.empty() && line.back() == ',') line.pop_back();
      if (line.compare(0, 6, "{\"ph\":") == 0) lines_.push_back(line);
    }
  }
  static void remove(std::string& line, const char* member) {
    const size_t at = line.find(",\"" + std::string(member) + "\":");
    if (at == std::string::npos) return;
    const size_t end = line.find_first_of(",}", at + 1);
    line.erase(at, end - at);
  }

  std::vector<std::string> lines_;
};

#endif
