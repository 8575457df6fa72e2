"""What precisions share: the arithmetic of 8 bits, kinds of CPU, and a place for converters to work in."""
