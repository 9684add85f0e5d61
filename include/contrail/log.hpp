// SPDX-License-Identifier: MIT
// TRACE_LOG's format strings: their placeholders are counted at compile time. contrail/fmt.hpp checks them fully.
#ifndef CONTRAIL_LOG_HPP
#define CONTRAIL_LOG_HPP

#include "contrail/registry.hpp"

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
