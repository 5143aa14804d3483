"""AdamW in float32, and three variants that use less memory.

Two variants have bfloat16 parameters and one has 8-bit moments. A bfloat16 number near 0.02 changes in steps of 1e-4,
so rounding to nearest always discards small updates (:mod:`factcensus.unlearn.training.lost_updates`). *Stochastic
rounding* rounds up or down at random so that the mean is correct. *Kahan summation* keeps the rounding error in a
second bfloat16 number and adds it in the next step. Both compute in float32 and keep float32 moments. They need 12 and
14 bytes per parameter including the gradient, instead of 16 for float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from factcensus.unlearn.config.choices import OPTIMIZERS, OptimizerKind
from factcensus.unlearn.errors import ConfigError

BETAS, EPSILON = (0.9, 0.999), 1e-8


def make_optimizer(
    kind: OptimizerKind, parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float, seed: int
) -> torch.optim.Optimizer:
    """Return an optimiser over these parameters.

    Args:
        kind: ``adamw``: AdamW of torch. ``adamw_stochastic``, ``adamw_kahan``: :class:`RoundedAdamW`. ``adamw_8bit``:
            8-bit moments of bitsandbytes.
        seed: Seed of stochastic rounding.

    Raises:
        ConfigError: ``kind`` is ``adamw_8bit`` and bitsandbytes is not installed.
    """
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, eps=EPSILON, weight_decay=weight_decay)
    if kind == "adamw_8bit":
        if find_spec("bitsandbytes") is None:
            raise ConfigError(
                "training.optimizer is 'adamw_8bit', but bitsandbytes is not installed; run `pip install bitsandbytes` "
                f"or use another optimiser: {', '.join(other for other in OPTIMIZERS if other != kind)}"
            )
        made: torch.optim.Optimizer = import_module("bitsandbytes").optim.AdamW8bit(
            list(parameters), lr=rate, betas=BETAS, eps=EPSILON, weight_decay=weight_decay
        )
        return made
    return RoundedAdamW(parameters, rate, weight_decay, kahan=kind == "adamw_kahan", seed=seed)


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019) in float32 arithmetic over parameters of a narrower type.

    The state of a parameter is ``step``, ``exp_avg`` and ``exp_avg_sq`` in float32. With Kahan summation,
    ``compensation`` has the parameter's type; the sum of parameter and compensation is the exact value.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float, *, kahan: bool, seed: int
    ) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": weight_decay})
        self.kahan, self._seed = kahan, seed

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Perform one update. Random rounding depends only on seed and step, so a resumed run rounds the same way."""
        assert closure is None, "this optimiser evaluates gradients only once"
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
        """Return the exact update of the last step, float32, with weight decay from the current value."""
        state = self.state[parameter]
        first = state["exp_avg"] / (1 - BETAS[0] ** state["step"])
        second = state["exp_avg_sq"] / (1 - BETAS[1] ** state["step"])
        update = first / (second.sqrt() + EPSILON) + group["weight_decay"] * parameter.float()
        scaled: torch.Tensor = -group["lr"] * update
        return scaled

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state without casting float32 moments to the parameters' type, as torch would."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, values in state_dict["state"].items():
            parameter = parameters[number]
            self.state[parameter] = {
                name: value.to(parameter.device, copy=True) if isinstance(value, torch.Tensor) else value
                for name, value in values.items()
            }


def round_stochastically(values: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Round float32 values to bfloat16 at random such that the mean is exact; other types are rounded to nearest.

    bfloat16 is the upper half of a float32. A random 16-bit number is added to the lower half, which is then dropped.
    """
    if dtype != torch.bfloat16:
        return values.to(dtype)
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=generator, device=bits.device, dtype=torch.int32)
    rounded = (bits + noise) & -65536
    return torch.where(values.isfinite(), rounded.view(torch.float32), values).to(dtype)


def _add_with_compensation(parameter: torch.Tensor, update: torch.Tensor, compensation: torch.Tensor) -> None:
    """Add the update to parameter + compensation as exactly as two numbers of the parameter's type allow."""
    wanted = update + compensation.float()
    before = parameter.to(torch.float32, copy=True)
    parameter.copy_(before + wanted)
    compensation.copy_(wanted - (parameter.float() - before))
