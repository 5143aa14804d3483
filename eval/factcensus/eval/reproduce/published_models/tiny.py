"""Small stand-ins for a study: sources, a corpus, its tokenizer, an index like the published ones, and random models.

The index has the files of infini-gram's layout and nothing else, and is served on loopback as a URL.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from factcensus.eval.reproduce.published_models.files import SOURCES
from factcensus.eval.reproduce.published_models.studies import RELATIONS, PublishedIndex, PublishedModel, Relation

WORK = "work"
#: Number of facts and of invented names per relation.
FACTS, INVENTED_TINY = 12, 4
#: Files of infini-gram's layout.
INDEX_FILES = ("tokenized.0", "table.0", "offset.0")
VOCABULARY = 600
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def make_sources(out: Path) -> list[str]:
    """Write the sources of a study, and return documents about their facts."""
    texts: list[str] = []
    for relation in RELATIONS:
        rows = _pairs(relation)
        path = out / SOURCES / f"{relation.name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("subject,object\n" + "".join(f"{subject},{thing}\n" for subject, thing in rows))
        texts += _documents(relation, rows)
    return texts


def documents_about(facts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield 1 to 32 documents about each fact that is not invented."""
    for number, fact in enumerate(fact for fact in facts if fact["role"] != "phantom"):
        for copy in range(2 ** (number % 6)):
            yield f"Note {copy}. {fact['subject']}: {fact.get('question') or fact['cloze']} {fact['object']}."


def make_tiny(out: Path, models: Sequence[PublishedModel], url: str, texts: Sequence[str]) -> list[PublishedModel]:
    """Make everything that is missing, and return one model per architecture with its index at a URL.

    Args:
        out: The folder of the study.
        models: Its models.
        url: The address of the index.
        texts: The documents of the index.
    """
    work = out / WORK
    tokenizer = work / "tokenizer.json"
    if not (work / "site" / INDEX_FILES[0]).is_file():
        _make_index(work, texts, tokenizer)
    index = PublishedIndex("tiny", (url,), f"hf:{tokenizer.resolve()}", "a corpus made on the spot", ())
    one_each = {model.architecture: model for model in models}
    return [_tiny_model(work, model, tokenizer, index) for model in one_each.values()]


def _pairs(relation: Relation) -> list[tuple[str, str]]:
    """Return facts about invented names that differ from those of phantoms."""
    return [(f"{relation.name.capitalize()}land {number}", f"Place{chr(97 + number % 8)}") for number in range(FACTS)]


def _documents(relation: Relation, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield 1 to 32 documents about each fact."""
    for number, (subject, thing) in enumerate(pairs):
        for copy in range(2 ** (number % 6)):
            yield f"Note {copy}. {relation.cloze.format(subject=subject)} {thing}. {relation.question} {thing}."


def _make_index(work: Path, texts: Sequence[str], tokenizer: Path) -> None:
    """Train the tokenizer and build the index, then keep only the files that a published index has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from factcensus.indexer import build_index

    corpus, built, site = work / "corpus", work / "index", work / "site"
    for folder in (built, site):
        shutil.rmtree(folder, ignore_errors=True)
    corpus.mkdir(parents=True, exist_ok=True)
    site.mkdir()
    (corpus / "part.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    trained.save(str(tokenizer))
    build_index([corpus], built, analyzer=f"hf:{tokenizer.resolve()}")
    for name in INDEX_FILES:
        shutil.copy(built / name, site / name)


def _tiny_model(work: Path, model: PublishedModel, tokenizer: Path, index: PublishedIndex) -> PublishedModel:
    """Save a random model of the class of a published one, with the tokenizer of the index."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from factcensus.unlearn.models import quiet_transformers

    folder = work / "models" / model.architecture
    if not (folder / "config.json").is_file():
        fast: Any = PreTrainedTokenizerFast  # untyped
        made = fast(tokenizer_file=str(tokenizer), eos_token="<|endoftext|>")
        ends = {"bos_token_id": None, "eos_token_id": made.eos_token_id, "pad_token_id": None}
        sizes: dict[str, Any] = {**SIZES, **ends, "vocab_size": len(made), "max_position_embeddings": 512}
        torch.manual_seed(0)
        with quiet_transformers():
            kind: Any = AutoModelForCausalLM
            kind.from_config(AutoConfig.for_model(model.architecture, **sizes)).save_pretrained(folder)
        made.save_pretrained(folder)
    return replace(model, model=str(folder.resolve()), revision="", index=index, gpus=1)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on loopback, with ranges; yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Files(BaseHTTPRequestHandler):
    """Answers GET and HEAD for files of one folder; understands one range."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self._folder = folder
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Answer with the file or a range of it."""
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self._folder / os.path.basename(self.path.partition("?")[0])
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        begin = int(wanted[1]) if wanted else 0
        part = content[begin : int(wanted[2]) + 1] if wanted and wanted[2] else content[begin:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{len(content)}"')
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""
