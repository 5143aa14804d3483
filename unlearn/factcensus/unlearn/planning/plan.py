"""Plan a run: sets by stratum, parameters, memory, operations and time.

Memory and operations of a step come from :mod:`factcensus.unlearn.planning.dry_step`, for the largest micro-batch of
the data. On a CPU, memory is that of the whole process; the share of the libraries is measured in the planning process.
On a GPU, memory is that of tensors. Seconds are operations divided by half the measured rate of a matrix product of the
model's width. Small models take longer, because they spend most time outside matrix products. Evaluation is excluded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from factcensus.indexer.numbers import size_text
from factcensus.indexer.paths import check_output_folder
from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.counted import read_counted_facts
from factcensus.unlearn.errors import ConfigError, MemoryPlanError
from factcensus.unlearn.evaluation import get_evaluator
from factcensus.unlearn.material_warnings import material_warnings
from factcensus.unlearn.models import load_model_config, model_digest
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.planning.dry_step import (
    Shape,
    StepCost,
    extra_bytes,
    step_cost,
)
from factcensus.unlearn.planning.hardware import Hardware, check_sharding, this_machine
from factcensus.unlearn.planning.memory import process_bytes
from factcensus.unlearn.prepare import check_evaluation, index_provenance, open_asker, prepare
from factcensus.unlearn.progress import ProgressFunction
from factcensus.unlearn.run_folder import INPUTS
from factcensus.unlearn.selection import Row, doubts, select
from factcensus.unlearn.trackers import get_trackers
from factcensus.unlearn.training.material import Material
from factcensus.unlearn.training.ranks import current_ranks
from factcensus.unlearn.training.runtime import resolve_device
from factcensus.unlearn.training.sampling import Sampler


@dataclass(frozen=True, slots=True)
class MethodPlan:
    """The plan of one method, for its training only.

    Attributes:
        steps: Steps of the whole dose; methods that stop early may take fewer.
        flop: Operations of all steps over all processes.
        seconds: Estimated duration.
        memory_bytes: Peak memory of one process (CPU) or of its tensors (GPU); with ``fsdp``, of its share.
        parameters: Number of parameters of the model.
        trained_parameters: Number of trained parameters; None if those of an adapter cannot be counted in advance.
        simulated: Whether a step on fake tensors was simulated; otherwise activations are left out.
    """

    name: str
    objective: str
    weights: str
    learning_rate: float
    passes: float
    steps: int
    flop: float
    seconds: float
    memory_bytes: int
    simulated: bool
    parameters: int
    trained_parameters: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run, as `factcensus unlearn plan` prints it; ``sets`` has one row per stratum (or role).

    Attributes:
        processes: Number of processes, each with one device.
        device_bytes: Memory of each device, or the limit ``memory``.
        known_before: Whether the run will still remove facts that the model does not know; sets are then upper bounds.
        warnings: Warnings about facts that are allowed but probably unintended.
    """

    model: str
    model_digest: str
    parameters: int
    device: str
    processes: int
    dtype: str
    index: dict[str, Any]
    known_before: bool
    sets: list[dict[str, Any]]
    forget_examples: int
    retain_examples: int
    device_bytes: int
    flop_per_second: float
    methods: list[MethodPlan]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)


def make_plan(
    config: RunConfig,
    progress: ProgressFunction | None = None,
    *,
    inputs: Path | None = None,
    hardware: Hardware | None = None,
) -> Plan:
    """Check a configuration against its fact table and tokenizer, and estimate costs without loading weights.

    Facts without counts are counted as in the run, which reuses the counts.

    Args:
        config: A checked configuration.
        progress: Called during counting.
        inputs: Folder for counts; by default inside the run folder.
        hardware: Devices to assume; by default those of this machine.

    Raises:
        ServiceLostError: the facts could not be counted.
        ConfigError, ExampleError: the same errors that `run_unlearning` raises before training.
        MemoryPlanError: a method would not fit the device; the message lists changes that would fit.
    """
    evaluator, _ = get_evaluator(config.evaluator, config.evaluator_settings), get_trackers(config.trackers)
    check_output_folder(config.out)
    if hardware is None:
        ranks = current_ranks(cpu=config.device == "cpu")
        hardware = this_machine(config, resolve_device(config.device, ranks), ranks)
    check_sharding(config, hardware.count)
    table = read_counted_facts(config, inputs or config.out / INPUTS, progress)
    selection = select(table, config.selection, config.seed, needs_retain=config.needs_retain)
    model_config, asker = open_asker(config, datetime.now())
    material = prepare(selection, asker)
    check_evaluation(evaluator, asker, selection)
    methods = plan_methods(config, material, model_config, hardware)
    refuse_what_cannot_fit(config, methods, material, hardware)
    return Plan(
        model=config.model,
        model_digest=model_digest(config.model, config.revision),
        parameters=_cost_of(
            config, config.methods[0], material.of(config.methods[0]), model_config, hardware
        ).parameters,
        device=hardware.name,
        processes=hardware.count,
        dtype=config.dtype,
        index=index_provenance(selection, config),
        known_before=config.selection.forget.known_before or config.selection.retain.known_before,
        sets=_sets(selection.rows, selection.facts["used"].to_pylist()),
        forget_examples=len(material.answers),
        retain_examples=len(material.retain),
        device_bytes=hardware.memory_bytes,
        flop_per_second=hardware.rate(config.dtype, _width(model_config)),
        methods=methods,
        warnings=doubts(selection) + material_warnings(selection, material, config, asker.tokenizer),
    )


def plan_methods(config: RunConfig, material: Material, model_config: Any, hardware: Hardware) -> list[MethodPlan]:
    """Return the plan of every method, in the order of the configuration, without loading weights."""
    rate = hardware.rate(config.dtype, _width(model_config))
    return [_method(config, method, material, model_config, hardware, rate) for method in config.methods]


def refuse_what_cannot_fit(
    config: RunConfig, plans: Sequence[MethodPlan], material: Material, hardware: Hardware
) -> None:
    """Check that every method fits the device.

    Raises:
        MemoryPlanError: a method does not fit; the message lists needed and available memory and changes that would
        fit.
    """
    room = hardware.memory_bytes
    largest = max(plans, key=lambda plan: plan.memory_bytes)
    if largest.memory_bytes <= room:
        return
    fitting = [
        f"{changes} ({size_text(needed)})"
        for changes, needed in _alternatives(config, largest.name, material, hardware)
        if needed <= room
    ]
    advice = f"these changes would fit: {'; '.join(fitting)}; or use" if fitting else "no setting would fit; use"
    shared = _devices_with_fsdp(config, largest.name, material, hardware)
    raise MemoryPlanError(
        f"method {largest.name!r} needs {size_text(largest.memory_bytes)} on {hardware.name}, but there are "
        f"{size_text(room)} (`memory` sets another limit); {advice} a device with {size_text(largest.memory_bytes)}"
        + ("" if shared is None else f", or {shared} such devices with fsdp = true")
    )


def _devices_with_fsdp(config: RunConfig, name: str, material: Material, hardware: Hardware) -> int | None:
    """Return the number of devices that could train a method together, or None."""
    for count in (2, 4, 8, 16):
        if count > hardware.count or not config.fsdp:
            found = _changed(config, name, {"fsdp": True}, material, replace(hardware, count=count))
            if found is not None and found <= hardware.memory_bytes:
                return count
    return None


#: Changes to suggest for a run that does not fit, cheapest first.
CHANGES: tuple[dict[str, Any], ...] = (
    {"training.micro_batch": 1},
    {"training.micro_batch": 1, "training.gradient_checkpointing": True},
    {"training.micro_batch": 1, "dtype": "bfloat16", "training.optimizer": "adamw_stochastic"},
    {"training.micro_batch": 1, "adapter": {"rank": 8}},
    {"training.micro_batch": 1, "dtype": "bfloat16", "training.gradient_checkpointing": True, "adapter": {"rank": 8}},
)


def _alternatives(config: RunConfig, name: str, material: Material, hardware: Hardware) -> list[tuple[str, int]]:
    """Return changes of the settings, as assignments, with the memory they would need."""
    found = []
    for changes in CHANGES:
        if config.fsdp and "adapter" in changes:  # adapters are not sharded
            changes = {"fsdp": False, **changes}
        needed = _changed(config, name, changes, material, hardware)
        if needed is not None:
            found.append((" ".join(f"{key}={_written(value)}" for key, value in changes.items()), needed))
    return found


def _changed(
    config: RunConfig, name: str, changes: Mapping[str, Any], material: Material, hardware: Hardware
) -> int | None:
    """Return the memory of a method with changed settings; None if they do not work with this method or model."""
    settings = config.resolved()
    method = next(each for each in settings["methods"] if each["name"] == name)
    settings["methods"] = [method]
    for key, value in changes.items():
        section, _, last = key.rpartition(".")
        place = method if key == "adapter" else settings[section] if section else settings
        place[last] = value
    try:
        changed = check_config(settings)
        model_config = load_model_config(config.model, config.revision)
        return _method(changed, changed.methods[0], material, model_config, hardware, 1.0).memory_bytes
    except ConfigError:
        return None


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inner}" for key, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sets(rows: tuple[Row, ...], used: list[str]) -> list[dict[str, Any]]:
    """Return the number of facts to forget, to retain and to leave alone per stratum, or per role without strata."""
    column = "stratum" if any("stratum" in row for row in rows) else "role"
    label = "stratum_label" if column == "stratum" else "role"
    cells = Counter((row.get(column), use) for row, use in zip(rows, used, strict=True))
    names = {row.get(column): row.get(label) for row in rows}
    order = sorted(names, key=lambda value: (value is None, value if isinstance(value, int) else 0, str(value)))
    if column == "stratum" and None in names:
        names[None] = "no stratum"
    return [
        {column: value, "label": names[value], **{use: cells[value, use] for use in ("forget", "retain", "none")}}
        for value in order
    ]


def _shape(config: RunConfig, method: MethodConfig, material: Material, processes: int) -> Shape:
    """Return the shape of the largest micro-batch of one process; the material is that of the method."""
    training = config.training_of(method)
    examples = [
        *material.answers,
        *material.refusals,
        *material.retain,
        *(e for given in material.given for e in given),
    ]
    share = math.ceil(max(training.batch_forget, training.batch_retain) / processes)
    return Shape(
        examples=min(share, training.micro_batch or share),
        length=max(map(len, examples)),
        answer=max(len(example.answer_ids) for example in examples),
    )


def _cost_of(
    config: RunConfig, method: MethodConfig, material: Material, model_config: Any, hardware: Hardware
) -> StepCost:
    shape = _shape(config, method, material, hardware.count)
    return step_cost(model_config, config, method, shape, fused_lists=hardware.kind == "cuda")


def _method(
    config: RunConfig, method: MethodConfig, material: Material, model_config: Any, hardware: Hardware, rate: float
) -> MethodPlan:
    training, passes = config.training_of(method), config.passes_of(method)
    material = material.of(method)
    objective = get_objective(method.objective)
    cost = _cost_of(config, method, material, model_config, hardware)
    examples = material.refusals if objective.answer == "refusal" else material.answers
    steps = Sampler(len(examples), training.batch_forget, config.seed, "forget").steps(passes)
    forget = steps * training.batch_forget * sum(map(len, examples)) / len(examples)
    forget *= (2 if "preferred" in objective.needs else 1) * (2 if method.sam_rho is not None else 1)
    retain = 0.0
    if method.retain != "none" and material.retain:
        retain = steps * training.batch_retain * sum(map(len, material.retain)) / len(material.retain)
    measured = sum(map(len, (*examples, *material.retain))) if method.starts_by_fisher else 0
    flop = cost.flop_per_token * (measured + forget + retain * (4 / 3 if method.compares_distributions else 1))
    answers = sum(len(example.answer_ids) for example in (*material.answers, *material.retain))
    shards = hardware.count if config.fsdp else 1
    on_device, on_cpu = extra_bytes(method, cost, answers, shards)
    memory = (cost.peak_bytes if shards == 1 else cost.sharded_peak_bytes(shards)) + on_device
    if hardware.kind != "cuda":
        memory += on_cpu + process_bytes()
    return MethodPlan(
        name=method.name,
        objective=method.objective,
        weights=method.weights,
        learning_rate=config.learning_rate_of(method),
        passes=passes,
        steps=steps,
        flop=flop,
        seconds=flop / rate / hardware.count,
        memory_bytes=memory,
        simulated=cost.simulated,
        parameters=cost.parameters,
        trained_parameters=cost.trained if cost.simulated or method.adapter is None else None,
    )


def _width(model_config: Any) -> int:
    """Return the model's width, whose name differs between architectures."""
    text = model_config.get_text_config()
    return int(getattr(text, "hidden_size", None) or getattr(text, "n_embd", None) or 1024)
