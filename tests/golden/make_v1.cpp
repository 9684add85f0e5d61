// SPDX-License-Identifier: MIT
// Writes the dumps that README.md tells of into the folder that it is given, each by a process of its own. All macros
// and types of arguments stand here once.
#include <contrail/contrail.hpp>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>

using contrail::flight_recorder;
using namespace std::chrono_literals;

namespace shop {
TRACE_CATEGORY("shop");

enum class payment : uint8_t { cash, card };

struct order {
  int number;
  double price;
  payment paid_by;
};
TRACE_EVENT_TYPE(order, number, price, paid_by);

struct delivery {
  std::array<order, 2> orders;
  std::string to;
  const char* from;
};
TRACE_EVENT_TYPE(delivery, orders, to, from);

struct never_emitted {
  uint64_t id;
  float weights[3];
};
TRACE_EVENT_TYPE(never_emitted, id, weights);

struct till {
  void open() { TRACE_FUNCTION("drawer", 1); }
};

void sell() {
  TRACE_REGION("sell", "customer", "somebody", "items", 3);
  TRACE_SCOPE("scope");
  TRACE_REGION("with an object", order{1, 9.5, payment::card});
  TRACE_REGION_VAR(result, "known later", "size", 3);
  till().open();
  TRACE_INSTANT("bare instant");
  TRACE_INSTANT("instant with an object", order{2, 0.25, payment::cash});
  TRACE_EMIT(order{3, 10.0, payment::cash});
  TRACE_EMIT(delivery{{{{4, 1.0, payment::card}, {5, 2.0, payment::cash}}}, "home", "here"});
  TRACE_COUNTER("queue", 7);
  TRACE_COUNTER("queue", -8);
  TRACE_COUNTER("load", 0.5);
  TRACE_LOG("plain line with {{braces}}");
  TRACE_LOG("{1:>4}|{0:#x}|{2:.3f}|{3}|{4}", 255, "ab", 1.0, true, payment::card);
  result.set("status", 200);
  result.set("text", "later");
  result.set("ratio", 0.5);
  result.end();
}
}  // namespace shop

namespace {

enum class bits : unsigned { read = 1, write = 2, execute = 4 };

void every_type() {
  TRACE_INSTANT("integers", "i8", std::numeric_limits<int8_t>::min(), "u8", std::numeric_limits<uint8_t>::max(), "i16",
                std::numeric_limits<int16_t>::min(), "u16", std::numeric_limits<uint16_t>::max(), "i32",
                std::numeric_limits<int32_t>::min(), "u32", std::numeric_limits<uint32_t>::max(), "i64",
                std::numeric_limits<int64_t>::min(), "u64", std::numeric_limits<uint64_t>::max(), "exact",
                int64_t{1} << 53);
  __extension__ const __int128 huge = static_cast<__int128>(std::numeric_limits<int64_t>::min()) * 4;
  __extension__ const unsigned __int128 all_ones = ~static_cast<unsigned __int128>(0);
  TRACE_INSTANT("128 bits", "i128", huge, "u128", all_ones);
  TRACE_INSTANT("floats", "float", 0.5F, "double", 0.1, "long double", 1.25L, "nan",
                std::numeric_limits<double>::quiet_NaN(), "inf", -std::numeric_limits<float>::infinity());
  TRACE_INSTANT("characters", "bool", true, "char", 'a', "u8", u8'b', "wide", L'ä', "u16", u'€', "u32",
                U'\U0001F600');
  TRACE_INSTANT("enumerations", "named", shop::payment::card, "flag", bits::execute, "none", static_cast<bits>(9));
  TRACE_INSTANT("pointers", "at", reinterpret_cast<int*>(0x1234abcd), "null", nullptr);
  const char* const nowhere = nullptr;
  const char buffer[8] = "buffer";
  TRACE_INSTANT("texts", "literal", "a\t\"b\"\\", "string", std::string("grün €"), "array", buffer, "null", nowhere,
                "empty", "", "broken", "a\xff" "b");
  const std::string pair[2] = {"one", "two"};
  TRACE_INSTANT("lists", "ints", std::array<int, 3>{1, -2, 3}, "texts", pair, "bools",
                std::array<bool, 2>{true, false});
  TRACE_INSTANT("durations", "ns", 12ns, "ms", 1500us, "minus", -2s, "for ever", std::chrono::hours::max());
  TRACE_INSTANT("cut", "text", std::string(3000, 'x'));
  TRACE_REGION("short words", "a", 1, "b", uint8_t{2}, "c", 3.5);
  TRACE_REGION("many words", "text", std::string(150, 'y'));
}

/// Suspends within a region, so that whoever resumes ends it.
struct task {
  struct promise_type {
    task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

task carry_a_region() {
  TRACE_REGION("carried", "n", 7);
  co_await std::suspend_always{};
}

void spend(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

void or_exit(const contrail::error& failed) {
  if (!failed) return;
  std::fprintf(stderr, "%s\n", failed.message());
  std::exit(1);
}

void dump(const std::string& folder, const char* name, const contrail::dump_options& wanted = {}) {
  or_exit(flight_recorder::dump((folder + "/" + name + ".contrail").c_str(), wanted));
}

/// Everything once: all macros, all types, two threads, long forms, a full chunk.
void everything(const std::string& folder) {
  or_exit(flight_recorder::start({.memory = 1 << 20}));
  TRACE_THREAD_NAME("main thread");
  shop::sell();
  every_type();
  const task carried = carry_a_region();
  std::thread([&] {
    pthread_setname_np(pthread_self(), "system-name");
    TRACE_REGION("on the second thread");
    carried.handle.resume();
  }).join();
  carried.handle.destroy();
  for (int i = 0; i < 4; ++i) TRACE_INSTANT("fills a chunk", "text", std::string(2000, 'z'));
  {
    TRACE_REGION("across time epochs");
    spend(20ms);
  }
  dump(folder, "v1-everything");
}

void unfinished(const std::string& folder) {
  or_exit(flight_recorder::start({.memory = 1 << 20}));
  TRACE_REGION("outer", "n", 1);
  TRACE_REGION("inner");
  {
    TRACE_REGION("finished");
  }
  TRACE_REGION_VAR(variable, "variable", "text", "of the region");
  variable.set("set", 2.5);
  TRACE_INSTANT("last");
  dump(folder, "v1-unfinished");
}

void window(const std::string& folder) {
  or_exit(flight_recorder::start({.memory = 1 << 20}));
  for (int i = 0; i < 60; ++i) {
    TRACE_REGION("step", "i", i);
    spend(1ms);
  }
  dump(folder, "v1-window", {.last = 20ms});
}

__attribute__((noinline)) int too_deep(int depth) {
  TRACE_REGION("deep");
  return depth < 100 ? too_deep(depth + 1) + 1 : 1;
}

/// More records than fit, so that the oldest are overwritten, and more open regions than fit, which are dropped.
void losses(const std::string& folder) {
  or_exit(flight_recorder::start({.memory = 1 << 20}));
  for (int i = 0; i < 300'000; ++i) TRACE_INSTANT("filler");
  spend(10ms);
  if (too_deep(1) != 100) std::exit(1);
  dump(folder, "v1-losses", {.last = 5ms});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_v1 FOLDER\n");
    return 2;
  }
  for (const auto write : {everything, unfinished, window, losses}) {
    if (const pid_t child = fork(); child == 0) {
      write(argv[1]);
      return 0;
    }
    int status = 0;
    wait(&status);
    if (status != 0) return 1;
  }
}
