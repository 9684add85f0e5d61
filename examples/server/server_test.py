#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the server as its users do, over HTTP and with signals.

The environment variable SERVER names the executable, CONTRAIL_PY the converter.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path
from typing import NamedTuple, Optional

SERVER = os.environ.get("SERVER", "server")
CONTRAIL_PY = os.environ.get("CONTRAIL_PY", "")
REPORT = Path(__file__).resolve().parents[2] / "tools/dev/demo_report.py"


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


class RunningServer:
    """The server on a free port, with a folder of its own for dumps."""

    def __init__(self, *options: str, start_in: Optional[str] = None) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [SERVER, "--port", "0", "--dump", f"{self.folder.name}/signal-%n.contrail", *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=start_in,
        )
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+) \(pid (\d+)\)\n", greeting)
        assert match, greeting
        self.url = match[1]

    def ask(self, path: str, body: Optional[bytes] = None, headers: Optional[dict[str, str]] = None) -> Answer:
        """GET, or POST with a body. Errors of HTTP are answers too."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return Answer(answer.code, answer.headers, answer.read())

    def stop(self, number: int = signal.SIGINT) -> int:
        """The exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        """Whatever happened before."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.folder.cleanup()


def number(k: int) -> str:
    """A span id, for the traceparent of a caller."""
    return f"{k:016x}"


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def traceparent(k: int) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE_ID}-{number(k)}-01"}


def convert(dump: Path) -> list[dict]:
    command = [sys.executable, CONTRAIL_PY, "convert", str(dump), "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    trace = json.loads(done.stdout)
    return trace["traceEvents"] if isinstance(trace, dict) else trace


class ServerTest(unittest.TestCase):
    server: RunningServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = RunningServer()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()

    def test_the_front_page_explains_the_others(self) -> None:
        page = self.server.ask("/").body.decode()
        for path in ("/encrypt", "/decrypt", "/trace"):
            self.assertIn(path, page)

    def test_a_posted_body_comes_back_from_decrypt(self) -> None:
        for body in (b"hello", bytes(range(256)) * 40, b"x" * (400 << 10)):
            sealed = self.server.ask("/encrypt", body)
            self.assertEqual(sealed.status, 200)
            text = sealed.body
            self.assertRegex(text[:60], rb"^[0-9a-f]{24}\.[0-9a-f]{32}\.")
            opened = self.server.ask("/decrypt", text)
            self.assertEqual((opened.status, opened.body), (200, body))

    def test_get_encrypts_its_parameter_or_a_default(self) -> None:
        text = self.server.ask("/encrypt?text=gr%C3%BC%C3%9Fe").body
        self.assertEqual(self.server.ask("/decrypt", text).body.decode(), "grüße")
        text = self.server.ask("/encrypt").body
        self.assertEqual(self.server.ask("/decrypt", text).body, b"Attack at dawn.")

    def test_an_altered_message_is_refused(self) -> None:
        text = self.server.ask("/encrypt", b"pay 10 to Ann").body.strip()
        last = b"0" if text[-1:] != b"0" else b"1"
        self.assertEqual(self.server.ask("/decrypt", text[:-1] + last).status, 400)
        self.assertEqual(self.server.ask("/decrypt", b"nonsense").status, 400)

    def test_too_long_a_body_is_refused(self) -> None:
        try:
            self.assertEqual(self.server.ask("/encrypt", b"x" * (2 << 20)).status, 413)
        except urllib.error.URLError:
            pass  # the server may close before it has read the rest
        self.assertEqual(self.server.ask("/encrypt", b"x").status, 200)

    def test_a_form_is_refused(self) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = self.server.ask("/encrypt", b"--b\r\n\r\nx\r\n--b--\r\n", headers)
        self.assertEqual(answer.status, 415)

    def test_a_bad_window_is_refused(self) -> None:
        for query in ("last=soon", "last=-1s", "last=0s", "last=", "seconds=x", "seconds=86401", "last=1s&seconds=1"):
            answer = self.server.ask(f"/trace?{query}")
            self.assertEqual(answer.status, 400, query)
            self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")

    def test_a_thousand_clients_at_once_get_a_dump_or_are_told_to_come_back(self) -> None:
        address = ("127.0.0.1", int(self.server.url.rsplit(":", 1)[1]))
        request = b"GET /trace?last=20ms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        clients = [socket.create_connection(address, timeout=60) for _ in range(1000)]
        for client in clients:
            client.sendall(request)
        statuses: Counter[int] = Counter()

        def answer_of(client: socket.socket) -> int:
            with client, client.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
            status = int(head.split()[1])
            length = int(re.search(rb"(?im)^Content-Length: *(\d+)", head)[1])  # type: ignore[index]
            self.assertEqual(len(body), length)
            self.assertEqual(body[:8] == b"\x89CTRL\r\n\x1a", status == 200)
            return status

        with ThreadPoolExecutor(50) as readers:
            statuses.update(readers.map(answer_of, clients))
        self.assertLessEqual(set(statuses), {200, 429})
        self.assertGreater(statuses[200], 0)
        self.assertEqual(self.server.ask("/encrypt", b"still there?").status, 200)

    def test_seconds_gives_what_came_after_the_request(self) -> None:
        self.server.ask("/encrypt", b"before")
        with ThreadPoolExecutor(1) as caller:
            traced = caller.submit(self.server.ask, "/trace?seconds=0.5")
            while not traced.done():
                self.server.ask("/decrypt", b"while it waits")
        answer = traced.result()
        self.assertEqual(answer.status, 200)
        if CONTRAIL_PY:
            dump = Path(self.server.folder.name, "seconds.contrail")
            dump.write_bytes(answer.body)
            self.assertIn("POST /decrypt", {event.get("name") for event in convert(dump)})

    def test_trace_shows_every_stage(self) -> None:
        with ThreadPoolExecutor(16) as callers:
            statuses = list(callers.map(lambda i: self.server.ask("/encrypt", b"x" * i).status, range(1, 400)))
        self.assertEqual(set(statuses), {200})
        self.assertEqual(self.server.ask("/encrypt?text=hello").status, 200)

        answer = self.server.ask("/trace?last=10s")
        self.assertEqual(answer.headers["Content-Type"], "application/octet-stream")
        self.assertRegex(answer.headers["Content-Disposition"], r'^attachment; filename="server-\d+-\d+\.contrail"$')
        if not CONTRAIL_PY:
            self.skipTest("no converter")
        dump = Path(self.server.folder.name, "trace.contrail")
        dump.write_bytes(answer.body)
        events = convert(dump)
        trace = dump.with_suffix(".json")
        trace.write_text(json.dumps(events))
        report = subprocess.run([sys.executable, REPORT, trace], capture_output=True, text=True)
        self.assertEqual((report.returncode, report.stderr), (0, ""))
        statuses = {event["args"].get("status") for event in events if event.get("name") == "POST /encrypt"}
        self.assertIn(200, statuses)

    def test_trace_shows_who_competes_for_what(self) -> None:
        if not CONTRAIL_PY:
            self.skipTest("no converter")
        dump = Path(self.server.folder.name, "competition.contrail")
        wanted = {"a wait for a mutex", "its holder at work", "a wait for a condition", "an arrow", "a job's arrow"}
        seen: set[str] = set()
        while seen != wanted:  # all of it happens again and again, nobody knows when
            with ThreadPoolExecutor(16) as callers:
                list(callers.map(lambda i: self.server.ask("/encrypt", b"x" * i).status, range(1, 100)))
            answer = self.server.ask("/trace?last=5s")
            self.assertEqual(answer.status, 200)
            dump.write_bytes(answer.body)
            seen |= self.competition_in(convert(dump))

    def competition_in(self, events: list[dict]) -> set[str]:
        """What of it a trace has; all of it must be right."""
        threads = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
        players = {tid for tid, name in threads.items() if "player" in name}
        self.assertEqual(len(players), 4)
        slices = [event for event in events if event["ph"] == "X"]
        seen = set()
        for wait in (event for event in slices if event["name"] == "wait for mutex"):
            self.assertEqual(wait["args"]["blocked on"], "sync")
            holder = wait["args"]["held by"]  # 0 if it went away just then
            self.assertNotEqual(holder, wait["tid"])
            self.assertIn(holder, {0, *threads})
            if wait["args"]["mutex"] == "goal":
                seen.add("a wait for a mutex")
                self.assertIn(wait["tid"], players)
                self.assertIn(holder, {0, *players})
                aims = [e for e in slices if e["name"] == "aim" and e["tid"] == holder]
                if any(aim["ts"] <= wait["ts"] <= aim["ts"] + aim["dur"] for aim in aims):
                    seen.add("its holder at work")
        for wait in (event for event in slices if event["name"] == "wait for condition"):
            self.assertEqual(wait["args"]["blocked on"], "sync")
            if wait["args"]["condition"] in ("a ball", "room on the court"):
                self.assertIn(threads[wait["tid"]], {"main", *(threads[tid] for tid in players)})  # main throws them in
                seen.add("a wait for a condition")
        leaving = {e["bind_id"]: e for e in slices if e.get("flow_out")}
        for there in (event for event in slices if event.get("flow_in") and event["bind_id"] in leaving):
            here = leaving[there["bind_id"]]
            self.assertIn((here["name"], there["name"]), {("pass", "aim"), ("submit job", "encrypt")})
            self.assertLessEqual(here["ts"], there["ts"])
            if there["name"] == "aim":
                self.assertEqual(here["args"]["ball"], there["args"]["ball"])
                seen.add("an arrow")
            else:
                self.assertTrue(threads[there["tid"]].startswith("encrypt "))
                self.assertEqual(here["args"]["task"], there["args"]["task"])
                seen.add("a job's arrow")
        return seen

    def test_sigusr2_writes_a_dump_while_requests_run(self) -> None:
        self.server.ask("/encrypt", b"something to see")
        self.server.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 20
        dumps: list[Path] = []
        while not dumps and time.monotonic() < deadline:
            time.sleep(0.02)
            dumps = sorted(Path(self.server.folder.name).glob("signal-*.contrail"))
        self.assertTrue(dumps, "no dump appeared")
        self.assertEqual(self.server.ask("/encrypt", b"still there?").status, 200)
        if CONTRAIL_PY:
            self.assertIn("game::ball_caught", {event.get("name") for event in convert(dumps[0])})


class StopTest(unittest.TestCase):
    def start(self, *options: str, folder: Optional[str] = None) -> RunningServer:
        server = RunningServer(*options, start_in=folder)
        self.addCleanup(server.close)
        return server

    def test_sigint_and_sigterm_stop_it_cleanly(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            server = self.start()
            self.assertEqual(server.ask("/encrypt").status, 200)
            self.assertEqual(server.stop(number), 0)

    def test_it_stops_at_once_after_starting(self) -> None:
        self.assertEqual(self.start().stop(), 0)

    def test_it_stops_at_once_while_a_request_waits_for_its_seconds(self) -> None:
        server = self.start()
        with ThreadPoolExecutor(1) as caller:
            traced = caller.submit(server.ask, "/trace?seconds=3600")
            while traced.done() or server.ask("/trace?seconds=0.001").status != 429:  # until the other one waits
                if traced.done():  # it met one of these
                    traced = caller.submit(server.ask, "/trace?seconds=3600")
            self.assertEqual(server.stop(), 0)
            self.assertEqual(traced.result().status, 503)

    def test_a_stream_has_every_encryption_from_start_to_interrupt(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            stream = Path(folder, "run.contrail")
            server = self.start("--stream", str(stream))
            with ThreadPoolExecutor(8) as callers:
                ask = lambda i: server.ask("/encrypt", b"x" * i, traceparent(i)).status
                statuses = list(callers.map(ask, range(1, 501)))
            self.assertEqual(set(statuses), {200})
            self.assertEqual(server.stop(), 0)
            assert server.process.stdout is not None
            self.assertRegex(server.process.stdout.read(), r"stopping\nstreamed \d+ bytes, lost 0 records\n")
            if not CONTRAIL_PY:
                self.skipTest("no converter")
            events = convert(stream)
        # Each request is a task of its caller's trace, and all that it took belongs to that task: on the connection's
        # thread, and on the worker's.
        tasks = {event["args"]["parent span id"]: event for event in events
                 if event["name"] == "encrypt request" and event["ph"] == "b"}
        self.assertEqual(set(tasks), {number(i) for i in range(1, 501)})
        ended = Counter(event["id"] for event in events if event["name"] == "encrypt request" and event["ph"] == "e")
        self.assertEqual(ended, Counter(task["id"] for task in tasks.values()))
        parts: dict[str, list[dict]] = defaultdict(list)
        for event in events:
            if event["ph"] == "X":
                parts[event.get("args", {}).get("task", "")].append(event)
        for i in range(1, 501):
            task = tasks[number(i)]
            self.assertEqual(task["args"]["trace id"], TRACE_ID)
            self.assertNotIn("unfinished", task["args"])
            belongs = {e["name"]: e for e in parts["encrypt request " + task["id"]]}
            self.assertLessEqual({"POST /encrypt", "read body", "submit job", "wait for worker", "encrypt", "seal",
                                  "to hex"}, set(belongs))
            self.assertEqual(belongs["seal"]["args"]["bytes"], i)
            self.assertEqual(belongs["encrypt"]["args"]["job"], belongs["submit job"]["args"]["job"])
            self.assertEqual(belongs["POST /encrypt"]["args"]["status"], 200)
            self.assertEqual(belongs["wait for worker"]["args"]["blocked on"], "sync")
            self.assertNotEqual(belongs["seal"]["tid"], belongs["POST /encrypt"]["tid"])
        for name in ("POST /encrypt", "seal", "encrypt"):
            self.assertEqual(sum(event["name"] == name and event["ph"] == "X" for event in events), 500, name)
        threads = {event["args"]["name"] for event in events if event.get("name") == "thread_name"}
        self.assertLessEqual({"main", "encrypt 0", "encrypt 1"}, threads)

    def test_a_slow_request_makes_a_dump(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            server = self.start("--slow", "1", folder=folder)
            while not list(Path(folder).glob("server-slow-*-*.contrail")):
                self.assertEqual(server.ask("/encrypt", b"x" * 1_000_000).status, 200)
            self.assertEqual(server.stop(), 0)
            dump = sorted(Path(folder).glob("server-slow-*-*.contrail"))[0]
            if CONTRAIL_PY:
                names = {event["name"] for event in convert(dump)}
                self.assertIn("POST /encrypt", names)
                self.assertTrue(any(name.startswith("trigger: POST /encrypt") for name in names), names)

    def test_without_tracing_the_trace_is_unavailable(self) -> None:
        server = self.start("--no-trace")
        answer = server.ask("/trace?last=5s")
        self.assertEqual(answer.status, 503)
        self.assertGreater(len(answer.body), 5)
        self.assertEqual(server.stop(), 0)

    def test_bad_arguments_are_explained(self) -> None:
        for arguments in (["--port", "80x"], ["--port"], ["--port", "70000"], ["--slow", "x"], ["--unknown", "1"]):
            run = subprocess.run([SERVER, *arguments], capture_output=True, text=True, timeout=30)
            self.assertEqual((run.returncode, run.stderr[:6]), (2, "usage:"))


if __name__ == "__main__":
    unittest.main()
