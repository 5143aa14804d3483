"""What is asked of a model, and what it says: forms, probes, the token record, generations, utility, benchmarks."""
