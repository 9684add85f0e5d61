// SPDX-License-Identifier: MIT
// What contrail knows of event types: at compile time of each, and the list of all event types of the program.
//
//   struct point { int x, y; };
//   TRACE_EVENT_TYPE(point, x, y);
//
//   using info = contrail::event_info<point>;
//   static_assert(info::name == "point" && info::size == 8 && info::fields[1].name == "y");
//
//   for (const contrail::descriptor& type : contrail::registry()) puts_text(type.name);
#ifndef CONTRAIL_REGISTRY_HPP
#define CONTRAIL_REGISTRY_HPP

#include "contrail/detail/site.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// A constant range of fields.
struct field_list {
  const field* first = nullptr;
  uint32_t count = 0;

  constexpr const field* begin() const { return first; }
  constexpr const field* end() const { return first + count; }
  constexpr uint32_t size() const { return count; }
  constexpr const field& operator[](uint32_t i) const { return first[i]; }
};

/// What is known of a registered type; all members are constants.
template <class T>
struct event_info {
  static_assert(detail::registered<T>,
                "contrail: this type is not registered: write TRACE_EVENT_TYPE(type, field, ...) "
                "in its namespace.");
  /// Qualified by its namespaces.
  static constexpr text name = detail::type_descriptor<T>.name;
  /// A stable hash of the name and of all fields' names, types and offsets: equal in all builds by one compiler.
  static constexpr uint64_t id = detail::type_descriptor<T>.type_id;
  /// Bytes of the fixed part of its payload; strings add their characters behind it.
  static constexpr uint32_t size = detail::type_table<T>::size.bytes;
  /// With nested aggregates flattened; offsets are those in the payload.
  static constexpr field_list fields{detail::type_descriptor<T>.fields, detail::type_descriptor<T>.field_count};
  static constexpr text category = detail::type_descriptor<T>.category;
  static constexpr text file = detail::type_descriptor<T>.file;
  static constexpr uint32_t line = detail::type_descriptor<T>.line;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The event types that one shared object registers. Its constructor links it into the process's list.
struct type_range {
  const descriptor* const* begin = nullptr;
  const descriptor* const* end = nullptr;
  type_range* next = nullptr;
};

/// Head of the process's list of type_ranges; null while it is empty. Defined in detail/process.hpp.
type_range* first_type_range();

// The linker defines these around the section; weak, since an object without event types has no such section.
extern const descriptor* const first_registered_type[] __asm__("__start_contrail_types")
    __attribute__((weak, visibility("hidden")));
extern const descriptor* const end_of_registered_types[] __asm__("__stop_contrail_types")
    __attribute__((weak, visibility("hidden")));

/// Of the shared object that this is linked into.
CONTRAIL_DETAIL_HIDDEN inline type_range own_type_range() {
  return {first_registered_type, end_of_registered_types, nullptr};
}

}  // namespace detail
/// All event types of the program: of the executable and of all shared objects loaded now, each once. Usable before
/// main. Do not iterate while another thread unloads a shared object.
class CONTRAIL_DETAIL_HIDDEN registry {
 public:
  class iterator {
   public:
    explicit iterator(const detail::type_range* range) : range_(range), at_(range != nullptr ? range->begin : nullptr) {
      skip();
    }
    const descriptor& operator*() const { return **at_; }
    const descriptor* operator->() const { return *at_; }
    iterator& operator++() {
      ++at_;
      skip();
      return *this;
    }
    bool operator==(const iterator& other) const { return range_ == other.range_ && at_ == other.at_; }
    bool operator!=(const iterator& other) const { return !(*this == other); }

   private:
    void skip() {
      while (range_ != nullptr) {
        if (at_ == range_->end) {
          range_ = range_->next;
          at_ = range_ != nullptr ? range_->begin : nullptr;
        } else if (*at_ == nullptr || was_before()) {
          ++at_;
        } else {
          return;
        }
      }
    }
    bool was_before() const {
      for (const detail::type_range* r = detail::first_type_range(); r != nullptr; r = r->next) {
        for (const descriptor* const* d = r->begin; d != r->end; ++d) {
          if (d == at_) return false;
          if (*d != nullptr && (*d)->type_id == (*at_)->type_id) return true;
        }
      }
      return false;
    }

    const detail::type_range* range_;
    const descriptor* const* at_;
  };

  iterator begin() const { return iterator(detail::first_type_range()); }
  iterator end() const { return iterator(nullptr); }
};

CONTRAIL_DETAIL_NAMESPACE_END

#endif
