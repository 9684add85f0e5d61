// SPDX-License-Identifier: MIT
// "500ms", "5s" or "2m" as a duration.
#ifndef SERVER_PARSE_DURATION_HPP
#define SERVER_PARSE_DURATION_HPP

#include <charconv>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>
#include <system_error>

namespace http {

/// Nothing: not a positive whole number with one of these units, or more than a day.
inline std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  int count = 0;
  const auto [unit_begin, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (problem != std::errc() || count <= 0) return std::nullopt;

  const std::string_view unit = text.substr(static_cast<std::size_t>(unit_begin - text.data()));
  std::chrono::milliseconds duration{};
  if (unit == "ms") {
    duration = std::chrono::milliseconds(count);
  } else if (unit == "s") {
    duration = std::chrono::seconds(count);
  } else if (unit == "m") {
    duration = std::chrono::minutes(count);
  } else {
    return std::nullopt;
  }
  if (duration > std::chrono::hours(24)) return std::nullopt;
  return duration;
}

}  // namespace http

#endif
