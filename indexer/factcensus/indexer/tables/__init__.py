"""Tables: files in every format, fact tables, counts tables, strata."""
