"""The indexes being served: opening, following changes, warm-up, cached answers and deadlines."""
