"""How it is learned: a file here is a method of fine-tuning."""
