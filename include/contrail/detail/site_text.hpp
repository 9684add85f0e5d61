// SPDX-License-Identifier: MIT
// Reads a call site's macro arguments as the preprocessor spelled them: the name, the keys, the enclosing function.
#ifndef CONTRAIL_DETAIL_SITE_TEXT_HPP
#define CONTRAIL_DETAIL_SITE_TEXT_HPP

#include "contrail/detail/text.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

/// What a macro knows of its call site. A lambda without captures returns it, and so carries it as a type: names are
/// constants even though they come as ordinary macro arguments, which may be anything.
struct site_text {
  text arguments;  ///< all macro arguments, expanded, as source text
  text category;
  text file;
  uint32_t line;
  text pretty_function;  ///< of the lambda
};

/// The first macro argument of a site that is named after its function.
struct function_name_tag {};
#define CONTRAIL_DETAIL_FUNCTION_NAME \
  ::contrail::detail::function_name_tag {}

#define CONTRAIL_DETAIL_STRINGIZE(...) CONTRAIL_DETAIL_STRINGIZE_EXPANDED(__VA_ARGS__)
#define CONTRAIL_DETAIL_STRINGIZE_EXPANDED(...) #__VA_ARGS__

#define CONTRAIL_DETAIL_SITE_TEXT(...)                                                                  \
  ::contrail::detail::site_text {                                                                       \
    CONTRAIL_DETAIL_STRINGIZE(__VA_ARGS__), decltype(contrail_category(0))::name(), __FILE__, __LINE__, \
        __PRETTY_FUNCTION__                                                                             \
  }

// ---- categories ----------------------------------------------------------------------------------------------

/// A literal as a template argument.
template <size_type N>
struct fixed_text {
  char characters[N]{};
  constexpr fixed_text(const char (&literal)[N]) {
    for (size_type i = 0; i < N; ++i) characters[i] = literal[i];
  }
};

/// CONTRAIL_CATEGORY declares `category<"name"> contrail_category(int)` and never defines it, so that the headers of
/// one namespace may repeat it; unqualified lookup finds the nearest.
template <fixed_text Name>
struct CONTRAIL_DETAIL_HIDDEN category {
  static constexpr fixed_text storage = Name;
  static constexpr text name() { return {storage.characters, sizeof storage.characters - 1}; }
};

// ---- string literals -----------------------------------------------------------------------------------------

/// One or more adjacent string literals in the text of macro arguments.
struct literal {
  uint32_t begin = 0;
  uint32_t end = 0;  ///< equal to begin: no literal
};

/// Steps over C++ tokens, as far as needed to tell commas between arguments from others.
struct token_scanner {
  text source;
  uint32_t at = 0;

  constexpr bool done() const { return at >= source.size; }
  constexpr char peek(uint32_t ahead = 0) const { return at + ahead < source.size ? source[at + ahead] : '\0'; }
  constexpr void skip_spaces() {
    while (!done() && (peek() == ' ' || peek() == '\t' || peek() == '\n')) ++at;
  }
  /// Whether a string literal that can be a name starts here: "…", R"…", u8"…", u8R"…".
  constexpr bool at_name_literal() const {
    uint32_t ahead = peek() == 'u' && peek(1) == '8' ? 2 : 0;
    if (peek(ahead) == 'R') ++ahead;
    return peek(ahead) == '"';
  }
  /// Past the quoted literal whose quote stands here.
  constexpr void skip_quoted() {
    const char quote = source[at++];
    while (!done() && source[at] != quote) at += source[at] == '\\' ? 2 : 1;
    ++at;
  }
  /// Past R"x(…)x", from its quote.
  constexpr void skip_raw() {
    uint32_t delimiter = ++at;
    while (!done() && source[at] != '(') ++at;
    const text end = part(source, delimiter, at);
    for (; !done(); ++at) {
      if (source[at] == ')' && stands_at(source, at + 1, end) && peek(1 + end.size) == '"') break;
    }
    at += end.size + 2;
  }
  constexpr void skip_literal() {
    if (peek() == 'u') at += 2;
    if (peek() == 'R') {
      ++at;
      skip_raw();
    } else {
      skip_quoted();
    }
  }
  /// One or more literals in a row, and the spaces around them.
  constexpr literal take_literals() {
    skip_spaces();
    literal found{at, at};
    while (at_name_literal()) {
      skip_literal();
      found.end = at;
      if (is_identifier(peek())) return {at, at};  // "…"sv is a value
      skip_spaces();
    }
    return found;
  }
  /// Past one token that is no bracket.
  constexpr void skip_token() {
    const char c = peek();
    if (c == '"' || c == '\'') return skip_quoted();
    if (!is_identifier(c)) {
      ++at;
      return;
    }
    const bool number = is_digit(c);
    const uint32_t first = at;
    while (is_identifier(peek()) || (number && (peek() == '\'' || peek() == '.') && is_identifier(peek(1)))) ++at;
    if (peek() == '"' && source[at - 1] == 'R' && at - first <= 3) skip_raw();
  }
  /// Past a value: to the end, or past a comma outside brackets before a string literal. Commas of template arguments
  /// are not followed by one.
  constexpr void skip_value() {
    skip_spaces();
    for (int depth = 0; !done();) {
      const char c = peek();
      if (c == '(' || c == '[' || c == '{') ++depth;
      if (c == ')' || c == ']' || c == '}') --depth;
      if (c == ',' && depth == 0) {
        ++at;
        skip_spaces();
        if (at_name_literal()) return;
      } else {
        skip_token();
      }
    }
  }
};

constexpr unsigned hex_digit(char c) {
  return is_digit(c) ? static_cast<unsigned>(c - '0') : static_cast<unsigned>((c | 0x20) - 'a') + 10;
}
constexpr bool is_hex_digit(char c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

/// Where decoded characters go; without room it only counts them.
struct character_sink {
  char* out = nullptr;
  bool has_room = false;
  uint32_t size = 0;

  constexpr character_sink() = default;
  constexpr explicit character_sink(char* room) : out(room), has_room(true) {}

  constexpr void put(unsigned byte) {
    if (has_room) out[size] = static_cast<char>(byte);
    ++size;
  }
  constexpr void put_code_point(uint32_t c) {
    if (c < 0x80) return put(c);
    if (c < 0x800) {
      put(0xc0 | c >> 6);
    } else {
      if (c < 0x10000) {
        put(0xe0 | c >> 12);
      } else {
        put(0xf0 | c >> 18);
        put(0x80 | (c >> 12 & 0x3f));
      }
      put(0x80 | (c >> 6 & 0x3f));
    }
    put(0x80 | (c & 0x3f));
  }
  constexpr void put(text t) {
    for (char c : t) put(static_cast<unsigned char>(c));
  }
};

/// Decodes the escape sequence after the backslash before `at`; returns where it ends.
constexpr uint32_t decode_escape(text source, uint32_t at, character_sink& sink) {
  const char kind = source[at++];
  const bool braced = source[at] == '{' && (kind == 'x' || kind == 'o' || kind == 'u');
  if (braced) ++at;
  uint32_t value = 0;
  if (kind == 'x' || kind == 'u' || kind == 'U') {
    const uint32_t most = braced || kind == 'x' ? source.size : kind == 'u' ? 4 : 8;
    for (uint32_t i = 0; i < most && is_hex_digit(source[at]); ++i) value = value << 4 | hex_digit(source[at++]);
    if (braced) ++at;
    kind == 'x' ? sink.put(value) : sink.put_code_point(value);
  } else if (braced || (kind >= '0' && kind <= '7')) {
    if (!braced) --at;
    for (int i = 0; (braced || i < 3) && source[at] >= '0' && source[at] <= '7'; ++i)
      value = value << 3 | static_cast<uint32_t>(source[at++] - '0');
    if (braced) ++at;
    sink.put(value);
  } else {
    constexpr text letters = "abfnrtve";
    constexpr text meanings = "\a\b\f\n\r\t\v\033";
    char meant = kind;
    for (uint32_t i = 0; i < letters.size; ++i)
      if (letters[i] == kind) meant = meanings[i];
    sink.put(static_cast<unsigned char>(meant));
  }
  return at;
}

/// What the compiler makes of adjacent string literals, without the terminating NUL.
constexpr void decode(text source, literal l, character_sink& sink) {
  token_scanner scanner{source, l.begin};
  while (scanner.at < l.end) {
    const uint32_t first = scanner.at;
    scanner.skip_literal();
    uint32_t at = first;
    bool raw = false;
    for (; source[at] != '"'; ++at) raw = source[at] == 'R';
    ++at;
    uint32_t end = scanner.at - 1;
    if (raw) {
      const uint32_t delimiter = at;
      while (source[at] != '(') ++at;
      end -= at - delimiter + 1;
      ++at;
      sink.put(part(source, at, end));
    } else {
      while (at < end) {
        if (source[at] == '\\')
          at = decode_escape(source, at + 1, sink);
        else
          sink.put(static_cast<unsigned char>(source[at++]));
      }
    }
    scanner.skip_spaces();
  }
}

// ---- functions -----------------------------------------------------------------------------------------------

/// Where the bracket group that ends before `end` begins.
constexpr uint32_t group_begin(text t, uint32_t end) {
  const char* at = t.data + end;
  int depth = 0;
  while (at != t.data) {
    const char c = *--at;
    if (c == ')' || c == '>' || c == ']' || c == '}') ++depth;
    if (c == '(' || c == '<' || c == '[' || c == '{') --depth;
    if (depth == 0) break;
  }
  return static_cast<uint32_t>(at - t.data);
}

/// Where the text of a function ends without the lambda at its end and the "::" before it; `end` if there is none.
constexpr uint32_t without_lambda(text t, uint32_t end) {
  uint32_t last = end;
  if (last != 0 && t[last - 1] == ']') last = group_begin(t, last);      // "[T = int]"
  while (last != 0 && t[last - 1] != ')' && t[last - 1] != '>') --last;  // "const"
  if (last == 0) return end;
  const uint32_t group = group_begin(t, last);
  if (t[last - 1] == '>') {  // g++: "f(int)::<lambda()>"
    if (!stands_at(t, group, "<lambda(")) return end;
    return group < 2 ? 0 : group - 2;
  }
  // clang: "auto f(int)::(anonymous class)::operator()() const"
  constexpr text clang = "(anonymous class)::operator()";
  if (group < clang.size || !stands_at(t, group - clang.size, clang)) return end;
  const uint32_t begin = group - clang.size;
  return begin < 2 ? 0 : t[begin - 1] == ':' ? begin - 2 : begin;
}

/// Where the name of an operator that ends before `end` begins, as in "operator()" or "operator bool"; else `end`.
constexpr uint32_t operator_begin(text t, uint32_t end) {
  for (uint32_t at = end; at-- > 0;) {
    if (t[at] == ')' && stands_at(t, at, ")::")) break;
    if (t[at] == 'o' && stands_at(t, at, "operator") && !is_identifier(t[at + 8]) &&
        (at == 0 || !is_identifier(t[at - 1])))
      return at;
  }
  return end;
}

/// "Class::method" out of __PRETTY_FUNCTION__ as a lambda in that function sees it: qualified by namespaces, without
/// return type and parameters. Lambdas inside the function count as the function. Empty where there is none.
constexpr text function_name(text pretty) {
  uint32_t end = without_lambda(pretty, pretty.size);
  if (end == pretty.size) return {};
  for (uint32_t outer = without_lambda(pretty, end); outer != end; outer = without_lambda(pretty, end)) end = outer;
  while (end != 0 && pretty[end - 1] != ')') --end;  // qualifiers
  if (end == 0) return {};
  end = group_begin(pretty, end);  // parameters
  if (end == 0) return {};
  uint32_t begin = is_identifier(pretty[end - 1]) ? end : operator_begin(pretty, end);
  for (bool again = true; again;) {
    while (begin != 0 && pretty[begin - 1] != ' ') {
      const char c = pretty[begin - 1];
      begin = c == ')' || c == '}' || c == '>' ? group_begin(pretty, begin) : begin - 1;
    }
    // What ends in a space is a return type ("auto" on clang), or the name is one like "operator unsigned int".
    again = false;
    if (begin != 0 && !(begin == 5 && pretty[0] == 'a' && pretty[1] == 'u')) {
      const uint32_t name = operator_begin(pretty, begin);
      again = name != begin;
      begin = name;
    }
  }
  return part(pretty, begin, end);
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

/// The category of code that names none.
::contrail::detail::category<""> contrail_category(...);

#endif
