// SPDX-License-Identifier: MIT
// Filters by category and name: comma separated globs.
#ifndef CONTRAIL_DETAIL_FILTER_HPP
#define CONTRAIL_DETAIL_FILTER_HPP

#include "contrail/detail/schema.hpp"

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
