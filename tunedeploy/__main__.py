"""`python -m tunedeploy` is the command `tunedeploy`."""

from tunedeploy.cli.commands import main

if __name__ == "__main__":
    main()
