// SPDX-License-Identifier: MIT
// How much of what there is no end of a test tries: crash points, kills, faults, fuzzing.
#ifndef CONTRAIL_TESTS_TEST_LENGTH_HPP
#define CONTRAIL_TESTS_TEST_LENGTH_HPP

#include <cstdlib>
#include <cstring>

/// By CONTRAIL_TEST_LENGTH: "brief" where another configuration of the same build runs the usual amount, "long" for all
/// that there is time for.
template <class T>
T by_test_length(T brief, T usual, T most) {
  const char* const wanted = std::getenv("CONTRAIL_TEST_LENGTH");
  if (wanted == nullptr) return usual;
  return std::strcmp(wanted, "brief") == 0 ? brief : std::strcmp(wanted, "long") == 0 ? most : usual;
}

inline bool is_long_test() { return by_test_length(false, false, true); }

#endif
