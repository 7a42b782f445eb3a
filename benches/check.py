#!/usr/bin/env python3
"""Counts the instructions of the hot path under valgrind and compares them with benches/instructions.json.

    benches/check.py             compares; more than 3 % above the kept figure fails
    benches/check.py --update    keeps what is counted now

Instructions are the same on a busy machine and on an idle one. What setting up costs is taken out: each work
is done some times and twice as many times, and the difference counts.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT = ROOT / "benches" / "instructions.json"
TOLERANCE = 0.03
TIMES = 8


def build():
    ran = subprocess.run(["cargo", "bench", "--bench", "instructions", "--no-run", "--message-format=json"],
                         cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in messages
                if m.get("reason") == "compiler-artifact" and m["target"]["name"] == "instructions" and m["executable"])


def count(program, name, times):
    ran = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, name, str(times)],
                         capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", ran.stderr).group(1))


def main():
    program = build()
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    now, worse = {}, []
    for name in names:
        now[name] = (count(program, name, 2 * TIMES) - count(program, name, TIMES)) // TIMES
        change = now[name] / kept[name] - 1 if name in kept else None
        said = "new" if change is None else f"{change:+.1%}"
        if change is not None and change > TOLERANCE:
            worse.append(name)
        print(f"{name:26} {now[name]:>12,} instructions  {said}", flush=True)
    if "--update" in sys.argv:
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
    elif worse:
        sys.exit(f"more than {TOLERANCE:.0%} dearer: {', '.join(worse)}; if it is worth that: benches/check.py --update")


if __name__ == "__main__":
    main()
