"""Named methods and the table of them."""
