"""The report page: puts pictures and tables of one run into a single self-contained HTML file."""

from __future__ import annotations

import shlex
from typing import Any

from qnn.report import charts, tables, traces
from qnn.report.markup import esc, note, tag
from qnn.report.style import css
from qnn.report.view import RunView

TITLES = {"weight": "Weights", "activation": "Activations", "gradient": "Gradients"}
FEW = 12  # histograms shown at once; more wait behind a fold
MANY = 48  # above this many rows, so does the table of sites
RUNTIME = {"n_train": "training images", "n_test": "test images", "total_steps": "steps", "cpus_allowed": "processors"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: str) -> str:
    """A whole HTML document that loads nothing: the policy in its head forbids every request."""
    head = (
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        tag("title", esc(title)),
        tag("style", css()),
    )
    lines = "\n".join(head)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{lines}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def render(view: RunView) -> str:
    """The report of one run as HTML text."""
    parts = [
        ("curves", "Learning curves", _curves(view)),
        ("exponents", "Exponents", _exponents(view)),
        ("overflow", "Overflow and saturation", _overflow(view)),
        ("weights", "Weights and their integers", _weights(view)),
        ("confusion", "Confusion matrix", tables.confusion(view) or note("The run has no test results yet.")),
        ("worst", "Worst examples", _worst(view)),
        ("layers", "Network", _layers(view)),
        ("sites", "Quantisation sites", _sites(view)),
        ("settings", "Settings and machine", _settings(view)),
        ("reproduce", "How to get these bits again", _reproduce(view)),
    ]
    links = "".join(tag("a", esc(title), href=f"#{key}") for key, title, _ in parts)
    sections = "".join(tag("section", tag("h2", esc(title)), body, id=key) for key, title, body in parts)
    top = tag("header", _header(view), tag("nav", links, aria_label="Sections"), cls="top")
    foot = tag("footer", tag("p", "Drawn from the run folder alone. This file loads nothing from anywhere."))
    return document(f"{view.name} · qnn", top + tag("main", sections) + foot)


def _header(view: RunView) -> str:
    config = view.config
    data = str(config.get("data", "?")).rstrip("/").rsplit("/", 1)[-1]
    parts = [
        str(config.get("model", "?")),
        f"recipe {config.get('recipe', '?')}",
        f"data {data}",
        f"seed {config.get('seed', '?')}",
    ]
    out = tag("p", "qnn training run", cls="eyebrow") + tag("h1", esc(view.name))
    out += tag("p", esc(" · ".join(parts)), cls="lede")
    if not view.finished:
        command = f"qnn train --out {shlex.quote(str(view.folder))} --resume"
        done = f"{len(view.epochs)} of {esc(config.get('epochs', '?'))} epochs. Go on with {tag('code', esc(command))}"
        out += tag("p", tag("strong", "Not finished:"), " ", done, cls="alert")
    out += "".join(tag("p", esc(text), cls="alert") for text in view.notes)
    out += tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in _tiles(view)), cls="tiles")
    if view.digest:
        scope = "" if view.covered else " (this recipe is a baseline: its bits may differ on another machine)"
        digest = tag("span", esc(view.digest), cls="mono")
        out += tag("p", tag("b", "Digest of the run"), digest, scope, cls="digest")
    return out


def _tiles(view: RunView) -> list[tuple[str, str]]:
    accuracy = "–" if view.test_accuracy is None else f"{100 * view.test_accuracy:.2f}{tag('small', ' %')}"
    if view.test_loss is not None:
        accuracy += " " + tag("small", f"loss {view.test_loss:.3f}", cls="loss")
    speed = "–" if view.images_per_second is None else f"{view.images_per_second:,.0f}{tag('small', ' images/s')}"
    wanted = esc(view.config.get("epochs", "?"))
    epochs = f"{len(view.epochs)}{tag('small', f' of {wanted}')}"
    return [("Test accuracy", accuracy), ("Time", duration(view.seconds)), ("Speed", speed), ("Epochs", epochs)]


def duration(value: float | None) -> str:
    """A duration with small units."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f}{tag('small', ' s')}"
    if value < 3600:
        return f"{int(value) // 60}{tag('small', ' min')} {int(value) % 60:02d}{tag('small', ' s')}"
    return f"{int(value) // 3600}{tag('small', ' h')} {int(value) % 3600 // 60:02d}{tag('small', ' min')}"


def grid(*figures: str) -> str:
    """Figures side by side, as many as the page is wide."""
    return tag("div", *figures, cls="grid3") if any(figures) else ""


def _curves(view: RunView) -> str:
    return grid(*charts.learning(view)) or note("Nothing was recorded yet.")


def _exponents(view: RunView) -> str:
    words = tables.exponent_words(view)
    if view.sites:
        words += " Lines: the most frequent exponent of a stretch of time; shades: its range there."
    return note(words) + grid(*traces.exponent_figures(view, TITLES))


def _overflow(view: RunView) -> str:
    rates = [traces.overflow_figure(view, group, title) for group, title in TITLES.items()]
    if not any(rates):
        return note("This run recorded no counts.")
    strips = traces.overflow_strips(view, {group: f"{title} by site" for group, title in TITLES.items()})
    words = (
        f"Share of entries per stretch of time. {charts.swatch('over')}An entry overflows when it lies outside the "
        f"range of its integers before rounding; {charts.swatch('sat')}it saturates when the rounded value had to be "
        "clipped. One overflow in a step raises the exponent for the next."
    )
    return tag("p", words, cls="note") + grid(*rates, *strips)


def _weights(view: RunView) -> str:
    if not view.weights:
        return note("The run has no checkpoint with quantised weights.")
    words = (
        f"{charts.swatch('s1')}bars: integer codes the network computes with. {charts.swatch('s2')}line: float32 "
        "master weights behind them, counted in the same bins. Below the codes: the values they stand for."
    )
    figures = [charts.weight_figure(item) for item in view.weights]
    out = tag("p", words, cls="note") + grid(*figures[:FEW])
    if len(figures) > FEW:
        out += tag("details", tag("summary", f"{len(figures) - FEW} more layers"), grid(*figures[FEW:]))
    return out


def _worst(view: RunView) -> str:
    if not view.worst:
        return note("The run has no test results yet.")
    lacking = "" if view.worst[0].image is not None else " Their pixels are not in the run folder."
    return note("The test images with the greatest loss, worst first." + lacking) + tables.worst(view)


def _layers(view: RunView) -> str:
    return tables.layer_table(view) if view.layers else note("The run has no checkpoint to read the network from.")


def _sites(view: RunView) -> str:
    if not view.sites:
        return note("This recipe has no quantisation sites.")
    table = tables.site_table(view)
    if len(view.sites) <= MANY:
        return table
    return tag("details", tag("summary", f"Table of {len(view.sites)} sites"), table)


def _settings(view: RunView) -> str:
    left = tables.pair_table(((key, _plain(value)) for key, value in view.config.items()), "Settings")
    rows = [(RUNTIME.get(key, key.replace("_", " ")), _plain(value)) for key, value in view.runtime.items()]
    right = tables.pair_table(rows, "Machine") if rows else note("The machine was not recorded.")
    return tag("div", tag("div", left), tag("div", right), cls="halves")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return "–" if value in (None, "") else str(value)


def _reproduce(view: RunView) -> str:
    save = f"Save these settings as {tag('code', 'run.toml')}"
    if view.covered:
        words = f"{save}; the digest at the end must be the one above, on any processor and with any number of threads."
    else:
        words = f"{save}. This recipe is a baseline on the machine's own BLAS: its bits may differ on another machine."
    check = (
        "qnn train run.toml\n"
        f"qnn digest replay {shlex.quote(str(view.folder))}   # trains again and compares step by step"
    )
    return tag("p", words, cls="note") + _code(check) + _code(view.config_text)


def _code(text: str) -> str:
    return tag("pre", tag("code", esc(text)), tabindex=0)
