// SPDX-License-Identifier: MIT
// A library without contrail whose static initialiser takes its time, with the dynamic linker's lock held: it tells the
// program that it has begun, and waits until the program's first thread sleeps.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace {

/// The first thread's state as /proc has it: 'R' runs, 'S' sleeps.
char state_of_first_thread() {
  char path[] = "/proc/self/stat", text[512] = {};
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 'S';
  const ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  const char* const name_end = size > 0 ? strrchr(text, ')') : nullptr;
  return name_end != nullptr && name_end[1] != '\0' ? name_end[2] : 'S';
}

struct waits_when_loaded {
  waits_when_loaded() {
    const char* const descriptor = getenv("CONTRAIL_TEST_WAITING");
    if (descriptor == nullptr || write(atoi(descriptor), "x", 1) != 1) return;
    // Asleep for as long as nobody else can be the cause.
    for (int asleep = 0; asleep < 50; usleep(1000)) asleep = state_of_first_thread() == 'S' ? asleep + 1 : 0;
  }
} waits;

}  // namespace

extern "C" __attribute__((visibility("default"))) void contrail_test_waiting() {}
