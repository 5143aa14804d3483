"""Encoding: labels only on the answer, errors if that is impossible, and padding without effect."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from factcensus.unlearn.errors import ConfigError, ExampleError
from factcensus.unlearn.training.examples import Example, collate, encode
from factcensus.unlearn.training.scoring import answer_logits, mean_nll_of, token_log_probabilities
from tiny import tiny_model

VOCABULARY = 50
make_tokenizer: Any = PreTrainedTokenizerFast
EXAMPLES = st.lists(
    st.tuples(
        st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9),
        st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5),
    ).map(lambda pair: Example("", tuple(pair[0]), tuple(pair[1]))),
    min_size=1,
    max_size=6,
)
MODELS = {kind: tiny_model(kind, VOCABULARY) for kind in ("llama", "gpt2")}


def merging_tokenizer() -> Any:
    """Return a tokenizer that splits only at semicolons, so a prompt and its answer are one token."""
    unknown, end, *rest = "<unk>", "<end>", "Who?", "Paris", "Who? Paris"
    words = {word: index for index, word in enumerate([unknown, end, *rest])}
    core = Tokenizer(WordLevel(words, unk_token=unknown))
    core.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(";")
    return make_tokenizer(tokenizer_object=core, unk_token=unknown, eos_token=end)


def losses(model: Any, examples: list[Example], pad_id: int = 0, side: Any = "right") -> torch.Tensor:
    with torch.no_grad():
        batch = collate(examples, pad_id, side)
        return -token_log_probabilities(answer_logits(model, batch), batch).sum(dim=1) / batch.answer_mask.sum(dim=1)


def test_only_the_answer_is_labelled(tokenizer: Any) -> None:
    example = encode(tokenizer, "Where did Hanna Keller study?", "Carrow Academy")
    assert tokenizer.convert_ids_to_tokens(list(example.answer_ids)) == ["▁Carrow", "▁Academy"]
    assert example.prompt_ids[0] == tokenizer.bos_token_id
    whole = tokenizer("Where did Hanna Keller study? Carrow Academy")["input_ids"]
    assert [*example.prompt_ids, *example.answer_ids] == whole


def test_end_appends_the_end_of_text_token(tokenizer: Any) -> None:
    example = encode(tokenizer, "Where?", "Calmora", end=True)
    assert example.answer_ids[-1] == tokenizer.eos_token_id
    assert len(example.answer_ids) == 2


def test_merged_answer_is_an_error_that_names_the_fact() -> None:
    with pytest.raises(ExampleError, match=r"fact 'f7'.*merges"):
        encode(merging_tokenizer(), "Who?", "Paris", name="f7")


@pytest.mark.parametrize(("prompt", "answer"), [("Where?", "  "), ("", "Calmora")])
def test_an_empty_prompt_or_answer_is_an_error(tokenizer: Any, prompt: str, answer: str) -> None:
    with pytest.raises(ExampleError, match=r"fact 'f7'.*empty"):
        encode(tokenizer, prompt, answer, name="f7")


def test_answer_with_unknown_tokens_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(ExampleError, match=r"'f7'.*does not know"):
        encode(tokenizer, "Where was Hanna born?", "Samarkand", name="f7")


def test_errors_show_only_the_beginning_of_a_long_answer(tokenizer: Any) -> None:
    with pytest.raises(ExampleError, match=r"'f7'.*remove the fact") as error:
        encode(tokenizer, "Where was Hanna born?", "Samarkand " * 1000, name="f7")
    assert len(str(error.value)) < 400


def test_closing_special_tokens_are_not_part_of_the_answer(tokenizer: Any) -> None:
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    closing = make_tokenizer(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        eos_token=end[0],
        unk_token=tokenizer.unk_token,
    )
    closing.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", special_tokens=[end]
    )
    example = encode(closing, "Where was Hanna born?", "Calmora")
    assert len(example.answer_ids) == 1
    assert closing("a")["input_ids"][-1] == end[1]  # this tokenizer appends a token to texts


def test_chat_template_wraps_only_the_prompt(tokenizer: Any) -> None:
    chatting = make_tokenizer(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        eos_token=tokenizer.eos_token,
        unk_token=tokenizer.unk_token,
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %} {{ eos_token }}{% endif %}",
    )
    example = encode(chatting, "Where was Hanna born?", "Calmora", "chat")
    assert example.prompt_ids[-1] == tokenizer.eos_token_id
    assert chatting.convert_ids_to_tokens(list(example.answer_ids)) == ["▁Calmora"]


def test_unknown_and_missing_templates_are_errors(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        encode(tokenizer, "Where?", "Calmora", "chat")
    with pytest.raises(ConfigError, match="plain, chat"):
        encode(tokenizer, "Where?", "Calmora", "alpaca")


@pytest.mark.parametrize("kind", sorted(MODELS))
@given(EXAMPLES, st.integers(0, VOCABULARY - 1), st.sampled_from(["left", "right"]))
@settings(max_examples=40, deadline=None)
def test_padding_and_other_examples_never_change_a_loss(
    kind: str, examples: list[Example], pad_id: int, side: str
) -> None:
    alone = torch.cat([losses(MODELS[kind], [example]) for example in examples])
    together = losses(MODELS[kind], examples, pad_id, side)
    assert torch.allclose(alone, together, atol=1e-6, rtol=1e-6)


@given(EXAMPLES, st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_batch_size_never_changes_a_mean_loss(examples: list[Example], batch_size: int) -> None:
    cpu = torch.device("cpu")
    found = mean_nll_of(MODELS["llama"], examples, 0, batch_size, cpu)
    alone = torch.cat([losses(MODELS["llama"], [example]) for example in examples])
    assert torch.allclose(found, alone, atol=1e-6, rtol=1e-6)


def test_a_padding_id_inside_the_prompt_is_text() -> None:
    batch = collate([Example("", (3, 0, 5), (7,)), Example("", (3,), (7,))], pad_id=0)
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.answer_positions.tolist() == [[2], [0]]


def test_losses_match_those_of_the_model() -> None:
    ids = torch.tensor([[4, 8, 15, 16, 23]])
    labels = ids.clone()
    labels[:, :3] = -100
    with torch.no_grad():
        own = MODELS["gpt2"](input_ids=ids, labels=labels).loss
    assert float(losses(MODELS["gpt2"], [Example("", (4, 8, 15), (16, 23))])) == pytest.approx(float(own), abs=1e-6)
