"""What goes into a bundle in addition to the graphs."""
