"""What goes on inside a graph: where each of its values comes from, and what its own nodes make of it."""
