"""Laws of the chart module and of the PNG writer."""

from __future__ import annotations

import math
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn.report.charts import loss_scale, share_words, smooth
from qnn.report.markup import esc, num, shorten, superscript, tag
from qnn.report.pictures import data_address, png
from qnn.report.svg import Panel, integer_ticks, nice_ticks, short, spread, thin

numbers = st.floats(-1e9, 1e9, allow_nan=False)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6))
def test_ticks_are_inside_even_and_few(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert all(low - span * 1e-6 <= tick <= low + span * 1.000001 for tick in ticks)
    assert len(ticks) <= 7
    steps = np.diff(ticks)
    assert len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-3)


def test_ticks_of_nothing() -> None:
    assert nice_ticks(1.0, 1.0) == [1.0]
    assert nice_ticks(0.0, math.inf) == [0.0]
    assert integer_ticks(-9, 4, 5)[0] >= -9


@given(st.lists(st.floats(0, 200), max_size=14), st.floats(1, 13))
def test_labels_keep_their_distance_and_order(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 0.0, 200.0)
    assert all(-1e-6 <= y <= 200 + 1e-6 for y in placed)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    ys = [placed[i] for i in order]
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ys))


@given(st.lists(numbers, min_size=1, max_size=900))
def test_thinning_keeps_ends_and_extremes(values: list[float]) -> None:
    points = [(float(i), y) for i, y in enumerate(values)]
    kept = thin(points, 120)
    assert len(kept) <= 130
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert max(y for _, y in kept) == max(values)
    assert min(y for _, y in kept) == min(values)
    assert kept == sorted(kept)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 60))
def test_running_mean_stays_between(values: list[float], window: int) -> None:
    means = smooth([(float(i), y) for i, y in enumerate(values)], window)
    assert len(means) == len(values)
    assert all(min(values) - 1e-9 <= y <= max(values) + 1e-9 for _, y in means)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_loss_scale_covers_the_smoothed_values(values: list[float]) -> None:
    low, high, scale = loss_scale(values, [])
    assert low < high
    assert scale == "linear" or low > 0
    assert scale != "linear" or low == 0


@pytest.mark.parametrize("scale", ["linear", "log", "log0"])
def test_panel_puts_greater_values_higher(scale: str) -> None:
    panel = Panel((0, 1), (0.001, 10), "a picture", scale=scale)
    heights = [panel.py(y) for y in (0.001, 0.01, 0.5, 10)]
    assert heights == sorted(heights, reverse=True)
    panel.axes("x")
    panel.line([(0, 1), (1, 2)], "s1", "<name>")
    assert 'aria-label="a picture"' in panel.svg()
    assert "<name>" not in panel.svg()
    if scale == "log0":
        assert panel.py(0) == panel.height - panel.bottom


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))))
def test_png_holds_the_pixels(image: np.ndarray) -> None:
    content = png(image)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", content[16:26])
    assert (height, width, depth, kind) == (*image.shape[:2], 8, 2 if image.shape[2] == 3 else 0)
    at, body = 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunk = content[at + 4 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(chunk)
        body += chunk[4:] if chunk[:4] == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    assert np.array_equal(rows[:, 1:].reshape(image.shape), image)


def test_png_refuses_what_is_no_picture() -> None:
    for wrong in (np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(ValueError, match="allowed is uint8"):
            png(wrong)
    assert data_address(np.zeros((2, 2, 5), np.uint8)).startswith("data:image/png;base64,")


@given(st.text())
def test_markup_escapes(text: str) -> None:
    assert "<" not in esc(text)
    assert '"' not in esc(text)
    assert tag("p", title=text or "x").count("<") == 2
    assert len(shorten(text, 9)) <= max(9, 3)


def test_words() -> None:
    assert tag("a", "x", cls="k", aria_label="l", href=None) == '<a class="k" aria-label="l">x</a>'
    assert superscript(-12) == "⁻¹²"
    assert (num(2.0), num(2.25)) == ("2", "2.2")
    assert [short(v) for v in (0, 12000, 2e6, 0.5, 0.00012)] == ["0", "12k", "2M", "0.5", "1e-4"]
    assert share_words(0) == "none"
    assert share_words(0.25) == "25 %"
    assert share_words(1 / 12345) == "1 in 12,000"
