// SPDX-License-Identifier: MIT
// Authenticated encryption, AES-256-GCM by OpenSSL: what was altered on its way does not open.
#ifndef SERVER_ENCRYPTION_HPP
#define SERVER_ENCRYPTION_HPP

#include "trace_events.hpp"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace crypto {

using secret_key = std::array<unsigned char, 32>;

struct sealed_message {
  std::array<unsigned char, 12> nonce;
  std::array<unsigned char, 16> tag;
  std::string ciphertext;  // as long as the plain text
};

/// Longer texts are refused: OpenSSL counts in int.
inline constexpr std::size_t max_message_bytes = 64 << 20;

namespace detail {

using cipher_context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

inline void require(int result, const char* step) {
  if (result != 1) throw std::runtime_error(std::string("encryption failed: ") + step);
}

inline cipher_context make_context() {
  cipher_context context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  if (!context) throw std::bad_alloc();
  return context;
}

inline int length_of(std::string_view text) {
  if (text.size() > max_message_bytes) throw std::length_error("the message is too long to encrypt");
  return static_cast<int>(text.size());
}

inline const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

inline unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

}  // namespace detail

inline secret_key random_key() {
  secret_key key;
  detail::require(RAND_bytes(key.data(), static_cast<int>(key.size())), "no random key");
  return key;
}

/// Encrypts under a nonce of its own. Random nonces are safe for some four thousand million messages per key.
inline sealed_message seal(const secret_key& key, std::string_view plain) {
  TRACE_REGION("seal", "bytes", plain.size());
  const int length = detail::length_of(plain);
  sealed_message sealed{{}, {}, std::string(plain.size(), '\0')};
  detail::require(RAND_bytes(sealed.nonce.data(), static_cast<int>(sealed.nonce.size())), "no random nonce");

  const auto context = detail::make_context();
  int written = 0;
  unsigned char* const out = detail::bytes_of(sealed.ciphertext);
  detail::require(EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), sealed.nonce.data()),
                  "init");
  detail::require(EVP_EncryptUpdate(context.get(), out, &written, detail::bytes_of(plain), length), "update");
  detail::require(EVP_EncryptFinal_ex(context.get(), out + written, &written), "final");
  detail::require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, static_cast<int>(sealed.tag.size()),
                                      sealed.tag.data()),
                  "tag");
  return sealed;
}

/// Nothing: this is not a message sealed with this key, or somebody altered it.
inline std::optional<std::string> open(const secret_key& key, const sealed_message& sealed) {
  TRACE_REGION("open", "bytes", sealed.ciphertext.size());
  const int length = detail::length_of(sealed.ciphertext);
  std::string plain(sealed.ciphertext.size(), '\0');
  auto tag = sealed.tag;  // the interface of OpenSSL takes it as not const

  const auto context = detail::make_context();
  int written = 0;
  unsigned char* const out = detail::bytes_of(plain);
  detail::require(EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), sealed.nonce.data()),
                  "init");
  detail::require(EVP_DecryptUpdate(context.get(), out, &written, detail::bytes_of(sealed.ciphertext), length),
                  "update");
  detail::require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, static_cast<int>(tag.size()), tag.data()),
                  "tag");
  if (EVP_DecryptFinal_ex(context.get(), out + written, &written) != 1) return std::nullopt;
  return plain;
}

}  // namespace crypto

#endif
