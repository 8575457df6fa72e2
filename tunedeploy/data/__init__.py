"""Read a data set and say what is wrong with it."""
