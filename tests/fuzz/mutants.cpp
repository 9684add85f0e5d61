// SPDX-License-Identifier: MIT
// Applies mutations to files and prints what the reader makes of each: its exit code, and the CRC-32 of its text. One
// process for hundreds of thousands of inputs; tests/python/test_agreement.py does the same with the Python reader.
//
//   mutants FILE... < PLAN       lines of PLAN: number of the FILE, then edits
//     f123      flip bit 123             b123=255  set a byte
//     w123=5    set the word at byte 123, little endian
//     c1000     cut to 1000 bytes        (the last edit of a line, if at all)
#include "text_form.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {

uint32_t crc32(std::string_view bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = made[i] >> 1 ^ ((made[i] & 1) != 0 ? 0xedb88320U : 0);
    }
    return made;
  }();
  uint32_t sum = ~0U;
  for (const char c : bytes) sum = table[(sum ^ static_cast<unsigned char>(c)) & 0xff] ^ sum >> 8;
  return ~sum;
}

void change(const std::string& edit, std::string& bytes) {
  const size_t equals = edit.find('=');
  const auto at = static_cast<size_t>(std::stoull(edit.substr(1, equals - 1)));
  uint64_t value = equals == std::string::npos ? 0 : std::stoull(edit.substr(equals + 1));
  switch (edit[0]) {
    case 'f': bytes.at(at / 8) = static_cast<char>(bytes[at / 8] ^ 1 << at % 8); break;
    case 'b': bytes.at(at) = static_cast<char>(value); break;
    case 'w':
      for (size_t i = 0; i < 8; ++i, value >>= 8) bytes.at(at + i) = static_cast<char>(value);
      break;
    case 'c': bytes.resize(at); break;
    default: std::cerr << "mutants: no such edit: " << edit << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> originals;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    originals.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::string line, edit;
  while (std::getline(std::cin, line)) {
    std::istringstream plan(line);
    size_t file = 0;
    plan >> file;
    std::string bytes = originals.at(file);
    while (plan >> edit) change(edit, bytes);
    // Of exactly this size, so that tools that watch the heap see a read beyond the end.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const contrail::reader reader(exact.data(), exact.size());
    const int code = !reader ? 2 : reader.warnings().empty() ? 0 : 1;
    std::printf("%d %08x\n", code, code == 2 ? 0 : crc32(text_of(reader)));
  }
}
