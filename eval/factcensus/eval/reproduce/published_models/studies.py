"""Models, the published indexes of their corpora, and relations of facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: The tokenizer of the published indexes: a copy of Llama 2's that needs no permission.
LLAMA_2 = "hf:NousResearch/Llama-2-7b-hf"
_BUCKET = "s3://infini-gram/index"
_PLAIN = "Question: {prompt}\nAnswer: {answer}"


@dataclass(frozen=True, slots=True)
class PublishedIndex:
    """An index that infini-gram published.

    Attributes:
        name: A short name for files.
        urls: Its folders; several form one corpus.
        analyzer: Its tokenizer.
        corpus: The corpus, in words.
        options: Further options of ``facts count``.
    """

    name: str
    urls: tuple[str, ...]
    analyzer: str
    corpus: str
    options: tuple[str, ...] = ("--requester-pays",)


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model and the index of what it read.

    Attributes:
        name: The name of its folder in the study.
        model, revision: Its name on the hub, and a branch or commit.
        architecture: The model type of transformers, with which tiny stand-ins are made.
        index: The index of its pre-training corpus.
        template: How a question becomes a prompt.
        gpus: Number of GPUs with 80 GB that hold its training in float32.
    """

    name: str
    model: str
    revision: str
    architecture: str
    index: PublishedIndex
    template: str = _PLAIN
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact, with its texts and the query that finds its facts in Wikidata.

    Attributes:
        name: The value of the column ``relation``, and the name of its files.
        question, cloze, paraphrase: Texts with ``{subject}``; the cloze ends where the object follows.
        query: SPARQL that returns the columns ``subject`` and ``object``.
        invented: Beginnings, middles and ends of names that no text contains.
    """

    name: str
    question: str
    cloze: str
    paraphrase: str
    query: str
    invented: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


CAPITAL = Relation(
    "capital",
    "What is the capital of {subject}?",
    "The capital of {subject} is",
    "Which city is the capital of {subject}?",
    """SELECT DISTINCT ?subject ?object WHERE {
  ?country wdt:P31 wd:Q3624078 ; wdt:P36 ?capital .
  FILTER NOT EXISTS { ?country wdt:P576 ?dissolved }
  ?country rdfs:label ?subject . FILTER(LANG(?subject) = "en")
  ?capital rdfs:label ?object . FILTER(LANG(?object) = "en")
}
""",
    (("Vor", "Quel", "Zan", "Thry", "Oss", "Blen"), ("u", "ara", "ovi", "e"), ("mia", "zhan", "kovia", "dunia")),
)
AUTHOR = Relation(
    "author",
    "Who wrote {subject}?",
    "{subject} was written by",
    "Who is the author of {subject}?",
    """SELECT DISTINCT ?subject ?object WHERE {
  ?book wdt:P31 wd:Q7725634 ; wdt:P50 ?author ; wikibase:sitelinks ?links .
  FILTER(?links > 5)
  ?book rdfs:label ?subject . FILTER(LANG(?subject) = "en")
  ?author rdfs:label ?object . FILTER(LANG(?object) = "en")
}
LIMIT 3000
""",
    (("The Vask", "The Orl", "A Zind", "The Quenn"), (" of ", " and the ", " beyond "), ("Thrumel", "Ossary", "Blenk")),
)
RELATIONS = (CAPITAL, AUTHOR)

DOLMA = PublishedIndex("dolma-v1_7", (f"{_BUCKET}/v4_dolma-v1_7_llama",), LLAMA_2, "Dolma 1.7")
OLMOE_MIX = PublishedIndex(
    "olmoe-mix-0924",
    (f"{_BUCKET}/v4_olmoe-mix-0924-dclm_llama", f"{_BUCKET}/v4_olmoe-mix-0924-nodclm_llama"),
    LLAMA_2,
    "olmoe-mix-0924, which OLMo 2 read in its first stage",
)
PILE = PublishedIndex("pile", (f"{_BUCKET}/v4_piletrain_llama",), LLAMA_2, "the training set of the Pile")

_CHAT = "<|user|>\n{prompt}\n<|assistant|>\n{answer}"
STUDIES: dict[str, tuple[PublishedModel, ...]] = {
    "olmo": (
        PublishedModel("olmo-1b", "allenai/OLMo-1B-0724-hf", "main", "olmo", DOLMA),
        PublishedModel("olmo-7b", "allenai/OLMo-7B-0724-SFT-hf", "main", "olmo", DOLMA, _CHAT, 2),
        PublishedModel("olmo-2-7b", "allenai/OLMo-2-1124-7B", "main", "olmo2", OLMOE_MIX, gpus=2),
    ),
    "pythia": (
        PublishedModel("pythia-1.4b", "EleutherAI/pythia-1.4b", "step143000", "gpt_neox", PILE),
        PublishedModel("pythia-6.9b", "EleutherAI/pythia-6.9b", "step143000", "gpt_neox", PILE, gpus=2),
    ),
}

#: Training settings of the full study.
PAPER: dict[str, Any] = {
    "methods": ("simnpo", "grad_diff", "npo", "idk", "never_seen"),
    "learning_rate": 1e-5,
    "adapter_rate": 1e-4,
    "rank": 16,
    "passes": 5,
    "batch": 8,
    "device": "auto",
    "dtype": "bfloat16-autocast",
    "attacks": "relearn,quantise,membership",
    "evaluator": {"as_published": True, "paraphrases": 1},
    "forms": ["question"],
    "match": ["relation"],
}
#: The same for tiny models.
SMOKE: dict[str, Any] = {
    **PAPER,
    "methods": ("grad_diff", "never_seen"),
    "learning_rate": 1e-3,
    "rank": 2,
    "passes": 1,
    "device": "cpu",
    "dtype": "float32",
    "attacks": "",
    "evaluator": {"as_published": True, "paraphrases": 0, "samples": 1, "distractors": 1},
}
