"""Other abilities of a model: facts it should keep, neutral text, and the ends of its answers (utility.parquet)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from scipy import stats

from factcensus.eval.asking.batching import equal_length_batches
from factcensus.eval.asking.neighbours import DISTANCES
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.statistics.intervals import share
from factcensus.eval.statistics.outcomes import with_defaults
from factcensus.unlearn.limits import limits_of
from factcensus.unlearn.selection import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NEUTRAL = "neutral text"
#: Number of tokens used from the start of a neutral document.
DOCUMENT_TOKENS = 512
SCHEMA = pa.schema(
    [
        ("measure", pa.string()),
        ("of", pa.string()),
        ("form", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)


def of_facts(measured: pa.Table) -> list[Row]:
    """Return accuracy, unfinished and degenerate answers by group and by distance to the forget set, in every form.

    Args:
        measured: facts.parquet of one model at one seed.
    """
    frame = with_defaults(measured.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get).assign(seed=0))
    return [*_by(frame, "group", str), *_by(frame, "neighbour_distance", lambda value: f"distance {int(value)}")]


def distance_label(of: str) -> str:
    """Return a label such as ``distance 2`` with its meaning in words; other texts unchanged."""
    name, _, number = of.partition(" ")
    return f"{of}: {DISTANCES[int(number)]}" if name == "distance" and number.isdecimal() else of


def _by(frame: pd.DataFrame, column: str, label: Any) -> Iterator[Row]:
    measures = {"accuracy": "match", "unfinished": "generation_finished", "degenerate": "degenerate"}
    for (value, form), rows in frame.groupby([column, "form"], observed=True):
        for measure, source in measures.items():
            known = rows.dropna(subset=[source])
            truth = known[source].astype(bool).to_numpy()
            found = share(~truth if measure == "unfinished" else truth, known["subject_code"].to_numpy())
            low, high = found.ci95 or (None, None)
            yield {
                "measure": measure,
                "of": label(value),
                "form": str(form),
                "value": found.value,
                "low": low,
                "high": high,
                "n": found.n,
            }


@dataclass(frozen=True, slots=True)
class TextScore:
    """Sums over n predicted tokens of one neutral document, nats; ``divergence`` is NaN without an original model."""

    tokens: int
    loss: float
    divergence: float


def of_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    original: PreTrainedModel | None = None,
    *,
    batch_tokens: int = 4096,
) -> list[Row]:
    """Return the perplexity of neutral text and, given the original model, KL(original || model) per token.

    Raises:
        EvaluationInputError: no text has at least two tokens.
    """
    scores = score_texts(model, tokenizer, texts, original, batch_tokens=batch_tokens)
    if not scores:
        raise EvaluationInputError("the neutral text has no document with at least two tokens")
    losses = per_token([each.loss for each in scores], [each.tokens for each in scores])
    # The exponential of a collapsed model's loss may overflow.
    value, low, high = (math.exp(min(each, 700.0)) for each in losses)
    rows = [_text_row("perplexity", value, low, high, len(scores))]
    if original is not None:
        divergence = per_token([each.divergence for each in scores], [each.tokens for each in scores])
        rows.append(_text_row("kl_to_original_nats", *divergence, len(scores)))
    return rows


def _text_row(measure: str, value: float, low: float, high: float, n: int) -> Row:
    numbers = {"value": value, "low": low, "high": high}
    finite = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
    return {"measure": measure, "of": NEUTRAL, "form": None, **finite, "n": n}


def per_token(sums: Sequence[float], tokens: Sequence[int]) -> tuple[float, float, float]:
    """Return the mean per token and its 95% interval: a ratio estimate with documents as units.

    The interval is NaN for a single document.
    """
    total = np.asarray(sums, float)
    size = np.asarray(tokens, float)
    value = float(total.sum() / size.sum())
    count = len(total)
    if count < 2:
        return value, math.nan, math.nan
    residual = total - value * size
    error = math.sqrt(count / (count - 1) * float((residual**2).sum())) / float(size.sum())
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return value, value - half, value + half


@torch.inference_mode()
def score_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    original: PreTrainedModel | None = None,
    *,
    batch_tokens: int = 4096,
) -> list[TextScore]:
    """Return the loss of each text and its divergence from the original; texts of fewer than two tokens are left out.

    The tokenizer adds its usual special tokens. Texts are truncated to :data:`DOCUMENT_TOKENS` tokens or to the maximum
    length of the model.
    """
    most = min(DOCUMENT_TOKENS, limits_of(model.config).positions or DOCUMENT_TOKENS)
    encoded = [list(tokenizer(text)["input_ids"])[:most] for text in texts]
    encoded = [ids for ids in encoded if len(ids) > 1]
    modes = [(each, each.training) for each in (model, original) if each is not None]
    for each, _ in modes:
        each.train(False)
    found: dict[int, TextScore] = {}
    try:
        for indices in equal_length_batches([len(ids) for ids in encoded], batch_tokens):
            ids = torch.tensor([encoded[index] for index in indices], device=model.device)  # (B, L)
            log_p = _log_p(model, ids)  # (B, L - 1, V)
            loss = -log_p.gather(-1, ids[:, 1:, None])[..., 0].sum(-1)  # (B,)
            divergence = torch.full_like(loss, torch.nan)
            if original is not None:
                of_original = _log_p(original, ids)
                terms = torch.where(of_original > -torch.inf, of_original.exp() * (of_original - log_p), 0.0)
                divergence = terms.sum((-1, -2))
            for index, one, other in zip(indices, loss.tolist(), divergence.tolist(), strict=True):
                found[index] = TextScore(len(encoded[index]) - 1, one, other)
    finally:
        for each, mode in modes:
            each.train(mode)
    return [found[index] for index in range(len(encoded))]


def _log_p(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return log p of each next token in float32, (B, L - 1, V)."""
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits[:, :-1].float().log_softmax(-1)


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as utility.parquet without seed and method."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)
