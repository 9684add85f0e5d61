#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packs dumps for the fuzzer, and unpacks what it found (tests/fuzz/packed.hpp).

    make_corpus.py pack IN.contrail OUT
    make_corpus.py unpack IN OUT.contrail
    make_corpus.py seed FOLDER             the golden dumps and small images with one of everything, packed
"""
from __future__ import annotations

import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)


def pack(data: bytes) -> bytes:
    return re.sub(rb"\0{1,256}", lambda run: bytes((0, len(run[0]) - 1)), data)


def unpack(packed: bytes) -> bytes:
    return re.sub(rb"\0(.?)", lambda run: bytes(1 + sum(run[1])), packed, flags=re.DOTALL)


def seeds() -> dict[str, bytes]:
    sys.path.insert(0, os.path.join(TESTS, "python"))
    from test_hostile import small_image
    image = small_image()
    found = {"small-dump": image.dump(), "small-live": image.live(slot_count=2, chunk_count=len(image.chunks))}
    for path in glob.glob(os.path.join(TESTS, "golden", "*.contrail")):
        with open(path, "rb") as file:
            found[os.path.splitext(os.path.basename(path))[0]] = file.read()
    return found


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "seed":
        for name, data in seeds().items():
            with open(os.path.join(sys.argv[2], name), "wb") as file:
                file.write(pack(data))
    elif len(sys.argv) == 4 and sys.argv[1] in ("pack", "unpack"):
        with open(sys.argv[2], "rb") as file:
            data = file.read()
        with open(sys.argv[3], "wb") as file:
            file.write((pack if sys.argv[1] == "pack" else unpack)(data))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
