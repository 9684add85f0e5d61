#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes single_include/contrail.hpp: contrail.hpp with every contrail header expanded where it is included; and
contrail_opt_ins.hpp beside it, which it includes where one is asked for: those who do not need not skip it.

    tools/dev/amalgamate.py           writes them
    tools/dev/amalgamate.py --check   fails if those that stand there are stale

Include guards stay, so that include/ and single_include/ may meet in one translation unit. The same input gives the
same bytes on every machine and day.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
OUTPUT = ROOT / "single_include"
SINGLE, MORE = "contrail.hpp", "contrail_opt_ins.hpp"
OPT_INS = {"CONTRAIL_WITH_PFR": "contrail/pfr.hpp", "CONTRAIL_WITH_FMT": "contrail/fmt.hpp"}
# Where nothing is recorded too; what several of them include comes first.
OPT_INS_EVERYWHERE = {"contrail/thread_states.hpp": ["THREAD_STATES", "ENV"],
                      "contrail/detail/session_claim.hpp": ["SESSION", "TRIGGER"],
                      "contrail/detail/session_copy.hpp": ["SESSION", "TRIGGER"],
                      "contrail/session.hpp": ["SESSION"], "contrail/env.hpp": ["ENV"],
                      "contrail/trigger.hpp": ["TRIGGER"], "contrail/http.hpp": ["HTTP"],
                      "contrail/reader.hpp": ["READER"], "contrail/blocking.hpp": ["BLOCKING"]}
ENABLED, ALL_OF_CONTRAIL = ("#if CONTRAIL_DETAIL_ENABLED", 0), ("#ifndef CONTRAIL_MACROS_ONLY", 0)
NEEDS_ALL = "leave out CONTRAIL_MACROS_ONLY"

SPDX = "// SPDX-License-Identifier: MIT"
OUR_INCLUDE = re.compile(r'\s*#\s*include\s+["<](contrail/[^">]+)[">]')
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b")


class Amalgamation:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.branches: list[tuple[str, int]] = []  # the conditional groups we are in: (condition, branch of it)
        self.granted: list[tuple[str, int]] = []  # branches that this place need not check, as it fails in the others
        self.expanded: dict[str, list[list[tuple[str, int]]]] = {}  # header -> the branches in which it was expanded

    def is_visible(self, header: str) -> bool:
        """Was it expanded in a branch that encloses this place? One in an #if does not count for its #else."""
        here = self.branches + self.granted
        return any(all(branch in here for branch in where) for where in self.expanded.get(header, []))

    def add(self, line: str) -> None:
        self.lines.append(line)
        condition = CONDITION.match(line)
        if not condition:
            return
        if condition[1] in ("if", "ifdef", "ifndef"):
            self.branches.append((line.strip(), 0))
        elif condition[1] == "endif":
            self.branches.pop()
        else:
            text, branch = self.branches.pop()
            self.branches.append((text, branch + 1))

    def expand(self, header: str) -> None:
        if self.is_visible(header):
            return
        outside = list(self.branches)
        self.expanded.setdefault(header, []).append(outside)
        text = (INCLUDE / header).read_text(encoding="utf-8").splitlines()
        guard = next((line for line in text if CONDITION.match(line)), "")
        if not re.fullmatch(r"#ifndef CONTRAIL_\w+_HPP", guard):
            sys.exit(f"amalgamate.py: {header} does not open with its include guard.")
        self.lines.append(f"// ==== {header} " + "=" * (110 - len(header)))
        for line in text:
            included = OUR_INCLUDE.match(line)
            if included:
                self.expand(included[1])
            elif line == guard or (line.startswith("#endif") and self.branches == outside):
                self.lines.append(line)  # a guard is no condition: what is inside can be seen behind it
            elif line != SPDX:
                self.add(line)

    def result(self) -> str:
        collapsed = re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines))
        return collapsed + "\n"


def version() -> str:
    text = (INCLUDE / "contrail" / "config.hpp").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^#define CONTRAIL_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", text, re.MULTILINE))


def opening(what: str) -> list[str]:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()
    return [SPDX, f"// contrail {version()}, a flight recorder for C++20 programs, {what}.",
            "// Made from include/contrail by tools/dev/amalgamate.py: change it there.", "//",
            *(f"// {line}".rstrip() for line in licence), ""]


def amalgamate() -> dict[str, str]:
    one = Amalgamation()
    one.lines = opening("in one header")
    one.expand("contrail/contrail.hpp")
    switches = sorted({*OPT_INS, *(f"CONTRAIL_WITH_{s}" for each in OPT_INS_EVERYWHERE.values() for s in each)})
    asked = " || ".join(f"defined({switch})" for switch in switches)
    single = one.result() + f'\n#if {asked}\n#include "{MORE}"\n#endif\n'

    one.lines = opening("and its opt-in headers: contrail.hpp beside it includes this")
    one.lines += ["#ifndef CONTRAIL_CONTRAIL_HPP", f'#include "{SINGLE}"', "#endif"]
    one.add(ENABLED[0])
    for switch, header in OPT_INS.items():
        one.add(f"#ifdef {switch}")
        one.expand(header)
        one.add("#endif")
    one.add("#endif")
    conditions = {header: "#if " + " || ".join(f"defined(CONTRAIL_WITH_{switch})" for switch in switches)
                  for header, switches in OPT_INS_EVERYWHERE.items()}
    for header, switches in OPT_INS_EVERYWHERE.items():
        is_internal = header.startswith("contrail/detail/")
        needs_all = is_internal or NEEDS_ALL in (INCLUDE / header).read_text(encoding="utf-8")
        one.granted = [ALL_OF_CONTRAIL] if needs_all else []
        one.granted += [(conditions[other], 0) for other, all_of in OPT_INS_EVERYWHERE.items()
                        if set(switches) <= set(all_of)]
        outer = [ENABLED[0], ALL_OF_CONTRAIL[0]] if is_internal else []
        for condition in [*outer, conditions[header]]:
            one.add(condition)
        one.expand(header)
        for _ in [*outer, conditions[header]]:
            one.add("#endif")
    return {SINGLE: single, MORE: one.result()}


def main() -> int:
    for name, fresh in amalgamate().items():
        path = OUTPUT / name
        if "--check" not in sys.argv[1:]:
            OUTPUT.mkdir(exist_ok=True)
            path.write_text(fresh, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != fresh:
            print(f"single_include/{name} is stale: run tools/dev/amalgamate.py and commit it.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
