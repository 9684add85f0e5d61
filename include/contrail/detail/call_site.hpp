// SPDX-License-Identifier: MIT
// What the macros call: a call site's storage, the scope objects, and the arguments' way into the ring.
#ifndef CONTRAIL_DETAIL_CALL_SITE_HPP
#define CONTRAIL_DETAIL_CALL_SITE_HPP

#include "contrail/detail/ring.hpp"
#include "contrail/log.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// The one call_site object of a macro: `Site` is its lambda's type, `Args` are the types after the name.
template <uint8_t Flags, class Site, binding_kind Kind, class... Args>
struct CONTRAIL_DETAIL_HIDDEN site_storage {
  static constexpr descriptor with_flags() {
    descriptor copy = site_descriptor<Site, Kind, Args...>;
    copy.flags = static_cast<uint8_t>(copy.flags | Flags);
    return copy;
  }
  static constexpr descriptor what = with_flags();
  // Said explicitly, as g++ leaves 8 bytes free between two of them otherwise.
  alignas(8) static inline constinit call_site value{{object_link_for<Site>::unbound_word()}, &what, {}};
};

// ---- regions -------------------------------------------------------------------------------------------------

// What macros put into scopes. Visible, as g++ warns of a coroutine's frame that is more visible than its members; all
// their functions are inlined, so that nothing of them is ever a symbol.
#define CONTRAIL_DETAIL_SCOPE_OBJECT [[nodiscard, gnu::visibility("default")]]

/// A region without arguments. What TRACE_REGION puts into its scope.
class CONTRAIL_DETAIL_SCOPE_OBJECT plain_region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr plain_region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit plain_region(open_region opened)
      : at_(opened.at), word_(opened.word) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~plain_region() {
    if (__builtin_expect(at_ != nullptr, 1)) end_region(at_, word_);
  }
  plain_region(const plain_region&) = delete;
  plain_region& operator=(const plain_region&) = delete;

 private:
  frame* at_ = nullptr;
  uint64_t word_ = 0;
};

/// A region whose arguments all have a fixed size: `Words` words.
template <unsigned Words>
class CONTRAIL_DETAIL_SCOPE_OBJECT fixed_region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr fixed_region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr explicit fixed_region(open_region opened)
      : at_(opened.at), word_(opened.word) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~fixed_region() {
    if (__builtin_expect(at_ != nullptr, 1)) end_region_fixed<Words>(at_, word_);
  }
  fixed_region(const fixed_region&) = delete;
  fixed_region& operator=(const fixed_region&) = delete;

 private:
  frame* at_ = nullptr;
  uint64_t word_ = 0;
};

/// A region with strings among its arguments.
class CONTRAIL_DETAIL_SCOPE_OBJECT payload_region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr payload_region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr payload_region(open_region opened, unsigned words)
      : at_(opened.at), word_(opened.word), words_(words) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~payload_region() {
    if (__builtin_expect(at_ != nullptr, 1)) end_region_payload(at_, word_, words_);
  }
  payload_region(const payload_region&) = delete;
  payload_region& operator=(const payload_region&) = delete;

 private:
  frame* at_ = nullptr;
  uint64_t word_ = 0;
  unsigned words_ = 0;
};

template <bool Any, bool Fixed, unsigned Words>
struct region_for {
  using type = payload_region;
};
template <unsigned Words>
struct region_for<false, true, Words> {
  using type = plain_region;
};
template <unsigned Words>
struct region_for<true, true, Words> {
  using type = fixed_region<Words>;
};

/// A value as it stands in a dynamic field.
template <class T>
constexpr bool is_dynamic_value = kind_of<bare<T>> != value_kind::none && is_leaf(kind_of<bare<T>>);

/// For a region's fields. One word more stays 0 behind them: it ends them for whoever looks while the region is open.
inline constexpr unsigned most_field_words = frame_payload_words - 1;

/// What stands before a field: its type, the bytes of its key and its value, and whether that was cut.
constexpr uint64_t field_header(field_type type, uint64_t key_bytes, uint64_t value_bytes, bool is_cut) {
  return static_cast<uint64_t>(type) | key_bytes << 16 | value_bytes << 32 | uint64_t{is_cut} << 48;
}

/// Adds a field to the region that has `word`, behind `used` words of payload, if there is room. Returns the words that
/// are used then.
// Not inlined: a call site would be as long as all this.
CONTRAIL_DETAIL_HIDDEN __attribute__((noinline)) inline unsigned add_field(frame& at, uint64_t word, unsigned used,
                                                                           const text_piece (&key_and_value)[2],
                                                                           uint64_t header) {
  const uint32_t bytes = key_and_value[0].size + key_and_value[1].size;
  if (used + 1 + (bytes + 7) / 8 > most_field_words || !holds_region(at, word)) return used;
  atomic_word* const to = at.payload + used;
  const unsigned words = append_texts(to + 1, 0, 0, key_and_value, 2);
  to[1 + words].store_relaxed(0);
  // Release: a dump that sees this word sees the key and the value.
  to->store_release(header);
  return used + 1 + words;
}

/// The same for a value of up to 8 bytes and a key that the compiler knows: all words but the value's are constant.
template <size_type KeyBytes, size_type ValueBytes>
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned add_small_field(frame& at, uint64_t word, unsigned used, const char* key,
                                                       uint64_t value, uint64_t header) {
  constexpr unsigned words = (KeyBytes + ValueBytes + 7) / 8;
  if (used + 1 + words > most_field_words || !holds_region(at, word)) return used;
  atomic_word* const to = at.payload + used;
  for (unsigned i = 0; i < words; ++i) {
    uint64_t next = 0;
    if (8 * i < KeyBytes) __builtin_memcpy(&next, key + 8 * i, KeyBytes - 8 * i < 8 ? KeyBytes - 8 * i : 8);
    if (i == KeyBytes / 8) next |= value << KeyBytes % 8 * 8;
    if constexpr (KeyBytes % 8 + ValueBytes > 8) {
      if (i == KeyBytes / 8 + 1) next |= value >> (8 - KeyBytes % 8) * 8;
    }
    to[1 + i].store_relaxed(next);
  }
  to[1 + words].store_relaxed(0);
  to->store_release(header);  // as in add_field
  return used + 1 + words;
}

}  // namespace detail

/// The region of TRACE_REGION_VAR: for what is known only later. Belongs to the thread that made it.
class [[nodiscard, gnu::visibility("hidden")]] region {
 public:
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr region() = default;
  CONTRAIL_DETAIL_ALWAYS_INLINE region(detail::open_region opened, unsigned words)
      : at_(opened.at), word_(opened.word), words_(words) {}
  CONTRAIL_DETAIL_ALWAYS_INLINE constexpr ~region() { end(); }
  region(const region&) = delete;
  region& operator=(const region&) = delete;

  /// Adds a field: a number, bool, enumeration, pointer, string or duration. `key` is a string literal. Strings are cut
  /// to the room left in the region (160 bytes for all arguments); a field without any room is left out.
  // Async-signal-safe.
  template <detail::size_type Size, class Value>
  constexpr void set(const char (&key)[Size], const Value& value) {
    static_assert(detail::is_dynamic_value<Value>,
                  "contrail: region.set takes a number, bool, enumeration, pointer, string or duration.");
    if (at_ != nullptr) add<Size - 1>(key, value);
  }

  /// Ends the region now instead of at the end of its scope. Harmless when it has ended.
  // Async-signal-safe.
  constexpr void end() {
    if (at_ == nullptr) return;
    detail::end_region_payload(at_, word_, words_);
    at_ = nullptr;
  }

 private:
  template <detail::size_type KeyBytes, class Value>
  CONTRAIL_DETAIL_ALWAYS_INLINE void add(const char* key, const Value& value) {
    using namespace detail;
    using layout = payload<Value>;
    constexpr field_type type = leaf_type<bare<Value>>();
    if constexpr (layout::is_fixed) {
      atomic_word encoded[layout::fixed_words];
      encode(encoded, layout::fixed_words, value);
      constexpr uint64_t header = field_header(type, KeyBytes, layout::fixed_bytes, false);
      if constexpr (layout::fixed_words == 1) {
        words_ = add_small_field<KeyBytes, layout::fixed_bytes>(*at_, word_, words_, key, encoded->value, header);
      } else {
        const char* const bytes = reinterpret_cast<const char*>(encoded);
        words_ = add_field(*at_, word_, words_, {{key, KeyBytes}, {bytes, layout::fixed_bytes}}, header);
      }
    } else {
      const size_type used = (words_ + 1) * 8 + KeyBytes;
      if (used >= most_field_words * 8) return;
      text_piece text{};
      payload_writer writer{nullptr, &text, static_cast<uint32_t>(most_field_words * 8 - used)};
      writer.put(value);
      // A text is written behind its length, which stands in the field's header here.
      const uint64_t header = field_header(type, KeyBytes, text.size, (writer.word & string_cut) != 0);
      words_ = add_field(*at_, word_, words_, {{key, KeyBytes}, text}, header);
    }
  }

  detail::frame* at_ = nullptr;
  uint64_t word_ = 0;
  unsigned words_ = 0;
};

namespace detail CONTRAIL_DETAIL_HIDDEN {

// ---- what the macros call ------------------------------------------------------------------------------------

template <class... Args>
using region_of = typename region_for<sizeof...(Args) != 0, payload_of<binding_kind::region, Args...>.texts == 0,
                                      payload_of<binding_kind::region, Args...>.words()>::type;

/// How the begin of a region is compiled in: a template argument, so that translation units may choose differently.
enum class begin_form { inlined, compact };

template <begin_form Form, uint8_t Flags = 0, class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr auto begin_region(Site, const Name&, const Args&... args) {
  if constexpr (!check_site<Site, binding_kind::region, Args...>()) {
    return plain_region();
  } else {
    using storage = site_storage<Flags, Site, binding_kind::region, Args...>;
    if constexpr (Form == begin_form::compact && sizeof...(Args) == 0) {
      return region_of<Args...>(__builtin_is_constant_evaluated() ? open_region{}
                                                                  : opened_at(begin_compact(storage::value)));
    } else if constexpr (payload_of<binding_kind::region, Args...>.texts == 0) {
      return region_of<Args...>(__builtin_is_constant_evaluated() ? open_region{}
                                                                  : begin_inline(storage::value, nullptr, args...));
    } else {
      unsigned words = 0;
      const open_region opened =
          __builtin_is_constant_evaluated() ? open_region{} : begin_inline(storage::value, &words, args...);
      return region_of<Args...>(opened, words);
    }
  }
}

template <class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr region begin_region_var(Site, const Name&, const Args&... args) {
  if constexpr (check_site<Site, binding_kind::region, Args...>()) {
    if (__builtin_is_constant_evaluated()) return region();
    unsigned words = 0;
    const open_region opened =
        begin_inline<true>(site_storage<binding_flag_dynamic, Site, binding_kind::region, Args...>::value, &words,
                           args...);
    return region(opened, words);
  } else {
    return region();
  }
}

/// Records an instant, a counter's value or a log line.
template <binding_kind Kind, class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void point(Site, const Name&, const Args&... args) {
  if constexpr (check_site<Site, Kind, Args...>()) {
    if (!__builtin_is_constant_evaluated()) point_inline<Kind>(site_storage<0, Site, Kind, Args...>::value, args...);
  }
}

/// A log line, after `Checker` has looked at its format: contrail's own, or fmt's with contrail/fmt.hpp.
template <class Checker, class Site, class Name, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void log_line(Site site, const Name& name, const Args&... args) {
  if constexpr (check_log<Checker, Site, Args...>()) point<binding_kind::log>(site, name, args...);
}

/// The call site of TRACE_EMIT is its type: one id however many places emit it.
template <class T>
struct CONTRAIL_DETAIL_HIDDEN event_storage {
  alignas(8) static inline constinit call_site value{{object_link_for<T>::unbound_word()}, &type_descriptor<T>, {}};
};

template <class T>
CONTRAIL_DETAIL_ALWAYS_INLINE constexpr void emit(const T& object) {
  static_assert(registered<T>,
                "contrail: TRACE_EMIT takes an object of a registered type: write TRACE_EVENT_TYPE(type, field, ...) in "
                "the type's namespace.");
  if constexpr (registered<T>) {
    static_assert(payload_of<binding_kind::event_type, T>.words() <= max_point_words,
                  "contrail: the values of one event take at most 2040 bytes: record less at once.");
    if (!__builtin_is_constant_evaluated()) point_inline<binding_kind::event_type>(event_storage<T>::value, object);
  }
}

/// Names the running thread in the recorder. Cut to 31 bytes, not inside a character.
// Async-signal-safe.
inline CONTRAIL_DETAIL_COLD void name_thread(const char* name, size_type size) {
  const process_state* process = joined_process();
  if (process == nullptr || process->slow_table.load_acquire() == 0) return;
  const size_type kept = size < thread_name_bytes ? size : cut_text(name, thread_name_bytes - 1);
  the_slow_half().name_thread(this_caller(), name, kept);
}

template <class Name>
constexpr void name_thread(const Name& name) {
  static_assert(kind_of<bare<Name>> != value_kind::none && is_text(kind_of<bare<Name>>),
                "contrail: TRACE_THREAD_NAME takes a string.");
  if (__builtin_is_constant_evaluated()) return;
  object_link_for<Name>::require();
  if constexpr (kind_of<bare<Name>> == value_kind::sized_text) {
    name_thread(name.data(), static_cast<size_type>(name.size()));
  } else {
    const char* const characters = name;
    if (characters != nullptr) name_thread(characters, bounded_length(characters, thread_name_bytes));
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
