"""Run the two processes of the rank test with one configuration file.

The second process is forked from the first after all imports, which take most of the time of a tiny run. Torch has
computed nothing by then, so it has no threads that a fork would lose.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import accelerate  # noqa: F401 - so that it is imported once for both
from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: F401 - likewise

from factcensus.unlearn.config.files import load_config
from factcensus.unlearn.run import run_unlearning


def main() -> None:
    """Run both processes; the exit status is not 0 if one of them fails."""
    config = load_config(Path(sys.argv[1]))
    second = os.fork()
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if second else "1"
    try:
        run_unlearning(config)
    except BaseException:
        if second:
            os.kill(second, signal.SIGKILL)
        raise
    if second:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))


if __name__ == "__main__":
    main()
