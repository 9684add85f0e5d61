// SPDX-License-Identifier: MIT
// Prints all that a dump, or the image file of a process, holds: one line for each thing, as docs/text.md says.
//
//   contrail_text IN        "-" is standard input
//
// Exit codes: 0 all was read; 1 a part was, and the warnings on standard error say what was not; 2 nothing was.
#include "text_form.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

int complain(const char* path, const std::string& what) {
  std::fprintf(stderr, "contrail_text: %s: %s.\n", path, what.c_str());
  return 2;
}

/// False if it cannot be read; errno says why.
bool read_file(std::FILE* file, std::string& bytes) {
  char piece[1 << 16];
  while (const size_t size = std::fread(piece, 1, sizeof(piece), file)) {
    bytes.append(piece, size);
    if (bytes[0] != '\x89') break;  // /dev/zero never ends
  }
  return std::ferror(file) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: contrail_text IN\n");
    return 2;
  }
  std::string bytes;
  const bool is_stdin = std::strcmp(argv[1], "-") == 0;
  std::FILE* file = is_stdin ? stdin : std::fopen(argv[1], "rb");
  const bool was_read = file != nullptr && read_file(file, bytes);
  const int why = errno;
  if (file != nullptr && !is_stdin) std::fclose(file);
  if (!was_read) return complain(argv[1], std::string("it cannot be read: ") + std::strerror(why));

  const contrail::reader reader(bytes.data(), bytes.size());
  if (!reader) return complain(argv[1], reader.reason());
  const auto print = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); };
  text_form(reader, print).write();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return complain(argv[1], std::string("the output cannot be written: ") + std::strerror(errno));
  }
  for (const std::string& warning : reader.warnings()) complain(argv[1], "warning: " + warning);
  return reader.warnings().empty() ? 0 : 1;
}
