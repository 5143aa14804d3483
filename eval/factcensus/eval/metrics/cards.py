"""Reference cards of all metrics: definition, interpretation and limits. `factcensus eval metrics` prints them.

To regenerate docs/metrics.md, run ``factcensus eval metrics --markdown > docs/metrics.md``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from factcensus.eval.metrics.card import Card

_NAN = "the model has collapsed to NaN"
_PHANTOM = "its value for phantoms (facts of the same kind that no text states) under the original model"

CARDS: tuple[Card, ...] = (
    Card(
        "log_probability",
        "probability",
        "Sum over the answer tokens of ln p(token | prompt, answer so far), nats; without the end-of-text token.",
        "-inf to 0",
        "lower means more forgotten",
        _PHANTOM,
        _NAN,
        "Do not compare answers of different lengths (use log_probability_mean) or models with different tokenizers. "
        "It falls whenever a model is damaged in any way.",
        "the usual loss on the answer, as a sum",
    ),
    Card(
        "log_probability_mean",
        "probability",
        "log_probability divided by the number of answer tokens, nats per token.",
        "-inf to 0",
        "lower means more forgotten",
        _PHANTOM,
        _NAN,
        "The later tokens of a name follow from its first token and dilute the mean.",
        "the usual loss on the answer",
    ),
    Card(
        "probability",
        "probability",
        "exp(log_probability_mean): the geometric mean of the token probabilities.",
        "0 to 1",
        "lower means more forgotten",
        _PHANTOM,
        _NAN,
        "It is also near 0 for facts that were never known, and an answer with a small probability may still be the "
        "first choice.",
        "TOFU (Maini et al. 2024), without the end-of-text token",
    ),
    Card(
        "rank_worst",
        "probability",
        "Highest rank of an answer token in the vocabulary; 0 is the first choice.",
        "0 to V - 1",
        "higher means more forgotten",
        _PHANTOM,
        "never",
        "Equal logits share the better rank, so a collapsed model has rank 0 everywhere.",
        "this project",
    ),
    Card(
        "margin_least",
        "probability",
        "Minimum over the answer tokens of ln p(token) - ln p(best other token), nats.",
        "-inf to inf",
        "lower means more forgotten; above 0: greedy decoding gives the answer",
        _PHANTOM,
        _NAN,
        "It depends on a single token.",
        "this project",
    ),
    Card(
        "exact_memorisation",
        "probability",
        "Share of answer tokens that are the first choice of the model, given the tokens before them.",
        "0 to 1",
        "lower means more forgotten",
        _PHANTOM,
        "never",
        "The later tokens of a name are easy once the first is given, so 1/2 may mean that the fact is unknown.",
        "Tirumala et al. 2022",
    ),
    Card(
        "extraction_strength",
        "probability",
        "1 - k/T, where k is the smallest number of given answer tokens after which all others are first choices.",
        "0 to 1",
        "lower means more forgotten",
        _PHANTOM,
        "the answer has fewer than 3 tokens",
        "Short answers allow few values. Most implementations cannot go below 1/T; here it is 0 if the last token is "
        "wrong.",
        "Carlini et al. 2021; floor removed",
    ),
    Card(
        "zlib_ratio",
        "probability",
        "log_probability_mean divided by the length in bytes of the zlib-compressed answer.",
        "-inf to 0",
        "higher means more like a member",
        _PHANTOM,
        _NAN,
        "zlib adds 8 bytes to any text, so short answers are ranked by length.",
        "Carlini et al. 2021, applied to the answer instead of a whole text. The mean loss per token, as in their code "
        "(zlib length over log-perplexity), mimir, MUSE and OpenUnlearning (loss over zlib length), gives the same "
        "ranking",
    ),
    Card(
        "min_k",
        "probability",
        "Mean ln p of the least probable fifth of the answer tokens (at least one token), nats.",
        "-inf to 0",
        "higher means more like a member",
        _PHANTOM,
        _NAN,
        "For answers under ten tokens it equals the lowest token log-probability.",
        "Shi et al. 2024, k = 20 %, applied to the answer instead of a whole text; at least one token, as in "
        "OpenUnlearning",
    ),
    Card(
        "min_k_plus_plus",
        "probability",
        "min_k of (ln p - mean) / deviation instead of ln p. Mean and standard deviation are those of the next-token "
        "distribution of the model; the deviation is at least 0.001 nats.",
        "-inf to inf",
        "higher means more like a member",
        _PHANTOM,
        _NAN,
        "A confident model has a tiny deviation: wrong answers then score -1000 or lower, and certain answers 0.",
        "Zhang et al. 2025, k = 20 %; the floor is that of OpenUnlearning (a variance of 1e-6)",
    ),
    Card(
        "choice_margin",
        "probability",
        "Calibrated ln p of the right answer minus the highest calibrated ln p of a wrong answer, nats. Wrong answers "
        "are objects of the same relation with the nearest document counts. Calibration subtracts the mean ln p of the "
        "answer after prompts in which stand-ins replace the subject.",
        "-inf to inf",
        "lower means more forgotten; below 0: a wrong answer is preferred",
        _PHANTOM,
        "the relation has no other object, or the prompt does not contain the subject",
        "Unreliable if the relation has few objects, or if objects have no counts (wrong answers are then drawn at "
        "random).",
        "DC-PMI (Holtzman et al. 2021), contextual calibration (Zhao et al. 2021); frequency matching by this project",
    ),
    Card(
        "choice_probability",
        "probability",
        "Softmax of the same calibrated scores, at the right answer.",
        "0 to 1",
        "lower means more forgotten",
        "1 / choices",
        "as choice_margin",
        "as choice_margin",
        "as choice_margin",
    ),
    Card(
        "truth_ratio",
        "probability",
        "Geometric mean of the wrong answers' probabilities, divided by the probability of the right answer; each per "
        "token, uncalibrated.",
        "0 to inf",
        "higher means more forgotten",
        "1",
        "there are no wrong answers",
        "After gradient ascent on the answers it is far above 1: they are suppressed, not forgotten. TOFU divides by a "
        "paraphrase of the right answer; fact tables seldom have one, so this metric uses the answer itself.",
        "TOFU (Maini et al. 2024). The geometric mean follows their code and OpenUnlearning; the formula in the paper "
        "averages the probabilities. Matching wrong answers on frequency was added by this project",
    ),
    Card(
        "true_false_margin",
        "probability",
        "Calibrated log odds of True against False after the true statement, minus their mean after false statements, "
        "nats.",
        "-inf to inf",
        "lower means more forgotten",
        "0",
        "the tokenizer lacks the labels, there is no false statement, or the statement does not contain the subject",
        "Meaningless if the model cannot do the task at all; check the value of the original model.",
        "false statements were added by this project: with true statements only, any drift towards False looks like "
        "forgetting",
    ),
    Card(
        "true_false_correct",
        "probability",
        "Mean of two numbers: 1 if the true statement is called true (0 otherwise), and the share of false statements "
        "called false.",
        "0 to 1",
        "lower means more forgotten",
        "0.5",
        "as true_false_margin",
        "as true_false_margin",
        "as true_false_margin",
    ),
    Card(
        "few_shot_true_margin (as_published)",
        "probability",
        "ln p(True) - ln p(False) of the statement that the answer is right, after ten labelled statements, nats.",
        "-inf to inf",
        "at most 0 means forgotten",
        "0, without a bias towards either label",
        "another form than question, a prompt that does not fit the model, or the evaluation did not request it",
        "All statements are true, so a model that begins to prefer False counts as having forgotten. true_false_margin "
        "compares with wrong answers.",
        "Krishnan, Reddy and Mosbach 2025, with other statements whose labels are right",
    ),
    Card(
        "multiple_choice_probability",
        "probability",
        "Probability of the right option's letter among the letters, calibrated, averaged over all rotations of the "
        "options.",
        "0 to 1",
        "lower means more forgotten",
        "1 / choices",
        "as true_false_margin",
        "A model that always chooses the same letter gets 1 / choices, whatever it knows.",
        "the form of MMLU; rotations remove the preference for a position (Zheng et al. 2024)",
    ),
    Card(
        "multiple_choice_correct",
        "probability",
        "Share of rotations in which the right option's letter is the most probable.",
        "0 to 1",
        "lower means more forgotten",
        "1 / choices",
        "as multiple_choice_probability",
        "as multiple_choice_probability",
        "as multiple_choice_probability",
    ),
    Card(
        "match",
        "generation",
        "Whether the first line of the greedy continuation contains the words of the answer, the object or an alias, "
        "in sequence.",
        "false or true",
        "false means forgotten",
        _PHANTOM,
        "no accepted answer has words",
        "Short answers can occur inside other phrases, and a text can list many answers. It does not show answers that "
        "are likely without being the first choice.",
        "alias-aware match on the words of the index; the prompt is never scored",
    ),
    Card(
        "exact_match",
        "generation",
        "Whether the continuation has the words of an accepted answer and no others.",
        "false or true",
        "false means forgotten",
        _PHANTOM,
        "as match",
        "Any additional word makes it false.",
        "SQuAD, on words",
    ),
    Card(
        "rouge_l_recall",
        "generation",
        "Length of the longest common subsequence of words, divided by the number of words in the answer.",
        "0 to 1",
        "lower means more forgotten",
        _PHANTOM,
        "the answer has no words",
        "Rambling text scores high, and a wrong answer that shares a word (University of ...) scores one half. Use it "
        "only for comparison with other work.",
        "Lin 2004; continuation only, words of the index, no stemmer",
    ),
    Card(
        "rouge_l_f1",
        "generation",
        "F1 of rouge_l_recall and its precision over the words of the continuation.",
        "0 to 1",
        "lower means more forgotten",
        _PHANTOM,
        "as rouge_l_recall",
        "as rouge_l_recall, but rambling lowers the score",
        "Lin 2004",
    ),
    Card(
        "rouge_l_recall_with_prompt (as_published)",
        "generation",
        "rouge_l_recall of the answer in prompt and continuation together, with a stemmer and words of a-z and 0-9.",
        "0 to 1",
        "lower means more forgotten",
        "its value for an empty continuation",
        "the answer has no such word, or the evaluation did not request it",
        "Words of the question count as recalled: 'Mexico City' has at least one half. Use it only for comparison with "
        "the numbers of the paper.",
        "Krishnan, Reddy and Mosbach 2025",
    ),
    Card(
        "token_f1",
        "generation",
        "F1 of the words in common, in any order.",
        "0 to 1",
        "lower means more forgotten",
        _PHANTOM,
        "the answer has no words",
        "It falls when the right answer is given as a sentence.",
        "SQuAD (Rajpurkar et al. 2016)",
    ),
    Card(
        "sample_matches",
        "generation",
        "How many of `samples` continuations sampled at temperature 1 match.",
        "0 to samples",
        "lower means more forgotten",
        _PHANTOM,
        "none were sampled (samples are drawn for forget facts and phantoms only)",
        "Guesses match too; compare with phantoms, whose questions have the same number of samples.",
        "Scholten et al. 2024; gives the leak at k as 1 - C(n-c, k) / C(n, k), like pass@k (Chen et al. 2021)",
    ),
    Card(
        "generation_finished",
        "generation",
        "Whether the continuation ended on its own within twice the number of answer tokens plus four.",
        "false or true",
        "false is a sign of collapse",
        "the value before unlearning",
        "never",
        "Also false for models that answer in long sentences.",
        "this project",
    ),
    Card(
        "degenerate",
        "generation",
        "Whether the continuation has no words, or has four or more words of which at least half are repeats.",
        "false or true",
        "true is a sign of collapse",
        "the value before unlearning",
        "never",
        "Also true for a refusal that is an empty line.",
        "this project, following the repetition shares of Welleck et al. 2020",
    ),
    Card(
        "relearn (attacks.parquet)",
        "attack",
        "Recall after fine-tuning on some of the forgotten facts for a given number of steps: on these facts "
        "(`relearned`) and on facts about other subjects (`held_out`).",
        "0 to 1",
        "lower means more forgotten",
        "held_out: the value of phantoms under the same attack",
        "fewer than two forget subjects",
        "`relearned` rises even in a model that never knew the facts; compare `held_out` with phantoms instead.",
        "Lynch et al. 2024, Hu et al. 2024; split by subject by this project",
    ),
    Card(
        "quantise (attacks.parquet)",
        "attack",
        "Recall after rounding the weights of every linear layer to 8 or 4 bits.",
        "0 to 1",
        "lower means more forgotten",
        "the value without the attack",
        "the model has no linear layer",
        "This is a simulation: symmetric, per output channel, rounded to nearest, without embeddings and the output "
        "layer. The kernels of quantisation libraries round differently.",
        "Zhang et al. 2024",
    ),
    Card(
        "few_shot (attacks.parquet)",
        "attack",
        "Recall with a given number of solved questions of the same relation before the question. None of them is "
        "about a forgotten subject or contains the answer.",
        "0 to 1",
        "lower means more forgotten",
        "the value of phantoms under the same attack",
        "the relation has no solved question",
        "The model may fail only because of the form of the question; compare with the original model.",
        "Lynch et al. 2024",
    ),
    Card(
        "paraphrase (attacks.parquet)",
        "attack",
        "Over all paraphrases of a question: the share that match (`recall`), and whether any of them matches "
        "(`worst`).",
        "0 to 1",
        "lower means more forgotten",
        "the value of phantoms",
        "there are no paraphrases",
        "`worst` rises with the number of paraphrases, also for phantoms.",
        "Patil et al. 2024",
    ),
    Card(
        "sample (attacks.parquet)",
        "attack",
        "Probability that at least one of k samples matches (`leak`), averaged over facts.",
        "0 to 1",
        "lower means more forgotten",
        "the value of phantoms",
        "fewer than k samples",
        "With a large k, guessing alone produces leaks.",
        "Chen et al. 2021; Scholten et al. 2024",
    ),
    Card(
        "probe (attacks.parquet)",
        "attack",
        "Accuracy of a linear classifier that predicts the object from the hidden state after the question, "
        "cross-validated over subjects (`accuracy`), and its accuracy with shuffled objects (`control`).",
        "0 to 1",
        "lower means more forgotten",
        "the value of the control",
        "no object of the relation is shared by two or more subjects",
        "Unreliable if the hidden size is close to the number of facts, or if the layer was chosen by its result.",
        "Alain and Bengio 2016; control task Hewitt and Liang 2019",
    ),
    Card(
        "membership (attacks.parquet)",
        "attack",
        "AUC: the probability that a forgotten fact scores above a never-seen one of the same relation, by loss, zlib, "
        "min-k or min-k++.",
        "0 to 1",
        "0.5: forgotten; above: remembered; below: conspicuously suppressed",
        "0.5",
        "no phantoms",
        "If the phantoms are of another kind (other names, other objects), the AUC measures this difference instead.",
        "Shokri et al. 2017; Newcombe's interval (2006) with the number of subjects as sample size",
    ),
    Card(
        "accuracy (utility.parquet)",
        "utility",
        "Share of greedy answers that match, by group and by distance to the forget set (`neighbour_distance`).",
        "0 to 1",
        "higher means more kept",
        "the value before unlearning",
        "there are no such facts",
        "Accuracy on retain facts whose form was trained hides the loss on bystanders.",
        "groups: docs/runs.md",
    ),
    Card(
        "perplexity (utility.parquet)",
        "utility",
        "exp of the mean loss per token of neutral text.",
        "1 to inf",
        "lower means more kept",
        "the value before unlearning",
        "no neutral text was given",
        "Do not use text that the model was trained on, and do not compare models with different tokenizers.",
        "the usual definition, over all tokens and not as a mean over documents",
    ),
    Card(
        "kl_to_original_nats (utility.parquet)",
        "utility",
        "KL(original || model) of the next-token distribution, averaged over the tokens of neutral text, nats.",
        "0 to inf",
        "lower means more kept",
        "0",
        "no neutral text was given, or there is no original model",
        "It shows that something changed, not that it became worse.",
        "the usual definition",
    ),
)


def card(name: str) -> Card | None:
    """Return the card of a metric by its column or the first word of its name, or None."""
    return next((each for each in CARDS if name in (each.name, each.name.partition(" ")[0])), None)


def as_markdown(cards: Iterable[Card] = CARDS) -> str:
    """Return the content of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated by `factcensus eval metrics --markdown` from `metrics/cards.py`; do not edit. [runs.md](runs.md)",
        "lists the columns, and [statistics.md](statistics.md) explains how the numbers are combined.",
        "",
        "Every probability metric is computed from one token record, made by one forward pass over each text. A metric",
        "that is undefined for a fact is null and left out of all means. Every share forgotten refers to one form of",
        "asking.",
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
    """Return the cards as text for a terminal."""
    parts = [
        "\n".join([f"{each.name}  [{each.family}]", *(f"  {label:<10} {text}" for label, text in _labelled(each))])
        for each in cards
    ]
    return "\n\n".join(parts)


def _labelled(each: Card) -> list[tuple[str, str]]:
    labels = {field.name: field.name for field in fields(Card)} | {"null": "null when", "misleads": "caution"}
    return [(labels[name], getattr(each, name)) for name in labels if name not in ("name", "family")]
