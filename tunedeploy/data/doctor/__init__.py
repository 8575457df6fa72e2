"""What looks wrong in a data set before anything is trained on it."""
