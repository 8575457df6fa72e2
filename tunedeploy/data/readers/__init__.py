"""One reader for each kind of file that rows come in."""
