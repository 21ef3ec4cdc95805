"""Words the data layer's errors: what was got, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from qnn.errors import DataError


def problem(got: str, allowed: str, do: str) -> DataError:
    """Build (not raise) the error of a three-part message.

    Parameters
    ----------
    got, allowed, do
        What was found, what would have been right, and what the reader can do about it.

    Returns
    -------
    DataError
        The exception, for the caller to raise.
    """
    return DataError(f"got {got}; allowed: {allowed}; {do}")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" (nearest known name: 'x')"`` or an empty string when nothing is near."""
    close = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.5)
    return f" (nearest known name: {close[0]!r})" if close else ""
