"""Train a model from scratch on a world's corpus, and save it as a folder that ``from_pretrained`` loads.

Rows hold whole documents separated by an end-of-text token; attention covers the whole row. Parameters are float32,
also if the arithmetic is bfloat16. All random choices depend only on seed and step, so a training run that was killed
and resumed ends with the same bytes as an uninterrupted one (on one CPU thread). The output folder appears only when
the model is complete. Several processes (``accelerate launch``) share the rows of each step; each holds the whole
model.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow.parquet as pq
import torch

from factcensus.indexer.names import suggestion
from factcensus.indexer.system.files import explain_full_disk, new_folder, write_json
from factcensus.unlearn.errors import ConfigError, NumericsError
from factcensus.unlearn.models import load_tokenizer, save_model
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.stopping import check_stop, stop_on_sigterm
from factcensus.unlearn.training.gradients import arithmetic
from factcensus.unlearn.training.modes import dropout
from factcensus.unlearn.training.ranks import Ranks, current_ranks
from factcensus.unlearn.training.runtime import load_state, resolve_device, save_state, torch_threads
from factcensus.unlearn.training.schedule import rate_at
from factcensus.unlearn.world.order import ReadingOrder
from factcensus.unlearn.world.rows import Document, pad_rows, read_description, read_documents, read_facts
from factcensus.unlearn.world.sentences import REFUSAL
from factcensus.unlearn.world.settings import ROLES, Arrival, PretrainSettings, described
from factcensus.unlearn.world.shape import build_model
from factcensus.unlearn.world.tokenizer import build_tokenizer, save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DESCRIPTION = "pretraining.json"
#: The order table of a model, for counts as of a training step.
ORDER = "order.parquet"


def pretrain(
    world_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: PretrainSettings,
    seed: int,
    exclude_roles: Collection[str] = (),
    progress: ProgressFunction | None = None,
) -> Path:
    """Train a model on a world and save it with its tokenizer.

    Args:
        world_dir: A folder that ``write_world`` wrote.
        out: The folder of the model; during training, ``OUT.unfinished`` holds the state to resume from.
        settings: Sizes and training settings.
        seed: Seed of the initial weights and of the order of documents.
        exclude_roles: Groups of people (``forget``) whose documents are left out, for a model *retrained without*
            them. The vocabulary still covers the whole corpus, so their names are tokens that were never trained.
        progress: Called about a hundred times.

    Raises:
        ConfigError: ``out`` holds another model, or ``world_dir`` is not a world.
        InterruptedRunError: SIGTERM was received; the state is saved.
        DiskFullError: the disk is full.
    """
    folder, report = Path(out), progress or silent
    unknown = sorted(set(exclude_roles) - set(ROLES))
    if unknown:
        raise ConfigError(f"unknown role {unknown[0]!r}{suggestion(unknown[0], ROLES)}")
    world = read_description(world_dir)
    identity: dict[str, Any] = {
        "world": world,
        "settings": described(settings),
        "seed": seed,
        "exclude_roles": sorted(exclude_roles),
    }
    if folder.exists():
        _refuse_another_model(folder, identity)
        return folder
    unfinished = folder.with_name(folder.name + ".unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    ranks = current_ranks(cpu=settings.device == "cpu")
    with explain_full_disk(folder.parent, "it continues from the saved state"):
        with stop_on_sigterm(), torch_threads(settings.threads):
            tokenizer, documents = _documents(world_dir, settings, exclude_roles)
            tokens, order = _order(tokenizer, documents, settings, seed)
            check_stop()
            begun = time.process_time()
            model, summary = _train(tokens, order, tokenizer, identity, unfinished / "state.pt", report, ranks)
        summary |= {"cpu_seconds": round(time.process_time() - begun, 1), "documents": len(documents)}
        if ranks.is_first:
            with new_folder(folder) as partial:
                save_model(model.to("cpu"), partial)
                save_tokenizer(tokenizer, partial)
                pq.write_table(order.table([document.id for document in documents]), partial / ORDER)
                write_json(partial / DESCRIPTION, identity | {"training": summary})
            shutil.rmtree(unfinished)
        ranks.wait()
    return folder


def _refuse_another_model(folder: Path, identity: dict[str, Any]) -> None:
    path = folder / DESCRIPTION
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    there.pop("training", None)
    if there != json.loads(json.dumps(identity)):
        raise ConfigError(f"{folder} holds something other than this model and was not changed; give another --out")


def tokenizer_of(world_dir: str | os.PathLike[str], settings: PretrainSettings) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the settings, which opens every text with its end-of-text token, or one of whole words.

    The one of whole words covers the whole world, including phantoms.
    """
    if settings.tokenizer is not None:
        return load_tokenizer(settings.tokenizer, None, opening="end-of-text")
    facts = read_facts(world_dir)
    # Most objects occur in the texts, but in a small world some belong only to phantoms.
    return build_tokenizer(
        [document.text for document in read_documents(world_dir)] + [row["question"] for row in facts],
        (REFUSAL, *(str(row["object"]) for row in facts)),
    )


def _documents(
    world_dir: str | os.PathLike[str], settings: PretrainSettings, exclude_roles: Collection[str]
) -> tuple[PreTrainedTokenizerBase, list[Document]]:
    """Return the tokenizer and the training documents."""
    excluded = {row["subject"] for row in read_facts(world_dir) if row["role"] in exclude_roles}
    documents = read_documents(world_dir, excluded)
    if not documents:
        raise ConfigError(f"no document is left without the roles {sorted(exclude_roles)}")
    return tokenizer_of(world_dir, settings), documents


def _order(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], settings: PretrainSettings, seed: int
) -> tuple[list[list[int]], ReadingOrder]:
    """Return the token ids of all documents, and the order in which training reads them."""
    tokens = [list(ids) for ids in tokenizer([document.text for document in documents])["input_ids"]]
    arrivals: list[Arrival] = [document.arrival for document in documents]
    return tokens, ReadingOrder([len(ids) for ids in tokens], arrivals, settings, seed)


def reading_order(
    world_dir: str | os.PathLike[str], settings: PretrainSettings, seed: int
) -> tuple[PreTrainedTokenizerBase, ReadingOrder]:
    """Return the tokenizer and the reading order of a training run without starting it."""
    tokenizer, documents = _documents(world_dir, settings, ())
    return tokenizer, _order(tokenizer, documents, settings, seed)[1]


def _train(
    documents: Sequence[Sequence[int]],
    order: ReadingOrder,
    tokenizer: PreTrainedTokenizerBase,
    identity: dict[str, Any],
    state_path: Path,
    report: ProgressFunction,
    ranks: Ranks,
) -> tuple[Any, dict[str, Any]]:
    """Train the model; return it with a summary of its training."""
    settings = order.settings
    device = resolve_device(settings.device, ranks)
    end_id = cast("int", tokenizer.eos_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(order.seed)
        model: Any = build_model(len(tokenizer), settings, end_id)
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay, fused=True
    )
    steps = order.steps()
    state = load_state(state_path, device)
    start = 0
    if state is not None and state["identity"] == json.dumps(identity):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]

    def save(step: int) -> None:
        if not ranks.is_first:
            return
        save_state(
            {
                "identity": json.dumps(identity),
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            },
            state_path,
        )

    rows: list[list[int]] = []
    epoch = -1
    mean_loss = 0.0  # running mean for progress reports
    with stop_on_sigterm() as stop:
        for number in range(start, len(steps)):
            step = steps[number]
            if step.epoch != epoch:
                epoch, rows = step.epoch, order.rows(step.epoch)
            batch = rows[step.first_row : step.first_row + settings.batch_rows]
            texts = [[token for index in row for token in documents[index]] + [end_id] for row in batch]
            rate = rate_at(number, len(steps), settings.learning_rate, settings.warmup_share, "cosine")
            with dropout(model, order.seed, number, ranks.index) if settings.dropout else nullcontext():
                loss = _add_gradients(model, texts, end_id, settings, ranks)
            _update(model, optimizer, rate, settings.clip_norm)
            if not np.isfinite(loss):
                raise NumericsError(f"the loss is {loss} at step {number + 1}; lower the learning rate")
            mean_loss = loss if number == start else 0.98 * mean_loss + 0.02 * loss
            done = number + 1
            if done % max(1, len(steps) // 100) == 0 or done == len(steps):
                report(Progress("pretrain", done, len(steps), f"loss {mean_loss:.3f}"))
            stop.requested = ranks.any(stop.requested)
            stop.check(lambda done=done: save(done))  # type: ignore[misc]
            if done % settings.save_every_steps == 0:
                save(done)
    model.eval()
    tokens = settings.epochs * sum(order.lengths)
    return model, {"steps": len(steps), "tokens": tokens, "last_loss_nats": round(mean_loss, 4)}


def _add_gradients(
    model: Any, texts: Sequence[Sequence[int]], pad_id: int, settings: PretrainSettings, ranks: Ranks
) -> float:
    """Add the gradient of the mean loss over all tokens of these rows; return this loss, in nats."""
    device = next(model.parameters()).device
    predicted = sum(len(text) - 1 for text in texts)
    mine = ranks.share(texts)
    loss: Any = torch.zeros((), device=device)
    if mine:
        ids_array, text_array = pad_rows(mine, pad_id)
        ids, text = torch.from_numpy(ids_array).to(device), torch.from_numpy(text_array).to(device)
        # Padding is at the end, so with causal attention no text token attends to it, and no mask is needed.
        with arithmetic(device, settings.dtype == "bfloat16-autocast"):
            logits = model(input_ids=ids, use_cache=False).logits  # (B, L, V)
        labels = ids[:, 1:].masked_fill(text[:, 1:] == 0, -100)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels.flatten(), ignore_index=-100
        )
        share = sum(len(each) - 1 for each in mine) / predicted
        if share < 1:  # the mean over all processes
            loss = loss * share
        loss.backward()
    ranks.sum_gradients(model.parameters())
    return ranks.sum(float(loss.detach()))[0]


def _update(model: Any, optimizer: torch.optim.Optimizer, rate: float, clip_norm: float) -> None:
    """Perform one update with the gradients of the step."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
