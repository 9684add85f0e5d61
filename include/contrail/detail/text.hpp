// SPDX-License-Identifier: MIT
// Constant text, and the names of types as the compiler spells them.
#ifndef CONTRAIL_DETAIL_TEXT_HPP
#define CONTRAIL_DETAIL_TEXT_HPP

#include "contrail/detail/image.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// Characters of static storage duration; not terminated by a NUL, since it may be a part of a longer literal.
struct text {
  const char* data = "";
  uint32_t size = 0;

  constexpr text() = default;
  constexpr text(const char* literal) : data(literal), size(static_cast<uint32_t>(__builtin_strlen(literal))) {}
  constexpr text(const char* characters, uint32_t count) : data(characters), size(count) {}

  constexpr const char* begin() const { return data; }
  constexpr const char* end() const { return data + size; }
  constexpr char operator[](uint32_t i) const { return data[i]; }

  friend constexpr bool operator==(text a, text b) {
    if (a.size != b.size) return false;
    for (uint32_t i = 0; i < a.size; ++i)
      if (a.data[i] != b.data[i]) return false;
    return true;
  }
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

using size_type = decltype(sizeof 0);

constexpr text part(text t, uint32_t begin, uint32_t end) { return {t.data + begin, end - begin}; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_identifier(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}
/// Whether `pattern` stands in `t` at `at`.
constexpr bool stands_at(text t, uint32_t at, text pattern) {
  return at + pattern.size <= t.size && part(t, at, at + pattern.size) == pattern;
}

/// FNV-1a, 64 bits: the stable ids of types are made of it.
struct hash {
  uint64_t value = 0xcbf29ce484222325ULL;

  constexpr void add(text t) {
    add(uint64_t{t.size});
    for (char c : t) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  constexpr void add(uint64_t number) {
    for (int i = 0; i < 8; ++i, number >>= 8) value = (value ^ (number & 0xff)) * 0x100000001b3ULL;
  }
};

template <class T>
constexpr text pretty_function_of() {
  return __PRETTY_FUNCTION__;
}

/// The qualified name of a type. Compilers agree on plain names, and differ in anonymous and inline namespaces and in
/// template arguments ("unsigned long", "long unsigned int").
template <class T>
constexpr text type_name() {
  constexpr text probe = pretty_function_of<void>();
  constexpr uint32_t before = probe.size - 5;  // of "void]", which ends the text on both compilers
  text pretty = pretty_function_of<T>();
  return part(pretty, before, pretty.size - 1);
}

template <class T> struct without_qualifiers { using type = T; };
template <class T> struct without_qualifiers<const T> { using type = T; };
template <class T> struct without_qualifiers<volatile T> { using type = T; };
template <class T> struct without_qualifiers<const volatile T> { using type = T; };
template <class T, decltype(sizeof 0) N> struct without_qualifiers<const T[N]> { using type = T[N]; };
template <class T> struct without_qualifiers<T&> : without_qualifiers<T> {};
template <class T> struct without_qualifiers<T&&> : without_qualifiers<T> {};

/// The type of a value: no reference, const or volatile.
template <class T>
using bare = typename without_qualifiers<T>::type;

template <class A, class B> inline constexpr bool is_same = false;
template <class A> inline constexpr bool is_same<A, A> = true;

/// Passes a type as a value, so that functions can be found by it.
template <class T> struct type_tag { using type = T; };
template <class... T> struct type_list {};

#if defined(__clang__)
template <class T, T... I> struct integer_pack { using type = integer_pack; };
template <class T, T N> using make_integer_pack = __make_integer_seq<integer_pack, T, N>;
#else
template <class T, T... I> struct integer_pack {};
template <class T, T N> using make_integer_pack = integer_pack<T, __integer_pack(N)...>;
#endif

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
