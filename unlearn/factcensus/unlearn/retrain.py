"""Retraining without the people to forget: exact unlearning in the controlled world.

The model is trained again from its initial weights, in the same order, on the world's documents without those about
people with role ``forget``. All other settings come from the training record in the model's folder.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.models import load_model
from factcensus.unlearn.progress import Progress, ProgressFunction

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORGET_ROLES = ("forget",)


def retrain(
    model: PreTrainedModel, method: MethodConfig, state_path: Path | None, report: ProgressFunction
) -> list[dict[str, int | float]]:
    """Replace the weights of ``model`` by those trained without the people to forget; return the last step record.

    Args:
        model: A model loaded from a folder that ``factcensus world pretrain`` wrote.
        method: The method; ``retrain_world`` is the folder of the world.
        state_path: The retrained model is kept in the folder of this file, so that an interrupted run can resume.

    Raises:
        ConfigError: the model's folder has no training record, or the model was trained on another world.
    """
    # Imported here because other methods do not need pre-training.
    from factcensus.unlearn.world.pretrain import DESCRIPTION, pretrain
    from factcensus.unlearn.world.rows import read_description
    from factcensus.unlearn.world.settings import PretrainSettings

    assert method.retrain_world is not None
    source = Path(str(getattr(model, "name_or_path", "")))
    path = source / DESCRIPTION
    if not path.is_file():
        raise ConfigError(
            f"method {method.name!r}: {source} has no {DESCRIPTION}, so its training is unknown; the method works only "
            "on models that `factcensus world pretrain` wrote"
        )
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if json.loads(json.dumps(read_description(method.retrain_world))) != record["world"]:
        raise ConfigError(
            f"method {method.name!r}: {source} was trained on a different world than {method.retrain_world}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = (state_path.parent if state_path else Path(scratch)) / "retrained"
        pretrain(
            method.retrain_world,
            folder,
            PretrainSettings(**record["settings"]),
            record["seed"],
            exclude_roles=sorted({*record["exclude_roles"], *FORGET_ROLES}),
            progress=lambda each: report(Progress(f"unlearn {method.name}", each.done, each.total, each.detail)),
        )
        trained = load_model(str(folder), None, torch.float32, torch.device("cpu"))
        model.load_state_dict(trained.state_dict())
        summary = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["training"]
    return [
        {
            "step": int(summary["steps"]),
            "passes": 0.0,
            "learning_rate": float(record["settings"]["learning_rate"]),
            "loss_nats": float(summary["last_loss_nats"]),
            "forget_loss_nats": float("nan"),
            "retain_loss_nats": float("nan"),
            "gradient_norm": float("nan"),
            "lost_update_share": float("nan"),
        }
    ]
