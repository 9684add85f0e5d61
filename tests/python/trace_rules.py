#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks a Chrome trace against the rules that Perfetto, chrome://tracing and speedscope have in common.

    python3 tests/python/trace_rules.py FILE.json     prints what is broken; exit code 1 if anything is

    problems = trace_rules.check(data)                the same for bytes, as a list of sentences

Stricter than any single viewer: a trace that passes shows the same slices in all three.
"""
import json
import re
import sys
from collections import defaultdict

VIEWER_DEPTH = 512  # Perfetto cuts what is deeper
EXACT = 2**53  # integers beyond lose digits in JavaScript
DIVERTING_NAMES = {"Profile", "CpuProfile", "ProfileChunk"}  # speedscope takes the file for a CPU profile
METADATA = {"process_name", "process_labels", "process_sort_index", "thread_name", "thread_sort_index"}
PHASES = set("XiCMben")
MICROSECONDS = re.compile(r"\d+\.\d{3}\Z")
HEX_ID = re.compile(r"0x[0-9a-f]+\Z")


class Number(float):
    """A number with a fraction that remembers how it was written."""

    def __new__(cls, raw):
        self = super().__new__(cls, raw)
        self.raw = raw
        return self


class Checker:
    def __init__(self):
        self.problems = []
        self.count = 0

    def fail(self, what, event=None):
        self.count += 1
        if len(self.problems) < 20:
            self.problems.append(what + (f": {json.dumps(event)[:300]}" if event is not None else ""))

    def unique(self, pairs):
        keys = [key for key, _ in pairs]
        if len(keys) != len(set(keys)):
            self.fail(f"an object has a key twice: {keys}")
        return dict(pairs)

    def integer(self, raw):
        if abs(int(raw)) > EXACT:
            self.fail(f"the integer {raw} is beyond 2^53 and must be a string")
        return int(raw)

    def number(self, raw):
        if float(raw) - float(raw) != 0:
            self.fail(f"the number {raw} is not finite")
        return Number(raw)

    def constant(self, raw):
        self.fail(f"{raw} aborts the load")
        return 0

    def parse(self, data):
        try:
            return json.loads(data.decode("utf-8"), object_pairs_hook=self.unique, parse_int=self.integer,
                              parse_float=self.number, parse_constant=self.constant)
        except ValueError as error:
            self.fail(f"it is not JSON in UTF-8: {error}")
            return None

    def check(self, data):
        trace = self.parse(data)
        if trace is None:
            return
        events = trace
        if isinstance(trace, dict):
            events = trace.get("traceEvents")
            if trace.get("displayTimeUnit") != "ns":
                self.fail('displayTimeUnit must be "ns"')
            if not isinstance(trace.get("metadata"), dict):
                self.fail('there is no top-level "metadata" object')
        if not isinstance(events, list) or not events:
            self.fail("there is no event; Perfetto does not recognise an empty list")
            return
        self.slices, self.asyncs, self.series = defaultdict(list), defaultdict(list), {}
        self.counter_times, self.thread_names, self.threads, self.times = {}, {}, set(), []
        metadata = 0
        for event in events:
            if not isinstance(event, dict) or not isinstance(event.get("ph"), str):
                self.fail("an event has no ph", event)
                continue
            metadata += event["ph"] == "M"
            self.event(event)
        if not metadata:
            self.fail("there is no metadata event")
        if self.times and min(self.times) != 0:
            self.fail(f"times start at {min(self.times)} ns; they must be rebased to the first event")
        for thread in self.threads - set(self.thread_names):
            self.fail(f"thread {thread} has no thread_name")
        for thread, slices in self.slices.items():
            self.nesting(thread, slices)
        for key, ends in self.asyncs.items():
            self.pair(key, ends)

    def ns(self, event, key):
        value = event.get(key)
        if not isinstance(value, Number) or not MICROSECONDS.match(value.raw):
            self.fail(f"{key} must be written with exactly three decimals and not be negative", event)
            return 0
        return int(value.raw.replace(".", ""))

    def event(self, event):
        phase = event["ph"]
        if phase not in PHASES:
            self.fail("this phase is not safe in all viewers", event)
            return
        for key in ("pid", "tid"):
            value = event.get(key)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**32:
                self.fail(f"{key} must be an integer between 1 and 2^32 - 1", event)
        if not isinstance(event.get("name"), str):
            self.fail("an event has no name", event)
        elif event["name"] in DIVERTING_NAMES:
            self.fail("this name diverts speedscope", event)
        arguments = event.get("args", {})
        if not isinstance(arguments, dict):
            self.fail("args must be an object", event)
            arguments = {}
        if arguments.get("unfinished", True) is not True:
            self.fail("unfinished must be true", event)
        thread = event.get("pid"), event.get("tid")
        if phase == "M":
            if event.get("name") not in METADATA:
                self.fail("unknown metadata", event)
            if event.get("name") == "thread_name":
                if thread in self.thread_names:
                    self.fail("a thread is named twice", event)
                self.thread_names[thread] = arguments.get("name")
            return
        self.threads.add(thread)
        if not isinstance(event.get("cat"), str) or not event["cat"]:
            self.fail("an event has no category", event)
        time = self.ns(event, "ts")
        self.times.append(time)
        if phase == "X":
            if "dur" not in event:
                self.fail("Perfetto drops an X without dur", event)
            self.slices[thread].append((time, time + self.ns(event, "dur"), event))
        elif phase == "i":
            if event.get("s") not in ("t", "p", "g"):
                self.fail("an instant needs a scope", event)
        elif phase == "C":
            self.counter(event, time, arguments)
        else:
            id = event.get("id")
            if not isinstance(id, str) or not HEX_ID.match(id) or "id2" in event:
                self.fail('an async event needs one id, written "0x…"', event)
            self.asyncs[event.get("cat"), id].append((phase, time, event))

    def counter(self, event, time, arguments):
        key = event.get("pid"), event.get("name")
        if not arguments or self.series.setdefault(key, set(arguments)) != set(arguments):
            self.fail("chrome://tracing fixes a counter's series at its first event", event)
        if any(isinstance(v, str) and v not in ("NaN", "Infinity", "-Infinity") and not v.lstrip("-").isdigit() or
               not isinstance(v, (int, float, str)) for v in arguments.values()):
            self.fail("a counter's value must be a number", event)
        if time < self.counter_times.get(key, 0):
            self.fail("a counter's events must be in order of time", event)
        self.counter_times[key] = time

    def nesting(self, thread, slices):
        open_slices, last = [], (-1, 0)
        for start, end, event in slices:
            if start < last[0]:
                self.fail("the slices of a thread must be in order of start", event)
            if start == last[0] and end > last[1]:
                self.fail("at equal ts the longest slice must come first", event)
            last = start, end
            while open_slices and open_slices[-1] <= start:
                open_slices.pop()
            if open_slices and end >= open_slices[-1]:
                same = end == open_slices[-1]
                self.fail("a slice ends in the same nanosecond as its parent" if same else "slices overlap", event)
            open_slices.append(end)
            if len(open_slices) > VIEWER_DEPTH:
                self.fail(f"slices nest deeper than {VIEWER_DEPTH}", event)

    def pair(self, key, ends):
        phases = [phase for phase, _, _ in ends if phase != "n"]
        if sorted(phases) != ["b", "e"]:
            self.fail(f"the async id {key} has the phases {phases} instead of one b and one e")
            return
        begin, end = (next(e for e in ends if e[0] == phase) for phase in "be")
        if end[1] < begin[1]:
            self.fail("an async slice ends before it begins", begin[2])
        if begin[2].get("name") != end[2].get("name") or begin[2].get("pid") != end[2].get("pid"):
            self.fail("the two ends of an async slice differ in name or pid", begin[2])


def check(data):
    """What is wrong with a trace, as sentences; empty when nothing is."""
    checker = Checker()
    checker.check(data)
    more = checker.count - len(checker.problems)
    return checker.problems + ([f"and {more} more"] if more else [])


def main(arguments):
    if len(arguments) != 1:
        print("usage: trace_rules.py FILE.json", file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as file:
            problems = check(file.read())
    except OSError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"{arguments[0]}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
