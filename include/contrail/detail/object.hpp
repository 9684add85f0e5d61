// SPDX-License-Identifier: MIT
// Shared objects that come and go: each links itself into the process when it is loaded.
#ifndef CONTRAIL_DETAIL_OBJECT_HPP
#define CONTRAIL_DETAIL_OBJECT_HPP

#include "contrail/detail/process.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Adds this shared object to the process's list, once.
CONTRAIL_DETAIL_UNOPTIMISED inline void link_object() noexcept {
  object_root& own = own_object();
  process_state* const process = join_process();
  if (process == nullptr) return;
  // The elected object holds everybody's state: it must not go before this one does. Before the lock, since the dynamic
  // linker has one of its own.
  if (process != &own.process) pin_object(process);
  const control_lock lock(*process);
  for (const type_range* object = process->objects; object != nullptr; object = object->next) {
    if (object == &own.types) return;
  }
  own.types = own_type_range();
  own.types.next = process->objects;
  process->objects = &own.types;
  if (const uint64_t slow = process->slow_table.load_relaxed()) {
    reinterpret_cast<const slow_half*>(slow)->object_loaded(own);
  }
}

CONTRAIL_DETAIL_UNOPTIMISED inline void unlink_object() noexcept {
  object_root& own = own_object();
  process_state* const process = joined_process();
  // The elected object is pinned, or nothing else is left to use its state.
  if (process == nullptr || process == &own.process) return;
  const control_lock lock(*process);
  type_range** link = &process->objects;
  while (*link != nullptr && *link != &own.types) link = &(*link)->next;
  if (*link != nullptr) *link = own.types.next;
}

__attribute__((constructor(101), used)) CONTRAIL_DETAIL_HIDDEN inline void on_object_loaded() { link_object(); }
__attribute__((destructor(101), used)) CONTRAIL_DETAIL_HIDDEN inline void on_object_unloaded() { unlink_object(); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
