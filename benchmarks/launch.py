"""Run a command and record its cost: ``python -I -S launch.py RESULT COMMAND...``.

A process starts with the memory peak of its parent at the fork, so a large parent hides the memory of its children.
This parent is small.
"""

import json
import os
import subprocess
import sys
import time


def main(result: str, command: list[str]) -> int:
    """Run the command, write (wall seconds, CPU seconds, bytes of the largest process) as JSON, and return its exit
    code.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    with open(result, "w", encoding="utf-8") as file:
        json.dump([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10], file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
