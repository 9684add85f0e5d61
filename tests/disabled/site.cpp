// SPDX-License-Identifier: MIT
// Compiled twice: with contrail switched off, and with -DBARE, where the statements of contrail are not there at all.
// Every argument would leave a call in the code if it were evaluated.
#ifdef BARE
#define TRACED(...)
#else
#define CONTRAIL_DISABLED
#define TRACED(...) __VA_ARGS__
#include "contrail.hpp"
#endif

int visible(int n);
const char* visible_text();

namespace shop {
TRACED(TRACE_CATEGORY("shop");)

struct order {
  int number;
  double price;
};
TRACED(TRACE_EVENT_TYPE(order, number, price);)

struct till {
  int open(int n);
};

int till::open(int n) {
  TRACED(TRACE_FUNCTION("n", visible(n));)
  return n + 1;
}

template <class T>
T square(T value) {
  TRACED(TRACE_SCOPE("square", "value", visible(1), "text", visible_text());)
  return value * value;
}

constexpr int twice(int n) {
  TRACED(TRACE_REGION("twice", "n", n);)
  return 2 * n;
}

int trade(int n) {
  TRACED(TRACE_THREAD_NAME(visible_text());)
  TRACED(TRACE_REGION("trade", "n", visible(n));)
  TRACED(TRACE_REGION("with object", order{visible(n), 1.5});)
  TRACED(TRACE_REGION_VAR(result, "known later", "text", visible_text());)
  TRACED(TRACE_INSTANT("instant", "n", visible(n));)
  TRACED(TRACE_COUNTER("queue", visible(n));)
  TRACED(TRACE_EMIT(order{visible(n), 2.5});)
  TRACED(TRACE_LOG("sold {} {}", visible(n), visible_text());)
  TRACED(result.set("status", 200);)
  TRACED(result.end();)
  const auto in_lambda = [](int m) {
    TRACED(TRACE_REGION("lambda", "m", visible(m));)
    return visible(m);
  };
  return in_lambda(square(n)) + twice(n) + till().open(n);
}
}  // namespace shop
