"""What is learned: a file here is a task."""
