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

template <class>
struct always_void {
  using type = void;
};

/// Links this object when it is loaded. A template, so that only translation units compile it that use contrail:
/// whatever needs the object linked calls `require`.
template <class>
struct object_link {
  __attribute__((constructor(101), used)) static void on_load() { link_object(); }
  __attribute__((destructor(101), used)) static void on_unload() { unlink_object(); }

  CONTRAIL_DETAIL_ALWAYS_INLINE static constexpr void require() {
    (void)&on_load;
    (void)&on_unload;
  }
  /// What a call site's word is before its first hit.
  static constexpr uint64_t unbound_word() {
    require();
    return epoch_step + site_off;
  }
};

/// The object_link of a template with parameter T. Dependent on it, since compilers evaluate what is not while they
/// parse the template.
template <class T>
using object_link_for = object_link<typename always_void<T>::type>;

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
