"""Both processes of the test of ranks: one configuration, from a file.

The second is forked from the first once everything is imported, which is most of what a tiny run takes; torch has
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
    """Run both; the exit code is not 0 if one of them fails."""
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
