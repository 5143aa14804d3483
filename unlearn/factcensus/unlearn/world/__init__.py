"""The controlled world: people whose exposure counts we draw, their texts, a tokenizer and a small model.

``write`` needs only numpy; ``tokenizer`` and ``pretrain`` bring torch and transformers.
"""
