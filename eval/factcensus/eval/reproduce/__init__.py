"""``factcensus reproduce``: the experiments of *Not All Data Are Unlearned Equally*, one command each.

Each command is a module with its settings, its plan and its results; ``grid`` runs the studies that they share.
The paper: Krishnan, Reddy and Mosbach (2025), arXiv:2504.05058.
"""
