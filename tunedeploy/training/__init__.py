"""The parts of the training loop: batches, features kept, schedules, checkpoints, balance and scores."""
