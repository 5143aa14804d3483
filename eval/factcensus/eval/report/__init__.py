"""The report: a section a module, the figures and sentences they share, and the page that holds them."""
