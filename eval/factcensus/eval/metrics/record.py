"""All probability metrics, computed from the token record in one DuckDB query.

The same query works on tokens.parquet of a run folder, where a question is identified by seed, method and point as
well (``keys``). A metric that is undefined for a fact is null. :mod:`factcensus.eval.metrics.cards` has definitions,
ranges and limits.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

#: The columns that identify a question within one evaluation.
KEYS = ("fact_id", "form", "variant")
#: Share of tokens, the least probable ones, used by Min-K% (Shi et al. 2024); at least one token.
MIN_K_SHARE = 0.2
#: The share that MUSE uses for its privacy leakage (Shi et al. 2025).
MUSE_MIN_K_SHARE = 0.4
#: Floor of the deviation that Min-K%++ divides by, nats: a variance of 1e-6, as in OpenUnlearning.
LEAST_DEVIATION = 1e-3
#: Minimum number of answer tokens for extraction strength; shorter answers allow too few values.
EXTRACTION_TOKENS = 3

#: The metrics that :func:`measures` computes.
METRICS = (
    "answer_tokens",
    "log_probability",
    "log_probability_mean",
    "probability",
    "rank_worst",
    "margin_least",
    "exact_memorisation",
    "extraction_strength",
    "min_k",
    "min_k_40",
    "min_k_plus_plus",
    "choices",
    "choice_margin",
    "choice_probability",
    "probability_normalised",
    "truth_ratio",
    "truth_ratio_arithmetic",
    "true_false_margin",
    "true_false_correct",
    "multiple_choice_probability",
    "multiple_choice_correct",
)

_QUERY = """
WITH scored AS (   -- one row per answer
    SELECT {keys}, probe, candidate, context,
        count(*) AS tokens,
        sum(log_probability::DOUBLE) AS total,
        max(rank) AS rank_worst,
        min(margin::DOUBLE) AS margin_least,
        avg((top1_id = token_id)::INT) AS exact_memorisation,
        coalesce(max(position) FILTER (WHERE top1_id <> token_id) + 1, 0) AS given,
        list_sort(list(log_probability::DOUBLE)) AS sorted,
        list_sort(list((log_probability::DOUBLE + entropy) / greatest(surprisal_deviation::DOUBLE, {floor})))
            AS standardised,
        CASE WHEN count(prior_log_probability) = count(*)
            THEN sum(log_probability::DOUBLE - prior_log_probability) END AS calibrated
    FROM tokens GROUP BY ALL
), gold AS (
    SELECT * FROM scored WHERE probe = 'answer'
), contrast AS (   -- the right answer against the wrong ones
    SELECT {keys}, count(*) + 1 AS choices,
        CASE WHEN count(wrong.calibrated) = count(*)
            THEN gold.calibrated - max(wrong.calibrated) END AS choice_margin,
        CASE WHEN count(wrong.calibrated) = count(*)
            THEN 1 / (1 + sum(exp(wrong.calibrated - gold.calibrated))) END AS choice_probability,
        1 / (1 + sum(exp(wrong.total / wrong.tokens - gold.total / gold.tokens))) AS probability_normalised,
        exp(avg(wrong.total / wrong.tokens) - gold.total / gold.tokens) AS truth_ratio,
        avg(exp(wrong.total / wrong.tokens - gold.total / gold.tokens)) AS truth_ratio_arithmetic
    FROM gold JOIN scored AS wrong USING ({keys}) WHERE wrong.probe = 'distractor'
    GROUP BY {keys}, gold.calibrated, gold.total, gold.tokens
), statements AS ( -- log odds of True over False of each statement
    SELECT {keys}, candidate, sum(CASE context WHEN 0 THEN calibrated ELSE -calibrated END) AS says_true
    FROM scored WHERE probe = 'true_false' GROUP BY {keys}, candidate HAVING count(calibrated) = 2
), truth AS (
    SELECT {keys},
        avg(says_true) FILTER (WHERE candidate = 0)
            - avg(says_true) FILTER (WHERE candidate > 0) AS true_false_margin,
        (avg((says_true > 0)::INT) FILTER (WHERE candidate = 0)
            + avg((says_true < 0)::INT) FILTER (WHERE candidate > 0)) / 2 AS true_false_correct
    FROM statements GROUP BY {keys}
), letters AS (    -- one row per rotation
    SELECT {keys}, context,
        max(calibrated) FILTER (WHERE candidate = 0) AS gold,
        list(calibrated) FILTER (WHERE candidate > 0) AS wrong
    FROM scored WHERE probe = 'multiple_choice' GROUP BY {keys}, context HAVING count(calibrated) = count(*)
), options AS (
    SELECT {keys},
        avg(1 / (1 + list_sum(list_transform(wrong, lambda w: exp(w - gold))))) AS multiple_choice_probability,
        avg((gold > list_max(wrong))::INT) AS multiple_choice_correct
    FROM letters WHERE gold IS NOT NULL AND wrong IS NOT NULL GROUP BY {keys}
)
SELECT {keys},
    gold.tokens::INT AS answer_tokens,
    gold.total AS log_probability,
    gold.total / gold.tokens AS log_probability_mean,
    exp(gold.total / gold.tokens) AS probability,
    gold.rank_worst::INT AS rank_worst,
    gold.margin_least,
    gold.exact_memorisation,
    CASE WHEN gold.tokens >= {least} THEN 1 - gold.given / gold.tokens END AS extraction_strength,
    list_avg(gold.sorted[1:greatest(1, floor({share} * gold.tokens)::INT)]) AS min_k,
    list_avg(gold.sorted[1:greatest(1, floor({muse_share} * gold.tokens)::INT)]) AS min_k_40,
    list_avg(gold.standardised[1:greatest(1, floor({share} * gold.tokens)::INT)]) AS min_k_plus_plus,
    contrast.choices::INT AS choices,
    choice_margin, choice_probability, probability_normalised, truth_ratio, truth_ratio_arithmetic,
    true_false_margin, true_false_correct,
    multiple_choice_probability, multiple_choice_correct
FROM gold LEFT JOIN contrast USING ({keys}) LEFT JOIN truth USING ({keys}) LEFT JOIN options USING ({keys})
"""


def measures(tokens: pa.Table, *, keys: Sequence[str] = KEYS, min_k_share: float = MIN_K_SHARE) -> pa.Table:
    """Compute every metric of the token record, one row per question; undefined metrics are null.

    Args:
        tokens: Rows of tokens.parquet (docs/runs.md).
        keys: The columns that identify a question.
        min_k_share: Share of tokens used by Min-K% and Min-K%++, above 0 and at most 1.

    Returns:
        ``keys`` and the metrics, in no particular order. Non-finite numbers (of a collapsed model) are null.
    """
    named = ", ".join(f'"{key}"' for key in keys)
    with duckdb.connect() as connection:
        connection.execute("SET threads TO 1")
        connection.register("tokens", tokens)
        query = _QUERY.format(
            keys=named,
            least=EXTRACTION_TOKENS,
            share=float(min_k_share),
            muse_share=MUSE_MIN_K_SHARE,
            floor=LEAST_DEVIATION,
        )
        result: pa.Table = connection.sql(query).to_arrow_table()
    return _finite(result)


def _finite(table: pa.Table) -> pa.Table:
    """Return the table with null in place of NaN and infinity."""
    import pyarrow.compute

    pc: Any = pyarrow.compute
    for position, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(position)
            values = pc.if_else(pc.is_finite(column), column, pa.scalar(None, field.type))
            table = table.set_column(position, field, values)
    return table


def zlib_ratio(log_probability_mean: float | None, answer: str) -> float | None:
    """Return the mean log-probability of an answer (nats per token) divided by its zlib length in bytes; at most 0.

    The mean follows Carlini et al. (2021), who rank texts by zlib length over log-perplexity, which is the mean loss.
    The sum over tokens would grow with the length of the answer and rank by length alone.
    """
    return None if log_probability_mean is None else log_probability_mean / len(zlib.compress(answer.encode()))
