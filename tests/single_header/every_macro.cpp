// SPDX-License-Identifier: MIT
// Uses every macro once, and leaves a dump. Built in an empty folder beside nothing but contrail.hpp.
//   -DEXPECT_ERROR="text"  start must fail with this text in its message; the macros must do no harm
#include "contrail.hpp"

#include <stdio.h>
#include <string.h>

namespace shop {
TRACE_CATEGORY("shop");

enum class currency : unsigned char { euro, yen };

struct order {
  int number;
  double price;
  currency paid_in;
};
TRACE_EVENT_TYPE(order, number, price, paid_in);

#ifdef CONTRAIL_WITH_PFR
struct parcel {
  int grams;
};
TRACE_EVENT_TYPE(parcel);
#endif

constexpr int twice(int n) {
  TRACE_REGION("twice", "n", n);
  return 2 * n;
}
static_assert(twice(21) == 42);

struct till {
  void open() { TRACE_FUNCTION("drawer", 1); }
};

template <class T>
T square(T value) {
  TRACE_SCOPE("square", "value", value);
  return value * value;
}

int trade(const char* customer) {
  TRACE_REGION("trade", "customer", customer);
  TRACE_REGION("two on"); TRACE_REGION("one line");  // NOLINT
  TRACE_REGION("with object", order{1, 9.5, currency::yen});
  TRACE_REGION_VAR(result, "known later", "size", 3);
  TRACE_INSTANT("instant", "ready", true, "letter", 'x');
  TRACE_COUNTER("queue", 7);
  TRACE_EMIT(order{2, 10.5, currency::euro});
#ifdef CONTRAIL_WITH_PFR
  TRACE_EMIT(parcel{250});
#endif
  TRACE_LOG("sold {} for {}", 2, 10.5);
  TRACE_TASK(task, "task", "n", 1);
  TRACE_TASK_OF(child, task, "child", "text", customer);
  contrail::task_scope current(child.context());
  const contrail::flow arrow = contrail::flow::begin();
  { TRACE_BLOCKED(io, "blocked", "to", arrow.out()); }
  TRACE_INSTANT("arrives", "from", arrow.in());
  TRACE_ASYNC(async, "async");
  TRACE_FRAME("frame");
  TRACE_COUNTER("series", "one", 1, "two", 2.5);
  task.end();
  child = contrail::task();
  async.end();
  till().open();
  const auto in_lambda = [](int n) {
    TRACE_REGION("lambda");
    return n + 1;
  };
  result.set("status", 200);
  result.end();
  return in_lambda(square(3)) + static_cast<int>(square(1.5)) + twice(1);
}

void long_names() {
  CONTRAIL_REGION("long region", "n", 1);
  CONTRAIL_SCOPE("long scope");
  CONTRAIL_FUNCTION();
  CONTRAIL_REGION_VAR(r, "long variable");
  r.set("n", 1);
  r.end();
  CONTRAIL_INSTANT("long instant");
  CONTRAIL_COUNTER("long counter", 1.5);
  CONTRAIL_EMIT(order{3, 1, currency::euro});
  CONTRAIL_LOG("long log");
  CONTRAIL_THREAD_NAME("long name");
  CONTRAIL_TASK(task, "long task");
  CONTRAIL_TASK_OF(other, task, "long task too");
  CONTRAIL_ASYNC(async, "long async");
  CONTRAIL_BLOCKED(sync, "long blocked");
  CONTRAIL_FRAME("long frame");
}
}  // namespace shop

namespace elsewhere {
CONTRAIL_CATEGORY("elsewhere");
struct point {
  int x, y;
};
CONTRAIL_EVENT_TYPE(point, x, y);
}  // namespace elsewhere

int main(int argc, char** argv) {
  TRACE_THREAD_NAME("main thread");
  const auto error = contrail::flight_recorder::start({.memory = 4 << 20});
#ifdef CONTRAIL_WITH_SESSION
  contrail::session session;
  const auto session_error = session.start({.file = "stream.contrail", .when_slow = contrail::session_policy::drop});
  if (session_error.code() != error.code()) return 4;  // it runs, or says why not as the recorder does
#endif
  shop::long_names();
  const int sum = shop::trade("somebody");
  TRACE_EMIT(elsewhere::point{1, 2});
#ifdef CONTRAIL_WITH_SESSION
  if (session.is_running() == static_cast<bool>(error) || session.stop().failed || session.status().bytes != 0) return 5;
#endif
#ifdef EXPECT_ERROR
  (void)argc;
  (void)argv;
  if (error && strstr(error.message(), EXPECT_ERROR)) return sum == 14 ? 0 : 3;
  fprintf(stderr, "start says: %s\n", error ? error.message() : "all went well");
  return 1;
#else
  if (error || argc < 2) {
    fprintf(stderr, "start: %s\n", error.message());
    return 1;
  }
  if (const auto dump_error = contrail::flight_recorder::dump(argv[1])) {
    fprintf(stderr, "dump: %s\n", dump_error.message());
    return 2;
  }
  return sum == 14 ? 0 : 3;
#endif
}
