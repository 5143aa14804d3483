"""Forget losses, fact weights, strata and retain terms: the building blocks of an unlearning method.

    L = gamma * mean_i( w_i * lambda_stratum(i) * forget_i ) + alpha * retain

``forget_i`` is a registered objective (one module each), ``w_i`` a fact weight with mean 1 (:mod:`.weights`),
``lambda`` the weight of a stratum (:mod:`.strata`, updated by :mod:`factcensus.unlearn.training.controllers`), and
``retain`` a term that preserves other knowledge (:mod:`.retain`). Published methods are presets of these choices
(:mod:`factcensus.unlearn.config.named`). Other packages add an objective by an entry point in the group
``factcensus.objectives`` that names a function decorated with :func:`objective`.
"""

from factcensus.unlearn.objectives.registry import Objective, get_objective, objective, objectives

__all__ = ["Objective", "get_objective", "objective", "objectives"]
