"""HTML and SVG text: escaping, tags and numbers."""

from __future__ import annotations

import html


def esc(text: object) -> str:
    """Text that is safe in HTML content and in quoted attributes."""
    return html.escape(str(text), quote=True)


def num(value: float) -> str:
    """A coordinate with one decimal and no trailing zero: keeps the page small."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def tag(name: str, *content: str, **attributes: object) -> str:
    """An element around ready markup; attribute values are escaped here.

    ``cls`` stands for ``class``, other names have ``-`` for ``_``; an attribute that is None or empty is left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value != "":
            words.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{esc(value)}"')
    return f"<{' '.join(words)}>{''.join(content)}</{name}>"


def note(text: str) -> str:
    """A paragraph of plain words."""
    return tag("p", esc(text), cls="note")


def scroll(name: str, content: str) -> str:
    """A box in which wide content scrolls, reachable by keyboard."""
    return tag("div", content, cls="scroll", tabindex=0, role="region", aria_label=name)


def shorten(name: str, most: int) -> str:
    """A long name with its middle left out."""
    if len(name) <= most:
        return name
    keep = max(most - 1, 2)
    head = keep // 2
    return f"{name[:head]}…{name[-(keep - head) :]}"


def superscript(value: int) -> str:
    """An integer in superscript characters, for powers such as 2⁻⁷."""
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def short_name(name: str) -> str:
    """A module name without the parts that every name has (``net.layers.3`` is ``3``)."""
    return ".".join(part for part in name.split(".") if part not in ("net", "layers"))
