// SPDX-License-Identifier: MIT
// Descriptors, and how the macro that registers a type makes one.
#ifndef CONTRAIL_DETAIL_DESCRIPTOR_HPP
#define CONTRAIL_DETAIL_DESCRIPTOR_HPP

#include "contrail/detail/schema.hpp"
#include "contrail/detail/site_text.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// An event type or a call site. All of it has static storage duration; texts are not terminated by NUL.
struct descriptor {
  detail::binding_kind kind{};
  uint8_t flags = 0;
  text name;
  text category;
  text file;
  text function;
  uint32_t line = 0;
  uint64_t type_id = 0;  ///< of the registered type whose fields these are, 0 if there is none
  const field* fields = nullptr;
  uint16_t field_count = 0;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What contrail_event_type(type_tag<T>) returns: how to know T's members, and the lambda that knows the macro's place.
template <class Fields, class Site>
struct event_type {
  using fields = Fields;
  using site = Site;
};
template <class Fields, class Site>
constexpr event_type<Fields, Site> make_event_type(type_tag<Fields>, Site) {
  return {};
}

/// The members of an aggregate by Boost.PFR; contrail/pfr.hpp defines it.
template <class T>
struct aggregate_fields;

struct member_types {
  template <class... Members>
  constexpr type_list<Members...> operator()(const Members&...) const {
    return {};
  }
};

/// An explicit list of members. `Visit` passes an object's members to a function; `Names` returns their list as text.
template <class T, class Visit, class Names>
struct listed_fields {
  using types = decltype(Visit{}(*static_cast<const T*>(nullptr), member_types{}));

  template <class Visitor>
  CONTRAIL_DETAIL_ALWAYS_INLINE static void visit(const T& object, const Visitor& visitor) {
    Visit{}(object, visitor);
  }
  static constexpr text member_name(uint32_t index) {
    const text names = Names{}();
    uint32_t at = 0;
    while (true) {
      while (names[at] == ' ' || names[at] == ',') ++at;
      uint32_t end = at;
      while (end != names.size && names[end] != ',' && names[end] != ' ') ++end;
      if (index-- == 0) return part(names, at, end);
      at = end;
    }
  }
};

template <class T, class Visit, class Names>
constexpr type_tag<listed_fields<T, Visit, Names>> list_fields(Visit, Names) {
  return {};
}

template <uint32_t Fields, uint32_t Characters>
struct schema_storage {
  field fields[Fields + 1]{};
  char characters[Characters + 1]{};
};

template <class T>
constexpr schema_walk walk_members(schema_room room) {
  schema_walk walk;
  walk.room = room;
  walk.members<T>(nullptr, typename fields_of<T>::types{});
  return walk;
}

/// The descriptor of a registered type, with the storage that it points to.
template <class T>
struct CONTRAIL_DETAIL_HIDDEN type_table {
  static constexpr schema_walk size = walk_members<T>({});

  struct storage : schema_storage<size.fields, size.characters> {
    descriptor description;
    constexpr storage() {
      walk_members<T>({this->fields, this->characters});
      constexpr site_text site = typename decltype(contrail_event_type(type_tag<T>{}))::site{}();
      description = {binding_kind::event_type,
                     0,
                     type_name<T>(),
                     site.category,
                     site.file,
                     {},
                     site.line,
                     0,
                     this->fields,
                     static_cast<uint16_t>(size.fields)};
      hash id;
      id.add(description.name);
      for (uint32_t i = 0; i < size.fields; ++i) {
        const field& f = this->fields[i];
        id.add(f.name);
        id.add(static_cast<uint64_t>(f.type) << 40 | uint64_t{f.is_array} << 32 | uint64_t{f.offset} << 16 | f.count);
      }
      description.type_id = id.value != 0 ? id.value : 1;
    }
  };
  static constexpr storage value{};
};

template <class T>
inline constexpr const descriptor& type_descriptor = type_table<T>::value.description;

template <class Event, class Member>
constexpr bool check_member() {
  static_assert(
      is_recordable<Member>,
      "contrail: a member of this event type cannot be recorded: register the member's type too, before, with "
      "TRACE_EVENT_TYPE(type, field, ...), or list the other members only.");
  return is_recordable<Member>;
}
template <class Event, class... Members>
constexpr bool check_members(type_list<Members...>) {
  bool good = true;
  ((good = check_member<Event, Members>() && good), ...);
  return good;
}

/// What CONTRAIL_EVENT_TYPE puts into the linker's section.
template <class T>
constexpr const descriptor* registration() {
  static_assert(registered<T>, "contrail: write TRACE_EVENT_TYPE in the namespace of the type, after its definition.");
  if constexpr (registered<T>) {
    constexpr bool complete = requires { sizeof(fields_of<T>); };
    static_assert(complete,
                  "contrail: to register a type without a list of its fields, include <contrail/pfr.hpp> "
                  "(Boost.PFR) before; or list them: TRACE_EVENT_TYPE(type, field, ...).");
    if constexpr (complete) {
      if constexpr (check_members<T>(typename fields_of<T>::types{})) {
        constexpr uint32_t bytes = type_table<T>::size.bytes;
        static_assert(bytes <= max_point_words * 8, "contrail: this event type is larger than a record, 2040 bytes.");
        return &type_descriptor<T>;
      }
    }
  }
  return nullptr;
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
