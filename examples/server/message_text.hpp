// SPDX-License-Identifier: MIT
// A sealed message as a line of text: the nonce, the tag and the ciphertext in hex, joined by dots.
#ifndef SERVER_MESSAGE_TEXT_HPP
#define SERVER_MESSAGE_TEXT_HPP

#include "encryption.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace crypto {
namespace detail {

inline void append_hex(std::string& text, const void* bytes, std::size_t count) {
  constexpr std::string_view digits = "0123456789abcdef";
  const std::size_t begin = text.size();
  text.resize(begin + 2 * count);
  char* to = text.data() + begin;
  const auto* const from = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < count; ++i) {
    *to++ = digits[from[i] >> 4];
    *to++ = digits[from[i] & 15];
  }
}

inline int hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

/// False: not exactly as many hex digits as fill the bytes.
template <class Bytes>
bool parse_hex(std::string_view text, Bytes& bytes) {
  if (text.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<typename Bytes::value_type>(high << 4 | low);
  }
  return true;
}

}  // namespace detail

inline std::string to_text(const sealed_message& sealed) {
  TRACE_REGION("to hex", "bytes", sealed.ciphertext.size());
  std::string text;
  text.reserve(2 * (sealed.nonce.size() + sealed.tag.size() + sealed.ciphertext.size()) + 3);
  detail::append_hex(text, sealed.nonce.data(), sealed.nonce.size());
  text += '.';
  detail::append_hex(text, sealed.tag.data(), sealed.tag.size());
  text += '.';
  detail::append_hex(text, sealed.ciphertext.data(), sealed.ciphertext.size());
  text += '\n';
  return text;
}

/// Nothing: this text was not made by to_text.
inline std::optional<sealed_message> from_text(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const std::size_t first = text.find('.');
  const std::size_t second = text.find('.', first + 1);
  if (first == text.npos || second == text.npos) return std::nullopt;

  const std::string_view ciphertext = text.substr(second + 1);
  sealed_message sealed{{}, {}, std::string(ciphertext.size() / 2, '\0')};
  const bool complete = detail::parse_hex(text.substr(0, first), sealed.nonce) &&
                        detail::parse_hex(text.substr(first + 1, second - first - 1), sealed.tag) &&
                        detail::parse_hex(ciphertext, sealed.ciphertext);
  if (!complete) return std::nullopt;
  return sealed;
}

}  // namespace crypto

#endif
