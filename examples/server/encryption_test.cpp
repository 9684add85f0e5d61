// SPDX-License-Identifier: MIT
// Proves what the server promises about encryption: it opens to the same text, and only untouched and with the key.
#include "encryption.hpp"
#include "encryption_pool.hpp"
#include "message_text.hpp"

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

namespace {

int failures = 0;

void expect(bool holds, const char* sentence) {
  std::printf("%s: %s\n", holds ? "ok" : "FAILED", sentence);
  if (!holds) ++failures;
}

void encryption_opens_to_the_same_text() {
  const crypto::secret_key key = crypto::random_key();
  for (const std::string& plain : {std::string(), std::string("hello"), std::string(100'000, 'x')}) {
    const crypto::sealed_message sealed = crypto::seal(key, plain);
    expect(crypto::open(key, sealed) == plain, "a sealed text opens to itself");
    expect(plain.empty() || sealed.ciphertext != plain, "the ciphertext is not the text");

    const auto read_back = crypto::from_text(crypto::to_text(sealed));
    expect(read_back && crypto::open(key, *read_back) == plain, "it survives being written as text");
  }
}

void altered_messages_do_not_open() {
  const crypto::secret_key key = crypto::random_key();
  const crypto::sealed_message sealed = crypto::seal(key, "pay 10 to Ann");

  crypto::sealed_message altered = sealed;
  altered.ciphertext[4] ^= 1;
  expect(!crypto::open(key, altered), "an altered ciphertext does not open");
  altered = sealed;
  altered.tag[15] ^= 1;
  expect(!crypto::open(key, altered), "an altered tag does not open");
  altered = sealed;
  altered.nonce[0] ^= 1;
  expect(!crypto::open(key, altered), "an altered nonce does not open");
  expect(!crypto::open(crypto::random_key(), sealed), "another key does not open it");
}

void nonsense_is_not_a_message() {
  for (const char* text : {"", ".", "..", "ab.cd.ef", "not a message", "zz.zz.zz"}) {
    expect(!crypto::from_text(text), "nonsense is not a message");
  }
}

void many_callers_get_their_own_result() {
  const crypto::secret_key key = crypto::random_key();
  crypto::encryption_pool pool(key, 3);
  std::vector<char> right(8, 0);
  std::vector<std::thread> callers;
  for (std::size_t number = 0; number < right.size(); ++number) {
    callers.emplace_back([&, number] {
      bool all = true;
      for (int i = 0; i < 200; ++i) {
        const std::string plain = std::to_string(number) + " asks " + std::to_string(i);
        all = all && crypto::open(key, pool.encrypt(plain)) == plain;
      }
      right[number] = all;
    });
  }
  for (auto& caller : callers) caller.join();
  for (const char mine : right) expect(mine != 0, "each caller of the pool gets its own text back");
}

}  // namespace

int main() {
  encryption_opens_to_the_same_text();
  altered_messages_do_not_open();
  nonsense_is_not_a_message();
  many_callers_get_their_own_result();
  return failures == 0 ? 0 : 1;
}
