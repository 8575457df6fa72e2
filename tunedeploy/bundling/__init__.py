"""What goes into a bundle beside the graphs."""
