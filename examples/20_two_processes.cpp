// SPDX-License-Identifier: MIT
// A task goes on in another process: a W3C traceparent goes with the request, and the server's task joins the client's.
// The client starts this program again as the server. One timeline of both:
//   contrail.py convert 20_two_processes.contrail 20_two_processes.server.contrail -o both.json
//
// Prints:
//   the server answers: flat white
//   wrote 20_two_processes.contrail and 20_two_processes.server.contrail
// Records: "buy coffee", "request", "handle order", "make coffee", "client", "server"
// With: "20_two_processes.server.contrail"
// Child: "handle order" of "buy coffee"
#include <contrail/contrail.hpp>

#include <cstdio>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int failed(const contrail::error& error) { return std::fprintf(stderr, "20_two_processes: %s\n", error.message()), 1; }

int serve() {  // the connection is the standard input
  if (auto error = contrail::flight_recorder::start()) return failed(error);
  TRACE_THREAD_NAME("server");
  char header[contrail::traceparent_bytes + 1] = {};
  recv(0, header, contrail::traceparent_bytes, MSG_WAITALL);  // without one it begins a trace of its own
  {
    TRACE_TASK_OF(handling, contrail::task_context::from_traceparent(header), "handle order");
    contrail::task_scope current(handling);
    TRACE_REGION("make coffee");
  }
  if (auto error = contrail::flight_recorder::dump("20_two_processes.server.contrail")) return failed(error);
  return send(0, "flat white", 10, 0) == 10 ? 0 : 1;
}

int main(int count, char**) {
  if (count > 1) return serve();
  int connection[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, connection) != 0) return 1;
  if (fork() == 0) {
    dup2(connection[1], 0);
    _exit(execl("/proc/self/exe", "20_two_processes", "server", nullptr));
  }
  close(connection[1]);
  if (auto error = contrail::flight_recorder::start()) return failed(error);
  TRACE_THREAD_NAME("client");
  TRACE_TASK(order, "buy coffee");
  char header[contrail::traceparent_bytes + 1], answer[11] = {};
  order.context().write_traceparent(header);
  {
    contrail::task_scope current(order);
    TRACE_BLOCKED(net, "request");
    send(connection[0], header, contrail::traceparent_bytes, 0);
    recv(connection[0], answer, 10, MSG_WAITALL);
  }
  order.end();
  wait(nullptr);
  std::printf("the server answers: %s\n", answer);
  if (auto error = contrail::flight_recorder::dump("20_two_processes.contrail")) return failed(error);
  std::puts("wrote 20_two_processes.contrail and 20_two_processes.server.contrail");
}
