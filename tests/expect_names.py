#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that a dump converts, and that events of these names are in it.

usage: CONTRAIL_PY=... expect_names.py DUMP NAME...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def main() -> int:
    dump, *expected = sys.argv[1:]
    converter = [sys.executable, os.environ["CONTRAIL_PY"], "convert", dump, "-o", "-"]
    trace = json.loads(subprocess.run(converter, check=True, stdout=subprocess.PIPE).stdout)
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    names = {event.get("name") for event in events}
    missing = [name for name in expected if name not in names]
    if missing:
        print(f"{dump} has no events named {missing}, but {sorted(map(str, names))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
