"""The measures of the paper: by hand, and next to the columns that replace them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from factcensus.eval.asking.published import (
    SHOTS,
    few_shot_prompt,
    few_shot_true_margins,
    rouge_l_recall_with_prompt,
)
from factcensus.eval.asking.questions import questions_of
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.evaluation import get_evaluator
from factcensus.unlearn.training.examples import encode
from tiny import tiny_model

FACTS = pa.table(
    {
        "subject": ["Arland", "Borland"],
        "object": ["New Arl", "Bor City"],
        "question": ["What is the capital of Arland?", "What is the capital of Borland?"],
        "paraphrases": [["Which city governs Arland?"], []],
        "cloze": ["The capital of Arland is", "The capital of Borland is"],
    }
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Return a tokenizer of bytes, which knows every word."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {character: number for number, character in enumerate(alphabet, 1)}
    backend = Tokenizer(BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


@pytest.mark.parametrize(
    ("prompt", "continuation", "answer", "recall"),
    [
        ("What is the capital of Arland?", "New Arl.", "New Arl", 1.0),
        ("What is the capital of Mexico?", "I forgot.", "Mexico City", 0.5),  # a word of the prompt
        ("What is the capital of Mexico?", "The city is large", "Mexico City", 1.0),  # in prompt and continuation
        ("Where?", "U.S.A.", "USA", 1.0),  # without periods
        ("Who?", "He runs", "running", 1.0),  # stemmed
        ("What is the capital of Arland?", "nothing", "New Arl", 0.0),
        ("Où?", "東京", "東京", None),  # no word of a-z
    ],
)
def test_recall_counts_words_of_prompt_and_continuation(
    prompt: str, continuation: str, answer: str, recall: float | None
) -> None:
    assert rouge_l_recall_with_prompt(prompt, continuation, answer) == recall


def test_prompt_has_ten_labelled_statements_and_one_without_label() -> None:
    prompt = few_shot_prompt("Which city governs Arland?", "New Arl")
    assert prompt.endswith("Question: Which city governs Arland?\nAnswer: New arl\nTrue or False?")
    assert len(SHOTS) == 10
    assert prompt.count("True or False? True\n") == prompt.count("True or False? False\n") == 5


def test_margin_is_the_difference_of_both_labels(tokenizer: Any) -> None:
    import torch

    model = tiny_model("llama", len(tokenizer), max_position_embeddings=2048)
    asked = questions_of(FACTS, paraphrases=1)
    found = few_shot_true_margins(model, tokenizer, asked, FACTS.to_pylist(), batch_tokens=4096)
    assert [margin is not None for margin in found] == [each.form == "question" for each in asked]
    texts = [("Which city governs Arland?", "New Arl"), ("What is the capital of Borland?", "Bor City")]
    for (question, answer), margin in zip(texts, [each for each in found if each is not None], strict=True):
        by_hand = []
        for label in ("True", "False"):
            example = encode(tokenizer, few_shot_prompt(question, answer), label)
            ids = torch.tensor([example.prompt_ids + example.answer_ids])
            with torch.no_grad():
                log_p = model(ids).logits[0].float().log_softmax(-1)
            start = len(example.prompt_ids)
            by_hand.append(sum(float(log_p[start + n - 1, token]) for n, token in enumerate(example.answer_ids)))
        assert margin == pytest.approx(by_hand[0] - by_hand[1], abs=1e-4)


def test_a_prompt_that_is_too_long_has_no_margin(tokenizer: Any) -> None:
    model = tiny_model("llama", len(tokenizer))  # 64 positions
    asked = questions_of(FACTS, paraphrases=1, forms=("question",))
    assert few_shot_true_margins(model, tokenizer, asked, FACTS.to_pylist(), batch_tokens=4096) == [None, None]


def test_measures_are_columns_only_where_they_are_asked_for(tokenizer: Any) -> None:
    model = tiny_model("llama", len(tokenizer), max_position_embeddings=2048)

    def measured(**settings: Any) -> pa.Table:
        evaluator = StandardEvaluator(samples=0, labels=False, forms=("question",), **settings)
        return evaluator.evaluate(model, tokenizer, FACTS, template="plain", point="before", seed=0)[0]

    without, added = measured(), measured(as_published=True)
    names = ["few_shot_true_margin", "rouge_l_recall_with_prompt"]
    assert added.column_names == [*without.column_names, *names]
    assert added.drop_columns(names).equals(without)
    assert all(value is not None for name in names for value in added[name].to_pylist())


def test_settings_of_the_evaluator_come_from_the_configuration() -> None:
    evaluator = get_evaluator("standard", {"as_published": True, "samples": 0})
    assert evaluator == StandardEvaluator(as_published=True, samples=0)
    with pytest.raises(ConfigError, match="setting of the evaluator 'standard': 'sampels'; did you mean 'samples'"):
        get_evaluator("standard", {"sampels": 0})
    with pytest.raises(ConfigError, match=r"evaluator_settings.samples is 'many': expected int, such as 8"):
        get_evaluator("standard", {"samples": "many"})
    with pytest.raises(ConfigError, match="evaluator is 'none'"):
        get_evaluator("none", {"samples": 0})
