// SPDX-License-Identifier: MIT
// Of <string.h>, which would be 3 % of what including contrail costs.
#ifndef CONTRAIL_DETAIL_MEMORY_HPP
#define CONTRAIL_DETAIL_MEMORY_HPP

#include "contrail/error.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

CONTRAIL_DETAIL_ALWAYS_INLINE void* memcpy(void* to, const void* from, size_t size) {
  return __builtin_memcpy(to, from, size);
}
CONTRAIL_DETAIL_ALWAYS_INLINE void* memset(void* to, int byte, size_t size) { return __builtin_memset(to, byte, size); }
CONTRAIL_DETAIL_ALWAYS_INLINE int memcmp(const void* a, const void* b, size_t size) {
  return __builtin_memcmp(a, b, size);
}
CONTRAIL_DETAIL_ALWAYS_INLINE const void* memchr(const void* in, int byte, size_t size) {
  return __builtin_memchr(in, byte, size);
}
CONTRAIL_DETAIL_ALWAYS_INLINE int strcmp(const char* a, const char* b) { return __builtin_strcmp(a, b); }
CONTRAIL_DETAIL_ALWAYS_INLINE const char* strstr(const char* in, const char* what) { return __builtin_strstr(in, what); }
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr size_t strlen(const char* text) { return __builtin_strlen(text); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
