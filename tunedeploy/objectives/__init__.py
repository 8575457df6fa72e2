"""What is minimised beside the task's own loss: a file here is an objective."""
