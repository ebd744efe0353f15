#!/usr/bin/env python3
"""Faults for a given time, every kind there is, one script after the other; the last line adds up what they saw.

    soak.py [--seconds N] [--seed S] [options of the scripts]

Half of the time members are killed, paused and lose their disks, in clusters of three and five, with TLS and without, with
room and without; then members are replaced, cut off from each other, and mixed with real ones.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

from cluster import HERE, Tally

PARTS = (
    ("faults.py", "faults_under_load", 1 / 2), ("faults.py", "replacements_under_load", 1 / 6),
    ("partitions.py", "partitions_under_load", 1 / 6), ("mixed.py", "all_kinds_under_load", 1 / 6))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    arguments, rest = parser.parse_known_args()
    total, bad, began = Tally(), [], time.monotonic()
    for script, scenario, share in PARTS:
        with tempfile.NamedTemporaryFile("r") as file:
            seconds = max(20, round(arguments.seconds * share))
            print("== %s for %d s" % (scenario, seconds), flush=True)
            status = subprocess.run(
                [sys.executable, os.path.join(HERE, script), "--seconds", str(seconds), "--seed", str(arguments.seed),
                 "--tally", file.name, *rest, scenario]).returncode
            for line in file:
                part = Tally()
                vars(part).update(json.loads(line))
                total.add(part)
        # 77: what this machine cannot do, said by the script.
        if status == 77:
            print("== %s: not run" % scenario, flush=True)
        elif status != 0:
            bad.append(scenario)
    print("soak: seed %d, %.0f s: %s%s" % (
        arguments.seed, time.monotonic() - began, total, "; FAILED: " + " ".join(bad) if bad else ""), flush=True)
    sys.exit(1 if bad or total.violations else 0)


main()
