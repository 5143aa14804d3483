"""An audit of a model: whether it knows facts about a person better than about people who do not exist."""
