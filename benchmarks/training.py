"""Our training loop compared with a plain `transformers.Trainer` on the same task: GradDiff, same model and data.

    python -m benchmarks.training --compile             # small, on this CPU; --compile needs a C++ compiler there
    python -m benchmarks.training --size gpt2 --device cuda --compile --dtype bfloat16-autocast

Both start from the same weights and train on the same token ids, batch size and number of steps with AdamW. Answers
have equal length, so both losses are the same number; this is checked before anything is timed. Rounds are paired. The
Trainer does what most people write: it pads each batch, runs two forward passes over prompt and answer, computes logits
at every position, and uses cross entropy with -100 outside of the answer. Peak memory is measured in a separate process
for each.

The first steps of each training are excluded, because one-time costs (above all compilation) would be divided by the
few steps of a benchmark. They are reported separately, for the very first training, with an empty cache of compiled
code.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import Cost, Report
from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.config.run_config import TrainingConfig
from factcensus.unlearn.planning.memory import PeakMemory
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.forget_set import ForgetSet
from factcensus.unlearn.training.train import Recipe, unlearn

#: GPT-2 shapes: width, layers, heads, vocabulary.
SIZES = {"small": (128, 4, 4, 50_257), "gpt2": (768, 12, 12, 50_257)}
ANSWER_TOKENS, RATE = 4, 1e-5
#: Number of steps excluded at the start of a training.
FIRST_STEPS = 2


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    if arguments.steps <= FIRST_STEPS:
        raise SystemExit(f"--steps must be more than the {FIRST_STEPS} excluded first steps, got {arguments.steps}")
    if arguments.compile and arguments.device == "cpu" and not (shutil.which("c++") or shutil.which("g++")):
        raise SystemExit("--compile on a CPU needs a C++ compiler; install c++ or g++")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    work = Work(arguments)
    if arguments.memory_of:
        peak = PeakMemory(work.device)
        work.runs()[arguments.memory_of]()
        print(json.dumps({"peak_bytes": peak.read_bytes()}))
        return
    report = Report(arguments.rounds)
    report.title("Training: GradDiff")
    report.note(
        f"{work.parameters / 1e6:.1f} million parameters (GPT-2 shapes, random), {arguments.steps} steps of "
        f"{arguments.batch} forget and {arguments.batch} retain facts, {work.tokens / work.facts:.1f} tokens per fact, "
        f"{work.device}, {arguments.dtype}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{arguments.rounds} paired rounds."
    )
    work.check()
    runs = work.runs()
    with tempfile.TemporaryDirectory() as kept:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = kept
        first = {name: work.first_steps(run) for name, run in runs.items()}
        steps = arguments.steps - FIRST_STEPS
        costs = report.compare("One step", runs, per=steps, warm=False)
    # On a busy CPU, processor seconds are the reliable figure; with a GPU the processor only waits.
    kind, unit = ("cpu_s", "CPU s") if work.device.type == "cpu" else ("wall_s", "s")
    seconds = {name: statistics.median(getattr(cost, kind) for cost in each) for name, each in costs.items()}
    rows = [
        [
            name,
            f"{2 * work.batch * steps / seconds[name]:,.1f}",
            f"{work.tokens / work.facts * 2 * work.batch * steps / seconds[name]:,.0f}",
            f"{first[name].wall_s:,.1f} s ({first[name].cpu_s:,.1f} CPU s)",
            f"{work.peak_bytes(name, arguments) / 2**20:,.0f}",
        ]
        for name in runs
    ]
    report.table(["", f"facts/{unit}", f"tokens/{unit}", f"first {FIRST_STEPS} steps", "peak MiB"], rows)
    if arguments.markdown:
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write("\n".join(report.lines))


class Work:
    """The model, the data, and the settings of the training."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        width, layers, heads, vocabulary = SIZES[arguments.size]
        torch.manual_seed(0)
        self.device = torch.device(arguments.device)
        config = GPT2Config(
            vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
        )
        self.model: Any = GPT2LMHeadModel(config)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.batch, self.steps, self.dtype = arguments.batch, arguments.steps, arguments.dtype
        self.compiled = arguments.compile
        number = self.batch * self.steps
        self.forget = [_example(index, vocabulary) for index in range(number)]
        self.retain = [_example(number + index, vocabulary) for index in range(number)]
        self.facts = 2 * number
        self.tokens = sum(len(example) for example in (*self.forget, *self.retain))
        self.losses: list[float] = []
        self._marks: list[Cost] = []

    def runs(self) -> dict[str, Any]:
        """Return the runs to compare, ours first. Each trains a copy of the same model and returns the cost of its
        later steps.
        """
        runs: dict[str, Any] = {"factcensus": self.ours, "transformers.Trainer": self.trainer}
        if self.compiled:
            runs |= {
                "factcensus, compiled": self.ours_compiled,
                "transformers.Trainer, compiled": self.trainer_compiled,
            }
        return runs

    def first_steps(self, run: Callable[[], Cost]) -> Cost:
        """Return the cost of the first steps of a training, from its start."""
        begun = self._now()
        run()
        return self._difference(begun, self._marks[FIRST_STEPS - 1])

    def ours(self, compiled: bool = False) -> Cost:
        """Run our loop."""
        model = copy.deepcopy(self.model).to(self.device)
        if compiled:
            torch.compiler.reset()  # the compiler treats a copy of the model as another model
            model.base_model.compile(dynamic=True)
        number = len(self.forget)
        self._marks = []
        rows = unlearn(
            model,
            ForgetSet(
                examples=tuple(self.forget),
                weights=torch.ones(number),
                margin=torch.zeros(number),
                reference_nll=torch.full((number,), math.nan),
            ),
            self.retain,
            Recipe(
                MethodConfig.model_validate("grad_diff"),
                TrainingConfig(
                    batch_forget=self.batch,
                    batch_retain=self.batch,
                    learning_rate=RATE,
                    warmup_share=0.0,
                    clip_norm=1.0,
                ),
                RATE,
                1.0,
                seed=0,
                pad_id=0,
                autocast=self.dtype == "bfloat16-autocast",
            ),
            progress=lambda _: self._mark(),
        )
        self.losses = [row["loss_nats"] for row in rows]
        return self._later_steps()

    def ours_compiled(self) -> Cost:
        """Run our loop with a compiled decoder."""
        return self.ours(compiled=True)

    def trainer(self, compiled: bool = False) -> Cost:
        """Run the Trainer."""
        from transformers import TrainingArguments

        if compiled:
            torch.compiler.reset()
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(
                output_dir=folder,
                max_steps=self.steps,
                per_device_train_batch_size=self.batch,
                learning_rate=RATE,
                lr_scheduler_type="constant",
                max_grad_norm=1.0,
                optim="adamw_torch",
                save_strategy="no",
                logging_steps=1,
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                use_cpu=self.device.type == "cpu",
                bf16=self.dtype == "bfloat16-autocast",
                torch_compile=compiled,
                dataloader_pin_memory=False,
                seed=0,
            )
            trainer = _grad_diff_trainer()(
                model=copy.deepcopy(self.model),
                args=settings,
                train_dataset=list(zip(self.forget, self.retain, strict=True)),
                data_collator=_collate,
            )
            self.losses, self._marks = [], []

            def log(logs: dict[str, float], *_: Any) -> None:
                if "loss" in logs:
                    self._mark()
                    self.losses.append(logs["loss"])

            trainer.log = log
            trainer.train()
        return self._later_steps()

    def trainer_compiled(self) -> Cost:
        """Run the Trainer with ``torch_compile``."""
        return self.trainer(compiled=True)

    def _now(self) -> Cost:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return Cost(time.perf_counter(), time.process_time())

    def _mark(self) -> None:
        self._marks.append(self._now())

    def _later_steps(self) -> Cost:
        if len(self._marks) <= FIRST_STEPS:  # the check trains one step
            return Cost(0, 0)
        return self._difference(self._marks[FIRST_STEPS - 1], self._marks[-1])

    @staticmethod
    def _difference(begun: Cost, ended: Cost) -> Cost:
        return Cost(ended.wall_s - begun.wall_s, ended.cpu_s - begun.cpu_s)

    def check(self) -> None:
        """Check that both train alike: their first losses over all facts have the same mean, whatever the order of
        facts.
        """
        batch, steps = self.batch, self.steps
        self.batch, self.steps = len(self.forget), 1
        try:
            self.ours()
            ours = self.losses[0]
            self.trainer()
            theirs = self.losses[0]
        finally:
            self.batch, self.steps = batch, steps
        if abs(ours - theirs) > (0.05 if self.dtype != "float32" else 1e-3):
            raise SystemExit(f"the two trainings differ: first losses {ours} and {theirs}")

    def peak_bytes(self, name: str, arguments: argparse.Namespace) -> int:
        """Measure the peak memory of one run in a separate process."""
        command = [
            sys.executable,
            "-m",
            "benchmarks.training",
            "--size",
            arguments.size,
            "--device",
            arguments.device,
            "--dtype",
            arguments.dtype,
            "--batch",
            str(arguments.batch),
            "--steps",
            str(arguments.steps),
            "--memory-of",
            name,
            *(["--compile"] if arguments.compile else []),
            *(["--threads", str(arguments.threads)] if arguments.threads else []),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return int(json.loads(done.stdout.strip().splitlines()[-1])["peak_bytes"])


def _example(index: int, vocabulary: int) -> Example:
    """Return a random prompt of 8 to 24 tokens and a random answer of 4."""
    generator = torch.Generator().manual_seed(index)
    length = int(torch.randint(8, 25, (1,), generator=generator))
    ids = torch.randint(0, vocabulary, (length + ANSWER_TOKENS,), generator=generator).tolist()
    return Example(str(index), tuple(ids[:length]), tuple(ids[length:]))


def _grad_diff_trainer() -> Any:
    from transformers import Trainer

    class GradDiffTrainer(Trainer):
        """A Trainer with the loss -loss(forget) + loss(retain), each the model's own masked cross entropy."""

        model_accepts_loss_kwargs = False

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            forget, retain = model(**inputs["forget"]), model(**inputs["retain"])
            loss = retain.loss - forget.loss
            return (loss, retain) if return_outputs else loss

    return GradDiffTrainer


def _collate(pairs: list[tuple[Example, Example]]) -> dict[str, dict[str, torch.Tensor]]:
    return {"forget": _padded([pair[0] for pair in pairs]), "retain": _padded([pair[1] for pair in pairs])}


def _padded(examples: list[Example]) -> dict[str, torch.Tensor]:
    length = max(map(len, examples))
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(examples):
        text = torch.tensor(example.prompt_ids + example.answer_ids)
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
        labels[row, len(example.prompt_ids) : len(text)] = text[len(example.prompt_ids) :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small", help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16-autocast"), default="float32")
    parser.add_argument("--steps", type=int, default=8, help="steps of one training (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="facts of each kind per step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--compile", action="store_true", help="also run both with torch.compile")
    parser.add_argument("--markdown", metavar="FILE", help="also write the tables to FILE")
    parser.add_argument("--memory-of", metavar="NAME", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
