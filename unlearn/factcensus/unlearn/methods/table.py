"""The table of methods, for `factcensus unlearn list` and for docs/methods.md.

``python -m factcensus.unlearn.methods.table docs/methods.md`` writes the page.

The table is generated from the registry, the presets and the descriptions of the settings, so it always matches the
code.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from factcensus.unlearn.config.method_config import AdapterConfig, MethodConfig, RetainConstraint, StrataControl
from factcensus.unlearn.config.named import METHODS, Method
from factcensus.unlearn.objectives import Objective, get_objective, objectives
from factcensus.unlearn.objectives.retain import RETAIN_FORMULAS

#: The description of each need.
_NEEDS = {
    "reference_nll": "the original model's loss of each answer (one number per fact, computed once)",
    "reference_logits": "the original model's logits (from cached activations, or with the adapter switched off)",
    "hidden": "activations at a layer",
    "target": "never-seen facts (rows of role `phantom`)",
    "replacement_ids": "a refusal",
    "refusal": "a refusal",
    "given": "the column `alternatives`",
    "sampled": "no column: the original model generates the alternatives",
    "retain": "a retain set",
    "retain_reference": "the original model's outputs on the retain set (cached, or with the adapter switched off)",
    "counts": "counts of the facts to forget",
    "world": "the corpus of the controlled world",
}


_INTRODUCTION = (
    "This page is the reference of all unlearning methods and their settings. [unlearning.md](unlearning.md) shows",
    "how to run them.",
    "",
    "A method is one choice on each axis of `L = gamma mean_i(w_i lambda_stratum(i) forget_i) + alpha retain`: a token",
    "loss, token and fact weights, a margin or target, a retain term, and controllers. Published methods are presets",
    "of a few settings, and a configuration may change each setting. All losses and retain terms use only the answer",
    "tokens, unless `retain_over` is `text`. Notation: l is an answer's mean loss per token, S its summed loss, S0 the",
    "summed loss under the original model, z are logits, y is the answer token, and p its probability.",
    "",
    "No method keeps the original model as a second model during training. Some methods need memory beyond that of a",
    "training step: the column `keeps` lists it, and `factcensus unlearn plan` includes it. The presets",
    "{large} keep at least as much memory as the trained weights take.",
)

#: The averaging of losses, and published settings that depend on the benchmark.
_PUBLISHED = """\
## Means over facts and over tokens

`reduction = "fact"`, the default, averages over each answer's tokens and then over facts, so short and long answers
weigh the same. Most published code averages over all answer tokens of a batch, as the built-in loss of transformers
does. This affects gradient ascent, gradient difference, IDK, WGA, SatImp, UNDIAL, CE-U, the flattening of PDU, RMU,
and the retain terms; long answers then weigh more. `reduction = "token"` computes that mean over the whole batch, even
if micro-batches or processes split it. Losses of a whole answer (`npo`, `simnpo`, `dpo`, `flat`) are always means over
facts, as published; for them, `reduction` changes only the retain term.

## Settings that depend on the benchmark

The defaults are one of many possible choices. The authors of SimNPO and RMU publish different settings for each
benchmark and model; use theirs to compare with their results.

| method | published for | settings |
| --- | --- | --- |
| SimNPO | TOFU forget05, Llama-2-7B | beta 2.5, retain weight 0.1375, margin 0, learning rate 1e-5 |
| SimNPO | TOFU forget10, Llama-2-7B | beta 4.5, retain weight 0.125, margin 0, learning rate 1e-5 |
| SimNPO | MUSE News, Llama-2-7B | beta 0.7, retain weight 1, gamma 3 (`margin` 4.3), learning rate 1e-5 |
| SimNPO | MUSE Books, ICLM-7B | beta 0.7, retain weight 1, margin 0, learning rate 1e-5 |
| SimNPO | WMDP, Zephyr-7B | beta 5.5, retain weight 5, margin 0, learning rate 4e-6 |
| SimNPO | OpenUnlearning's default | beta 4.5, forget weight 0.125, retain weight 1 |
| RMU | WMDP, Zephyr-7B | steering 6.5, alpha 1200, layer 7, 150 batches of 4, rate 5e-5, weights of layers 5 to 7 |
| RMU | OpenUnlearning's default | steering 2, alpha 1, layer 7, all weights |

SimNPO subtracts its gamma inside the sigmoid (beta l - gamma), so our `margin` is gamma / beta, in nats per token.
Sources: the model cards of the SimNPO models published by OPTML-Group, the command that the WMDP authors give for their
Zephyr checkpoint, and the trainer configurations of OpenUnlearning. Choose a steering coefficient relative to the norm
of your model's activations.

## Compared with OpenUnlearning

This command compares our losses with a checkout of OpenUnlearning (commit d3d7cf9, measured 2026-11-30): one batch
of answers of different lengths, a random GPT-2, another random GPT-2 as the original model. All rows have
`reduction = "token"` and `end_after = ["forget", "retain", "refusal"]`, unless they say otherwise.

```bash
python -m benchmarks.published_losses --code open-unlearning
```

| loss there | preset | settings | loss there | loss here | relative difference of the gradients |
| --- | --- | --- | --- | --- | --- |
| `GradAscent` | `grad_ascent` | as published | -5.323345 | -5.323345 | 3.6e-07 |
| `GradDiff` | `grad_diff` | as published | 0.094267 | 0.094267 | 4.0e-07 |
| | | `reduction = "fact"` | 0.094267 | 0.188425 | 0.22 |
| `GradDiff, KL` | `grad_diff` | `retain = "kl"` | -4.334101 | -4.186895 | 0.26 |
| `NPO` | `npo` | as published | 19.083286 | 19.083290 | 3.5e-07 |
| | | `end_after = []` | 19.083286 | 20.562588 | 0.51 |
| `SimNPO` | `simnpo` | beta 4.5, gamma 0.125 | 5.417612 | 5.417612 | 3.6e-07 |
| `DPO` | `idk_dpo` | as published | 22.695484 | 22.695486 | 3.3e-07 |
| `WGA` | `wga` | as published | 5.384803 | 5.384803 | 3.6e-07 |
| `SatImp` | `sat_imp` | gamma 1, alpha 0.1 | 0.541761 | 0.541761 | 3.9e-07 |
| `CEU` | `ce_u` | no token skipped | 4.151339 | 4.151339 | 2.1e-06 |
| | | `skip` 1, `reduction = "fact"` | 4.185250 | 4.166382 | 0.32 |
| `UNDIAL` | `undial` | answer tokens only | 5.308526 | 5.384994 | 0.56 |

Three of these losses differ for known reasons. Their KL term and UNDIAL also average over prompt and padding, and
UNDIAL lowers a logit there that belongs to no answer (the ignored label -100 is used as an index). Ours use the tokens
of the answer only. CEU with a skipped token averages over tokens there, and over facts here. RMU and PDU are not in the
table: RMU draws a random direction, and PDU changes its weights between steps.
"""


def method_rows() -> list[dict[str, Any]]:
    """Return one row per preset: name, formula, source, needs, defaults, purpose."""
    rows = []
    for method in METHODS.values():
        config, objective = preset_config(method.name), get_objective(method.objective)
        rows.append(
            {
                "name": method.name,
                "objective": objective.name,
                "formula": _formula(config),
                "source": method.source or objective.source,
                "needs": [_NEEDS[need] for need in _needs(config)],
                "weights": config.weights,
                "retain": config.retain,
                "keeps": keeps(config),
                "defaults": _defaults(method, config),
                "purpose": method.purpose,
            }
        )
    return rows


def preset_config(name: str) -> MethodConfig:
    """Return all settings of a preset, with defaults filled in."""
    return MethodConfig.model_validate({"preset": name, "retrain_world": "world" if name == "retrain" else None})


def _formula(method: MethodConfig) -> str:
    """Return the formula of a method in one line."""
    if method.retrain_world is not None:
        return "training from scratch without the people to forget"
    loss = get_objective(method.objective).formula.partition(":")[0]
    if method.token_confidence or method.token_doubt:
        loss += " with tokens weighted by p^a (1 - p)^b"
    weights = "w_i " if method.weights != "uniform" else ""
    strata = "lambda_stratum " if method.strata_control is not None else ""
    forget = f"gamma mean({weights}{strata}{loss})"
    if method.sam_rho is not None:
        forget += " at W + rho g/|g|"
    if method.gru:
        forget += " without the component that opposes the averaged retain gradient"
    if method.adapter is not None:
        forget += " on adapters initialised by FILA"
    if method.negate is not None:
        return f"{forget}; then W0 - negate (W - W0)"
    if method.retain == "none":
        return forget
    alpha = "alpha" if method.constraint is None else "alpha(t)"
    held = RETAIN_FORMULAS[method.retain]
    if method.retain_over == "text":
        held = held.replace("retain answers", "retain texts")
    return f"{forget} + {alpha} [{held}]"


def _needs(method: MethodConfig) -> list[str]:
    if method.retrain_world is not None:
        return ["world"]
    objective = get_objective(method.objective)
    needed = (
        *((need, True) for need in sorted(objective.needs & set(_NEEDS))),
        (method.preferred, "preferred" in objective.needs),
        ("refusal", objective.answer == "refusal"),
        ("retain", method.retain != "none"),
        ("retain_reference", method.retain in ("kl", "jsd", "embedding")),
        ("counts", method.needs_counts),
        ("target", method.needs_never_seen),
    )
    return list(dict.fromkeys(need for need, there in needed if there))


def keeps(method: MethodConfig) -> list[str]:
    """Return the memory that a method needs beyond a training step: copies of weights, gradients or activations."""
    if method.retrain_world is not None:
        return ["the retrained model, until its weights are copied"]
    there = {
        "a copy of the trained weights during each step": method.sam_rho is not None,
        "a copy of the forget gradient during each step, and the averaged retain gradient": method.gru,
        "the initial weights, on the CPU": method.negate is not None,
        "before training, two Fisher diagonals and one gradient of the adapted weights": method.starts_by_fisher,
        "a copy of the LM head; on the CPU, its input activations at every answer token": (
            method.caches_original and method.compares_distributions
        ),
        "on the CPU, activations of the retain answers at the method's layer": (
            method.caches_original and method.retain == "embedding"
        ),
    }
    return [what for what, kept in there.items() if kept]


def keeping_a_copy() -> list[str]:
    """Return the presets that keep at least as much memory as the trained weights."""
    small = ("a copy of the LM head", "on the CPU, activations")
    return [name for name in METHODS if any(not what.startswith(small) for what in keeps(preset_config(name)))]


def _defaults(method: Method, config: MethodConfig) -> dict[str, Any]:
    """Return the parameters of the loss and the settings of the preset, with their values."""
    sections = ("strata_control", "constraint", "adapter")
    plain = {key: value for key, value in method.settings.items() if key not in ("parameters", *sections)}
    for section in sections:
        if (settings := getattr(config, section)) is not None:
            plain |= {f"{section}.{key}": value for key, value in settings.model_dump().items()}
    return {**config.loss_parameters(), **plain}


def markdown() -> str:
    """Return the text of docs/methods.md."""
    lines = [
        "# Methods",
        "",
        "<!-- Generated by `python -m factcensus.unlearn.methods.table docs/methods.md`; edit the code instead. -->",
        "",
        *(line.format(large=_listed(keeping_a_copy())) for line in _INTRODUCTION),
        "",
        "## Presets",
        "",
        "| name | formula | source | needs | keeps | defaults |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in method_rows():
        defaults = shown_defaults(row["defaults"])
        cells = (f"`{row['name']}`: {row['purpose']}", f"`{row['formula']}`", row["source"], "; ".join(row["needs"]))
        kept = "; ".join(row["keeps"])
        lines.append("| " + " | ".join(_cell(each) for each in (*cells, kept, defaults)) + " |")
    lines += ["", _PUBLISHED.rstrip("\n"), "", "## Token losses", ""]
    for objective in objectives().values():
        lines += _described(objective)
    lines += ["## Retain terms", "", "| `retain` | formula |", "| --- | --- |"]
    lines += [f"| `{kind}` | {_cell(formula)} |" for kind, formula in RETAIN_FORMULAS.items()]
    for title, model, path in (
        ("Settings of a method", MethodConfig, ""),
        ("Strata control", StrataControl, "strata_control."),
        ("Constraint on the retain term", RetainConstraint, "constraint."),
        ("Adapters", AdapterConfig, "adapter."),
    ):
        lines += ["", f"## {title}", "", *_settings(model, path)]
    return "\n".join(lines) + "\n"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:-1]) + f" and `{names[-1]}`"


def _described(objective: Objective) -> list[str]:
    """Return heading, source and docstring of a loss; the docstring is a plain block."""
    text = inspect.getdoc(objective.loss) or ""
    return [f"### `{objective.name}`", "", f"Source: {objective.source}", "", "```text", text, "```", ""]


def _settings(model: type[BaseModel], path: str) -> list[str]:
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, setting in model.model_fields.items():
        default = "" if setting.is_required() else _shown(setting.get_default(call_default_factory=True))
        lines.append(f"| `{path}{name}` | {_cell(default)} | {_cell(setting.description or '')} |")
    return lines


def shown_defaults(defaults: dict[str, Any]) -> str:
    """Return the defaults in one line, without those that are None."""
    return ", ".join(f"{key} {_shown(value)}" for key, value in defaults.items() if value is not None)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None or value in ("", {}) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")
