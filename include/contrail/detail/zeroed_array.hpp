// SPDX-License-Identifier: MIT
// An array from the heap for those that may allocate, and bear it when there is no memory.
#ifndef CONTRAIL_DETAIL_ZEROED_ARRAY_HPP
#define CONTRAIL_DETAIL_ZEROED_ARRAY_HPP

#include "contrail/contrail.hpp"

#if CONTRAIL_DETAIL_ENABLED

#include <stdlib.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Memory that is zero; gives it back.
template <class T>
class zeroed_array {
 public:
  zeroed_array() = default;
  ~zeroed_array() { free(items_); }
  zeroed_array(const zeroed_array&) = delete;
  zeroed_array& operator=(const zeroed_array&) = delete;
  bool make(uint64_t count) {
    free(items_);
    items_ = static_cast<T*>(calloc(count, sizeof(T)));
    return items_ != nullptr;
  }
  T& operator[](uint64_t i) { return items_[i]; }

 private:
  T* items_ = nullptr;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
