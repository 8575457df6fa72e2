"""The page of a run, for a colleague: one HTML file that loads nothing and runs no script."""
