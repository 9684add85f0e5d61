// SPDX-License-Identifier: MIT
// Writes the golden dumps and streams of version 1.2 into the folder it is given, each by a process of its own: see
// README.md.
#include <contrail/contrail.hpp>
#include <contrail/session.hpp>
#include <contrail/trigger.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace {

void or_exit(const contrail::error& failed) {
  if (failed) std::exit((std::puts(failed.message()), 1));
}

/// Until the stream has grown: so that chunks are in it piece by piece.
void wait_for(const contrail::session& stream) {
  const auto before = stream.status().bytes;
  while (stream.is_running() && stream.status().bytes == before) std::this_thread::yield();
}

contrail::session streamed_to(const std::string& path) {
  or_exit(contrail::flight_recorder::start({.memory = 1 << 20}));
  TRACE_INSTANT("before the session");
  contrail::session stream;
  or_exit(stream.start({.file = path.c_str(), .interval = std::chrono::milliseconds(1)}));
  return stream;
}

void stream(const std::string& folder) {
  contrail::session stream = streamed_to(folder + "/v1.2-stream.contrail");
  TRACE_THREAD_NAME("main");
  TRACE_REGION("open until the end", "why", "so that it is unfinished");
  for (int i = 0; i < 5; ++i) {
    TRACE_REGION("piece", "i", i);
    wait_for(stream);
  }
  std::thread([&] {
    TRACE_THREAD_NAME("worker");
    for (int i = 0; i < 1500; ++i) {
      TRACE_REGION("plain");
      if (i % 100 == 0) TRACE_COUNTER("hundreds", i / 100);
    }
    wait_for(stream);  // its name, and its chunks: one sealed, one open
  }).join();
  TRACE_LOG("{} pieces", 5);
  or_exit(stream.stop().failed);
}

/// Spans that looks of the session meet open: one ends, one does not.
void open_stream(const std::string& folder) {
  contrail::session stream = streamed_to(folder + "/v1.2-open.contrail");
  TRACE_TASK(job, "job", "number", 1);
  TRACE_ASYNC(request, "request", "to", "a shop");
  {
    const contrail::task_scope scope(job);
    TRACE_TASK(part, "part");
    wait_for(stream);
    wait_for(stream);
  }
  wait_for(stream);
  request.end();
  wait_for(stream);
  or_exit(stream.stop().failed);
}

/// Everything that tells of work across threads and processes, in a dump that a trigger made.
void tasks(const std::string& folder) {
  or_exit(contrail::flight_recorder::start({.memory = 1 << 20}));
  TRACE_THREAD_NAME("main");
  TRACE_TASK(open, "open task", "why", "nobody ends it");
  TRACE_ASYNC(open_span, "open span", "n", 1);
  TRACE_FRAME("display");
  {
    TRACE_TASK(order, "order", "number", 7, "of", "tea");
    const contrail::task_scope scope(order);
    TRACE_REGION("take the order");
    TRACE_TASK(cook, "cook");
    TRACE_ASYNC(delivery, "delivery", "kilometres", 2.5);
    const contrail::flow arrow = contrail::flow::begin();
    { TRACE_REGION("send", "to", arrow.out()); }
    std::thread([cook = std::move(cook), delivery = std::move(delivery), arrow]() mutable {
      TRACE_THREAD_NAME("kitchen");
      const contrail::task_scope handed_over(cook);
      { TRACE_REGION("receive", "from", arrow.in()); }
      TRACE_INSTANT("and again", "from", arrow.in());
      TRACE_LOG("cooked for {} minutes", 3);
      { TRACE_BLOCKED(sync, "waits for the pan", "pans", 1); }
      { TRACE_BLOCKED(net, "asks the shop"); }
      { TRACE_BLOCKED(syscall, "opens the door"); }
      { TRACE_BLOCKED(io, "reads the recipe"); }
      { TRACE_BLOCKED(sleep, "naps"); }
    }).join();
    TRACE_COUNTER("stock", "tea", 3, "milk", 0.5, "sugar", uint8_t{200});
    TRACE_COUNTER("stock", "tea", 2, "milk", 0.25, "sugar", uint8_t{199});
  }
  TRACE_FRAME("display");
  TRACE_FRAME("display");
  const auto remote =
      contrail::task_context::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  { TRACE_TASK_OF(joined, remote, "of another process"); }
  { TRACE_TASK_OF(root, contrail::task_context{}, "of none"); }

  const std::string path = folder + "/v1.2-tasks.contrail";
  contrail::trigger watchdog({.path = path.c_str()});
  or_exit(watchdog.start());
  watchdog.fire("the golden dump is due");
  watchdog.stop();
  or_exit(watchdog.status().last_failure);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_v1.2 FOLDER\n");
    return 2;
  }
  for (const auto write : {stream, open_stream, tasks}) {
    if (const pid_t child = fork(); child == 0) {
      write(argv[1]);
      std::exit(0);
    }
    int status = 0;
    wait(&status);
    if (status != 0) return 1;
  }
}
