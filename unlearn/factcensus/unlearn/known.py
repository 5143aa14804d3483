"""Which facts the original model knows: what it never knew cannot be forgotten, and dilutes every rate of forgetting.

A fact is known if, in at least one of the forms that are trained on, every token of its answer is the model's first
choice after the prompt and the answer's tokens before it: what greedy decoding would say, from one pass.
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

from factcensus.unlearn.config.run_config import RunConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.limits import limits_of
from factcensus.unlearn.models import load_model, load_model_config, model_digest, pad_id_of
from factcensus.unlearn.prepare import Asker
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import locked
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
    """Ids of the facts that the original model knows, of those that may be chosen; None if nothing asks for it.

    The answer is kept in ``folder``, and found again by the model, the facts and how they are asked.

    Raises:
        ConfigError: none of the facts that may be chosen is known.
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
        (progress or silent)(Progress("ask what the original knows", 0, len(chosen)))
        dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        model = load_model(config.model, config.revision, dtype, device, config.attention)
        flat = [(name, example) for name, asked in examples for example in asked]
        pad_id = pad_id_of(tokenizer, limits.vocabulary)
        answered = is_first_choice(model, [example for _, example in flat], pad_id, device)
        known = {name for (name, _), right in zip(flat, answered, strict=True) if right}
        names = [name for name, _ in examples]
        table = pa.table({"fact_id": names, "known": pa.array([name in known for name in names], pa.bool_())})
        with locked(folder):
            unfinished = path.with_name(path.name + ".unfinished")
            pq.write_table(table, unfinished)
            unfinished.replace(path)
        (progress or silent)(Progress("ask what the original knows", len(chosen), len(chosen)))
    table = pq.read_table(path)
    found = frozenset(
        name for name, known in zip(table["fact_id"].to_pylist(), table["known"].to_pylist(), strict=True) if known
    )
    if not found:
        raise ConfigError(
            f"known_before leaves nothing: the model {config.model!r} answers none of the {len(chosen)} facts that may "
            "be chosen; check `template` and `training.forms`, or choose a model of that corpus"
        )
    return found


@torch.no_grad()
def is_first_choice(
    model: PreTrainedModel, examples: Sequence[Example], pad_id: int, device: torch.device
) -> list[bool]:
    """For each example, whether every token of its answer has the greatest logit, the tokens before it given."""
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
