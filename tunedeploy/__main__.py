"""`python -m tunedeploy` is the command `tunedeploy`."""

import sys

from tunedeploy.cli import main

if __name__ == "__main__":
    sys.exit(main())
