// SPDX-License-Identifier: MIT
// The names of an enumeration's values, read from what the compiler calls a template over them.
#ifndef CONTRAIL_DETAIL_ENUM_NAMES_HPP
#define CONTRAIL_DETAIL_ENUM_NAMES_HPP

#include "contrail/detail/text.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// A value of an enumeration and its unqualified name.
struct enumerator {
  int64_t value = 0;
  text name;
};

namespace detail {

// Values that are tried for a name. One template over all of them costs a tenth of a template for each.
inline constexpr int first_probed_value = -8;
inline constexpr int last_probed_value = 119;
inline constexpr int first_probed_bit = 7;  // 1 << 7 and above, for flags
inline constexpr int last_probed_bit = 30;

template <class E, int Value>
concept converts_in_constant = requires { typename type_tag<char[static_cast<E>(Value) == static_cast<E>(0) ? 1 : 2]>; };

/// The greatest value that may be converted to E in a constant expression: newer clang refuses those outside the range
/// of an enumeration without a fixed underlying type.
template <class E, int Bits = 7>
constexpr int last_value_to_probe() {
  if constexpr (requires { E{0}; }) {
    return sizeof(E) == 1 && is_same<__underlying_type(E), bool> ? 1 : last_probed_value;
  } else if constexpr (converts_in_constant<E, (1 << Bits) - 1>) {
    return Bits == 7 ? last_probed_value : (1 << Bits) - 1;
  } else if constexpr (Bits > 1) {
    return last_value_to_probe<E, Bits - 1>();
  } else {
    return 0;
  }
}

template <class E>
constexpr int first_value_to_probe() {
  using underlying = __underlying_type(E);
  if constexpr (static_cast<underlying>(-1) > underlying{}) {
    return 0;
  } else if constexpr (requires { E{0}; } || converts_in_constant<E, -8>) {
    return first_probed_value;
  } else {
    return 0;
  }
}

template <class E>
constexpr int bits_to_probe() {
  constexpr int top = static_cast<int>(sizeof(E) * 8) - 2;
  constexpr int last = top < last_probed_bit ? top : last_probed_bit;
  if constexpr (last < first_probed_bit) {
    return 0;
  } else if constexpr (requires { E{0}; } || converts_in_constant<E, 1 << last>) {
    return last - first_probed_bit + 1;
  } else {
    return 0;
  }
}

template <class E, E... Values>
constexpr text pretty_function_of_values() {
  return __PRETTY_FUNCTION__;
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"  // g++ warns of values outside the range of an enumeration
template <class E, int First, int... I>
constexpr text pretty_values(integer_pack<int, I...>) {
  return pretty_function_of_values<E, static_cast<E>(First + I)...>();
}
template <class E, int... I>
constexpr text pretty_bits(integer_pack<int, I...>) {
  return pretty_function_of_values<E, static_cast<E>(1 << (first_probed_bit + I))...>();
}
#pragma GCC diagnostic pop

/// Walks "... = {ns::red, (ns::color)1, ...}]" or "... = <...>]" and calls found(index, name) for each value with a name.
template <class Found>
constexpr void for_each_named_value(text pretty, int count, Found found) {
  uint32_t at = pretty.size - 1;
  // The list is the last argument: find where it opens. Names hold no such bracket, casts may: count them.
  const char close = pretty[--at];
  const char open = close == '}' ? '{' : '<';
  uint32_t end = at;
  for (int depth = 1; depth != 0;) {
    --at;
    if (pretty[at] == close) ++depth;
    if (pretty[at] == open) --depth;
  }
  ++at;
  uint32_t cast = 0;  // length of "(ns::color)", the same for all values without a name
  for (int i = 0; i < count; ++i) {
    const bool is_cast = pretty[at] == '(' && (cast != 0 ? pretty[at + cast - 1] == ')' : true);
    uint32_t last = at;
    if (is_cast && cast == 0) {
      int depth = 0;
      do {
        if (pretty[last] == '(') ++depth;
        if (pretty[last] == ')') --depth;
        ++last;
      } while (depth != 0);
      if (is_digit(pretty[last]) || pretty[last] == '-') cast = last - at;
    }
    last = at;
    bool named = true;
    if (is_cast && cast != 0 && (is_digit(pretty[at + cast]) || pretty[at + cast] == '-')) {
      last += cast;
      named = false;
    }
    int depth = 0;
    uint32_t name = last;
    for (; last < end && (depth != 0 || pretty[last] != ','); ++last) {
      if (!named) continue;
      const char c = pretty[last];
      if (c == '(' || c == '<' || c == '{') ++depth;
      if (c == ')' || c == '>' || c == '}') --depth;
      if (c == ':') name = last + 1;
    }
    if (named) found(i, part(pretty, name, last));
    at = last + 2;
  }
}

template <class E, class Found>
constexpr void for_each_enumerator(Found found) {
  constexpr int first = first_value_to_probe<E>();
  constexpr int count = last_value_to_probe<E>() - first + 1;
  constexpr int bits = bits_to_probe<E>();
  for_each_named_value(pretty_values<E, first>(make_integer_pack<int, count>{}), count,
                       [&](int i, text name) { found(int64_t{first} + i, name); });
  if constexpr (bits > 0)
    for_each_named_value(pretty_bits<E>(make_integer_pack<int, bits>{}), bits,
                         [&](int i, text name) { found(int64_t{1} << (first_probed_bit + i), name); });
}

struct enumerator_count {
  uint32_t enumerators = 0;
  uint32_t characters = 0;
};

template <class E>
constexpr enumerator_count count_enumerators() {
  enumerator_count count;
  for_each_enumerator<E>([&](int64_t, text name) {
    ++count.enumerators;
    count.characters += name.size;
  });
  return count;
}

/// The names are copied: the text they stand in has some 3000 characters.
template <class E, enumerator_count Count>
struct enumerator_storage {
  enumerator values[Count.enumerators + 1]{};
  char names[Count.characters + 1]{};

  constexpr enumerator_storage() {
    uint32_t used = 0;
    enumerator* next = values;
    for_each_enumerator<E>([&](int64_t value, text name) {
      *next++ = {value, {names + used, name.size}};
      for (char c : name) names[used++] = c;
    });
  }
};

/// All named enumerators of E that could be found, in increasing order.
template <class E>
struct CONTRAIL_DETAIL_HIDDEN enumerators_of {
  static constexpr enumerator_count count = count_enumerators<E>();
  static constexpr enumerator_storage<E, count> storage{};
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
