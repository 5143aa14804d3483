"""Find the facts that the original model knows. Unknown facts cannot be forgotten and dilute every forgetting rate.

A fact is known if, in at least one of the trained forms, every token of its answer is the model's first choice given
the prompt and the answer's earlier tokens. This equals greedy decoding but needs only one pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from factcensus.indexer.system.files import replaced_file
from factcensus.unlearn.config.run_config import RunConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.limits import limits_of
from factcensus.unlearn.models import load_model, load_model_config, model_digest, pad_id_of
from factcensus.unlearn.prepare import Asker
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import locked_run
from factcensus.unlearn.selection import Row, candidates
from factcensus.unlearn.stopping import check_stop
from factcensus.unlearn.training.examples import Example, collate
from factcensus.unlearn.training.scoring import answer_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64


def known_facts(
    config: RunConfig,
    facts: pa.Table,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    folder: Path,
    progress: ProgressFunction | None = None,
) -> frozenset[str] | None:
    """Return the ids of the candidate facts that the original model knows; None if no setting needs them.

    The result is cached in ``folder`` under a digest of the model, the facts and their prompts.

    Raises:
        ConfigError: the model knows none of the candidates.
    """
    if not (config.selection.forget.known_before or config.selection.retain.known_before):
        return None
    limits = limits_of(load_model_config(config.model, config.revision))
    asker = Asker(config, tokenizer, limits)
    rows: list[Row] = facts.to_pylist()
    chosen = [rows[index] for index in candidates(facts, config.selection, config.seed)]
    examples = [(str(row["fact_id"]), asker(row, str(row["answer"]))) for row in chosen]
    key = {
        "model": model_digest(config.model, config.revision),
        "dtype": config.dtype,
        "attention": config.attention,
        "tokens": [(name, [(each.prompt_ids, each.answer_ids) for each in asked]) for name, asked in examples],
    }
    path = folder / f"known-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}.parquet"
    if not path.is_file():
        (progress or silent)(Progress("ask the original model", 0, len(chosen)))
        dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        model = load_model(config.model, config.revision, dtype, device, config.attention)
        flat = [(name, example) for name, asked in examples for example in asked]
        pad_id = pad_id_of(tokenizer, limits.vocabulary)
        answered = is_first_choice(model, [example for _, example in flat], pad_id, device)
        known = {name for (name, _), right in zip(flat, answered, strict=True) if right}
        names = [name for name, _ in examples]
        table = pa.table({"fact_id": names, "known": pa.array([name in known for name in names], pa.bool_())})
        with locked_run(folder), replaced_file(path) as partial:
            pq.write_table(table, partial)
        (progress or silent)(Progress("ask the original model", len(chosen), len(chosen)))
    table = pq.read_table(path)
    found = frozenset(
        name for name, known in zip(table["fact_id"].to_pylist(), table["known"].to_pylist(), strict=True) if known
    )
    if not found:
        raise ConfigError(
            f"known_before leaves no fact: the model {config.model!r} answers none of the {len(chosen)} candidates; "
            "check `template` and `training.forms`, or use a model trained on that corpus"
        )
    return found


@torch.no_grad()
def is_first_choice(
    model: PreTrainedModel, examples: Sequence[Example], pad_id: int, device: torch.device
) -> list[bool]:
    """Return for each example whether every token of its answer has the largest logit, given the tokens before it."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index]))
    result: list[Any] = [False] * len(examples)
    for start in range(0, len(order), BATCH):
        check_stop()
        chosen = order[start : start + BATCH]
        batch = collate([examples[index] for index in chosen], pad_id).to(device)
        right = (answer_logits(model, batch).argmax(-1) == batch.answer_ids) | ~batch.answer_mask
        for index, all_right in zip(chosen, right.all(dim=1).tolist(), strict=True):
            result[index] = all_right
    return result
