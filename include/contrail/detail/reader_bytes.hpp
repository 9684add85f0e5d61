// SPDX-License-Identifier: MIT
// Bytes that anyone may have written: no read goes beyond them, and no sum of offsets wraps.
#ifndef CONTRAIL_DETAIL_READER_BYTES_HPP
#define CONTRAIL_DETAIL_READER_BYTES_HPP

#include "contrail/detail/image.hpp"

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

inline constexpr uint64_t never = ~0ULL;  ///< a moment after all others; also where counts stop to grow

inline uint64_t saturating_add(uint64_t a, uint64_t b) { return a > never - b ? never : a + b; }

class untrusted_bytes {
 public:
  untrusted_bytes() = default;
  untrusted_bytes(const void* data, uint64_t size) : data_(static_cast<const char*>(data)), size_(size) {}

  uint64_t size() const { return size_; }
  bool has(uint64_t at, uint64_t size) const { return at <= size_ && size <= size_ - at; }

  /// A little-endian number; 0 where there are no such bytes.
  template <class T>
  T get(uint64_t at) const {
    static_assert(std::is_unsigned_v<T>);
    T value = 0;
    if (!has(at, sizeof(T))) return value;
    memcpy(&value, data_ + at, sizeof(T));
    if constexpr (std::endian::native == std::endian::big && sizeof(T) > 1) {
      T turned = 0;
      for (unsigned i = 0; i < sizeof(T); ++i, value = static_cast<T>(value >> 8)) {
        turned = static_cast<T>(turned << 8 | (value & 0xff));
      }
      value = turned;
    }
    return value;
  }
  uint8_t u8(uint64_t at) const { return get<uint8_t>(at); }
  uint16_t u16(uint64_t at) const { return get<uint16_t>(at); }
  uint32_t u32(uint64_t at) const { return get<uint32_t>(at); }
  uint64_t u64(uint64_t at) const { return get<uint64_t>(at); }

  clock_anchor anchor(uint64_t at) const { return {u64(at), u64(at + 8), u64(at + 16), u64(at + 24)}; }

  /// Empty where there are no such bytes.
  std::string_view view(uint64_t at, uint64_t size) const {
    return has(at, size) ? std::string_view(data_ + at, size) : std::string_view();
  }
  /// Up to the first zero.
  std::string_view c_string(uint64_t at, uint64_t size) const {
    const std::string_view all = view(at, size);
    return all.substr(0, all.find('\0'));
  }
  untrusted_bytes part(uint64_t at, uint64_t size) const {
    return has(at, size) ? untrusted_bytes(data_ + at, size) : untrusted_bytes();
  }

 private:
  const char* data_ = nullptr;
  uint64_t size_ = 0;
};

inline std::string decimal(uint128 magnitude, bool negative) {
  char digits[40];
  char* at = digits + sizeof(digits);
  do {
    *--at = static_cast<char>('0' + static_cast<unsigned>(magnitude % 10));
    magnitude /= 10;
  } while (magnitude != 0);
  if (negative) *--at = '-';
  return std::string(at, digits + sizeof(digits));
}
inline std::string decimal(uint128 value) { return decimal(value, false); }
inline std::string decimal(int128 value) {
  return decimal(value < 0 ? 0 - static_cast<uint128>(value) : static_cast<uint128>(value), value < 0);
}

/// 1500000 is "1.5 ms": exact, in the largest unit that leaves a whole part.
inline std::string duration_text(int128 ns) {
  const uint128 magnitude = ns < 0 ? 0 - static_cast<uint128>(ns) : static_cast<uint128>(ns);
  struct unit {
    const char* name;
    uint64_t size;
  };
  for (const unit& in : {unit{" s", 1'000'000'000}, unit{" ms", 1'000'000}, unit{" us", 1'000}}) {
    if (magnitude < in.size) continue;
    // The digits behind the point, with those zeros in front that a 1 before them keeps.
    std::string fraction = decimal(magnitude % in.size + in.size);
    fraction[0] = '.';
    fraction.erase(fraction.find_last_not_of('0') + 1);
    if (fraction == ".") fraction.clear();
    return decimal(magnitude / in.size, ns < 0) + fraction + in.name;
  }
  return decimal(ns) + " ns";
}

}  // namespace reading
}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
