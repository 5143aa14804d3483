"""Cards of numbers about a whole model, under the names that papers report (statistics/published.py)."""

from __future__ import annotations

from factcensus.eval.metrics.card import Card

_WHERE = "(summary.json)"
_UTILITY_SOURCE = (
    "TOFU (Maini et al. 2024, section 2.2.3). Their sets are retain facts, real authors and world facts; our own runs "
    "have the retain facts and the bystanders, and imported results have all three"
)

CARDS: tuple[Card, ...] = (
    Card(
        f"forget_quality {_WHERE}",
        "published",
        "p-value of a two-sample Kolmogorov-Smirnov test: truth_ratio of the forget facts under the unlearned model "
        "against the model trained without them (`retrained`). Over several seeds, the median.",
        "0 to 1",
        "higher means more like the retrained model",
        "1 for the retrained model itself",
        "there is no retrained model, or no wrong answers",
        "It falls with the number of facts at the same difference (a distance of 0.2 gives 0.4 for 40 facts and "
        "2e-7 for 400), and it is not evidence of equality if it is large. Compare forget_quality_distance instead.",
        "TOFU (Maini et al. 2024, section 2.2.3). The test depends on ranks only, so the inverse ratio of their "
        "code gives the same number",
    ),
    Card(
        f"forget_quality_distance {_WHERE}",
        "published",
        "The statistic of the same test: the largest difference between both distribution functions.",
        "0 to 1",
        "lower means more like the retrained model",
        "0",
        "as forget_quality",
        "Two models with the same distribution can differ in every single fact.",
        "`KS Test Forget` of the TOFU code",
    ),
    Card(
        f"forget_truth_ratio {_WHERE}",
        "published",
        "Mean over forget facts of min(R, 1/R), where R is truth_ratio.",
        "0 to 1",
        "higher means more forgotten",
        "its value for the retrained model",
        "there are no wrong answers",
        "It falls again if the right answers are suppressed below the wrong ones.",
        "TOFU; forget_truth_ratio of OpenUnlearning",
    ),
    Card(
        f"forget_truth_ratio_arithmetic {_WHERE}",
        "published",
        "The same, where R is truth_ratio_arithmetic.",
        "0 to 1",
        "higher means more forgotten",
        "its value for the retrained model",
        "there are no wrong answers",
        "as forget_truth_ratio",
        "TOFU, the formula of the paper",
    ),
    Card(
        f"model_utility {_WHERE}",
        "published",
        "Harmonic mean of three numbers for each set of facts to be kept: mean probability (probability_normalised "
        "outside the retain set), mean rouge_l_recall, and mean of max(0, 1 - truth_ratio).",
        "0 to 1",
        "higher means more kept",
        "the value before unlearning",
        "a set lacks one of the three numbers, or there are no facts to be kept",
        "A single part near 0 brings it near 0. Compare only models that were asked the same sets.",
        _UTILITY_SOURCE,
    ),
    Card(
        f"model_utility_arithmetic {_WHERE}",
        "published",
        "The same with truth_ratio_arithmetic.",
        "0 to 1",
        "higher means more kept",
        "the value before unlearning",
        "as model_utility",
        "as model_utility",
        _UTILITY_SOURCE,
    ),
    Card(
        f"verbatim_memorisation {_WHERE}",
        "published",
        "Mean rouge_l_f1 of the forget facts in the form document, or else cloze: the text up to the object, "
        "continued greedily.",
        "0 to 1",
        "lower means more forgotten",
        "its value for the retrained model",
        "no forget fact was asked in either form",
        "MUSE continues passages by 128 tokens; the object of a fact is one or two words. Give your own passages in "
        "the column `document`, or import MUSE_EVAL.json.",
        "C1 of MUSE (Shi et al. 2025, arXiv 2407.06460), VerbMem",
    ),
    Card(
        f"knowledge_memorisation {_WHERE}",
        "published",
        "Mean rouge_l_f1 of the forget facts, asked as questions.",
        "0 to 1",
        "lower means more forgotten",
        "its value for the retrained model",
        "no forget fact was asked a question",
        "as rouge_l_f1",
        "C2 of MUSE, KnowMem on the forget set; the questions there follow a few solved ones",
    ),
    Card(
        f"privacy_leakage {_WHERE}",
        "published",
        "100 (A - R) / R, where A is the probability that a forget fact has a *lower* min_k_40 than a phantom under "
        "the unlearned model, and R is the same for the retrained model (0.5 without one).",
        "-100 to inf",
        "below 0: still recognised as members; above 0: conspicuously suppressed",
        "0",
        "there are no phantoms",
        "It has no upper bound as R nears 0. If the phantoms are of another kind, it measures this difference instead.",
        "C3 of MUSE, PrivLeak; the holdout set there corresponds to phantoms",
    ),
    Card(
        f"utility_preservation {_WHERE}",
        "published",
        "Mean rouge_l_f1 of the retain facts, asked as questions.",
        "0 to 1",
        "higher means more kept",
        "the value before unlearning",
        "no retain fact was asked a question",
        "as rouge_l_f1; the form of retain facts was trained",
        "C4 of MUSE, KnowMem on the retain set. C5 (scalability) and C6 (sustainability) are series of runs: "
        "[evaluation.md](evaluation.md#metrics-under-their-published-names)",
    ),
)
