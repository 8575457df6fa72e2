"""What the weights become in the shipped file: a file here is a precision."""
