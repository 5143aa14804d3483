"""The losses and settings of the published recipe: equal to losses over whole padded batches, written out here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_methods import MATERIAL, V, chosen, same_bytes, train

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import ConfigError, InterruptedRunError
from factcensus.unlearn.models import load_tokenizer
from factcensus.unlearn.opening import open_with_end_of_text
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.training.adapters import Adapter
from factcensus.unlearn.training.examples import Example, collate, encode
from factcensus.unlearn.training.forget_set import OriginalScores, forget_set
from factcensus.unlearn.training.gradients import Draw, Gradients, arithmetic
from factcensus.unlearn.training.material import whole_text
from factcensus.unlearn.training.modes import dropout
from factcensus.unlearn.training.references import AdapterOffReference
from factcensus.unlearn.training.scoring import answer_logits
from tiny import tiny_model

END = 0
ENDED = dataclasses.replace(MATERIAL, end_id=END)
#: Questions and answers of different lengths, so that facts and tokens weigh differently.
RETAIN = tuple(
    Example(f"r{n}", (0, n, n + 1, 7, 9)[: 2 + n % 4], (n + 2, n + 3, n + 4)[: 1 + n % 3]) for n in range(20, 33)
)
MATERIAL_OF_LENGTHS = dataclasses.replace(ENDED, retain=RETAIN)
FORGOTTEN, RETAINED = [1, 2, 4, 8], [0, 3, 5, 6]
LENGTH = 14


def published_batch(
    examples: Sequence[Example], *, masks_prompt: bool, ends: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, attention and labels as the published code pads them: all to one length, with the end-of-text."""
    ids = torch.full((len(examples), LENGTH), END)
    attention = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, example in enumerate(examples):
        text = torch.tensor(example.prompt_ids + example.answer_ids)
        ids[row, : len(text)], attention[row, : len(text)], labels[row, : len(text)] = text, 1, text
        if ends:
            labels[row, len(text)] = END
        if masks_prompt:
            labels[row, : len(example.prompt_ids)] = -100
    return ids, attention, labels


def losses(model: Any, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of all positions, (B, L - 1), and which of them have a label."""
    ids, attention, labels = batch
    logits = model(input_ids=ids, attention_mask=attention).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
    return each, labels[:, 1:] != -100


def published(name: str, model: Any) -> torch.Tensor:
    """Return 0.5 forget + retain as the released code computes them."""
    answers = MATERIAL_OF_LENGTHS.answers if name != "paper_idk" else MATERIAL_OF_LENGTHS.of(chosen(name)).refusals
    each, labelled = losses(
        model, published_batch([answers[index] for index in FORGOTTEN], masks_prompt=True, ends=False)
    )
    if name == "paper_simnpo":
        mean = each.sum(1) / labelled.sum(1)
        forget = -(2 / 0.1) * torch.nn.functional.logsigmoid(0.1 * mean).mean()
    else:
        forget = each.sum() / labelled.sum() * (1 if name == "paper_idk" else -1)
    if name == "paper_ga":
        return 0.5 * forget
    each, labelled = losses(
        model, published_batch([RETAIN[index] for index in RETAINED], masks_prompt=False, ends=True)
    )
    return 0.5 * forget + each.sum() / labelled.sum()


@pytest.mark.parametrize("name", ["paper_ga", "paper_grad_diff", "paper_simnpo", "paper_idk"])
@pytest.mark.parametrize("micro_batch", [None, 1, 3])
def test_loss_and_gradient_equal_the_published_ones(name: str, micro_batch: int | None) -> None:
    theirs, ours = tiny_model("gpt2", V), tiny_model("gpt2", V)
    expected = published(name, theirs)
    expected.backward()
    method = chosen(name)
    material = MATERIAL_OF_LENGTHS.of(method)
    forget = forget_set(method, material, OriginalScores(material, ours, 0), seed=0)
    gradients = Gradients(ours, forget, material.retain, method, pad_id=3, micro_batch=micro_batch)
    found, _ = gradients.add_forget([Draw(index, 0) for index in FORGOTTEN], None)
    held = gradients.add_retain(RETAINED, method.alpha) if method.holds else 0.0
    assert method.gamma * found + held == pytest.approx(float(expected.detach()), rel=1e-6)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_whole_text_counts_every_token_but_the_first() -> None:
    assert whole_text(Example("a", (0, 5, 6), (7,))) == Example("a", (0,), (5, 6, 7))
    method = chosen("paper_grad_diff")
    ended = dataclasses.replace(ENDED, retain=(Example("a", (9, 5, 6), (7,)),)).of(method)
    assert ended.retain == (Example("a", (9,), (5, 6, 7, END)),)


@pytest.mark.parametrize(
    ("ends", "answer", "refusal"),
    [((), (3,), (40, 41)), (("refusal",), (3,), (40, 41, 0)), (("forget",), (3, 0), (40, 41))],
)
def test_only_the_chosen_texts_end(ends: tuple[str, ...], answer: tuple[int, ...], refusal: tuple[int, ...]) -> None:
    first = Example("f", (0, 1), (3,))
    material = dataclasses.replace(
        ENDED, answers=(first,), given=((first, first),), refusals=(Example("f", (0, 1), (40, 41, 0)),)
    ).of(chosen("jensun", end_after=ends))
    assert (material.answers[0].answer_ids, material.refusals[0].answer_ids) == (answer, refusal)
    assert [each.answer_ids for each in material.given[0]] == [answer, answer]
    assert material.retain == MATERIAL.retain


def test_defaults_change_no_example() -> None:
    assert ENDED.of(chosen("npo")) == ENDED


def test_tokens_of_the_refusal_are_repeated_without_its_end() -> None:
    for ends in (("refusal",), ()):
        method = chosen("jensun", end_after=ends)
        material = ENDED.of(method)
        made = forget_set(method, material, OriginalScores(material, tiny_model("llama", V), 0), seed=0)
        assert made.replacements[0] == (40, 41)


def test_a_refusal_of_a_tokenizer_without_an_end_keeps_its_last_token() -> None:
    refusals = tuple(Example("r", (5, 6), (40, 41)) for _ in ENDED.refusals)
    material = dataclasses.replace(ENDED, end_id=None, refusals=refusals)
    method = chosen("jensun")
    made = forget_set(method, material.of(method), OriginalScores(material, tiny_model("llama", V), 0), seed=0)
    assert made.replacements[0] == (40, 41)


def test_an_end_needs_a_token() -> None:
    with pytest.raises(ConfigError, match="end_after needs an end-of-text token"):
        MATERIAL.of(chosen("paper_idk"))


def test_settings_at_their_defaults_keep_the_digest_of_earlier_versions() -> None:
    settings = chosen("simnpo").fingerprint()
    assert not {"retain_over", "end_after", "dropout", "batch"} & set(settings)
    assert {"retain_over", "end_after", "dropout", "batch"} <= set(chosen("paper_simnpo").fingerprint())
    smallest: dict[str, Any] = {"model": "m", "facts": "f.csv", "out": "o", "methods": ["simnpo"]}
    assert "opening" not in json.dumps(check_config(smallest)._deciding())
    assert check_config({**smallest, "opening": "end-of-text"}).fingerprint() != check_config(smallest).fingerprint()


def test_a_method_can_have_its_own_batch_size() -> None:
    config = check_config({"model": "m", "facts": "f.csv", "out": "o", "methods": ["paper_ga", "simnpo"]})
    sizes = [(each.batch_forget, each.batch_retain) for each in map(config.training_of, config.methods)]
    assert sizes == [(4, 4), (8, 8)]


# Dropout -------------------------------------------------------------------------------------------------------------


def with_dropout(**settings: Any) -> MethodConfig:
    return chosen("grad_diff", dropout=True, **settings)


def test_dropout_changes_the_update_and_ends_with_the_training() -> None:
    model, _ = train(with_dropout(), kind="gpt2")
    assert not any(module.training for module in model.modules())
    assert not same_bytes(model, train(chosen("grad_diff"), kind="gpt2")[0])
    assert same_bytes(model, train(with_dropout(), kind="gpt2")[0])


def test_dropout_leaves_the_random_state_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model = tiny_model("gpt2", V)
    torch.random.set_rng_state(before)
    with dropout(model, 0, 1, 0):
        assert model.training
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_resumed_training_draws_the_same_masks(tmp_path: Path) -> None:
    whole, rows = train(with_dropout(), kind="gpt2", passes=2)

    def stop(step: Progress) -> None:
        if step.done == 2:
            raise InterruptedRunError("stop")

    with pytest.raises(InterruptedRunError):
        train(with_dropout(), kind="gpt2", passes=2, state=tmp_path / "state", progress=stop, save_every_steps=1)
    resumed, again = train(with_dropout(), kind="gpt2", passes=2, state=tmp_path / "state", save_every_steps=1)
    assert again == rows
    assert same_bytes(whole, resumed)


def test_recomputed_activations_have_the_same_masks() -> None:
    """Checkpointed layers keep their dropout and stay in their mode between the steps."""
    plain, _ = train(with_dropout(), kind="gpt2", passes=2)
    recomputed, _ = train(with_dropout(), kind="gpt2", passes=2, gradient_checkpointing=True)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, recomputed.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_the_adapter_is_switched_off_without_dropout() -> None:
    model = tiny_model("gpt2", V)
    batch = collate(MATERIAL.retain[:4], 0)
    expected = answer_logits(model, batch).detach()
    adapter = Adapter(model, with_dropout(adapter={"rank": 2}).adapter, 0)
    reference = AdapterOffReference(model, adapter, None, lambda: arithmetic(torch.device("cpu"), False))
    with dropout(model, 0, 0, 0):
        assert torch.equal(reference(range(4), batch), expected)
        assert model.training


# The end-of-text token before a text ---------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["plain", "byte-level"])
def unopened(request: pytest.FixtureRequest) -> Any:
    """Return a tokenizer that puts nothing before a text, with or without a post-processor of its own."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import ByteLevel
    from transformers import PreTrainedTokenizerFast

    words = ("<|endoftext|>", "<unk>", "Ada", "likes", "tea", "Q:", "A:")
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    if request.param:
        backend.post_processor = ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", unk_token="<unk>")


def test_end_of_text_opens_plain_prompts_and_templates(unopened: Any) -> None:
    assert encode(unopened, "Ada likes", "tea") == Example("", (2, 3), (4,))
    open_with_end_of_text(unopened, "model")
    for _ in range(2):
        assert encode(unopened, "Ada likes", "tea", end=True) == Example("", (0, 2, 3), (4, 0))
        assert encode(unopened, "Ada likes", "tea", "Q: {prompt} A: {answer}") == Example("", (0, 5, 2, 3, 6), (4,))
        open_with_end_of_text(unopened, "model")  # the second time it changes nothing


def test_opening_reaches_the_tokenizer_of_a_model(model_folder: Path, unopened: Any, tmp_path: Path) -> None:
    unopened.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path), None)("tea")["input_ids"] == [4]
    assert load_tokenizer(str(tmp_path), None, opening="end-of-text")("tea")["input_ids"] == [0, 4]
    same = load_tokenizer(str(model_folder), None, opening="end-of-text")
    assert same("a")["input_ids"] == load_tokenizer(str(model_folder), None)("a")["input_ids"]


def test_a_tokenizer_with_another_opening_is_refused(model_folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer: Any = load_tokenizer(str(model_folder), None)
    other = tokenizer.convert_ids_to_tokens([5])[0]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[other, "$A"], pair=None, special_tokens=[(other, 5)]
    )
    with pytest.raises(ConfigError, match="remove opening"):
        open_with_end_of_text(tokenizer, "model")
