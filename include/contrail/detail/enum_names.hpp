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

namespace detail CONTRAIL_DETAIL_HIDDEN {

// Values that are tried for a name. One template over all of them costs a tenth of a template for each.
inline constexpr int first_probed_value = -8;
inline constexpr int last_probed_value = 119;
inline constexpr int first_probed_bit = 7;  // 1 << 7 and above, for flags
inline constexpr int last_probed_bit = 30;

template <class E, int Value>
concept converts_in_constant = requires {
  typename type_tag<char[static_cast<E>(Value) == static_cast<E>(0) ? 1 : 2]>;
};

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

/// A value of an enumeration that has a name, as it stands in a list that a compiler wrote.
struct named_value {
  int64_t value = 0;
  const char* name = nullptr;
  uint32_t size = 0;
};

template <uint32_t Most>
struct named_values {
  uint32_t count = 0;
  uint32_t characters = 0;
  named_value values[Most];
};

/// Past the bracket group at `at`.
constexpr const char* past_group(const char* at) {
  int depth = 0;
  do {
    if (*at == '(' || *at == '<' || *at == '{') ++depth;
    if (*at == ')' || *at == '>' || *at == '}') --depth;
    ++at;
  } while (depth != 0);
  return at;
}
constexpr bool starts_number(char c) { return is_digit(c) || c == '-'; }

/// Reads a list such as "ns::red, (ns::color)1, ns::blue}]". Most values have no name, and their cast is as long every
/// time, so that it is stepped over: constant evaluation takes a microsecond for each character it looks at.
template <uint32_t Most, class Value>
constexpr void find_named_values(named_values<Most>& found, const char* at, int count, Value value_at) {
  long cast = 0;  // length of "(ns::color)"
  for (int i = 0; i < count; ++i) {
    if (*at == '(') {
      if (cast == 0) {
        const char* const after = past_group(at);
        if (starts_number(*after)) cast = after - at;
      }
      if (cast != 0 && at[cast - 1] == ')' && starts_number(at[cast])) {
        at += cast + 1;
        while (*at != ',' && *at != '}' && *at != '>') ++at;
        at += 2;
        continue;
      }
    }
    const char* name = at;
    while (*at != ',' && *at != '}' && *at != '>') {
      if (*at == '(' || *at == '<' || *at == '{') {
        at = past_group(at);
      } else if (*at++ == ':') {
        name = at;
      }
    }
    const uint32_t size = static_cast<uint32_t>(at - name);
    found.values[found.count++] = {value_at(i), name, size};
    found.characters += size;
    at += 2;
  }
}

template <class E>
constexpr auto find_enumerators() {
  constexpr int first = first_value_to_probe<E>();
  constexpr int count = last_value_to_probe<E>() - first + 1;
  constexpr int bits = bits_to_probe<E>();
  constexpr uint32_t before_list = pretty_function_of_values<E>().size - 2;  // of "}]" or ">]"
  named_values<count + bits> found;
  find_named_values(found, pretty_values<E, first>(make_integer_pack<int, count>{}).data + before_list, count,
                    [](int i) { return int64_t{first} + i; });
  if constexpr (bits > 0)
    find_named_values(found, pretty_bits<E>(make_integer_pack<int, bits>{}).data + before_list, bits,
                      [](int i) { return int64_t{1} << (first_probed_bit + i); });
  return found;
}

/// The names are copied: the texts they stand in have some 3000 characters.
template <uint32_t Count, uint32_t Characters>
struct enumerator_storage {
  enumerator values[Count + 1]{};
  char names[Characters + 1]{};

  template <uint32_t Most>
  constexpr explicit enumerator_storage(const named_values<Most>& found) {
    char* next = names;
    for (uint32_t i = 0; i < Count; ++i) {
      const named_value& v = found.values[i];
      values[i] = {v.value, {next, v.size}};
      for (uint32_t k = 0; k < v.size; ++k) *next++ = v.name[k];
    }
  }
};

/// All named enumerators of E that could be found, in increasing order.
template <class E>
struct CONTRAIL_DETAIL_HIDDEN enumerators_of {
  static constexpr auto found = find_enumerators<E>();
  static constexpr uint32_t count = found.count;
  static constexpr enumerator_storage<found.count, found.characters> storage{found};
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
