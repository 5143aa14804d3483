"""AdamW in float32, and three ways to spend less: bfloat16 parameters that round at random or keep what rounding took,
and 8-bit moments.

A bfloat16 number near 0.02 moves in steps of 1e-4, so rounding to the nearest throws a small update away, every time
(:mod:`factcensus.unlearn.training.lost_updates`). *Stochastic rounding* takes it with a probability that makes it
right on average; *Kahan summation* keeps what was lost in a second bfloat16 number and adds it next time. Both compute
in float32 and keep float32 moments: 12 and 14 bytes a parameter with its gradient, against 16 for float32 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch

from factcensus.unlearn.errors import ConfigError

OptimizerKind = Literal["adamw", "adamw_stochastic", "adamw_kahan", "adamw_8bit"]
OPTIMIZERS: tuple[OptimizerKind, ...] = get_args(OptimizerKind)
BETAS, EPSILON = (0.9, 0.999), 1e-8


def make_optimizer(
    kind: OptimizerKind, parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float, seed: int
) -> torch.optim.Optimizer:
    """An optimiser over these parameters.

    Args:
        kind: ``adamw``: torch's. ``adamw_stochastic``, ``adamw_kahan``: :class:`RoundedAdamW`. ``adamw_8bit``:
            bitsandbytes', moments in 8 bits.
        seed: Of stochastic rounding.

    Raises:
        ConfigError: ``adamw_8bit`` without bitsandbytes.
    """
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, eps=EPSILON, weight_decay=weight_decay)
    if kind == "adamw_8bit":
        if find_spec("bitsandbytes") is None:
            raise ConfigError(
                "training.optimizer is 'adamw_8bit' and bitsandbytes is not installed: `pip install bitsandbytes`, or "
                f"choose another: {', '.join(other for other in OPTIMIZERS if other != kind)}"
            )
        made: torch.optim.Optimizer = import_module("bitsandbytes").optim.AdamW8bit(
            list(parameters), lr=rate, betas=BETAS, eps=EPSILON, weight_decay=weight_decay
        )
        return made
    return RoundedAdamW(parameters, rate, weight_decay, kahan=kind == "adamw_kahan", seed=seed)


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019) that computes in float32 over parameters of a narrower type.

    State of a parameter: ``step``, ``exp_avg`` and ``exp_avg_sq`` in float32, and with Kahan summation
    ``compensation`` in the parameter's type: what is to be added to the parameter to have its true value.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float, *, kahan: bool, seed: int
    ) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": weight_decay})
        self.kahan, self._seed = kahan, seed

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update; coins of stochastic rounding follow from seed and step, so a continued run throws the same."""
        assert closure is None, "this optimiser looks at gradients once"
        generators: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    shape = torch.zeros_like(parameter, dtype=torch.float32)
                    state.update(step=0, exp_avg=shape, exp_avg_sq=shape.clone())
                    if self.kahan:
                        state["compensation"] = torch.zeros_like(parameter)
                state["step"] += 1
                gradient = parameter.grad.float()
                state["exp_avg"].lerp_(gradient, 1 - BETAS[0])
                state["exp_avg_sq"].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
                update = self.update_of(parameter, group)
                if self.kahan:
                    _add_with_compensation(parameter, update, state["compensation"])
                    continue
                device = parameter.device
                if device not in generators:
                    generators[device] = torch.Generator(device).manual_seed(self._seed * 1_000_003 + state["step"])
                parameter.copy_(round_stochastically(parameter.float() + update, parameter.dtype, generators[device]))

    def update_of(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> torch.Tensor:
        """What the last step should have added to the parameter, float32 (its weight decay by the present value)."""
        state = self.state[parameter]
        first = state["exp_avg"] / (1 - BETAS[0] ** state["step"])
        second = state["exp_avg_sq"] / (1 - BETAS[1] ** state["step"])
        update = first / (second.sqrt() + EPSILON) + group["weight_decay"] * parameter.float()
        scaled: torch.Tensor = -group["lr"] * update
        return scaled

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Torch would turn the float32 moments into the parameters' type; a continued run needs them as they were."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, values in state_dict["state"].items():
            parameter = parameters[number]
            self.state[parameter] = {
                name: value.to(parameter.device, copy=True) if isinstance(value, torch.Tensor) else value
                for name, value in values.items()
            }


def round_stochastically(values: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Float32 values in bfloat16, up or down with the probability that makes the mean right; other types: as usual.

    bfloat16 is the upper half of a float32, so a random 16-bit number is added to the lower half and the half dropped.
    """
    if dtype != torch.bfloat16:
        return values.to(dtype)
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=generator, device=bits.device, dtype=torch.int32)
    rounded = (bits + noise) & -65536
    return torch.where(values.isfinite(), rounded.view(torch.float32), values).to(dtype)


def _add_with_compensation(parameter: torch.Tensor, update: torch.Tensor, compensation: torch.Tensor) -> None:
    """parameter + compensation grows by the update, as exactly as two numbers of the parameter's type can say."""
    wanted = update + compensation.float()
    before = parameter.to(torch.float32, copy=True)
    parameter.copy_(before + wanted)
    compensation.copy_(wanted - (parameter.float() - before))
