"""Runs a command and writes what it took: ``python -I -S launch.py RESULT COMMAND...``.

A process begins with the peak of memory that its parent had when it forked, so a large parent hides what its children
need. This one is small.
"""

import json
import os
import subprocess
import sys
import time


def main(result: str, command: list[str]) -> int:
    """The command's exit code; (wall seconds, CPU seconds, bytes of the largest process) are written as JSON."""
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    with open(result, "w", encoding="utf-8") as file:
        json.dump([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10], file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
