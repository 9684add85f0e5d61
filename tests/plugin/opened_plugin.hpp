// SPDX-License-Identifier: MIT
// A plugin opened as strictly as dlopen can: nothing of it is visible to others.
#ifndef CONTRAIL_TESTS_OPENED_PLUGIN_HPP
#define CONTRAIL_TESTS_OPENED_PLUGIN_HPP

#include "plugin.hpp"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <string>

class opened_plugin {
 public:
  explicit opened_plugin(const std::string& name) : path_(std::string(PLUGIN_FOLDER "/libplugin_") + name + ".so") {
    handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* entry = handle_ ? dlsym(handle_, "contrail_test_plugin") : nullptr;
    if (entry == nullptr) {
      fprintf(stderr, "%s\n", dlerror());
      abort();
    }
    table_ = reinterpret_cast<const plugin_table* (*)()>(entry)();
  }
  opened_plugin(const opened_plugin&) = delete;
  opened_plugin& operator=(const opened_plugin&) = delete;
  ~opened_plugin() { close(); }

  const plugin_table* operator->() const { return table_; }

  /// False if the plugin is still in memory afterwards: dlclose alone promises nothing.
  bool close() {
    if (handle_ != nullptr) dlclose(handle_);
    handle_ = nullptr;
    void* still_there = dlopen(path_.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (still_there != nullptr) dlclose(still_there);
    return still_there == nullptr;
  }

 private:
  std::string path_;
  void* handle_ = nullptr;
  const plugin_table* table_ = nullptr;
};

/// Does the dump convert, and has it events of these names?
inline bool dump_has(const std::string& dump, const std::string& quoted_names) {
  const std::string command = std::string(getenv("PYTHON")) + " " EXPECT_NAMES " " + dump + " " + quoted_names;
  return system(command.c_str()) == 0;
}

#endif
