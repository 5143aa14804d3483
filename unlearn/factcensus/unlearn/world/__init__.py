"""The controlled world: people with known exposure counts, their texts, a tokenizer and a small model.

``write`` needs only numpy; ``tokenizer`` and ``pretrain`` import torch and transformers.
"""
