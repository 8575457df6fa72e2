"""Where the bundle runs: a file here is a target, its limits and its layout."""
