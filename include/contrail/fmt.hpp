// SPDX-License-Identifier: MIT
// Opt-in: checks TRACE_LOG's format strings fully at compile time, and prints records as text in the process. The only
// includer of fmt.
//
//   #include <contrail/contrail.hpp>
//   #include <contrail/fmt.hpp>
//
//   TRACE_LOG("{:d}", "five");                     // an error now: no integer
//   std::string s = contrail::to_text(point{1, 2});  // "point{x: 1, y: 2}"
#ifndef CONTRAIL_FMT_HPP
#define CONTRAIL_FMT_HPP

#include "contrail/config.hpp"

#if CONTRAIL_DETAIL_ENABLED

#include "contrail/log.hpp"

#include <fmt/args.h>
#include <fmt/format.h>

#include <string>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

constexpr fmt::string_view view_of(text t) { return {t.data, t.size}; }

/// An enumeration's value: its name, or its number where a format asks for one.
struct enumeration_value {
  int64_t value = 0;
  text name;
};

/// What fmt is told that an argument is; as the converter formats it.
template <class T>
constexpr auto fmt_argument_of() {
  using type = bare<T>;
  constexpr value_kind kind = kind_of<type>;
  if constexpr (kind == value_kind::enumeration) {
    return type_tag<enumeration_value>{};
  } else if constexpr (kind == value_kind::pointer || kind == value_kind::function) {
    return type_tag<const void*>{};
  } else if constexpr (kind != value_kind::scalar) {
    return type_tag<fmt::string_view>{};
  } else if constexpr (leaf_type<type>() == field_type::code_point || leaf_type<type>() == field_type::character) {
    return type_tag<char>{};
  } else if constexpr (is_same<type, long double>) {
    return type_tag<double>{};
  } else {
    return type_tag<type>{};
  }
}

/// In place of count_placeholders. fmt's own errors run to a hundred lines, so that only its verdict is taken.
struct check_with_fmt {
  template <class Site, class... Args>
  static constexpr bool check() {
    constexpr bool fits =
        accepts<format_of<Site, Args...>, typename decltype(fmt_argument_of<Args>())::type...>(nullptr);
    static_assert(fits,
                  "contrail: fmt refuses this format for these arguments: the part of a {} after its colon does "
                  "not suit the argument's type.");
    return fits;
  }

 private:
  template <class Site, class... Args>
  struct format_of {
    static constexpr fmt::string_view value = view_of(site_descriptor<Site, binding_kind::log, Args...>.name);
  };
  template <int>
  struct constant {};
  template <class Format, class... Types>
  static constexpr bool accepts(constant<(static_cast<void>(fmt::format_string<Types...>(Format::value)), 0)>*) {
    return true;
  }
  template <class Format, class... Types>
  static constexpr bool accepts(...) {
    return false;
  }
};

/// One record's payload, read field by field.
class payload_reader {
 public:
  payload_reader(const descriptor& what, const uint64_t* payload, size_type words)
      : what_(what), bytes_(reinterpret_cast<const char*>(payload)), size_(words * 8) {
    for (uint32_t i = 0; i < what.field_count; ++i) {
      const field& f = what.fields[i];
      tail_ = static_cast<size_type>(f.offset) + bytes_of(f.type) * f.count;
    }
  }

  /// Calls use(field, element index, value) for each element in order; value is of a type that fmt formats. A payload
  /// that ends too early gives no more.
  template <class Use>
  void for_each(Use&& use) {
    for (uint32_t i = 0; i < what_.field_count; ++i) {
      const field& f = what_.fields[i];
      for (uint32_t k = 0; k < f.count; ++k) {
        const size_type at = f.offset + static_cast<size_type>(bytes_of(f.type)) * k;
        if (at + bytes_of(f.type) > size_) return;
        read(f, bytes_ + at, [&](const auto& value) { use(f, k, value); });
      }
    }
  }

 private:
  template <class T>
  static T load(const char* from) {
    T value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
  }
  template <class T, class Use>
  static void use_integer(const field& f, T value, Use&& use) {
    if (f.enumerator_count == 0) return use(value);
    for (uint32_t i = 0; i < f.enumerator_count; ++i) {
      if (static_cast<T>(f.enumerators[i].value) == value) {
        return use(enumeration_value{f.enumerators[i].value, f.enumerators[i].name});
      }
    }
    use(value);
  }
  template <class Use>
  void read(const field& f, const char* from, Use&& use) {
    switch (f.type) {
      case field_type::boolean: return use_integer(f, load<uint8_t>(from) != 0, use);
      case field_type::character: return use_integer(f, load<char>(from), use);
      case field_type::int8: return use_integer(f, load<int8_t>(from), use);
      case field_type::uint8: return use_integer(f, load<uint8_t>(from), use);
      case field_type::int16: return use_integer(f, load<int16_t>(from), use);
      case field_type::uint16: return use_integer(f, load<uint16_t>(from), use);
      case field_type::int32: return use_integer(f, load<int32_t>(from), use);
      case field_type::uint32: return use_integer(f, load<uint32_t>(from), use);
      case field_type::int64: return use_integer(f, load<int64_t>(from), use);
      case field_type::uint64: return use_integer(f, load<uint64_t>(from), use);
      case field_type::int128: return use(load<int128>(from));
      case field_type::uint128: return use(load<uint128>(from));
      case field_type::float32: return use(load<float>(from));
      case field_type::float64: return use(load<double>(from));
      case field_type::pointer: return use(load<const void*>(from));
      case field_type::flow_out:
      case field_type::flow_in: return use(load<uint64_t>(from));
      case field_type::duration: return use(fmt::format("{}ns", load<int64_t>(from)));
      case field_type::code_point: return use(utf8(load<uint32_t>(from)));
      case field_type::string: {
        const size_type size = load<uint16_t>(from) & ~string_cut & 0xffff;
        const size_type begin = tail_;
        if (begin + size > size_) return;
        tail_ += size;
        return use(std::string(bytes_ + begin, size) + ((load<uint16_t>(from) & string_cut) != 0 ? "\u2026" : ""));
      }
    }
  }
  static std::string utf8(uint32_t c) {
    char bytes[4];
    character_sink sink{bytes};
    sink.put_code_point(c < 0x110000 ? c : 0xfffd);
    return {bytes, sink.size};
  }

  const descriptor& what_;
  const char* bytes_;
  size_type size_;
  size_type tail_ = 0;
};

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

/// Takes what either of its two forms takes; a type letter of integers asks for the number.
template <>
struct fmt::formatter<contrail::detail::enumeration_value> {
  constexpr auto parse(fmt::format_parse_context& context) {
    auto end = context.begin();
    for (int depth = 0; end != context.end() && (depth != 0 || *end != '}'); ++end) {
      if (*end == '{') ++depth;
      if (*end == '}') --depth;
    }
    const char letter = end != context.begin() ? *(end - 1) : '\0';
    as_number_ = letter == 'd' || letter == 'x' || letter == 'X' || letter == 'b' || letter == 'B' || letter == 'o';
    return as_number_ ? number_.parse(context) : name_.parse(context);
  }
  template <class Context>
  auto format(const contrail::detail::enumeration_value& e, Context& context) const {
    return as_number_ ? number_.format(e.value, context) : name_.format({e.name.data, e.name.size}, context);
  }

 private:
  fmt::formatter<fmt::string_view> name_;
  fmt::formatter<int64_t> number_;
  bool as_number_ = false;
};

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// One record as text: a log line as TRACE_LOG meant it, anything else as "name{key: value, key: value}". `payload` are
/// the `words` words after the record's header and times. Allocates; not for signal handlers.
inline std::string format_record(const descriptor& what, const uint64_t* payload, detail::size_type words) {
  detail::payload_reader reader(what, payload, words);
  if (what.kind == detail::binding_kind::log) {
    fmt::dynamic_format_arg_store<fmt::format_context> arguments;
    std::string list;
    reader.for_each([&](const field& f, uint32_t index, const auto& value) {
      if (!f.is_array) return arguments.push_back(value);
      list += fmt::format("{}{}", index == 0 ? "[" : ", ", value);
      if (index + 1U == f.count) arguments.push_back(list + "]");
      if (index + 1U == f.count) list.clear();
    });
    return fmt::vformat(detail::view_of(what.name), arguments);
  }
  std::string out(what.name.data, what.name.size);
  const char* separator = "{";
  reader.for_each([&](const field& f, uint32_t index, const auto& value) {
    if (index == 0) out += fmt::format("{}{}: {}", separator, detail::view_of(f.name), f.is_array ? "[" : "");
    out += fmt::format("{}{}", index == 0 ? "" : ", ", value);
    if (f.is_array && index + 1U == f.count) out += "]";
    separator = ", ";
  });
  if (separator[0] == ',') out += "}";
  return out;
}

/// An object of a registered type as contrail would record it, as text: "point{x: 1, y: 2}".
template <class T>
std::string to_text(const T& object) {
  static_assert(detail::registered<T>, "contrail: to_text takes an object of a type registered with TRACE_EVENT_TYPE.");
  detail::atomic_word words[detail::max_point_words];
  const unsigned used = detail::encode(words, detail::max_point_words, object);
  return format_record(detail::type_descriptor<T>, &words[0].value, used);
}

CONTRAIL_DETAIL_NAMESPACE_END

#undef CONTRAIL_DETAIL_LOG_CHECKER
#define CONTRAIL_DETAIL_LOG_CHECKER ::contrail::detail::check_with_fmt

#endif

#endif
