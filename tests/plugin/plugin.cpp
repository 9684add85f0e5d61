// SPDX-License-Identifier: MIT
// Built as several plugins: PLUGIN names each.
#include "plugin.hpp"

#include "contrail/contrail.hpp"

#include <pthread.h>

namespace plugins {
TRACE_CATEGORY("plugins");

enum class colour { red, green };

struct message {
  int number;
  colour painted;
};
TRACE_EVENT_TYPE(message, number, painted);
}  // namespace plugins

namespace {

void trace(int count) {
  for (int i = 0; i < count; ++i) {
    TRACE_REGION(PLUGIN " region", "i", i, "colour", plugins::colour::green);
    TRACE_REGION_VAR(later, PLUGIN " variable");
    TRACE_INSTANT(PLUGIN " instant");
    TRACE_COUNTER(PLUGIN " counter", i);
    TRACE_LOG(PLUGIN " log {}", i);
    TRACE_EMIT(plugins::message{i, plugins::colour::red});
    later.set("i", i);
  }
}

void trace_on_new_thread(int count) {
  pthread_t thread;
  auto body = [](void* argument) -> void* {
    TRACE_THREAD_NAME(PLUGIN " thread");
    trace(*static_cast<int*>(argument));
    return nullptr;
  };
  if (pthread_create(&thread, nullptr, body, &count) == 0) pthread_join(thread, nullptr);
}

recorder_seen look() {
  const auto status = contrail::flight_recorder::status();
  return {static_cast<int>(status.state), status.memory_bytes, status.used_bytes, status.records, status.threads};
}

int start() { return contrail::flight_recorder::start({.memory = 4 << 20}) ? 1 : 0; }
int stop() { return contrail::flight_recorder::stop() ? 1 : 0; }
int dump(const char* path) { return contrail::flight_recorder::dump(path) ? 1 : 0; }

constexpr plugin_table table = {trace, trace_on_new_thread, look, start, stop, dump};

}  // namespace

const plugin_table* contrail_test_plugin() { return &table; }
