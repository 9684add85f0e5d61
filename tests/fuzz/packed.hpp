// SPDX-License-Identifier: MIT
// Inputs of the fuzzer are dumps in which a byte 0 is followed by the number of zeros that follow it. A dump is mostly
// zeros: packed, one of 30 KB has 2 KB, so that the corpus is small and mutations hit what matters.
#ifndef CONTRAIL_TESTS_FUZZ_PACKED_HPP
#define CONTRAIL_TESTS_FUZZ_PACKED_HPP

#include <cstddef>
#include <string>
#include <string_view>

inline std::string unpacked(std::string_view packed) {
  std::string bytes;
  for (size_t i = 0; i < packed.size(); ++i) {
    bytes += packed[i];
    if (packed[i] == '\0' && ++i < packed.size()) bytes.append(static_cast<unsigned char>(packed[i]), '\0');
  }
  return bytes;
}

inline std::string packed(std::string_view bytes) {
  std::string result;
  for (size_t i = 0; i < bytes.size(); ++i) {
    result += bytes[i];
    if (bytes[i] != '\0') continue;
    size_t more = 0;
    while (more < 255 && i + 1 < bytes.size() && bytes[i + 1] == '\0') ++more, ++i;
    result += static_cast<char>(more);
  }
  return result;
}

#endif
