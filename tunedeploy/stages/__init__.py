"""The pipeline's verbs, one a file; each is run(recipe, rundir) -> record."""
