"""The commands around a run: init, doctor, bench, diagnose, and predict and eval of whatever a path holds."""
