"""Run the two processes of the rank tests: a run, which may be stopped at a step, or a pre-training.

The second process is forked from the first after all imports, which take most of the time of a tiny run. Torch has
computed nothing by then, so it has no threads that a fork would lose.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import accelerate  # noqa: F401 - so that it is imported once for both
from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: F401 - likewise

from factcensus.unlearn.config.files import load_config
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.world.pretrain import pretrain
from factcensus.unlearn.world.settings import PretrainSettings


def main() -> None:
    """Run both processes; the exit status is not 0 if one of them fails."""
    path = Path(sys.argv[1])
    pretraining = json.loads(path.read_text()).get("pretrain")
    last = int(sys.argv[2]) if len(sys.argv) > 2 else None

    def stop(progress: Progress) -> None:
        """Ask the first process, which alone reports progress, to stop after a step."""
        if progress.stage.startswith("unlearn") and progress.done == last:
            os.kill(os.getpid(), signal.SIGTERM)

    second = os.fork()
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if second else "1"
    try:
        if pretraining is None:
            run_unlearning(load_config(path), progress=stop)
        else:
            pretrain(pretraining["world"], pretraining["out"], PretrainSettings(**pretraining["settings"]), seed=0)
    except BaseException:
        if second:
            os.kill(second, signal.SIGKILL)
        raise
    if second:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))


if __name__ == "__main__":
    main()
