"""The command line ``qnn``: one file per command, each loaded only when it is called.

Exit codes: 0 done, 1 a run that failed or was interrupted, 2 bad usage. An expected error is one message without a
traceback.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from qnn.cli.errors import exit_code_of, nearest

__all__ = ["cli", "main"]

COMMANDS = ("train", "eval", "predict", "compare", "report", "info", "digest", "data", "recipes", "reproduce", "bench")
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class CommandGroup(click.Group):
    """The root command: loads a subcommand's module on demand and turns exceptions into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a day's work, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one module that is asked for."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"qnn.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest command named when there is none of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"got the command {args[0]!r}; allowed: {', '.join(COMMANDS)}.{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and leave with the code that the module's first lines promise."""
        _open_streams()
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        debug = "--debug" in words[:end] or os.environ.get("QNN_DEBUG", "0") not in ("", "0")
        words = [word for word in words[:end] if word != "--debug"] + words[end:]
        if os.environ.get("NO_COLOR"):  # rich obeys it by itself, click does not
            extra.setdefault("color", False)
        if not standalone_mode:
            return super().main(words, prog_name or "qnn", complete_var, standalone_mode=False, **extra)
        try:
            result = super().main(words, prog_name or "qnn", complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
            code = result if isinstance(result, int) else 0
        except SystemExit as stop:  # shell completion, and click's own answer to a closed pipe
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException as error:  # the one place where every error of every command ends
            code = exit_code_of(error, debug=debug)
        _quiet_streams()
        sys.exit(code)


def _open_streams() -> None:
    """Give a stream that was closed before the start (``qnn ... 2>&-``; Python has None there) nowhere to go."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - stays open as the stream


def _quiet_streams() -> None:
    """Point a closed output pipe to nowhere, so that the interpreter's last flush cannot complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            with contextlib.suppress(OSError, ValueError):  # a test's stream is no real file: nothing to redirect
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from qnn import __version__

        click.echo(f"qnn {__version__}")
        ctx.exit(0)


@click.group(cls=CommandGroup, context_settings=HELP)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.option("--debug", is_flag=True, hidden=True, help="Show the traceback of an error (also: QNN_DEBUG=1).")
def cli(debug: bool) -> None:
    """Train quantized neural networks that really run in integers, with the same bits on every machine.

    A bare `qnn train` trains a small network in 8-bit integers on handwritten digits. Exit codes: 0 done, 1 a run
    failed or was interrupted, 2 bad usage.
    """


def main() -> None:
    """Entry point of the ``qnn`` command."""
    cli.main(prog_name="qnn")
