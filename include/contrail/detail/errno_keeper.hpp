// SPDX-License-Identifier: MIT
// What records and handlers ask the system for leaves no trace in errno.
#ifndef CONTRAIL_DETAIL_ERRNO_KEEPER_HPP
#define CONTRAIL_DETAIL_ERRNO_KEEPER_HPP

#include "contrail/config.hpp"

#include <errno.h>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Puts errno back when a scope ends.
class errno_keeper {
 public:
  errno_keeper() : saved_(errno) {}
  ~errno_keeper() { errno = saved_; }
  errno_keeper(const errno_keeper&) = delete;
  errno_keeper& operator=(const errno_keeper&) = delete;

 private:
  int saved_;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
