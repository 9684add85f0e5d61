// SPDX-License-Identifier: MIT
// Writes argument values into the words of a record, as detail/image.hpp lays a payload out.
#ifndef CONTRAIL_DETAIL_PAYLOAD_HPP
#define CONTRAIL_DETAIL_PAYLOAD_HPP

#include "contrail/detail/schema.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

struct text_piece {
  const char* data;
  uint32_t size;
};

constexpr int128 greatest_common_divisor(int128 a, int128 b) { return b == 0 ? a : greatest_common_divisor(b, a % b); }

/// Signed nanoseconds, saturated, rounded towards zero as duration_cast does.
template <class Duration>
constexpr int64_t nanoseconds_of(const Duration& d) {
  constexpr int64_t max = 0x7fff'ffff'ffff'ffff;
  constexpr int64_t min = -max - 1;
  using rep = bare<decltype(d.count())>;
  const rep count = d.count();
  constexpr int128 ns_per_period_times_den = static_cast<int128>(Duration::period::num) * 1'000'000'000;
  constexpr int128 divisor = greatest_common_divisor(ns_per_period_times_den, Duration::period::den);
  constexpr int128 num = ns_per_period_times_den / divisor;
  constexpr int128 den = Duration::period::den / divisor;
  if constexpr (scalar_type<rep> >= field_type::float32) {
    const double ns = static_cast<double>(count) * (static_cast<double>(num) / static_cast<double>(den));
    return ns >= 0x1p63 ? max : ns <= -0x1p63 ? min : ns != ns ? 0 : static_cast<int64_t>(ns);
  } else {
    int64_t periods = static_cast<int64_t>(count);
    if constexpr (rep(-1) > rep{} || sizeof(rep) > 8) {
      if (count > static_cast<rep>(max)) periods = max;
      if constexpr (rep(-1) < rep{}) {
        if (count < static_cast<rep>(min)) periods = min;
      }
    }
    if constexpr (num > max) {
      return periods > 0 ? max : periods < 0 ? min : 0;
    } else if constexpr (den == 1) {
      int64_t ns = 0;
      if (!__builtin_mul_overflow(periods, static_cast<int64_t>(num), &ns)) return ns;
      return periods > 0 ? max : min;
    } else if constexpr (num == 1) {
      return periods / static_cast<int64_t>(den);
    } else {  // 64 by 64 bits cannot overflow 128, and needs no function that only compiler-rt has
      const int128 ns = static_cast<int128>(periods) * num / den;
      return ns > max ? max : ns < min ? min : static_cast<int64_t>(ns);
    }
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstringop-overread"  // of a short local array: memchr stops at its NUL
#endif
/// Characters before the first NUL, at most `limit`.
CONTRAIL_DETAIL_ALWAYS_INLINE uint32_t bounded_length(const char* s, uint32_t limit) {
  const void* const nul = __builtin_memchr(s, 0, limit);
  return nul != nullptr ? static_cast<uint32_t>(static_cast<const char*>(nul) - s) : limit;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// How much to keep of a text that is longer than the `room` for it: no broken UTF-8 sequence at its end.
// Async-signal-safe.
CONTRAIL_DETAIL_HIDDEN CONTRAIL_DETAIL_COLD inline uint32_t cut_text(const char* data, uint32_t room) {
  uint32_t size = room;
  while (size != 0 && room - size < 3 && (static_cast<unsigned char>(data[size]) & 0xc0) == 0x80) --size;
  return (static_cast<unsigned char>(data[size]) & 0xc0) == 0x80 ? room : size;
}

/// 1 to 7 characters as a word, the first in its low byte. Overlapping loads read neither before nor behind them, and a
/// loop over the characters would cost some 5 ns more for a text of 15.
CONTRAIL_DETAIL_ALWAYS_INLINE uint64_t short_text(const char* from, uint32_t size) {
  if (size >= 4) {
    uint32_t first;
    uint32_t last;
    __builtin_memcpy(&first, from, 4);
    __builtin_memcpy(&last, from + size - 4, 4);
    return first | static_cast<uint64_t>(last) << (8 * size - 32);
  }
  const uint64_t first = static_cast<unsigned char>(from[0]);
  const uint64_t middle = static_cast<unsigned char>(from[size / 2]);
  const uint64_t last = static_cast<unsigned char>(from[size - 1]);
  return first | middle << (size / 2 * 8) | last << (size * 8 - 8);
}

/// Appends the tail to a fixed part of `used` bytes, whose last, unfinished word is `word`; returns words in all.
// Async-signal-safe.
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned append_pieces(atomic_word* out, unsigned used, uint64_t word,
                                                     const text_piece* pieces, unsigned count) {
  atomic_word* to = out + used / 8;
  unsigned filled = used % 8 * 8;  // bits of `word`
  for (unsigned i = 0; i < count; ++i) {
    const char* from = pieces[i].data;
    uint32_t left = pieces[i].size;
    for (; left >= 8; from += 8, left -= 8) {
      uint64_t next;
      __builtin_memcpy(&next, from, 8);
      (to++)->store_relaxed(word | next << filled);
      word = next >> 1 >> (63 - filled);  // in two steps: a shift by 64 is undefined
    }
    if (left == 0) continue;
    const uint64_t next = short_text(from, left);
    word |= next << filled;
    filled += 8 * left;
    if (filled >= 64) {
      (to++)->store_relaxed(word);
      filled -= 64;
      word = filled != 0 ? next >> (8 * left - filled) : 0;
    }
  }
  if (filled != 0) (to++)->store_relaxed(word);
  return static_cast<unsigned>(to - out);
}

CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) inline unsigned append_texts(atomic_word* out, unsigned used,
                                                                              uint64_t word, const text_piece* pieces,
                                                                              unsigned count) {
  return append_pieces(out, used, word, pieces, count);
}

/// The same for a single text, which then travels in registers.
CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) inline unsigned append_text(atomic_word* out, unsigned used,
                                                                             uint64_t word, const char* data,
                                                                             uint32_t size) {
  const text_piece piece{data, size};
  return append_pieces(out, used, word, &piece, 1);
}

/// Puts values into words one after the other. Every offset is a constant once this is inlined, so that two ints
/// become one shift, one or, one store; going through memory would cost a failed store forwarding.
struct payload_writer {
  atomic_word* out;
  text_piece* pieces = nullptr;
  uint32_t room = 0;  ///< bytes left for texts, less than string_cut
  uint32_t used = 0;  ///< bytes of the fixed part so far
  uint64_t word = 0;  ///< the word at used / 8, as far as it is filled

  CONTRAIL_DETAIL_ALWAYS_INLINE void align(uint32_t bytes) {
    const uint32_t at = (used + bytes - 1) & ~(bytes - 1);
    if (at / 8 != used / 8) flush();
    used = at;
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void flush() {
    if (used % 8 != 0) {
      out[used / 8].store_relaxed(word);
      word = 0;
    }
  }
  template <uint32_t Bytes>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_bits(uint64_t bits) {
    align(Bytes);
    if constexpr (Bytes == 8) {
      out[used / 8].store_relaxed(bits);
      used += 8;
    } else {
      word |= bits << (8 * (used % 8));
      used += Bytes;
      if (used % 8 == 0) {
        out[used / 8 - 1].store_relaxed(word);
        word = 0;
      }
    }
  }

  CONTRAIL_DETAIL_ALWAYS_INLINE void put_text(const char* data, size_type size) {
    uint32_t kept = static_cast<uint32_t>(size);
    uint32_t cut = 0;
    if (__builtin_expect(size > room, 0)) {
      kept = cut_text(data, room);
      cut = string_cut;
    }
    room -= kept;
    *pieces++ = {data, kept};
    put_bits<2>(kept | cut);
  }
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_c_string(const char* data) {
    if (data == nullptr) return put_text("(null)", 6);
    put_text(data, bounded_length(data, room + 1));  // one more than there is room for shows that it was cut
  }

  template <class T>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_scalar(T value) {
    constexpr field_type type = scalar_type<T>;
    if constexpr (type == field_type::float32) {
      put_bits<4>(__builtin_bit_cast(uint32_t, value));
    } else if constexpr (type == field_type::float64) {
      put_bits<8>(__builtin_bit_cast(uint64_t, static_cast<double>(value)));
    } else if constexpr (type == field_type::int128 || type == field_type::uint128) {
      put_bits<8>(static_cast<uint64_t>(value));
      put_bits<8>(static_cast<uint64_t>(value >> 64));
    } else if constexpr (type == field_type::code_point) {
      put_bits<4>(static_cast<uint32_t>(value));
    } else if constexpr (type == field_type::flow_out || type == field_type::flow_in) {
      put_bits<8>(value.id);
    } else if constexpr (sizeof(T) == 1) {
      put_bits<1>(static_cast<uint8_t>(value));
    } else if constexpr (sizeof(T) == 2) {
      put_bits<2>(static_cast<uint16_t>(value));
    } else if constexpr (sizeof(T) == 4) {
      put_bits<4>(static_cast<uint32_t>(value));
    } else {
      put_bits<8>(static_cast<uint64_t>(value));
    }
  }

  struct member_writer {
    payload_writer& writer;
    template <class... Members>
    CONTRAIL_DETAIL_ALWAYS_INLINE void operator()(const Members&... members) const {
      (writer.put(members), ...);
    }
  };

  template <class T>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put(const T& value) {
    using type = bare<T>;
    constexpr value_kind kind = kind_of<type>;
    if constexpr (kind == value_kind::scalar) {
      put_scalar<type>(value);
    } else if constexpr (kind == value_kind::enumeration) {
      put_scalar(static_cast<__underlying_type(type)>(value));
    } else if constexpr (kind == value_kind::duration) {
      put_bits<8>(static_cast<uint64_t>(nanoseconds_of(value)));
    } else if constexpr (kind == value_kind::function) {
      put_bits<8>(reinterpret_cast<uintptr_t>(&value));
    } else if constexpr (is_same<type, decltype(nullptr)>) {
      put_bits<8>(0);
    } else if constexpr (kind == value_kind::pointer) {
      put_bits<8>(reinterpret_cast<uintptr_t>(value));
    } else if constexpr (kind == value_kind::c_string) {
      put_c_string(reinterpret_cast<const char*>(value));
    } else if constexpr (kind == value_kind::char_array) {
      const char* const data = reinterpret_cast<const char*>(&value);
      put_text(data, bounded_length(data, sizeof(type)));
    } else if constexpr (kind == value_kind::sized_text) {
      put_text(reinterpret_cast<const char*>(value.data()), static_cast<size_type>(value.size()));
    } else if constexpr (kind == value_kind::array) {
      put_array<typename element<type>::type, element<type>::count>(value);
    } else if constexpr (kind == value_kind::array_object) {
      put_array<typename element<type>::type, element<type>::count>(value.data());
    } else if constexpr (kind == value_kind::aggregate) {
      fields_of<type>::visit(value, member_writer{*this});
    }
  }

  template <class Item, size_type Count>
  CONTRAIL_DETAIL_ALWAYS_INLINE void put_array(const Item* items) {
    if constexpr (is_leaf(kind_of<bare<Item>>)) {
      constexpr uint32_t bytes = bytes_of(leaf_type<bare<Item>>());
      align(bytes < 8 ? bytes : 8);
      const uint32_t after = used + bytes * static_cast<uint32_t>(Count);
      for (size_type i = 0; i < Count; ++i) put(items[i]);
      used = after;  // says again what is constant, which the loop has hidden from the compiler
    } else {
      for (size_type i = 0; i < Count; ++i) put(items[i]);
    }
  }

  CONTRAIL_DETAIL_ALWAYS_INLINE unsigned finish() {
    flush();
    return (used + 7) / 8;
  }
};

/// Writes the values' payload to `out`, which holds `capacity_words`: at least payload<Args...>::fixed_words, at
/// most max_point_words. Returns the words used. Texts are cut to the room that is left.
// Async-signal-safe.
template <class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned encode(atomic_word* out, unsigned capacity_words, const Args&... args) {
  using layout = payload<Args...>;
  if constexpr (layout::is_fixed) {
    payload_writer writer{out};
    (writer.put(args), ...);
    static_cast<void>(capacity_words);
    return writer.finish();
  } else {
    text_piece pieces[layout::text_count];
    payload_writer writer{out, pieces, capacity_words * 8 - layout::fixed_bytes};
    (writer.put(args), ...);
    return append_texts(out, layout::fixed_bytes, writer.word, pieces, layout::text_count);
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
