"""The values that a setting may take: schedules, optimisers, prompt templates."""

from __future__ import annotations

from typing import Literal, get_args

from factcensus.unlearn.errors import ConfigError

Schedule = Literal["constant", "linear", "cosine"]
OptimizerKind = Literal["adamw", "adamw_stochastic", "adamw_kahan", "adamw_8bit"]
OPTIMIZERS: tuple[OptimizerKind, ...] = get_args(OptimizerKind)
#: Named templates; any other template is a text that contains ``{prompt}`` and ends with ``{answer}``.
TEMPLATES = ("plain", "chat")


def check_template(template: str) -> str:
    """Return the template if it is valid.

    Raises:
        ConfigError: it is neither a known name nor a text with both placeholders.
    """
    if template in TEMPLATES:
        return template
    if template.count("{prompt}") == 1 and template.count("{answer}") == 1 and template.endswith("{answer}"):
        return template
    raise ConfigError(
        f"template is {template!r}: expected {', '.join(TEMPLATES)}, or a text that contains {{prompt}} and ends with "
        "{answer}, such as 'Q: {prompt}\nA: {answer}'"
    )
