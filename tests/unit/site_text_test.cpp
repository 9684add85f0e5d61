// SPDX-License-Identifier: MIT
// Names, keys and functions, read from the text of macro arguments and of __PRETTY_FUNCTION__.
#include "catch.hpp"

#include "contrail/detail/site_text.hpp"

#include <string>

using contrail::text;
using namespace contrail::detail;

namespace {

std::string string_of(text t) { return {t.data, t.size}; }

/// What adjacent literals at the begin of `source` decode to.
std::string decoded(text source) {
  token_scanner scanner{source};
  const literal l = scanner.take_literals();
  char bytes[200];
  character_sink counted;
  decode(source, l, counted);
  character_sink sink{bytes};
  decode(source, l, sink);
  REQUIRE(counted.size == sink.size);
  return {bytes, sink.size};
}
/// A literal as the compiler understands it beside what the decoder makes of its spelling.
#define CHECK_LITERAL(...) CHECK(decoded(CONTRAIL_DETAIL_STRINGIZE(__VA_ARGS__)) == std::string(__VA_ARGS__))

std::string rest_after_value(text source) {
  token_scanner scanner{source};
  scanner.skip_value();
  return string_of(part(source, scanner.at, source.size));
}

template <class Lambda>
std::string function_of(Lambda lambda) {
  return string_of(function_name(lambda()));
}
#define FUNCTION_HERE function_of([] { return text(__PRETTY_FUNCTION__); })

}  // namespace

TEST_CASE("String literals decode as the compiler decodes them") {
  CHECK_LITERAL("plain");
  CHECK_LITERAL("");
  CHECK_LITERAL("two " "parts" "" " and three");
  CHECK_LITERAL("\"quoted\" \\ \' \?");
  CHECK_LITERAL("\a\b\f\n\r\t\v");
  CHECK_LITERAL("\x41\x7e" "B");
  CHECK_LITERAL("\101\60\0600");
  CHECK_LITERAL("\u00e9\u20ac\U0001f600");
  CHECK_LITERAL("caf\xc3\xa9 µ");
  CHECK_LITERAL(R"(raw "quotes" and \n)");
  CHECK_LITERAL(R"x(with )" inside)x" "and \"plain\"");
  CHECK_LITERAL("comma, (bracket");
  CHECK(decoded("u8\"eight\" , 1") == "eight");
  CHECK(decoded(R"("\x{41}\o{102}\u{43}")") == "ABC");
}

TEST_CASE("What is no plain literal is not taken for a name") {
  const auto is_literal = [](text source) {
    token_scanner scanner{source};
    const literal l = scanner.take_literals();
    return l.begin != l.end;
  };
  CHECK(is_literal("\"a\""));
  CHECK_FALSE(is_literal("name"));
  CHECK_FALSE(is_literal("L\"wide\""));
  CHECK_FALSE(is_literal("\"a\"sv"));
  CHECK_FALSE(is_literal("(\"a\")"));
  CHECK_FALSE(is_literal(""));
}

TEST_CASE("A value ends at a comma before a string literal, outside brackets") {
  CHECK(rest_after_value("x, \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("f(a, \"b\"), \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("f<a, b>(x), \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("v[g({1, 2}, \"z\")], \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("\"text\", \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("\"te,xt\" \"ual\", \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("',', \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("'\\'', \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("'\"', \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("1'000'000, \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("0x1p'3 + u8'x', \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("[&] { return a, \"b\"; }(), \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("R\"(a, \"b)\", \"key\", 1") == "\"key\", 1");
  CHECK(rest_after_value("x, R\"(key)\", 1") == "R\"(key)\", 1");
  CHECK(rest_after_value("a < b, \"key\", c > d") == "\"key\", c > d");
  CHECK(rest_after_value("last") == "");
}

// ---- functions -------------------------------------------------------------------------------------------------

namespace outer {
std::string free_function(int, const char*) { return FUNCTION_HERE; }
namespace inner {
struct type {
  std::string made;
  type() : made(FUNCTION_HERE) {}
  explicit type(const std::string&) : made() {}
  std::string method(int (*)(char)) const noexcept { return FUNCTION_HERE; }
  static std::string static_method() { return FUNCTION_HERE; }
  std::string operator()(int) const { return FUNCTION_HERE; }
  std::string operator<(const type&) const { return FUNCTION_HERE; }
  std::string operator[](int) const { return FUNCTION_HERE; }
  std::string operator->*(int) const { return FUNCTION_HERE; }
  explicit operator std::string() const { return FUNCTION_HERE; }
  explicit operator unsigned long() const {
    converted = FUNCTION_HERE;
    return 1;
  }
  mutable std::string converted;
  std::string in_lambda() const {
    return [](int) { return [] { return FUNCTION_HERE; }(); }(1);
  }
};
template <class T>
struct container {
  template <class U>
  std::string take(U&&) {
    return FUNCTION_HERE;
  }
};
auto trailing(int) -> std::string { return FUNCTION_HERE; }
}  // namespace inner
}  // namespace outer

TEST_CASE("A function's name is qualified and has no return type and no parameters") {
  CHECK(outer::free_function(1, "") == "outer::free_function");
  CHECK(outer::inner::trailing(1) == "outer::inner::trailing");
  CHECK(outer::inner::type::static_method() == "outer::inner::type::static_method");
  const outer::inner::type t;
  CHECK(t.made == "outer::inner::type::type");
  CHECK(t.method(nullptr) == "outer::inner::type::method");
}

TEST_CASE("Operators keep their names") {
  const outer::inner::type t;
  CHECK(t(1) == "outer::inner::type::operator()");
  CHECK((t < t) == "outer::inner::type::operator<");
  CHECK(t[1] == "outer::inner::type::operator[]");
  CHECK((t->*1) == "outer::inner::type::operator->*");
  CHECK(static_cast<unsigned long>(t) == 1);
  const std::string conversion = "outer::inner::type::operator ";  // the type's spelling is the compiler's
  CHECK(t.converted.substr(0, conversion.size()) == conversion);
  CHECK(t.operator std::string().substr(0, conversion.size()) == conversion);
}

TEST_CASE("A lambda counts as the function it stands in") {
  CHECK(outer::inner::type().in_lambda() == "outer::inner::type::in_lambda");
  const auto generic = [](auto) { return FUNCTION_HERE; };
  CHECK(generic(1) == generic("1"));
}

TEST_CASE("A template's method may show template arguments") {
  CHECK(outer::inner::container<int>().take(1.0).substr(0, 34) == "outer::inner::container<int>::take");
}

TEST_CASE("Outside functions there is no name") {
  static const std::string here = FUNCTION_HERE;
  CHECK(!here.empty());
  struct at_namespace_scope {
    static std::string name() { return string_of(function_name("<lambda()>")); }
  };
  CHECK(at_namespace_scope::name().empty());
  CHECK(function_name("auto (anonymous class)::operator()() const").size == 0);
  CHECK(function_name("ns::<lambda()>").size == 0);
  CHECK(function_name("").size == 0);
  CHECK(function_name(">").size == 0);
  CHECK(function_name(")").size == 0);
}

TEST_CASE("Both compilers' spellings are understood") {
  CHECK(string_of(function_name("main()::<lambda()>")) == "main");
  CHECK(string_of(function_name("auto main()::(anonymous class)::operator()() const")) == "main");
  CHECK(string_of(function_name("a::b::f(T) [with T = c::d]::<lambda()>")) == "a::b::f");
  CHECK(string_of(function_name("auto a::f(T)::(anonymous class)::operator()() const [T = c::d<int>]")) == "a::f");
  CHECK(string_of(function_name("run<main()::<lambda(int)> >(T)::<lambda()>")) == "run<main()::<lambda(int)> >");
}
