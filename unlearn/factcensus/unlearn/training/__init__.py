"""Training with one model, one method and one dose."""
