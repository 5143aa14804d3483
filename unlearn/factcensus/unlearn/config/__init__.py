"""The settings of a run: typed and closed, read from files, complete before any model is loaded."""
