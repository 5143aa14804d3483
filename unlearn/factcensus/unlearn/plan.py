"""What a run will take, before it takes it: sets by stratum, parameters, memory, operations, time.

Memory counts what stays: parameters, gradients and Adam's two moments at 4 bytes each in float32 (16 bytes a
parameter; 8 in bfloat16, which is the type that loses updates), the original model where a retain term asks for it,
and the logits of one micro-batch; activations come on top. Operations are 2 a parameter and token forward and 4
backward. Times divide them by an assumed rate, printed with them: the CPU's was measured on models of 0.2 to 0.7
million parameters, the GPU's is an assumption.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from factcensus.unlearn.config import MethodConfig, RunConfig
from factcensus.unlearn.models import load_tokenizer, model_digest, parameter_count
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.prepare import Material, index_provenance, prepare
from factcensus.unlearn.runtime import resolve_device
from factcensus.unlearn.sampling import Sampler
from factcensus.unlearn.selection import Row, read_fact_table, select

FLOP_PER_SECOND = {"cpu": 2e10, "cuda": 3e13}


@dataclass(frozen=True, slots=True)
class MethodPlan:
    """One method's share. FLOP and seconds are of training; evaluation is not in them."""

    name: str
    objective: str
    weights: str
    learning_rate: float
    passes: float
    steps: int
    flop: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What `factcensus unlearn plan` prints; ``sets`` has a row a stratum (or role)."""

    model: str
    model_digest: str
    parameters: int
    device: str
    dtype: str
    index: dict[str, Any]
    sets: list[dict[str, Any]]
    forget_examples: int
    retain_examples: int
    memory_bytes: int
    flop_per_second: float
    methods: list[MethodPlan]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(config: RunConfig) -> Plan:
    """Check a configuration against its fact table and tokenizer, and estimate; no weight is loaded.

    Raises:
        ConfigError, ExampleError: as `run_unlearning` would, before any training.
    """
    device = resolve_device(config.device).type
    selection = select(read_fact_table(config.facts), config.selection, config.seed)
    tokenizer = load_tokenizer(config.model, config.revision)
    material = prepare(selection, config, tokenizer)
    parameters = parameter_count(config.model, config.revision)
    used = selection.facts["used"].to_pylist()
    return Plan(
        model=config.model,
        model_digest=model_digest(config.model, config.revision),
        parameters=parameters,
        device=device,
        dtype=config.dtype,
        index=index_provenance(selection, config),
        sets=_sets(selection.rows, used),
        forget_examples=len(material.answers),
        retain_examples=len(material.retain),
        memory_bytes=_memory_bytes(config, material, parameters, len(tokenizer)),
        flop_per_second=FLOP_PER_SECOND[device],
        methods=[_method(config, method, material, parameters, FLOP_PER_SECOND[device]) for method in config.methods],
    )


def _sets(rows: tuple[Row, ...], used: list[str]) -> list[dict[str, Any]]:
    """Facts to forget, to retain, and left alone, in each stratum of the table; in each role where it has no strata."""
    column = "stratum" if any("stratum" in row for row in rows) else "role"
    label = "stratum_label" if column == "stratum" else "role"
    cells = Counter((row.get(column), use) for row, use in zip(rows, used, strict=True))
    names = {row.get(column): row.get(label) for row in rows}
    order = sorted(names, key=lambda value: (value is None, value if isinstance(value, int) else 0, str(value)))
    return [
        {column: value, "label": names[value], **{use: cells[value, use] for use in ("forget", "retain", "none")}}
        for value in order
    ]


def _longest(material: Material) -> tuple[int, int]:
    """Tokens of the longest example, and of the longest answer."""
    examples = (*material.answers, *material.refusals, *material.retain)
    return max(map(len, examples)), max(len(example.answer_ids) for example in examples)


def _memory_bytes(config: RunConfig, material: Material, parameters: int, vocabulary: int) -> int:
    training = config.training
    bytes_per_value = 2 if config.dtype == "bfloat16" else 4
    resident = parameters * bytes_per_value * 4  # parameters, gradients, two moments
    kept = any(method.retain == "kl" for method in config.methods)
    original = parameters * bytes_per_value if kept else 0
    batch = min(max(training.batch_forget, training.batch_retain), training.micro_batch or 10**9)
    logits = 3 * batch * _longest(material)[1] * vocabulary * 4  # logits, log-softmax, gradient at answer positions
    return resident + original + logits


def _method(
    config: RunConfig, method: MethodConfig, material: Material, parameters: int, flop_per_second: float
) -> MethodPlan:
    training = config.training
    passes = config.passes_of(method)
    examples = material.refusals if get_objective(method.objective).answer == "refusal" else material.answers
    steps = Sampler(len(examples), training.batch_forget, config.seed, "forget").steps(passes)
    forget_tokens = steps * training.batch_forget * sum(map(len, examples)) / len(examples)
    flop = 6.0 * parameters * forget_tokens
    if method.retain != "none":
        retain_tokens = steps * training.batch_retain * sum(map(len, material.retain)) / len(material.retain)
        flop += (8.0 if method.retain == "kl" else 6.0) * parameters * retain_tokens
    return MethodPlan(
        name=method.name,
        objective=method.objective,
        weights=method.weights,
        learning_rate=config.learning_rate_of(method),
        passes=passes,
        steps=steps,
        flop=flop,
        seconds=flop / flop_per_second,
    )
