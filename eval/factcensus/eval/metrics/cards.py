"""A card for every metric: what it is, how to read it, when it misleads. `factcensus eval metrics` prints them.

docs/metrics.md is made from here, by ``factcensus eval metrics --markdown > docs/metrics.md``; a test keeps it so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Card:
    """One metric.

    Attributes:
        name: Its column in facts.parquet (a trailing table name says where else it stands).
        family: ``probability``, ``generation``, ``attack`` or ``utility``.
        definition: The formula, with units.
        range: Values it can take.
        direction: Which way means more forgotten, or more kept.
        ideal: Its value if the facts had never been read, or nothing else had changed.
        null: When it says nothing.
        misleads: When it should not be believed.
        source: Where it comes from, and what we do otherwise.
    """

    name: str
    family: str
    definition: str
    range: str
    direction: str
    ideal: str
    null: str
    misleads: str
    source: str


_NAN = "the model has collapsed to NaN"
_PHANTOM = "that of phantoms (facts of the same kind that no text states) under the original model"

CARDS: tuple[Card, ...] = (
    Card(
        "log_probability", "probability",
        "Sum over the answer's tokens of ln p(token | prompt, answer so far), nats; no end token.",
        "-inf to 0", "lower: more forgotten", _PHANTOM, _NAN,
        "Answers of different length are compared (use log_probability_mean), or models with different tokenizers. "
        "Falls for every way of damaging a model.",
        "the usual answer loss, as a sum",
    ),
    Card(
        "log_probability_mean", "probability", "log_probability over the number of tokens, nats a token.",
        "-inf to 0", "lower: more forgotten", _PHANTOM, _NAN,
        "Later tokens of a name follow from its first and dilute it.", "the usual answer loss",
    ),
    Card(
        "probability", "probability", "exp(log_probability_mean): the geometric mean of the token probabilities.",
        "0 to 1", "lower: more forgotten", _PHANTOM, _NAN,
        "Near 0 before unlearning too (a fact that was never known); a small number may still be the first choice.",
        "TOFU (Maini et al. 2024), without the end token",
    ),
    Card(
        "rank_worst", "probability", "Greatest rank of an answer token in the vocabulary; 0 is the first choice.",
        "0 to V - 1", "higher: more forgotten", _PHANTOM, "never",
        "Equal logits share the better rank: a collapsed model has rank 0 everywhere.", "ours",
    ),
    Card(
        "margin_least", "probability", "Least of ln p(token) - ln p(best other token) over the answer, nats.",
        "-inf to inf", "lower: more forgotten; above 0 greedy decoding says the answer", _PHANTOM, _NAN,
        "Looks at one token only.", "ours",
    ),
    Card(
        "exact_memorisation", "probability", "Share of answer tokens that are the model's first choice, given the "
        "ones before.", "0 to 1", "lower: more forgotten", _PHANTOM, "never",
        "Later tokens of a name are easy once the first is given: 1/2 may mean that nothing is known.",
        "Tirumala et al. 2022",
    ),
    Card(
        "extraction_strength", "probability", "1 - k/T: k is the least number of given answer tokens after which all "
        "others are first choices.", "0 to 1", "lower: more forgotten", _PHANTOM, "the answer has fewer than 3 tokens",
        "Short answers: few values are possible. As usually implemented it cannot be below 1/T; here it is 0 when the "
        "last token is wrong.", "Carlini et al. 2021; floor removed",
    ),
    Card(
        "zlib_ratio", "probability", "log_probability_mean over the length in bytes of the answer compressed by zlib.",
        "-inf to 0", "higher: more like a member", _PHANTOM, _NAN,
        "zlib adds 8 bytes to any text: among short answers it ranks by length.",
        "Carlini et al. 2021, of the answer instead of a whole text; the mean loss per token, as in their code (zlib "
        "length over log-perplexity), mimir, MUSE and OpenUnlearning (loss over zlib length): the same ranking",
    ),
    Card(
        "min_k", "probability", "Mean ln p of the least probable fifth of the answer's tokens, at least one, nats.",
        "-inf to 0", "higher: more like a member", _PHANTOM, _NAN,
        "Equals the least token log-probability for answers under ten tokens.",
        "Shi et al. 2024, k = 20 %, of the answer instead of a whole text; at least one token, as in OpenUnlearning",
    ),
    Card(
        "min_k_plus_plus", "probability", "As min_k, of (ln p - mean) / deviation, both under the model's own "
        "next-token distribution; the deviation is at least 0.001 nats.", "-inf to inf", "higher: more like a member",
        _PHANTOM, _NAN,
        "A confident model has a tiny deviation: a wrong answer then scores -1000 and lower, and a certain one 0.",
        "Zhang et al. 2025, k = 20 %; the floor is OpenUnlearning's (a variance of 1e-6)",
    ),
    Card(
        "choice_margin", "probability", "Calibrated ln p of the answer less the greatest of the wrong ones, nats. "
        "Wrong answers are objects of the same relation nearest in document count; calibrated: less the mean over "
        "stand-ins of the same after a prompt without the subject.",
        "-inf to inf", "lower: more forgotten; below 0 a wrong answer is preferred",
        _PHANTOM,
        "no other object of the relation, or the subject does not stand in the prompt",
        "A relation with few objects; objects without counts (then they are drawn at random).",
        "DC-PMI (Holtzman et al. 2021), contextual calibration (Zhao et al. 2021); frequency matching is ours",
    ),
    Card(
        "choice_probability", "probability", "Softmax of the same calibrated scores at the right answer.",
        "0 to 1", "lower: more forgotten", "1 / choices", "as choice_margin", "as choice_margin", "as choice_margin",
    ),
    Card(
        "truth_ratio", "probability", "Geometric mean over wrong answers of their probability, over that of the right "
        "one; each per token, uncalibrated.", "0 to inf", "higher: more forgotten", "1", "no wrong answers",
        "Far above 1 after ascent on the answers: suppressed, not forgotten. TOFU divides by a paraphrase of the right "
        "answer; fact tables seldom have one, so this is the answer itself.",
        "TOFU (Maini et al. 2024): the geometric mean is that of their code and of OpenUnlearning; the formula in the "
        "paper averages the probabilities. Wrong answers matched on frequency are ours",
    ),
    Card(
        "true_false_margin", "probability", "Calibrated log odds of True over False after the true statement, less "
        "their mean after false statements, nats.", "-inf to inf", "lower: more forgotten", "0",
        "the tokenizer lacks the labels, there is no false statement, or the subject does not stand in it",
        "The model cannot do the task at all: look at the original model's value.",
        "both polarities are ours: with true statements only, any drift towards False reads as forgetting",
    ),
    Card(
        "true_false_correct", "probability", "Mean of: the true statement is called true; share of false ones called "
        "false.", "0 to 1", "lower: more forgotten", "0.5", "as true_false_margin", "as true_false_margin",
        "as true_false_margin",
    ),
    Card(
        "multiple_choice_probability", "probability", "Probability of the right option's letter among the letters, "
        "calibrated, mean over every rotation of the options.", "0 to 1", "lower: more forgotten", "1 / choices",
        "as true_false_margin", "The model only ever says one letter: then it is 1 / choices whatever it knows.",
        "MMLU's form; rotations remove the preference for a place (Zheng et al. 2024)",
    ),
    Card(
        "multiple_choice_correct", "probability", "Share of rotations in which the right option's letter leads.",
        "0 to 1", "lower: more forgotten", "1 / choices", "as multiple_choice_probability",
        "as multiple_choice_probability", "as multiple_choice_probability",
    ),
    Card(
        "match", "generation", "The words of the answer, the object or an alias stand next to one another in the "
        "greedy continuation's first line.", "false or true", "false: forgotten", _PHANTOM, "no accepted answer has "
        "a word", "A short answer inside other words; a text that lists many answers. Says nothing of what is likely "
        "but not first.", "alias-aware match on the index's words; the prompt is never judged",
    ),
    Card(
        "exact_match", "generation", "The continuation's words are those of an accepted answer and no others.",
        "false or true", "false: forgotten", _PHANTOM, "as match", "Any more word makes it false.", "SQuAD's, on words",
    ),
    Card(
        "rouge_l_recall", "generation", "Longest common subsequence of words over the answer's words.", "0 to 1",
        "lower: more forgotten", _PHANTOM, "the answer has no word",
        "High for a text that rambles; half for a wrong answer that shares a word (University of ...). For comparison "
        "with other work only.", "Lin 2004; continuation only, our words, no stemmer",
    ),
    Card(
        "rouge_l_f1", "generation", "F1 of the same with the continuation's words.", "0 to 1",
        "lower: more forgotten", _PHANTOM, "as rouge_l_recall", "as rouge_l_recall, but rambling lowers it", "Lin 2004",
    ),
    Card(
        "token_f1", "generation", "F1 of the words in common, in any order.", "0 to 1", "lower: more forgotten",
        _PHANTOM, "the answer has no word", "Falls when a right answer is a sentence.", "SQuAD (Rajpurkar et al. 2016)",
    ),
    Card(
        "sample_matches", "generation", "How many of `samples` continuations drawn at temperature 1 match.",
        "0 to samples", "lower: more forgotten", _PHANTOM, "none were drawn (only forget facts and phantoms are)",
        "Guesses match too: compare with phantoms, whose questions have as many samples.",
        "Scholten et al. 2024; leak at k from it: 1 - C(n-c, k) / C(n, k), as pass@k (Chen et al. 2021)",
    ),
    Card(
        "generation_finished", "generation", "The continuation ended by itself within twice the answer's tokens and "
        "four.", "false or true", "false is a sign of collapse", "as before unlearning", "never",
        "Models that answer in long sentences.", "ours",
    ),
    Card(
        "degenerate", "generation", "The continuation has no word, or at least half of four or more words repeat.",
        "false or true", "true is a sign of collapse", "as before unlearning", "never",
        "A refusal that is an empty line.", "ours, after the repetition shares of Welleck et al. 2020",
    ),
    Card(
        "relearn (attacks.parquet)", "attack", "Recall after fine-tuning on some of the forgotten facts for so many "
        "steps: of these (`relearned`), and of facts about other subjects (`held_out`).", "0 to 1",
        "lower: more forgotten", "held_out: that of phantoms under the same attack", "fewer than two forget subjects",
        "relearned rises in a model that never knew them; what tells is held_out against phantoms.",
        "Lynch et al. 2024, Hu et al. 2024; split by subject is ours",
    ),
    Card(
        "quantise (attacks.parquet)", "attack", "Recall after rounding every linear layer's weights to 8 or 4 bits.",
        "0 to 1", "lower: more forgotten", "as without the attack", "the model has no linear layer",
        "Ours is a simulation: symmetric, per output channel, to the nearest; embeddings and the output layer stay. "
        "Kernels of a library round otherwise.", "Zhang et al. 2024",
    ),
    Card(
        "few_shot (attacks.parquet)", "attack", "Recall with so many solved questions of the same relation before the "
        "question; none of them is about a forgotten subject or says the answer.", "0 to 1", "lower: more forgotten",
        "that of phantoms under the same attack", "no solved question of the relation",
        "The form may be the whole difficulty: compare with the original model.", "Lynch et al. 2024",
    ),
    Card(
        "paraphrase (attacks.parquet)", "attack", "Over all paraphrases of a question: share that match (`recall`), "
        "and whether any does (`worst`).", "0 to 1", "lower: more forgotten", "that of phantoms", "no paraphrases",
        "worst rises with the number of paraphrases, as it does for phantoms.", "Patil et al. 2024",
    ),
    Card(
        "sample (attacks.parquet)", "attack", "Probability that one of k samples matches (`leak`), mean over facts.",
        "0 to 1", "lower: more forgotten", "that of phantoms", "fewer than k samples",
        "Guessing alone leaks at a large k.", "Chen et al. 2021; Scholten et al. 2024",
    ),
    Card(
        "probe (attacks.parquet)", "attack", "Accuracy of a linear classifier that reads the object off the hidden "
        "state after the question, cross-validated over subjects (`accuracy`), and with the objects shuffled "
        "(`control`).", "0 to 1", "lower: more forgotten", "that of the control",
        "objects of the relation that fewer than two subjects share",
        "Hidden size near the number of facts; a layer that was chosen by its result.",
        "Alain and Bengio 2016; control task Hewitt and Liang 2019",
    ),
    Card(
        "membership (attacks.parquet)", "attack", "AUC that a forgotten fact scores above a never-seen one of the same "
        "relation; by loss, zlib, min-k or min-k++.", "0 to 1", "0.5: forgotten; above: remembered; below: "
        "conspicuously suppressed", "0.5", "no phantoms",
        "Phantoms of another kind (other names, other objects): the AUC then tells these apart.",
        "Shokri et al. 2017; Newcombe's interval (2006) at the number of subjects",
    ),
    Card(
        "accuracy (utility.parquet)", "utility", "Share of greedy answers that match, by group, and by distance to the "
        "forget set (`neighbour_distance`).", "0 to 1", "higher: more kept", "as before unlearning", "no such fact",
        "Retain facts whose form was trained hide the loss of bystanders.", "groups: docs/evaluation.md",
    ),
    Card(
        "perplexity (utility.parquet)", "utility", "exp of the mean loss per token of neutral text.", "1 to inf",
        "lower: more kept", "as before unlearning", "no neutral text given",
        "Text that was trained on; other tokenizers.", "usual; over all tokens, not a mean over documents",
    ),
    Card(
        "kl_to_original_nats (utility.parquet)", "utility", "KL(original || model) of the next-token distribution, "
        "mean over the tokens of neutral text, nats.", "0 to inf", "lower: more kept", "0",
        "no neutral text given, or no original model", "Says that something changed, not that it is worse.", "usual",
    ),
)  # fmt: skip


def card(name: str) -> Card | None:
    """The card of a metric, by its column or by the first word of its name."""
    return next((each for each in CARDS if name in (each.name, each.name.partition(" ")[0])), None)


def as_markdown(cards: Iterable[Card] = CARDS) -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made by `factcensus eval metrics --markdown` from `metrics/cards.py`; do not edit. Columns stand in",
        "[runs.md](runs.md); how the numbers are put together in [evaluation.md](evaluation.md).",
        "",
        "Every probability metric is read from one record of tokens, made by one pass over each text. What can say",
        "nothing about a fact is null there, and in no mean. A share forgotten is always one of a form of asking.",
    ]
    family = ""
    for each in cards:
        if each.family != family:
            family = each.family
            lines += ["", f"## {family.capitalize()}"]
        name, _, table = each.name.partition(" ")
        lines += ["", f"### {name}" + (f" {table}" if table else ""), ""]
        lines += [f"- **{label}**: {text}" for label, text in _labelled(each)]
    return "\n".join(lines) + "\n"


def as_text(cards: Iterable[Card] = CARDS) -> str:
    """For a terminal."""
    parts = [
        "\n".join([f"{each.name}  [{each.family}]", *(f"  {label:<10} {text}" for label, text in _labelled(each))])
        for each in cards
    ]
    return "\n\n".join(parts)


def _labelled(each: Card) -> list[tuple[str, str]]:
    labels = {field.name: field.name for field in fields(Card)} | {"null": "null when", "misleads": "misleads"}
    return [(labels[name], getattr(each, name)) for name in labels if name not in ("name", "family")]
