"""Two things that should agree, side by side."""
