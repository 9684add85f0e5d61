// SPDX-License-Identifier: MIT
// Prints what fmt::format makes of a table of formats and values, for test_log.py to compare with the converter's text.
// A line is: the format, each argument as <field_type>:<its bytes in memory order>, and the result, all but the types
// in hexadecimal, separated by tabs.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace {

void hex(const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) std::printf("%02x", static_cast<const unsigned char*>(data)[i]);
}

void argument(int type, const void* data, size_t bytes) {
  std::printf("\t%d:", type);
  hex(data, bytes);
}

void argument(bool v) { argument(1, &v, 1); }
void argument(char v) { argument(2, &v, 1); }
void argument(signed char v) { argument(3, &v, 1); }
void argument(unsigned char v) { argument(4, &v, 1); }
void argument(short v) { argument(5, &v, 2); }
void argument(unsigned short v) { argument(6, &v, 2); }
void argument(int v) { argument(7, &v, 4); }
void argument(unsigned v) { argument(8, &v, 4); }
void argument(long v) { argument(9, &v, 8); }
void argument(unsigned long v) { argument(10, &v, 8); }
void argument(long long v) { argument(9, &v, 8); }
void argument(unsigned long long v) { argument(10, &v, 8); }
void argument(__int128 v) { argument(11, &v, 16); }
void argument(unsigned __int128 v) { argument(12, &v, 16); }
void argument(float v) { argument(13, &v, 4); }
void argument(double v) { argument(14, &v, 8); }
void argument(const void* v) { argument(15, &v, 8); }
void argument(std::string_view v) { argument(16, v.data(), v.size()); }

template <class... Args>
void row(std::string_view format, const Args&... args) {
  std::string text;
  try {
    text = fmt::format(fmt::runtime(format), args...);
  } catch (const fmt::format_error&) {
    return;  // not every format fits every type
  }
  hex(format.data(), format.size());
  (argument(args), ...);
  std::printf("\t");
  hex(text.data(), text.size());
  std::printf("\n");
}

const char* const alignments[] = {"", "<", "*>", "*^", "\u00e9^"};
const char* const signs[] = {"", "+", " "};
const char* const widths[] = {"", "7", "20"};

template <class T>
void specs(T value, const std::vector<std::string>& types, const std::vector<std::string>& precisions) {
  row("{}", value);
  for (const char* align : alignments)
    for (const char* sign : signs)
      for (const char* alternate : {"", "#"})
        for (const char* zero : {"", "0"})
          for (const char* width : widths)
            for (const std::string& precision : precisions)
              for (const std::string& type : types)
                row(fmt::format("[{{:{}{}{}{}{}{}{}}}]", align, sign, alternate, zero, width, precision, type), value);
}

template <class T>
void integers() {
  for (T v : {T(0), T(1), T(42), T(-1), std::numeric_limits<T>::max(), std::numeric_limits<T>::min()})
    specs(v, {"", "d", "x", "X", "o", "b", "B"}, {""});
}

template <class T>
void floats() {
  using limits = std::numeric_limits<T>;
  const std::vector<T> few = {T(0),   -T(0),         T(1),               T(-1.5),             T(1e20),
                              T(0.1), T(123456.789), limits::infinity(), -limits::quiet_NaN()};
  for (T v : few) specs(v, {"", "e", "f", "g", "a", "E", "F", "G", "A"}, {"", ".0", ".1", ".3", ".12"});
  T power = limits::denorm_min();
  while (power < limits::infinity()) {
    row("{}", power);
    row("{}", power * T(1.1));
    row("{:a} {:.2a} {:g} {:.3}", power * T(1.1), power, power, power);
    power *= 2;
  }
  for (T v = T(1e-7); v < T(1e19); v *= 10) row("{} {:#} {} {:.4} {:.4f} {:.4e}", v, v, v * T(1.25), v, v, v);
  for (T v : {limits::max(), limits::min(), limits::epsilon(), T(1) / 3, T(2) / 3, T(9.5), T(99.99), T(0.00001),
              T(16777216)}) {
    row("{} {:e} {:f} {:g} {:#g} {:#.0f} {:#.0e} {:.0f}", v, v, v, v, v, v, v, v);
    row("{0:{1}} {0:.{1}} {0:{1}.{2}f}", v, 12, 3);
  }
}

}  // namespace

int main() {
  integers<signed char>();
  integers<unsigned char>();
  integers<short>();
  integers<unsigned short>();
  integers<int>();
  integers<unsigned>();
  integers<long long>();
  integers<unsigned long long>();
  for (__int128 v : {static_cast<__int128>(0), static_cast<__int128>(-1) << 100}) {
    row("{} {:d} {:x} {:#b} {:40}", v, v, v, v, v);
    row("{} {:#o}", static_cast<unsigned __int128>(v), static_cast<unsigned __int128>(v));
  }
  floats<float>();
  floats<double>();
  for (bool v : {false, true}) specs(v, {"", "s", "d", "x", "X", "o", "b"}, {""});
  for (char v : {'A', 'z', ' ', '7'}) specs(v, {"", "c", "d", "x", "b"}, {""});
  for (int v : {65, 97}) specs(v, {"c"}, {""});
  for (const void* v : {static_cast<const void*>(nullptr), reinterpret_cast<const void*>(uintptr_t{0x7fff12345678})})
    specs(v, {"", "p"}, {""});
  for (std::string_view v :
       {"", "a", "hello world", "\u00e9t\u00e9", "\u65e5\u672c\u8a9e", "\U0001F600!", "e\u0301", "a\"b"})
    specs(v, {"", "s"}, {"", ".0", ".2", ".5"});
  for (std::string_view v : {"plain", "quo\"te", "tab\t\n\\", "'"}) row("{:?}", v);
  for (char v : {'a', '\'', '\n', '"'}) row("{:?}", v);
  row("no argument");
  row("{{}} {{{}}} }}{{", 1);
  row("{1} {0} {1:>5}", 1, std::string_view("two"));
  row("{:{}}|{:<{}}|{:.{}}|{:{}.{}f}", 1, 6, std::string_view("ab"), 5, std::string_view("abcdef"), 3, 3.14159, 9, 2);
  row("{0:{1}d}{2}", 7, 4, true);
  row("{:L}|{:5L}|{:Lf}", 1234567, 12, 1.5);
  row("{:}|{:5}|{:<5}|{:^5}|{:>5}", 1, true, 2, 'c', std::string_view("s"));
  return 0;
}
