#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves an example's caption: that it prints what it says, and records what it says.

usage: check.py EXECUTABLE SOURCE [CONVERTER]

Runs the executable in the current directory, compares its output to the lines under "Prints:" (… stands for
anything), converts the dump it wrote (named like the source) with those of "With:", and looks for the names of
"Records:". "Child:" tells a task and its parent in another process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional, Sequence


def caption_of(source: Path) -> list[str]:
    """The comment lines at the top of a source file, without their slashes."""
    lines = []
    for line in source.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].removeprefix(" "))
    return lines


def promised_output(caption: list[str]) -> str:
    """A regular expression for what the caption says under "Prints:"."""
    start = caption.index("Prints:") + 1
    promised = []
    for line in caption[start:]:
        if not line.startswith("  "):
            break
        promised.append(re.escape(line[2:]).replace("…", ".*"))
    return "\n".join(promised) + "\n"


def promised_names(caption: list[str], label: str) -> list[str]:
    """The quoted names on the caption's line that starts with the label."""
    for line in caption:
        if line.startswith(label):
            return re.findall(r'"([^"]*)"', line)
    return []


def convert(converter: str, dumps: Sequence[Path]) -> list[dict]:
    converted = subprocess.run(
        [sys.executable, converter, "convert", *map(str, dumps), "-o", "-"], check=True, capture_output=True
    )
    trace = json.loads(converted.stdout)
    return trace["traceEvents"] if isinstance(trace, dict) else trace


def recorded_names(events: list[dict]) -> set[str]:
    """The names of all events, threads and log texts."""
    names = set()
    for event in events:
        names.add(event.get("name", ""))
        for key in ("name", "message", "text"):
            names.add(str(event.get("args", {}).get(key, "")))
    return names


def broken_link(events: list[dict], child: str, parent: str) -> Optional[str]:
    """Why a task is not what follows from one in another process; nothing if it is."""
    of = {(event["name"], event["ph"]): event for event in events if event["ph"] in "ben"}
    above, below, call = of.get((parent, "b")), of.get((child, "b")), of.get((child, "n"))
    if not above or not below:
        return "a task is missing"
    if above["pid"] == below["pid"]:
        return "both are of one process"
    here, there = below["args"], above["args"]
    if here["trace id"] != there["trace id"] or not re.fullmatch("[0-9a-f]{32}", here["trace id"]):
        return f'the trace ids are {there["trace id"]} and {here["trace id"]}'
    if here.get("parent span id") != there["span id"] or here["span id"] == there["span id"]:
        return f"{here} does not follow from {there}"
    if not above["ts"] <= below["ts"] <= of[child, "e"]["ts"] <= of[parent, "e"]["ts"]:
        return "it lies outside of its parent"
    if not call or call["id"] != above["id"] or call["pid"] != above["pid"] or above["id"] == below["id"]:
        return "the parent's track has no call"
    if (call.get("flow_out"), below.get("flow_in"), call.get("bind_id")) != (True, True, below["bind_id"]):
        return "there is no arrow between them"
    if call["ts"] >= below["ts"]:
        return "the arrow goes back in time"
    return None


def main() -> int:
    executable, source = sys.argv[1], Path(sys.argv[2])
    converter = sys.argv[3] if len(sys.argv) > 3 else None
    caption = caption_of(source)

    dumps = [Path(source.stem + ".contrail"), *map(Path, promised_names(caption, "With:"))]
    for dump in dumps:
        dump.unlink(missing_ok=True)
    run = subprocess.run([executable], check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    print(run.stdout, end="")
    if not re.fullmatch(promised_output(caption), run.stdout):
        print(f"the caption of {source.name} promises another output", file=sys.stderr)
        return 1

    if converter:
        events = convert(converter, dumps)
        names = recorded_names(events)
        missing = set(promised_names(caption, "Records:")) - names
        unexpected = set(promised_names(caption, "Not recorded:")) & names
        if missing or unexpected:
            print(f"missing in the trace: {sorted(missing)}; unexpected: {sorted(unexpected)}", file=sys.stderr)
            return 1
        link = promised_names(caption, "Child:")
        broken = broken_link(events, *link) if link else None
        if broken:
            print(f"{' and '.join(link)}: {broken}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
