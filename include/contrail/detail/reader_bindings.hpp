// SPDX-License-Identifier: MIT
// What an id in a dump stands for, and how the payloads of its records read.
#ifndef CONTRAIL_DETAIL_READER_BINDINGS_HPP
#define CONTRAIL_DETAIL_READER_BINDINGS_HPP

#include "contrail/detail/reader_bytes.hpp"

#include <algorithm>
#include <deque>
#include <span>
#include <vector>

CONTRAIL_DETAIL_NAMESPACE_BEGIN

/// What a call site or type records. `unknown` is an id that the dump does not explain, which only damage brings about.
enum class event_kind : uint8_t {
  unknown = 0, region, instant, counter, log, event_type, overflow, task, async_span, frame
};

struct event_enumerator {
  int64_t value;
  std::string_view name;
};

/// A call site or event type, as the recorder described it. Texts are bytes of the input, UTF-8 unless it is damaged,
/// and at most 4096 of each.
struct CONTRAIL_DETAIL_HIDDEN event_binding {
  struct field {
    std::string_view name;
    field_type type;         ///< may be one that this reader does not know
    bool is_array;
    uint16_t count;          ///< 1, or the elements of an array
    uint16_t offset;         ///< in the payload
    uint16_t first_enumerator, enumerator_count;
  };

  uint16_t id = 0;
  event_kind kind = event_kind::unknown;
  uint8_t flags = 0;     ///< 1: something was cut to fit; 2: records may carry fields set at run time
  uint64_t type_id = 0;  ///< event_info<T>::id of a registered type, else 0
  uint32_t line = 0;
  std::string_view name, category, file, function;
  std::vector<field> fields;
  std::vector<event_enumerator> enumerators;

  // Not for users: what reading a payload needs.
  size_t readable = 0;             ///< fields before the first one that cannot be read
  uint64_t fixed_bytes = 0;        ///< of these
  std::vector<uint32_t> by_value;  ///< enumerators by value, then by index
};

/// One value of a field: which member holds it follows from the type.
struct event_value {
  field_type type;
  bool is_cut;            ///< a text that did not fit where it was recorded
  bool is_named;          ///< an enumerator's name is known
  uint64_t low, high;     ///< the number, sign extended to 128 bits; the bits of a float or double
  std::string_view text;  ///< of a string; of an enumeration the name

  int64_t as_int() const { return static_cast<int64_t>(low); }
  uint64_t as_uint() const { return low; }
  bool as_bool() const { return low != 0; }
  /// Of float and double; other numbers are converted.
  double as_double() const {
    if (type == field_type::float32) return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(low)));
    if (type == field_type::float64) return std::bit_cast<double>(low);
    return is_negative() ? -static_cast<double>(magnitude()) : static_cast<double>(magnitude());
  }
  /// The decimal digits of an integer, whatever its size.
  std::string to_string() const { return detail::reading::decimal(magnitude(), is_negative()); }

 private:
  bool is_negative() const { return high >> 63 != 0 && type != field_type::uint128; }
  detail::reading::uint128 magnitude() const {
    const auto all = static_cast<detail::reading::uint128>(high) << 64 | low;
    return is_negative() ? 0 - all : all;
  }
};

/// A field of one event: a value, or several if it is an array.
struct event_field {
  std::string_view name;
  field_type type;
  bool is_array;
  bool is_dynamic;  ///< it was set at run time
  std::span<const event_value> values;

  const event_value& value() const { return values.front(); }  ///< an array of a dump has an element at least
};

/// The fields of one event, in order.
class CONTRAIL_DETAIL_HIDDEN event_fields {
 public:
  event_fields() = default;
  event_fields(event_fields&&) = default;
  event_fields& operator=(event_fields&&) = default;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  size_t size() const { return fields_.size(); }
  const event_field& operator[](size_t i) const { return fields_[i]; }
  /// Null if there is none of that name.
  const event_field* find(std::string_view name) const {
    for (const event_field& f : fields_) {
      if (f.name == name) return &f;
    }
    return nullptr;
  }
  /// The payload contradicts its description; then there are no fields.
  bool is_damaged() const { return damaged_; }

  /// Reads a payload; what was here before is gone. Not for users: event::fields() is.
  void read(const event_binding& binding, const detail::reading::untrusted_bytes& payload) {
    values_.clear();
    fields_.clear();
    counts_.clear();
    damaged_ = payload.size() != 0 && !read_all(binding, payload);
    if (damaged_) fields_.clear();
    const event_value* first = values_.data();  // values move no more
    for (size_t i = 0; i < fields_.size(); first += counts_[i++]) fields_[i].values = {first, counts_[i]};
  }

 private:
  static constexpr bool is_integer(field_type type) {
    return (type >= field_type::boolean && type <= field_type::uint128) || type == field_type::code_point;
  }

  void add_field(std::string_view name, field_type type, bool is_array, bool is_dynamic, size_t count) {
    fields_.push_back({name, type, is_array, is_dynamic, {}});
    counts_.push_back(count);
  }

  bool read_all(const event_binding& binding, const detail::reading::untrusted_bytes& payload);
  bool read_dynamic(const detail::reading::untrusted_bytes& payload, uint64_t at);
  static void find_name(const event_binding& binding, const event_binding::field& field, event_value& value);

  std::vector<event_field> fields_;
  std::vector<event_value> values_;  ///< of all fields, in a row
  std::vector<size_t> counts_;       ///< how many of them are each field's
  bool damaged_ = false;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {
namespace reading {

inline constexpr uint64_t max_name_bytes = 4096;
inline constexpr uint64_t max_shared_enumerators = 1 << 16;

/// 0: not known to this version of the format.
inline constexpr unsigned bytes_of(field_type type) {
  constexpr uint8_t sizes[] = {0, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 4, 8, 8, 2, 8, 4, 8, 8};
  const auto index = static_cast<unsigned>(type);
  return index < sizeof(sizes) ? sizes[index] : 0;
}

/// One element of a field; the caller has checked that it is there.
inline event_value value_at(field_type type, const untrusted_bytes& payload, uint64_t at) {
  event_value value{type, false, false, 0, 0, {}};
  switch (bytes_of(type)) {
    case 1: value.low = payload.u8(at); break;
    case 2: value.low = payload.u16(at); break;
    case 4: value.low = payload.u32(at); break;
    case 8: value.low = payload.u64(at); break;
    default: value.low = payload.u64(at), value.high = payload.u64(at + 8);
  }
  const auto extend = [&](int64_t number) {
    value.low = static_cast<uint64_t>(number);
    value.high = number < 0 ? ~0ULL : 0;
  };
  switch (type) {
    case field_type::int8: extend(static_cast<int8_t>(value.low)); break;
    case field_type::int16: extend(static_cast<int16_t>(value.low)); break;
    case field_type::int32: extend(static_cast<int32_t>(value.low)); break;
    case field_type::int64:
    case field_type::duration: extend(static_cast<int64_t>(value.low)); break;
    default: break;
  }
  return value;
}

/// False when the entry contradicts itself. `entry` is as in the image.
inline bool read_binding(const untrusted_bytes& entry, event_binding& out) {
  const unsigned field_count = entry.u16(offsetof(binding, field_count));
  const unsigned enumerator_count = entry.u16(offsetof(binding, enumerator_count));
  const uint64_t fields_at = sizeof(binding), enumerators_at = fields_at + field_count * sizeof(binding_field);
  uint64_t at = enumerators_at + enumerator_count * sizeof(binding_enumerator);
  if (at > entry.size()) return false;
  bool complete = true;
  const auto name = [&](uint64_t size) {
    complete = complete && entry.has(at, size);
    const std::string_view text = entry.view(at, size);
    at += size;
    return text.substr(0, max_name_bytes);
  };

  out.id = entry.u16(offsetof(binding, id));
  out.kind = static_cast<event_kind>(entry.u8(offsetof(binding, kind)));
  out.flags = entry.u8(offsetof(binding, flags));
  out.type_id = entry.u64(offsetof(binding, type_id));
  out.line = entry.u32(offsetof(binding, line));
  out.name = name(entry.u16(offsetof(binding, name_bytes)));
  out.category = name(entry.u16(offsetof(binding, category_bytes)));
  out.file = name(entry.u16(offsetof(binding, file_bytes)));
  out.function = name(entry.u16(offsetof(binding, function_bytes)));

  uint64_t shared = 0;
  bool readable = true;
  out.fields.reserve(field_count);
  for (unsigned i = 0; i < field_count; ++i) {
    const uint64_t from = fields_at + i * sizeof(binding_field);
    event_binding::field f;
    f.name = name(entry.u16(from + offsetof(binding_field, name_bytes)));
    f.type = static_cast<field_type>(entry.u8(from + offsetof(binding_field, type)));
    f.is_array = entry.u16(from + offsetof(binding_field, is_array)) != 0;
    f.count = entry.u16(from + offsetof(binding_field, count));
    f.offset = entry.u16(from + offsetof(binding_field, offset));
    f.first_enumerator = entry.u16(from + offsetof(binding_field, first_enumerator));
    f.enumerator_count = entry.u16(from + offsetof(binding_field, enumerator_count));
    shared += f.enumerator_count;
    // Of a newer minor version, or damaged: this field and those after it cannot be read.
    readable = readable && bytes_of(f.type) != 0 && f.count != 0 && f.offset >= out.fixed_bytes;
    if (readable) {
      out.fixed_bytes = f.offset + uint64_t{bytes_of(f.type)} * f.count;
      ++out.readable;
    }
    out.fields.push_back(f);
  }
  out.enumerators.reserve(enumerator_count);
  for (unsigned i = 0; i < enumerator_count; ++i) {
    const uint64_t from = enumerators_at + i * sizeof(binding_enumerator);
    const auto value = static_cast<int64_t>(entry.u64(from + offsetof(binding_enumerator, value)));
    out.enumerators.push_back({value, name(entry.u16(from + offsetof(binding_enumerator, name_bytes)))});
  }
  if (shared > max_shared_enumerators) out.enumerators.clear();
  for (uint32_t i = 0; i < out.enumerators.size(); ++i) out.by_value.push_back(i);
  std::stable_sort(out.by_value.begin(), out.by_value.end(),
                   [&](uint32_t a, uint32_t b) { return out.enumerators[a].value < out.enumerators[b].value; });
  return complete;
}

}  // namespace reading
}  // namespace detail

/// Of several enumerators of a field with one value, the last.
inline void event_fields::find_name(const event_binding& binding, const event_binding::field& field,
                                    event_value& value) {
  const auto number = static_cast<int64_t>(value.low);
  if (value.high != (number < 0 ? ~0ULL : 0)) return;  // beyond what an enumerator can be
  const uint32_t end = uint32_t{field.first_enumerator} + field.enumerator_count;
  const auto found = std::partition_point(binding.by_value.begin(), binding.by_value.end(), [&](uint32_t i) {
    return binding.enumerators[i].value < number || (binding.enumerators[i].value == number && i < end);
  });
  if (found == binding.by_value.begin()) return;
  const uint32_t i = *(found - 1);
  if (i < field.first_enumerator || binding.enumerators[i].value != number) return;
  value.is_named = true;
  value.text = binding.enumerators[i].name;
}

inline bool event_fields::read_all(const event_binding& binding, const detail::reading::untrusted_bytes& payload) {
  uint64_t tail = binding.fixed_bytes;
  if (tail > payload.size()) return false;
  for (size_t n = 0; n < binding.readable; ++n) {
    const event_binding::field& field = binding.fields[n];
    const unsigned size = detail::reading::bytes_of(field.type);
    const unsigned count = field.is_array ? field.count : 1;
    add_field(field.name, field.type, field.is_array, false, count);
    for (unsigned i = 0; i < field.count; ++i) {
      event_value value = detail::reading::value_at(field.type, payload, field.offset + uint64_t{i} * size);
      if (field.type == field_type::string) {
        const uint64_t bytes = value.low & ~uint64_t{detail::string_cut};
        if (!payload.has(tail, bytes)) return false;
        value.is_cut = (value.low & detail::string_cut) != 0;
        value.text = payload.view(tail, bytes);
        tail += bytes;
      } else if (field.enumerator_count != 0 && is_integer(field.type)) {
        find_name(binding, field, value);
      }
      if (i < count) values_.push_back(value);
    }
  }
  return (binding.flags & detail::binding_flag_dynamic) == 0 || read_dynamic(payload, (tail + 7) & ~uint64_t{7});
}

inline bool event_fields::read_dynamic(const detail::reading::untrusted_bytes& payload, uint64_t at) {
  const size_t first = fields_.size(), first_value = values_.size();
  while (payload.has(at, 8)) {
    const uint64_t word = payload.u64(at);
    if (word == 0) break;
    const auto type = static_cast<field_type>(word & 0xff);
    const uint64_t key_bytes = word >> 16 & 0xffff, value_bytes = word >> 32 & 0xffff, at_value = at + 8 + key_bytes;
    if (!payload.has(at + 8, key_bytes)) return false;
    const std::string_view key = payload.view(at + 8, key_bytes);
    const uint64_t size = type == field_type::string ? value_bytes : detail::reading::bytes_of(type);
    if (detail::reading::bytes_of(type) != 0) {
      if (!payload.has(at_value, size)) return false;
      event_value value{type, (word >> 48 & 1) != 0, false, 0, 0, {}};
      if (type == field_type::string) {
        value.text = payload.view(at_value, size);
      } else {
        value = detail::reading::value_at(type, payload, at_value);
      }
      // A key given twice has its last value, in its first place.
      size_t n = first;
      while (n < fields_.size() && fields_[n].name != key) ++n;
      if (n == fields_.size()) {
        add_field(key, type, false, true, 1);
        values_.push_back(value);
      } else {
        fields_[n].type = type;
        values_[first_value + n - first] = value;
      }
    }
    at = (at_value + value_bytes + 7) & ~uint64_t{7};
  }
  return true;
}

CONTRAIL_DETAIL_NAMESPACE_END

#endif
