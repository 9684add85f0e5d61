// SPDX-License-Identifier: MIT
// What the plugins of these tests export; the one name they have in common with the programs that open them.
#ifndef CONTRAIL_TESTS_PLUGIN_HPP
#define CONTRAIL_TESTS_PLUGIN_HPP

#include <stdint.h>

/// The recorder as one shared object sees it.
struct recorder_seen {
  int state;
  uint64_t memory_bytes;
  uint64_t used_bytes;
  uint64_t records;
  uint64_t threads;

  bool operator==(const recorder_seen&) const = default;
};

struct plugin_table {
  void (*trace)(int count);            ///< regions and instants that carry the plugin's name, on this thread
  void (*trace_on_new_thread)(int count);
  recorder_seen (*look)();
  int (*start)();                      ///< 0 when all went well
  int (*stop)();
  int (*dump)(const char* path);
};

extern "C" __attribute__((visibility("default"))) const plugin_table* contrail_test_plugin();

#endif
