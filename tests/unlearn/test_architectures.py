"""Five architectures with generated tokenizers are planned and trained, and their token ids are recorded."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from factcensus.unlearn.config.choices import check_template
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import ConfigError, ExampleError
from factcensus.unlearn.models import load_tokenizer, quiet_transformers
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training.examples import encode
from tiny import tiny_config

FACTS = [
    {"subject": "Peru", "object": "Lima", "role": "forget", "question": "What is the capital of Peru?"},
    {"subject": "Japan", "object": "Tokyo", "role": "forget", "question": "What is the capital of Japan?"},
    {"subject": "France", "object": "Paris", "role": "retain", "question": "What is the capital of France?"},
    {"subject": "Côte d’Ivoire", "object": "Yamoussoukro", "role": "retain", "question": "Capital of Côte d’Ivoire?"},
]
TEXTS = [f"{fact['question']} {fact['object']}" for fact in FACTS] * 4
CHAT = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}\n{% endfor %}<|assistant|>\n"


@cache
def byte_level() -> Any:
    """Return a byte-level BPE tokenizer as in GPT-2 and Qwen, without padding or beginning-of-text token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


@cache
def sentence_pieces() -> Any:
    """Return a tokenizer as in Llama 2, with ▁ for a space and a leading <s>; it pads with the end-of-text token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def model_config(kind: str, vocabulary: int) -> Any:
    if kind == "gpt2":
        return tiny_config(kind, vocabulary)
    one_key_head = {"num_key_value_heads": 1, "head_dim": 8} if kind == "qwen3" else {}
    return tiny_config(kind, vocabulary, pad_token_id=None, **one_key_head)


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(json.dumps(fact) for fact in FACTS))
    return path


@pytest.mark.parametrize(
    ("kind", "tokenizer", "template"),
    [
        ("gpt2", byte_level, "plain"),
        ("gpt_neox", byte_level, "Question: {prompt}\nAnswer: {answer}"),
        ("olmo2", byte_level, "chat"),
        ("qwen3", byte_level, "plain"),
        ("llama", sentence_pieces, "plain"),
    ],
)
def test_each_architecture_is_planned_and_trained_and_its_tokens_recorded(
    kind: str, tokenizer: Any, template: str, facts: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model, made = tmp_path / "model", tokenizer()
    made.chat_template = CHAT if template == "chat" else None
    with quiet_transformers():
        AutoModelForCausalLM.from_config(model_config(kind, len(made))).save_pretrained(model)
        made.save_pretrained(model)
    settings = {
        "model": str(model),
        "facts": str(facts),
        "out": str(tmp_path / "run"),
        "template": template,
        "evaluator": "none",
        "device": "cpu",
        "threads": 1,
        "methods": ["npo"],
        "trackers": ["jsonl"],
        "training": {"passes": 2, "batch_forget": 2, "batch_retain": 2, "learning_rate": 1e-2, "warmup_share": 0},
    }
    folder = run_unlearning(check_config(settings))
    steps = pq.read_table(folder / "steps.parquet").to_pylist()
    assert steps[-1]["forget_loss_nats"] < steps[0]["forget_loss_nats"]  # decreases as the answers become less likely
    record = json.loads((folder / "run.json").read_text())
    assert record["costs"][0]["simulated"] is True
    rows = pq.read_table(folder / "examples.parquet").to_pylist()
    loaded = load_tokenizer(str(model), None)
    answers = [loaded.decode(row["answer_ids"]).strip() for row in rows]
    assert answers == [fact["object"] for fact in FACTS]
    assert [row["used"] for row in rows] == ["forget", "forget", "retain", "retain"]
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events == ["start", "step", "step", "finish"]


@pytest.mark.parametrize("tokenizer", [byte_level, sentence_pieces])
def test_prompt_and_answer_tokens_equal_those_of_the_whole_text(tokenizer: Any) -> None:
    made = tokenizer()
    for fact in FACTS:
        example = encode(made, fact["question"], fact["object"])
        whole = made(f"{fact['question']} {fact['object']}")["input_ids"]
        assert [*example.prompt_ids, *example.answer_ids] == whole


def test_merged_answer_error_names_fact_tokens_and_remedy() -> None:
    with pytest.raises(ExampleError) as merged:
        encode(sentence_pieces(), "The capital of France is Par", "is", "{prompt}{answer}", "f7")
    message = str(merged.value)
    assert "fact 'f7'" in message
    assert "▁Par" in message
    assert "▁Paris" in message
    assert "template = 'Question: {prompt}" in message


@pytest.mark.parametrize("template", ["", "chatt", "{prompt}", "{answer} {prompt}", "{prompt} {prompt} {answer}"])
def test_invalid_templates_are_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="ends with"):
        check_template(template)
