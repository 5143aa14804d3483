"""All compiled code. Kernels take arrays and NamedTuples, return numbers, and never open files or raise errors."""
