"""The terminal: commands, their arguments, and what is printed. It computes nothing."""
