"""Questions and the measures of their answers: forms, probes, token record, generations, utility, benchmarks."""
