// SPDX-License-Identifier: MIT
// From argument types and registered types to constexpr fields: what can be recorded, as what, and at which offset.
#ifndef CONTRAIL_DETAIL_SCHEMA_HPP
#define CONTRAIL_DETAIL_SCHEMA_HPP

#include "contrail/detail/enum_names.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// As an argument of a region or an instant: an arrow to other records leaves there; see contrail::flow.
struct flow_out {
  uint64_t id;
};
/// As an argument of a region or an instant: an arrow arrives there.
struct flow_in {
  uint64_t id;
};

/// One value of an event: how a reader finds it in a record's payload.
struct field {
  text name;                   ///< members of nested aggregates are flattened: "pos.x", "corners[0].x"
  field_type type{};
  uint16_t offset = 0;         ///< in the payload's fixed part, bytes
  uint16_t count = 1;          ///< elements of an array, else 1
  bool is_array = false;
  const enumerator* enumerators = nullptr;  ///< of an enumeration whose names could be found, else null
  uint16_t enumerator_count = 0;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

/// What kind of value a type is to the recorder; `leaf` kinds are one field, the others several.
enum class value_kind : unsigned char {
  none,  ///< cannot be recorded
  scalar, enumeration, pointer, function, duration, c_string, char_array, sized_text,  // leaves
  array, array_object, aggregate
};
constexpr bool is_leaf(value_kind kind) { return kind != value_kind::none && kind < value_kind::array; }
constexpr bool is_text(value_kind kind) { return kind >= value_kind::c_string && kind <= value_kind::sized_text; }

template <class T> inline constexpr field_type scalar_type{};
template <> inline constexpr field_type scalar_type<bool> = field_type::boolean;
template <> inline constexpr field_type scalar_type<char> = field_type::character;
template <> inline constexpr field_type scalar_type<char8_t> = field_type::character;
template <> inline constexpr field_type scalar_type<signed char> = field_type::int8;
template <> inline constexpr field_type scalar_type<unsigned char> = field_type::uint8;
template <> inline constexpr field_type scalar_type<short> = field_type::int16;
template <> inline constexpr field_type scalar_type<unsigned short> = field_type::uint16;
template <> inline constexpr field_type scalar_type<int> = field_type::int32;
template <> inline constexpr field_type scalar_type<unsigned> = field_type::uint32;
template <> inline constexpr field_type scalar_type<long> = sizeof(long) == 8 ? field_type::int64 : field_type::int32;
template <>
inline constexpr field_type scalar_type<unsigned long> = sizeof(long) == 8 ? field_type::uint64 : field_type::uint32;
template <> inline constexpr field_type scalar_type<long long> = field_type::int64;
template <> inline constexpr field_type scalar_type<unsigned long long> = field_type::uint64;
template <> inline constexpr field_type scalar_type<int128> = field_type::int128;
template <> inline constexpr field_type scalar_type<uint128> = field_type::uint128;
template <> inline constexpr field_type scalar_type<float> = field_type::float32;
template <> inline constexpr field_type scalar_type<double> = field_type::float64;
template <> inline constexpr field_type scalar_type<long double> = field_type::float64;
template <> inline constexpr field_type scalar_type<wchar_t> = field_type::code_point;
template <> inline constexpr field_type scalar_type<char16_t> = field_type::code_point;
template <> inline constexpr field_type scalar_type<char32_t> = field_type::code_point;
template <> inline constexpr field_type scalar_type<flow_out> = field_type::flow_out;
template <> inline constexpr field_type scalar_type<flow_in> = field_type::flow_in;

/// Bytes of one element in a payload's fixed part.
constexpr uint32_t bytes_of(field_type type) {
  constexpr unsigned char bytes[] = {0, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 4, 8, 8, 2, 8, 4, 8, 8};
  return bytes[static_cast<unsigned>(type)];
}

template <class T> inline constexpr bool is_char = is_same<bare<T>, char> || is_same<bare<T>, char8_t>;

template <class T> struct element { using type = void; };
template <class T, size_type N> struct element<T[N]> {
  using type = T;
  static constexpr size_type count = N;
};
// std::array by its shape. A span<T, N> gives mutable elements even if it is const, or has const ones.
template <template <class, size_type> class Array, class T, size_type N> struct element<Array<T, N>> {
  using type = T;
  static constexpr size_type count = N;
};
template <class T>
concept array_shaped = sizeof(T) != 0 && requires(const T& t) {
  typename type_tag<char[element<T>::count]>;
  requires is_same<typename element<T>::type, bare<typename element<T>::type>>;
  requires is_same<decltype(t.data()), const typename element<T>::type*>;
  requires sizeof(T) == element<T>::count * sizeof(typename element<T>::type);
};
template <class T>
concept text_shaped = requires(const T& t) {
  t.size();
  requires is_char<decltype(*t.data())>;
};
template <class T>
concept duration_shaped = requires(const T& t) {
  T::period::num;
  T::period::den;
  requires scalar_type<bare<decltype(t.count())>> != field_type{};
};
/// Registered by CONTRAIL_EVENT_TYPE, which declares this function in the namespace of T.
template <class T>
concept registered = requires { contrail_event_type(type_tag<T>{}); };

template <class T> struct pointer_kind { static constexpr value_kind value = value_kind::none; };
template <class T> struct pointer_kind<T*> {
  static constexpr value_kind value = is_same<T, bare<T>> || is_same<T, const bare<T>>
                                          ? (is_char<T> ? value_kind::c_string : value_kind::pointer)
                                          : value_kind::pointer;
};
template <> struct pointer_kind<decltype(nullptr)> { static constexpr value_kind value = value_kind::pointer; };
template <class T, size_type N> struct pointer_kind<T[N]> {
  static constexpr value_kind value = is_char<T> ? value_kind::char_array : value_kind::array;
};

template <class T>
constexpr value_kind find_kind() {
  if constexpr (scalar_type<T> != field_type{}) return value_kind::scalar;
  else if constexpr (__is_enum(T)) return value_kind::enumeration;
  else if constexpr (is_same<T, const T>) return value_kind::function;  // only functions cannot be const
  else if constexpr (!__is_class(T) && !__is_union(T)) return pointer_kind<T>::value;
  else if constexpr (registered<T>) return value_kind::aggregate;
  else if constexpr (array_shaped<T>)
    return is_char<typename element<T>::type> ? value_kind::char_array : value_kind::array_object;
  else if constexpr (text_shaped<T>) return value_kind::sized_text;
  else if constexpr (duration_shaped<T>) return value_kind::duration;
  else return value_kind::none;
}
/// T is a bare type.
template <class T> inline constexpr value_kind kind_of = find_kind<T>();

template <class T>
constexpr bool can_record() {
  if constexpr (kind_of<T> == value_kind::array || kind_of<T> == value_kind::array_object)
    return can_record<bare<typename element<T>::type>>();
  else
    return kind_of<T> != value_kind::none;
}
/// Whether a value of type T can be an argument of an event.
template <class T> inline constexpr bool is_recordable = can_record<bare<T>>();

template <class T>
constexpr field_type leaf_type() {
  constexpr value_kind kind = kind_of<T>;
  if constexpr (kind == value_kind::scalar) return scalar_type<T>;
  else if constexpr (kind == value_kind::enumeration) return scalar_type<__underlying_type(T)>;
  else if constexpr (kind == value_kind::duration) return field_type::duration;
  else if constexpr (is_text(kind)) return field_type::string;
  else return field_type::pointer;
}

/// What knows the members of a registered type: their types and names, and how to visit those of an object.
template <class T>
using fields_of = typename decltype(contrail_event_type(type_tag<T>{}))::fields;

/// Where a field stands inside an argument: a member's name, or an array's index, below what holds it.
struct field_path {
  const field_path* parent = nullptr;
  text name;
  uint32_t index = 0;  ///< meant when `name` is empty

  constexpr uint32_t digits() const {
    return index < 10 ? 1 : index < 100 ? 2 : index < 1000 ? 3 : index < 10000 ? 4 : 5;
  }
  constexpr uint32_t size() const {
    const uint32_t before = parent != nullptr ? parent->size() : 0;
    if (name.size == 0) return before + digits() + 2;
    return before + name.size + (before != 0 ? 1 : 0);
  }
  constexpr char* write(char* out) const {
    char* const first = out;
    if (parent != nullptr) out = parent->write(out);
    if (name.size != 0) {
      if (parent != nullptr && out != first) *out++ = '.';
      for (char c : name) *out++ = c;
      return out;
    }
    *out++ = '[';
    out += digits();
    uint32_t rest = index;
    for (uint32_t i = 1; i <= digits(); ++i, rest /= 10) out[-static_cast<int>(i)] = static_cast<char>('0' + rest % 10);
    *out++ = ']';
    return out;
  }
};

/// Where a walk writes fields and their composed names. `given` stands for "not null": with -fsanitize=undefined, g++
/// does not take a comparison of a static object's address with null for a constant.
struct schema_room {
  field* fields = nullptr;
  char* names = nullptr;
  bool given = false;

  constexpr schema_room() = default;
  constexpr schema_room(field* field_room, char* name_room) : fields(field_room), names(name_room), given(true) {}
};

/// A walk over the fields of some values, which counts them, and writes them down where it is given room.
struct schema_walk {
  uint32_t bytes = 0;       ///< of the fixed part so far
  uint32_t fields = 0;
  uint32_t texts = 0;       ///< strings, elements of arrays of strings counted each
  uint32_t characters = 0;  ///< of names that are not a part of a literal
  schema_room room;

  template <class T>
  constexpr void leaf(const field_path& path, size_type count, bool is_array) {
    constexpr field_type type = leaf_type<T>();
    constexpr uint32_t element_bytes = bytes_of(type);
    constexpr uint32_t alignment = element_bytes < 8 ? element_bytes : 8;
    bytes = (bytes + alignment - 1) & ~(alignment - 1);
    const bool composed = path.parent != nullptr || path.name.size == 0;
    if (room.given) {
      field& f = room.fields[fields];
      f.type = type;
      f.offset = static_cast<uint16_t>(bytes);
      f.count = static_cast<uint16_t>(count);
      f.is_array = is_array;
      f.name = path.name;
      if (composed) {
        f.name = {room.names + characters, path.size()};
        path.write(room.names + characters);
      }
      if constexpr (kind_of<T> == value_kind::enumeration) {
        if constexpr (enumerators_of<T>::count != 0) {
          f.enumerators = enumerators_of<T>::storage.values;
          f.enumerator_count = static_cast<uint16_t>(enumerators_of<T>::count);
        }
      }
    }
    ++fields;
    if (composed) characters += path.size();
    if (type == field_type::string) texts += static_cast<uint32_t>(count);
    bytes += element_bytes * static_cast<uint32_t>(count);
  }

  template <class T>
  constexpr void value(const field_path& path) {
    using type = bare<T>;
    constexpr value_kind kind = kind_of<type>;
    if constexpr (is_leaf(kind)) {
      leaf<type>(path, 1, false);
    } else if constexpr (kind == value_kind::array || kind == value_kind::array_object) {
      using item = bare<typename element<type>::type>;
      constexpr size_type count = element<type>::count;
      if constexpr (is_leaf(kind_of<item>)) {
        leaf<item>(path, count, true);
      } else {
        for (uint32_t i = 0; i < count; ++i) value<item>(field_path{&path, {}, i});
      }
    } else if constexpr (kind == value_kind::aggregate) {
      members<type>(&path, typename fields_of<type>::types{});
    }
  }

  template <class T, class... Members>
  constexpr void members(const field_path* path, type_list<Members...>) {
    uint32_t i = 0;
    (value<Members>(field_path{path, fields_of<T>::member_name(i++), 0}), ...);
    static_cast<void>(path);
    static_cast<void>(i);
  }
};

/// The size of values' payload, without their names.
struct payload_size {
  uint32_t fields = 0;
  uint32_t bytes = 0;
  uint32_t texts = 0;
  uint32_t characters = 0;  ///< of composed names, were the arguments' own names one character long

  constexpr uint32_t words() const { return (bytes + 7) / 8; }
};

template <class... Args>
constexpr payload_size measure() {
  schema_walk walk;
  (walk.value<Args>(field_path{nullptr, "x", 0}), ...);
  return {walk.fields, walk.bytes, walk.texts, walk.characters};
}

/// How values of these types are laid out in a record: a fixed part, and a tail that holds the bytes of strings.
template <class... Args>
struct payload {
  static constexpr payload_size size = measure<Args...>();
  static constexpr unsigned field_count = size.fields;
  static constexpr unsigned fixed_bytes = size.bytes;
  static constexpr unsigned fixed_words = size.words();
  static constexpr unsigned text_count = size.texts;
  static constexpr bool is_fixed = size.texts == 0;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
