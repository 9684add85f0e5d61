// SPDX-License-Identifier: MIT
// The macros at namespace scope: event types and categories.
#ifndef CONTRAIL_DETAIL_TYPE_MACROS_HPP
#define CONTRAIL_DETAIL_TYPE_MACROS_HPP

#include "contrail/detail/object.hpp"
#include "contrail/registry.hpp"

/// Names the category of all sites in this namespace, for this translation unit, below this line:
/// CONTRAIL_CATEGORY("net"); — the nearest enclosing namespace's category counts.
#define CONTRAIL_CATEGORY(name) ::contrail::detail::category<name> contrail_category(int)

/// Registers a type as an event type, in the type's own namespace, after its definition:
///
///   CONTRAIL_EVENT_TYPE(point, x, y);   // these members, in this order
///   CONTRAIL_EVENT_TYPE(point);         // all members of an aggregate; needs contrail/pfr.hpp
#define CONTRAIL_EVENT_TYPE(type, ...)                                                                          \
  [[maybe_unused]] constexpr auto contrail_event_type(::contrail::detail::type_tag<type>) {                     \
    return ::contrail::detail::make_event_type(CONTRAIL_DETAIL_FIELDS_OF(type __VA_OPT__(, ) __VA_ARGS__),      \
                                               [] { return CONTRAIL_DETAIL_SITE_TEXT(__VA_ARGS__); });          \
  }                                                                                                             \
  CONTRAIL_DETAIL_REGISTER_TYPE(type, __COUNTER__)

#if __has_attribute(retain)
#define CONTRAIL_DETAIL_RETAIN used, retain
#else
#define CONTRAIL_DETAIL_RETAIN used
#endif

#define CONTRAIL_DETAIL_REGISTER_TYPE(type, number) CONTRAIL_DETAIL_REGISTER_TYPE_NUMBERED(type, number)
#define CONTRAIL_DETAIL_REGISTER_TYPE_NUMBERED(type, number)                                             \
  __attribute__((CONTRAIL_DETAIL_RETAIN, section("contrail_types"))) static const ::contrail::descriptor* \
      const contrail_type_##number =                                                                     \
          (::contrail::detail::object_link<void>::require(), ::contrail::detail::registration<type>())

#define CONTRAIL_DETAIL_FIELDS_OF(type, ...) \
  CONTRAIL_DETAIL_FIELDS_##__VA_OPT__(LISTED)(type __VA_OPT__(, ) __VA_ARGS__)
#define CONTRAIL_DETAIL_FIELDS_(type) \
  ::contrail::detail::type_tag<::contrail::detail::aggregate_fields<type>> {}
#define CONTRAIL_DETAIL_FIELDS_LISTED(type, ...)                                              \
  ::contrail::detail::list_fields<type>(                                                      \
      [](const type& contrail_object, const auto& contrail_visit) __attribute__((always_inline)) { \
        return contrail_visit(CONTRAIL_DETAIL_REPEAT(CONTRAIL_DETAIL_MEMBERS(__VA_ARGS__)));  \
      },                                                                                      \
      [] { return ::contrail::text(#__VA_ARGS__); })

// Expands to contrail_object.a, contrail_object.b, ... for up to 256 members.
#define CONTRAIL_DETAIL_PARENTHESES ()
#define CONTRAIL_DETAIL_MEMBERS(member, ...) \
  contrail_object.member __VA_OPT__(, CONTRAIL_DETAIL_MEMBERS_AGAIN CONTRAIL_DETAIL_PARENTHESES(__VA_ARGS__))
#define CONTRAIL_DETAIL_MEMBERS_AGAIN() CONTRAIL_DETAIL_MEMBERS
#define CONTRAIL_DETAIL_REPEAT(...) \
  CONTRAIL_DETAIL_REPEAT64(CONTRAIL_DETAIL_REPEAT64(CONTRAIL_DETAIL_REPEAT64(CONTRAIL_DETAIL_REPEAT64(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT64(...) \
  CONTRAIL_DETAIL_REPEAT16(CONTRAIL_DETAIL_REPEAT16(CONTRAIL_DETAIL_REPEAT16(CONTRAIL_DETAIL_REPEAT16(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT16(...) \
  CONTRAIL_DETAIL_REPEAT4(CONTRAIL_DETAIL_REPEAT4(CONTRAIL_DETAIL_REPEAT4(CONTRAIL_DETAIL_REPEAT4(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT4(...) \
  CONTRAIL_DETAIL_REPEAT1(CONTRAIL_DETAIL_REPEAT1(CONTRAIL_DETAIL_REPEAT1(CONTRAIL_DETAIL_REPEAT1(__VA_ARGS__))))
#define CONTRAIL_DETAIL_REPEAT1(...) __VA_ARGS__

#endif
