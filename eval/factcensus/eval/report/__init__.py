"""The report: one module per section, shared figures and sentences, and the page that contains them."""
