"""Us and the peers side by side, on the same bytes in the same run; medians and ratios, never tests."""
