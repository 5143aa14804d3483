"""Cards of the attack metrics."""

from __future__ import annotations

from factcensus.eval.metrics.card import Card

CARDS: tuple[Card, ...] = (
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
        "Lynch et al. 2024, Hu et al. 2024; the split by subject was added by this project",
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
        "Recall when a given number of solved questions of the same relation precede the question. None of them is "
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
)
