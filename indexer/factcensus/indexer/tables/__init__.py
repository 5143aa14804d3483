"""Tables: table files, fact tables, counts tables and strata."""
