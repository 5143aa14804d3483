"""All compiled code: kernels take arrays and NamedTuples and return numbers; they know no files and no errors."""
