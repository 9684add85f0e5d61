// SPDX-License-Identifier: MIT
// A library that traces only if contrail is there. Its users need nothing, and see its regions once they record.
// With -DPARSER_NO_TRACE, or on a machine without contrail, the same source builds to the bare parser.
//
// Prints:
//   3 words
//   wrote 11_library_shim.contrail
// Records: "count words"

// --- the library: it includes its own ten-line shim, and never contrail itself ---
#include "11_library_shim.hpp"

#include <cstdio>
#include <string_view>

namespace parser {
PARSER_CATEGORY();

int count_words(std::string_view text) {
  PARSER_REGION("count words", "characters", text.size());
  int words = 0;
  char previous = ' ';
  for (const char current : text) {
    if (previous == ' ' && current != ' ') ++words;
    previous = current;
  }
  return words;
}
}  // namespace parser

// --- the program: it decides whether anything is recorded ---
#ifndef PARSER_NO_TRACE
#include <contrail/contrail.hpp>

int main() {
  if (auto error = contrail::flight_recorder::start()) {
    std::fprintf(stderr, "cannot record: %s\n", error.message());
    return 1;
  }
  std::printf("%d words\n", parser::count_words("regions from libraries"));
  if (auto error = contrail::flight_recorder::dump("11_library_shim.contrail")) {
    std::fprintf(stderr, "cannot write the dump: %s\n", error.message());
    return 1;
  }
  std::printf("wrote 11_library_shim.contrail\n");
}
#else
int main() { std::printf("%d words\n", parser::count_words("regions from libraries")); }
#endif
