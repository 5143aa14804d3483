"""Public benchmarks through lm-eval's Python interface: MMLU, HellaSwag and all its other tasks, or your own tasks.

lm-eval gets the loaded model with tokenizer, batch size, template and seeds as arguments; no command line is involved
and no printed table is parsed. This needs the extra ``lm-eval``. Public tasks are downloaded from the hub; a folder of
task files for local data works offline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.errors import EvaluationInputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LM_EVAL = "lm-eval"


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """The tasks that lm-eval runs, and their settings.

    Attributes:
        tasks: Names of tasks or groups.
        folder: A folder with your own task files.
        shots: Number of solved examples before each question; None uses the task's default.
        limit: Maximum number of items per task; the first ones are taken.
        batch_size: Items per batch.
    """

    tasks: tuple[str, ...]
    folder: Path | None = None
    shots: int | None = None
    limit: int | None = None
    batch_size: int = 16


def of_benchmarks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: BenchmarkSettings,
    *,
    template: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Run the benchmarks and return rows of utility.parquet; intervals come from lm-eval's standard errors.

    Raises:
        EvaluationInputError: lm-eval is not installed, or a task does not exist.
    """
    lm_eval, wrapper, manager = _lm_eval(settings)
    known = set(manager.all_tasks)
    if missing := [task for task in settings.tasks if task not in known]:
        where = f" (also not in {settings.folder})" if settings.folder else ""
        raise EvaluationInputError(
            f"unknown lm-eval task {missing[0]!r}{where}; `python -m lm_eval ls tasks` lists all tasks"
        )
    mode = model.training
    try:
        results: Any = lm_eval.simple_evaluate(
            model=wrapper(pretrained=model, tokenizer=tokenizer, batch_size=settings.batch_size),
            tasks=list(settings.tasks),
            num_fewshot=settings.shots,
            limit=settings.limit,
            apply_chat_template=template == "chat",
            task_manager=manager,
            log_samples=False,
            bootstrap_iters=0,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    finally:
        model.train(mode)
    return rows_of(results)


def _lm_eval(settings: BenchmarkSettings) -> tuple[Any, Any, Any]:
    """Import lm-eval; return the module, its wrapper for a loaded model, and its tasks."""
    try:
        import lm_eval  # pyright: ignore[reportMissingImports]
        from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
        from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise EvaluationInputError(
            f"benchmarks need lm-eval ({error}); install it with `pip install 'factcensus[{LM_EVAL}]'`"
        ) from error
    if settings.folder is not None and not settings.folder.is_dir():
        raise EvaluationInputError(f"the task folder {settings.folder} does not exist")
    if settings.folder is not None:
        own = TaskManager(include_path=str(settings.folder), include_defaults=False)
        if set(settings.tasks) <= set(own.all_tasks):
            return lm_eval, HFLM, own  # does not read its thousands of task files
        return lm_eval, HFLM, TaskManager(include_path=str(settings.folder))
    return lm_eval, HFLM, TaskManager()


def rows_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert lm-eval results: ``results[TASK]["METRIC,FILTER"]`` and ``["METRIC_stderr,FILTER"]``."""
    rows = []
    for task, values in results["results"].items():
        samples = results.get("n-samples", {}).get(task, {}).get("effective")
        for name, value in values.items():
            metric, _, kind = name.partition(",")
            if not kind or metric.endswith("_stderr") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{kind}")
            spread = 1.96 * error if isinstance(error, int | float) and math.isfinite(error) else None
            label = f"{task}/{metric}" + (f" ({kind})" if kind != "none" else "")
            rows.append(
                {
                    "measure": label,
                    "of": LM_EVAL,
                    "form": None,
                    "value": float(value),
                    "low": None if spread is None else value - spread,
                    "high": None if spread is None else value + spread,
                    "n": samples,
                }
            )
    return rows
