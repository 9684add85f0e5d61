// SPDX-License-Identifier: MIT
// Opt-in: lets plain aggregates register without a list of their fields, by Boost.PFR. The only includer of it.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/pfr.hpp>
//
//   struct point { int x, y; };
//   TRACE_EVENT_TYPE(point);
//
// Limits, which an explicit list does not have: the type is an aggregate of at most some 100 members without base
// classes; members are no C arrays (std::array is fine), no references and no bit-fields.
#ifndef CONTRAIL_PFR_HPP
#define CONTRAIL_PFR_HPP

#include "contrail/config.hpp"

#if CONTRAIL_DETAIL_ENABLED

#include "contrail/registry.hpp"

#include <boost/pfr/core.hpp>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// An object that is declared and never made: only addresses of its members are taken, as constants.
template <class T>
struct never_made {
  const T value;
};
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wundefined-var-template"
#pragma clang diagnostic ignored "-Wundefined-internal"
#endif
template <class T>
extern const never_made<T> never_made_object;

/// A pointer to a member of an object is a template argument on g++; clang before 18 takes it inside a class only.
template <class Member>
struct member_address {
  const Member* address;
};

template <class T, size_type Index>
constexpr auto address_of_member() {
  const auto& member = boost::pfr::get<Index>(never_made_object<T>.value);
  return member_address<bare<decltype(member)>>{&member};
}
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

template <auto Address>
constexpr text pretty_function_of_member() {
  return __PRETTY_FUNCTION__;
}

/// The name of an aggregate's member, out of "… {(& never_made_object<ns::point>…::value.ns::point::x)}]". PFR names
/// members itself from 2.2 on, by the same means; this works with 2.0 and 2.1 as well.
template <class T, size_type Index>
constexpr text aggregate_member_name() {
  text pretty = pretty_function_of_member<address_of_member<T, Index>()>();
  uint32_t end = pretty.size;
  while (end != 0 && !is_identifier(pretty[end - 1])) --end;
  uint32_t begin = end;
  while (begin != 0 && is_identifier(pretty[begin - 1])) --begin;
  return part(pretty, begin, end);
}

template <class T, class Indices>
struct aggregate_names;
template <class T, size_type... Index>
struct aggregate_names<T, integer_pack<size_type, Index...>> {
  using types = type_list<boost::pfr::tuple_element_t<Index, T>...>;
  static constexpr text names[sizeof...(Index) + 1] = {aggregate_member_name<T, Index>()...};

  template <class Visitor>
  CONTRAIL_DETAIL_ALWAYS_INLINE static void visit(const T& object, const Visitor& visitor) {
    visitor(boost::pfr::get<Index>(object)...);
  }
};

template <class T>
struct aggregate_fields : aggregate_names<T, make_integer_pack<size_type, boost::pfr::tuple_size_v<T>>> {
  static constexpr text member_name(uint32_t index) { return aggregate_fields::names[index]; }
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

#endif
