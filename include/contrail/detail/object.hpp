// SPDX-License-Identifier: MIT
// Shared objects that come and go: each links itself into the process when it is loaded.
#ifndef CONTRAIL_DETAIL_OBJECT_HPP
#define CONTRAIL_DETAIL_OBJECT_HPP

#include "contrail/detail/process.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// Adds this shared object to the process's list, once.
inline void link_object() {
  object_root& own = own_object();
  process_state* process = join_process();
  if (process == nullptr) return;
  const control_lock lock(*process);
  for (const object_root* object = process->objects; object != nullptr; object = object->next) {
    if (object == &own) return;
  }
  // The elected object holds everybody's state: it must not go before this one does.
  if (process != &own.process) pin_object(process);
  own.types = own_type_range();
  own.next = process->objects;
  own.types.next = own.next == nullptr ? nullptr : &own.next->types;
  own.epoch.store_release(process->epoch.load_relaxed() == 0 ? epoch_step : process->epoch.load_relaxed());
  if (process->epoch.load_relaxed() == 0) process->epoch.store_relaxed(epoch_step);
  process->objects = &own;
  if (process->recording.load_relaxed() != 0) {
    reinterpret_cast<const slow_half*>(process->slow_table.load_relaxed())->object_loaded(own);
  }
}

inline void unlink_object() {
  object_root& own = own_object();
  process_state* process = joined_process();
  // The elected object's memory is the list's own; it is pinned, or nothing else is left to use it.
  if (process == nullptr || process == &own.process) return;
  const control_lock lock(*process);
  for (object_root** link = &process->objects; *link != nullptr; link = &(*link)->next) {
    if (*link != &own) continue;
    *link = own.next;
    break;
  }
  for (object_root* object = process->objects; object != nullptr; object = object->next) {
    object->types.next = object->next == nullptr ? nullptr : &object->next->types;
  }
}

__attribute__((constructor(101), used)) CONTRAIL_DETAIL_HIDDEN inline void on_object_loaded() { link_object(); }
__attribute__((destructor(101), used)) CONTRAIL_DETAIL_HIDDEN inline void on_object_unloaded() { unlink_object(); }

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
