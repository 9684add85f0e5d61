// SPDX-License-Identifier: MIT
// Call sites at compile time: their descriptors, the checks of their arguments, and the way of these into words.
#ifndef CONTRAIL_DETAIL_SITE_HPP
#define CONTRAIL_DETAIL_SITE_HPP

#include "contrail/detail/descriptor.hpp"
#include "contrail/detail/payload.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What the arguments after a site's name are.
enum class argument_form : unsigned char { none, object, pairs, values };

template <binding_kind Kind, class... Args>
constexpr argument_form form_of() {
  if constexpr (sizeof...(Args) == 0)
    return argument_form::none;
  else if constexpr (Kind == binding_kind::log || (Kind == binding_kind::counter && sizeof...(Args) == 1))
    return argument_form::values;
  else if constexpr (sizeof...(Args) == 1)
    return argument_form::object;
  else
    return argument_form::pairs;
}

/// Folds over alternating keys and values without a template for each key:
/// `(key_turn<W>{w} << ... << type_tag<Args>{})` calls w.key() and w.template value<T>() in turn.
struct any_argument {};
template <class T>
struct argument : any_argument {};
template <class Walk>
struct value_turn;
template <class Walk>
struct key_turn {
  Walk& walk;
  constexpr value_turn<Walk> operator<<(any_argument) const;
};
template <class Walk>
struct value_turn {
  Walk& walk;
  template <class T>
  constexpr key_turn<Walk> operator<<(argument<T>) const {
    walk.template value<T>();
    return {walk};
  }
};
template <class Walk>
constexpr value_turn<Walk> key_turn<Walk>::operator<<(any_argument) const {
  return {walk};
}

struct pair_measure {
  schema_walk sizes;
  bool recordable = true;
  template <class T>
  constexpr void value() {
    recordable = recordable && is_recordable<T>;
    sizes.value<T>(field_path{nullptr, "x", 0});
  }
};

/// The same turns over arguments themselves.
struct value_to_put;
struct key_of_value {
  payload_writer& writer;
  CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put operator<<(const char*) const;
  CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put operator<<(const char8_t*) const;
};
struct value_to_put {
  payload_writer& writer;
  template <class T>
  CONTRAIL_DETAIL_ALWAYS_INLINE key_of_value operator<<(const T& value) const {
    writer.put(value);
    return {writer};
  }
};
CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put key_of_value::operator<<(const char*) const { return {writer}; }
CONTRAIL_DETAIL_ALWAYS_INLINE value_to_put key_of_value::operator<<(const char8_t*) const { return {writer}; }

struct argument_size : payload_size {
  bool recordable = true;
};

/// The payload of a site's arguments after its name.
template <argument_form Form, class... Args>
constexpr argument_size measure_arguments() {
  pair_measure m;
  if constexpr (Form == argument_form::pairs) {
    if constexpr (sizeof...(Args) % 2 == 0) static_cast<void>((key_turn<pair_measure>{m} << ... << argument<Args>{}));
  } else {
    (m.value<Args>(), ...);
  }
  return {{m.sizes.fields, m.sizes.bytes, m.sizes.texts, m.sizes.characters}, m.recordable};
}
template <argument_form Form, class... Args>
inline constexpr argument_size size_of_arguments = measure_arguments<Form, Args...>();

template <class T>
constexpr bool is_counted() {
  if constexpr (!is_leaf(kind_of<T>))
    return false;
  else
    return leaf_type<T>() <= field_type::float64 || leaf_type<T>() == field_type::duration;
}

enum class site_mistake : unsigned char { none, name, keys };

/// Where the name and the keys of a site stand in its text.
template <uint32_t Keys>
struct parsed_site {
  site_mistake mistake = site_mistake::none;
  bool named_after_function = false;
  uint32_t characters = 0;  ///< of name and keys, decoded
  literal name;
  literal keys[Keys + 1];
};

template <uint32_t Keys>
constexpr parsed_site<Keys> parse_site(text arguments) {
  parsed_site<Keys> site;
  token_scanner scanner{arguments};
  character_sink count;
  scanner.skip_spaces();
  if (scanner.peek() == ':' && stands_at(arguments, scanner.at, "::contrail::detail::function_name_tag")) {
    site.named_after_function = true;
    while (!scanner.done() && scanner.peek() != ',') ++scanner.at;
  } else {
    site.name = scanner.take_literals();
    if (site.name.begin == site.name.end || (!scanner.done() && scanner.peek() != ',')) {
      site.mistake = site_mistake::name;
      return site;
    }
    decode(arguments, site.name, count);
  }
  ++scanner.at;
  for (uint32_t i = 0; i < Keys; ++i) {
    site.keys[i] = scanner.take_literals();
    if (site.keys[i].begin == site.keys[i].end || scanner.peek() != ',') {
      site.mistake = site_mistake::keys;
      return site;
    }
    decode(arguments, site.keys[i], count);
    ++scanner.at;
    scanner.skip_value();
  }
  if (Keys != 0 && !scanner.done()) site.mistake = site_mistake::keys;
  site.characters = count.size;
  return site;
}

/// The names of TRACE_LOG's arguments.
CONTRAIL_DETAIL_HIDDEN inline constexpr char log_argument_digits[] =
    "012345678910111213141516171819202122232425262728293031323334353637383940414243444546474849505152535455565758596061"
    "6263";
constexpr text log_argument_name(uint32_t index) {
  return index < 10 ? text{log_argument_digits + index, 1} : text{log_argument_digits + 10 + (index - 10) * 2, 2};
}

/// Walks arguments under their own names.
struct site_walk {
  schema_walk sizes;
  const text* names = nullptr;

  template <class T>
  constexpr void value() {
    sizes.value<T>(field_path{nullptr, *names++, 0});
  }
};

template <argument_form Form, class... Args>
constexpr schema_walk walk_arguments(const text* names, schema_room room) {
  site_walk w{{}, names};
  w.sizes.room = room;
  if constexpr (Form == argument_form::pairs) {
    static_cast<void>((key_turn<site_walk>{w} << ... << argument<Args>{}));
  } else {
    (w.value<Args>(), ...);
  }
  return w.sizes;
}

constexpr void decode_keys(text arguments, const literal* keys, uint32_t count, text* names, character_sink& sink) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t first = sink.size;
    decode(arguments, keys[i], sink);
    names[i] = {sink.out + first, sink.size - first};
  }
}

/// A descriptor with the fields and characters it points to. Few types, shared by many sites: a class of its own for
/// each site would cost 2 ms of compile time.
template <uint32_t Fields, uint32_t Characters>
struct site_constants {
  field fields[Fields + 1]{};
  char characters[Characters + 1]{};
  descriptor description;

  template <class Table>
  constexpr explicit site_constants(type_tag<Table>) {
    const site_text site = typename Table::site{}();
    character_sink sink{characters};
    description.kind = Table::kind;
    description.category = site.category;
    description.file = site.file;
    description.function = function_name(site.pretty_function);
    description.line = site.line;
    if (Table::parsed.named_after_function) {
      description.name = description.function;
    } else {
      decode(site.arguments, Table::parsed.name, sink);
      description.name = {characters, sink.size};
    }
    if constexpr (Fields != 0) {
      Table::fill(site.arguments, sink, fields, true);
      description.fields = fields;
      description.field_count = static_cast<uint16_t>(Fields);
    }
    if constexpr (Table::form == argument_form::object) {
      const descriptor& type = Table::object_type();
      description.type_id = type.type_id;
      description.fields = type.fields;
      description.field_count = type.field_count;
    }
  }
};

/// All constants of one call site. `Args` are the types after the name. Made only of sites without a mistake.
template <class Site, binding_kind Kind, class... Args>
struct CONTRAIL_DETAIL_HIDDEN site_table {
  using site = Site;
  static constexpr binding_kind kind = Kind;
  static constexpr argument_form form = form_of<Kind, Args...>();
  static constexpr uint32_t key_count = form == argument_form::pairs ? sizeof...(Args) / 2 : 0;
  static constexpr parsed_site<key_count> parsed = parse_site<key_count>(Site{}().arguments);

  static constexpr const descriptor& object_type() { return (type_descriptor<bare<Args>>, ...); }

  static constexpr schema_walk fill(text arguments, character_sink& sink, field* fields, bool writes) {
    text names[sizeof...(Args) + 1];
    if constexpr (form == argument_form::pairs) {
      decode_keys(arguments, parsed.keys, key_count, names, sink);
    } else if constexpr (Kind == binding_kind::log) {
      for (uint32_t i = 0; i < sizeof...(Args); ++i) names[i] = log_argument_name(i);
    } else {
      names[0] = "value";
    }
    return walk_arguments<form, Args...>(names, writes ? schema_room(fields, sink.out + sink.size) : schema_room());
  }
  static constexpr uint32_t field_count() {
    if constexpr (form == argument_form::pairs || form == argument_form::values) {
      return size_of_arguments<form, Args...>.fields;
    } else {
      return 0;
    }
  }
  /// Rounded up, so that fewer types are needed.
  static constexpr uint32_t character_count() {
    uint32_t composed = 0;
    if constexpr (field_count() != 0 && size_of_arguments<form, Args...>.characters != 0) {
      char decoded[parsed.characters + 1]{};
      character_sink sink{decoded};
      composed = fill(Site{}().arguments, sink, nullptr, false).characters;
    }
    return (parsed.characters + composed) | 15;
  }

  static constexpr site_constants<field_count(), character_count()> value{type_tag<site_table>{}};
};

template <class Site, binding_kind Kind, class... Args>
inline constexpr const descriptor& site_descriptor = site_table<Site, Kind, Args...>::value.description;

/// Refuses an argument that cannot be recorded; the type stands in the compiler's "required from".
template <class Argument>
constexpr bool check_argument() {
  static_assert(is_recordable<Argument>,
                "contrail: an argument of this type cannot be recorded: register the type with TRACE_EVENT_TYPE(type, "
                "field, ...), or pass a number, a text or a member of it instead.");
  return is_recordable<Argument>;
}
struct argument_check {
  bool good = true;
  template <class T>
  constexpr void value() {
    good = check_argument<T>() && good;
  }
};

struct number_check {
  bool good = true;
  template <class T>
  constexpr void value() {
    good = good && is_counted<bare<T>>();
  }
};
template <argument_form Form, class... Args>
constexpr bool all_numbers() {
  number_check check;
  if constexpr (Form == argument_form::pairs) {
    static_cast<void>((key_turn<number_check>{check} << ... << argument<Args>{}));
  } else {
    (check.value<Args>(), ...);
  }
  return check.good;
}

/// Whether an event's arguments are kept while it is open.
constexpr bool is_held(binding_kind kind) {
  return kind == binding_kind::region || kind == binding_kind::task || kind == binding_kind::async_span;
}
constexpr uint32_t capacity_words_of(binding_kind kind) {
  return is_held(kind) ? frame_payload_words : max_point_words;
}

/// The part of check_site that is the same for all sites with these types.
template <binding_kind Kind, argument_form Form, class... Args>
constexpr bool check_arguments() {
  constexpr argument_size size = size_of_arguments<Form, Args...>;
  argument_check check;
  if constexpr (!size.recordable) {
    if constexpr (Form == argument_form::pairs) {
      static_cast<void>((key_turn<argument_check>{check} << ... << argument<Args>{}));
    } else {
      (check.value<Args>(), ...);
    }
  }
  constexpr bool is_number = Kind != binding_kind::counter || !size.recordable || all_numbers<Form, Args...>();
  static_assert(is_number, "contrail: the value of a counter must be a number.");
  constexpr bool is_small = size.words() <= capacity_words_of(Kind);
  static_assert(is_small || !is_held(Kind),
                "contrail: the arguments of this region are too large: 160 bytes fit. Record a part of them, or all of "
                "them with TRACE_INSTANT, which takes 2040.");
  static_assert(is_small || is_held(Kind),
                "contrail: the arguments are too large for a record: 2040 bytes fit.");
  return size.recordable && is_number && is_small;
}

/// Refuses a call site with a mistake, in a sentence. False: do not go on, or the sentence drowns in other errors.
template <class Site, binding_kind Kind, class... Args>
constexpr bool check_site() {
  using table = site_table<Site, Kind, Args...>;
  constexpr argument_form form = table::form;
  constexpr site_mistake mistake = table::parsed.mistake;
  constexpr bool name = mistake != site_mistake::name;
  static_assert(name || Kind != binding_kind::region,
                "contrail: the name of a region must be a string literal; put a run-time name in an argument, as in "
                "TRACE_REGION(\"request\", \"path\", path).");
  static_assert(name || Kind != binding_kind::instant,
                "contrail: the name of an instant must be a string literal; put a run-time name in an argument, as in "
                "TRACE_INSTANT(\"request\", \"path\", path).");
  static_assert(name || Kind != binding_kind::counter, "contrail: the name of a counter must be a string literal.");
  static_assert(name || (Kind != binding_kind::task && Kind != binding_kind::async_span),
                "contrail: the name of a task must be a string literal; put a run-time name in an argument, as in "
                "TRACE_TASK(t, \"request\", \"path\", path).");
  static_assert(name || Kind != binding_kind::frame_mark, "contrail: the name of a frame must be a string literal.");
  static_assert(
      name || Kind != binding_kind::log,
      "contrail: the format of a log line must be a string literal; put a run-time text in an argument, as in "
      "TRACE_LOG(\"{}\", text).");
  constexpr bool keys = mistake != site_mistake::keys;
  constexpr bool even = form != argument_form::pairs || sizeof...(Args) % 2 == 0;
  static_assert(even, "contrail: a key or a value is missing: arguments after the name are \"key\", value, ...");
  static_assert(
      keys || !even,
      "contrail: a key must be a string literal: arguments after the name are \"key\", value, ... (If all keys "
      "are, put the value that holds a comma before a string literal in parentheses.)");
  constexpr bool object = form != argument_form::object || (... && (kind_of<bare<Args>> == value_kind::aggregate));
  static_assert(object,
                "contrail: a single argument after the name must be an object of a type registered with "
                "TRACE_EVENT_TYPE; other values need a key before them: \"key\", value.");
  constexpr bool one_value = Kind != binding_kind::counter || sizeof...(Args) != 0;
  static_assert(one_value,
                "contrail: a counter takes its name and one value: TRACE_COUNTER(\"name\", value); or several series: "
                "TRACE_COUNTER(\"name\", \"key\", value, ...).");
  if constexpr (!(name && keys && even && object && one_value)) {
    return false;
  } else {
    return check_arguments<Kind, form, Args...>();
  }
}

/// Writes the payload of a site's arguments, which check_site has accepted: those after the name, keys and all.
/// Returns the words used, 0 to `capacity_words`, which is no less than they take without texts. Texts are cut to it.
// Async-signal-safe.
template <binding_kind Kind, class... Args>
CONTRAIL_DETAIL_ALWAYS_INLINE unsigned encode_arguments(atomic_word* out, unsigned capacity_words,
                                                        const Args&... args) {
  constexpr argument_form form = form_of<Kind, Args...>();
  constexpr payload_size size = size_of_arguments<form, Args...>;
  text_piece pieces[size.texts + 1];
  payload_writer writer{out, pieces, capacity_words * 8 - size.bytes};
  if constexpr (form == argument_form::pairs) {
    static_cast<void>((key_of_value{writer} << ... << args));
  } else {
    (writer.put(args), ...);
  }
  if constexpr (size.texts == 0) {
    return writer.finish();
  } else if constexpr (size.texts == 1) {
    return append_text(out, size.bytes, writer.word, pieces[0].data, pieces[0].size);
  } else {
    return append_texts(out, size.bytes, writer.word, pieces, size.texts);
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
