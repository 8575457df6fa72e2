"""The parts of the training loop: batches, kept features, schedules, checkpoints, balance and scores."""
