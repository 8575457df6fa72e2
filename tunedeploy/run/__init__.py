"""Where artefacts live, what made them, and in which order: the run folder, its records, its lineage."""
