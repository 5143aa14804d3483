"""Suffix sorting with PyTorch on a CUDA device; the result is identical to :mod:`suffix_array` on the CPU.

This uses prefix doubling over tied suffixes on whole arrays. The first sort uses as many tokens as fit in 63 bits. Each
following sort uses (group, group of the following suffix) for all suffixes that still share a group.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import InputError, MissingExtraError

#: Device memory per token: ranks 8, positions 8, sort keys 8, and results and scratch of the sort 24.
BYTES_PER_TOKEN = 48
#: Below this number of tokens, starting a device takes longer than sorting on the CPU.
LEAST_TOKENS = 1 << 24


def choose_device(device: str, tokens: int) -> str:
    """Return the device that sorts a shard: the given one, or for ``auto`` a CUDA device if faster and large enough.

    Raises:
        InputError: The given device cannot be used.
        MissingExtraError: The device needs PyTorch, which is not installed.
    """
    if device == "cpu" or (device == "auto" and (tokens < LEAST_TOKENS or not Path("/dev/nvidiactl").exists())):
        return "cpu"
    if find_spec("torch") is None:
        if device == "auto":
            return "cpu"
        raise MissingExtraError("torch", "gpu")
    import torch

    if device == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        free, _ = torch.cuda.mem_get_info()
        return "cuda" if free >= BYTES_PER_TOKEN * tokens else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the device {device!r} cannot be used ({error}); use --device cpu") from error
    return device


def sort_suffixes_on(
    device: str,
    ranks: npt.NDArray[np.uint32],
    alphabet: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.uint32]:
    """Sort suffixes on a PyTorch device; see :func:`suffix_array.sort_suffixes`."""
    import torch

    n = len(ranks)
    bits = max(1, alphabet.bit_length())
    per_key = max(1, 63 // bits)
    tokens = torch.from_numpy(ranks.view(np.int32)).to(device)
    keys = torch.zeros(n, dtype=torch.int64, device=device)
    for i in range(per_key):
        keys <<= bits
        if i < n:
            keys[: n - i] |= tokens[i:].long() + 1  # 0 is used beyond the end
    del tokens
    keys, positions = torch.sort(keys)
    places = torch.arange(n, device=device)
    rank = torch.empty(n, dtype=torch.int64, device=device)
    groups, tied = _groups(torch, keys, places)
    rank[positions] = groups
    depth = per_key
    while True:
        places, groups = places[tied], groups[tied]
        if progress:
            progress(n - len(places), n)
        if not len(places):
            return positions.to(torch.int32).cpu().numpy().view(np.uint32)
        moving = positions[places]
        behind = moving + depth
        following = torch.where(behind < n, rank[behind.clamp(max=n - 1)] + 1, 0)
        keys, order = torch.sort(groups << 32 | following)
        positions[places] = moving = moving[order]
        groups, tied = _groups(torch, keys, places)
        rank[moving] = groups
        depth *= 2


def _groups(torch: Any, keys: Any, places: Any) -> tuple[Any, Any]:
    """Return for each sorted key the first place with an equal key, and whether another key is equal."""
    first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    first[1:] = keys[1:] != keys[:-1]
    groups = torch.cummax(torch.where(first, places, 0), 0).values
    tied = ~first
    tied[:-1] |= ~first[1:]
    return groups, tied
