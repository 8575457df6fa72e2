"""The program itself: its help in three groups, its version, and what every command has in common."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tunedeploy import __version__
from tunedeploy.cli.output import quietly

START, USE, INSPECT = "Start", "Use", "Inspect"  # the groups of commands, in the order of the help
PLAIN_PANELS = (START, USE, INSPECT)
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes; only errors and the last line.")]
QUIET = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)


class Group(TyperGroup):
    """The program's help, with its commands in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each group under its name; the lines of all are aligned."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = max(len(name) for name in commands)
        limit = formatter.width - 6 - width
        for group in PLAIN_PANELS:
            rows = [
                (name.ljust(width), command.get_short_help_str(limit))
                for name, command in commands.items()
                if isinstance(command, Command) and command.rich_help_panel == group
            ]
            with formatter.section(group):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A command's help, with examples that are printed as they can be typed."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, a line each, never wrapped."""
        del ctx
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def print_version(wanted: bool) -> None:
    """Print the version and end, for --version."""
    if wanted:
        typer.echo(f"tunedeploy {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One recipe in; one verified, edge-ready bundle out."""
    del version


def command(
    group: str, *examples: str, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of a group, and give it --quiet.

    Args:
        group: START, USE or INSPECT.
        examples: lines for its help.
        name: the function's own when None.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def called(*, quiet: bool, **arguments: Any) -> None:
            with quietly(quiet):
                function(**arguments)

        signature = inspect.signature(function)
        called.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), QUIET]
        )
        called.__annotations__ = {**function.__annotations__, "quiet": Quiet}
        app.command(name, cls=Command, epilog="\n".join(examples), rich_help_panel=group)(called)
        return function

    return register
