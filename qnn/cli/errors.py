"""What the command line says when something goes wrong: one message, an exit code, a traceback only when asked for."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Iterable

import click

from qnn.errors import ConfigError, DataError, QnnError

DONE, FAILED, USAGE = 0, 1, 2


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest known name, or an empty string when none is near."""
    table = {str(word).lower(): str(word) for word in known}
    found = difflib.get_close_matches(str(name).lower(), list(table), n=1, cutoff=0.5)
    return f" Did you mean {table[found[0]]!r}?" if found else ""


def exit_code_of(error: BaseException, debug: bool = False) -> int:
    """Tell the user about ``error`` on stderr and return the exit code that belongs to it."""
    if isinstance(error, BrokenPipeError):
        return FAILED
    if debug and not isinstance(error, (click.exceptions.Exit, click.exceptions.Abort)):
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, (click.exceptions.Abort, KeyboardInterrupt)):
        _say("stopped", "yellow", "interrupted.")
        return FAILED
    if isinstance(error, click.UsageError):
        _usage(error)
        return USAGE
    if isinstance(error, click.ClickException):
        _say("error", "red", error.format_message())
        return error.exit_code
    if isinstance(error, (ConfigError, DataError)):
        _say("error", "red", str(error))
        return USAGE
    if isinstance(error, QnnError):
        _say("error", "red", str(error))
        return FAILED
    if isinstance(error, OSError):
        _say("error", "red", _os_message(error))
        return FAILED
    if isinstance(error, MemoryError):
        _say("error", "red", "out of memory. Take a smaller --batch-size or a smaller model.")
        return FAILED
    _say("unexpected error", "red", f"{type(error).__name__}: {error}")
    if not debug:
        click.echo(
            "This should not happen. Run the same command with QNN_DEBUG=1 in front to see the traceback.", err=True
        )
    return FAILED


def _usage(error: click.UsageError) -> None:
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):  # click's own text names only exact near misses
        known = [
            opt
            for param in (error.ctx.command.params if error.ctx else [])
            for opt in param.opts
            if opt.startswith("--")
        ]
        message = f"got the option {error.option_name!r}, which does not exist.{nearest(error.option_name, known)}"
    _say("error", "red", message)
    if error.ctx is not None:
        click.echo(f"See `{error.ctx.command_path} --help`.", err=True)


def _os_message(error: OSError) -> str:
    import errno

    what = os.strerror(error.errno) if error.errno is not None else str(error)
    where = f"{os.fspath(error.filename)!s}: " if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    advice = {
        errno.ENOSPC: " Free some space or pass --out with a folder on another disk.",
        errno.EACCES: " Pass a place that you may read and write, for example --out with another folder.",
        errno.EROFS: " Pass a place that you may write, for example --out with another folder.",
        errno.ENOENT: " Check the path.",
    }.get(error.errno or 0, "")
    return f"{where}{what}.{advice}"


def _say(label: str, colour: str, message: str) -> None:
    prefix = click.style(f"{label}:", fg=colour, bold=True)
    try:
        click.echo(f"{prefix} {message}", err=True, color=False if os.environ.get("NO_COLOR") else None)
    except BrokenPipeError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - stays open as the stream
