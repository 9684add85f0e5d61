#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Looks whether a converted trace of the example server shows all that the server does under load.

usage: demo_report.py TRACE.json        one line of figures; exit code 1 and what is missing, if anything is
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

REGIONS = {"accept", "connection", "GET /encrypt", "POST /encrypt", "read body", "submit job", "wait for worker",
           "encrypt", "seal", "to hex", "wait for condition", "aim", "pass"}
TASKS = {"encrypt request"}
EVENTS = {"http::response_sent", "game::ball_caught"}
COUNTERS = {"jobs waiting", "encrypted bytes", "connections open", "score of red", "score of blue"}
THREADS = {"main", "accept", "encrypt 0", "encrypt 1", "http 0", "red player 0", "blue player 1", "blue player 3"}


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.strip().splitlines()[-1], file=sys.stderr)
        return 2
    trace = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    events = trace["traceEvents"] if isinstance(trace, dict) else trace

    names: dict[str, Counter[str]] = {phase: Counter() for phase in "XbiCM"}
    threads = set()
    end = 0.0
    for event in events:
        names.setdefault(event["ph"], Counter())[event.get("name", "")] += 1
        end = max(end, event.get("ts", 0) + event.get("dur", 0))
        if event["ph"] == "M" and event["name"] == "thread_name":
            threads.add(event["args"]["name"])

    missing = [f"region {name}" for name in sorted(REGIONS - names["X"].keys())]
    missing += [f"task {name}" for name in sorted(TASKS - names["b"].keys())]
    missing += [f"event {name}" for name in sorted(EVENTS - names["i"].keys())]
    missing += [f"counter {name}" for name in sorted(COUNTERS - names["C"].keys())]
    missing += [f"thread {name}" for name in sorted(THREADS - threads)]
    print(f"{Path(sys.argv[1]).name}: {end / 1e6:.1f} s, {len(threads)} threads, {sum(names['X'].values())} regions, "
          f"{sum(names['b'].values())} tasks, "
          f"{sum(names['i'].values())} events, {sum(names['C'].values())} counter values")
    for what in missing:
        print(f"  missing: {what}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
