"""The report page: whole, self-contained, accessible, small, and safe with any text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import data, recipes, training
from qnn.errors import RunError
from qnn.report import comparison, write_report
from qnn.report.page import duration, render
from qnn.report.reader import read_run
from qnn.report.view import RunView
from qnn.training.config import TrainConfig

SECTIONS = (
    "curves",
    "exponents",
    "overflow",
    "weights",
    "confusion",
    "worst",
    "layers",
    "sites",
    "settings",
    "reproduce",
)
HOSTILE = "<script>alert('x')</script>\"onload=\"alert(1) & </style></svg>"


def check(page: Any) -> None:
    """What holds for every page."""
    assert page.complaints == []
    assert not page.named("script", "link", "iframe", "object", "base", "form")
    for element in page.named("a", "img", "svg", "use", "image", "source"):
        for name in ("href", "src", "srcset", "xlink:href"):
            assert element.get(name, "#").startswith(("#", "data:image/png;base64,")), element
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?://", page.text.split("<body>")[0])
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.named("svg"))
    assert all(image.get("alt") for image in page.named("img"))
    assert all(head.get("scope") in ("col", "row") for head in page.named("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"][1:] for link in page.named("a")} <= set(ids)
    assert {"lang": "en"} in page.named("html")
    assert any(meta.get("name") == "viewport" for meta in page.named("meta"))
    coordinates = " ".join(a.get("d", "") for a in page.named("path"))
    assert "nan" not in coordinates
    assert "inf" not in coordinates


def test_report_of_a_real_run(finished: Path, tmp_path: Path, parse: Any) -> None:
    path = write_report(finished, tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    page = parse(text)
    check(page)
    ids = {attributes.get("id") for attributes in page.named("section")}
    assert ids == set(SECTIONS)
    words = "".join(page.words)
    for word in ("Test accuracy", "Digest of the run", "Learning rate", "Gradients", "Conv2d", "STOCHASTIC", "dfp8"):
        assert word in words
    assert read_run(finished).digest in words
    assert len(page.named("img")) == 24
    assert len(text) < 400_000


def test_drawn_from_the_folder_alone(
    copied: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the report asked for the data set")

    first = write_report(finished, tmp_path / "a.html").read_text(encoding="utf-8")
    monkeypatch.setattr(data, "load", never)
    moved = copied.rename(tmp_path / "done")
    second = write_report(moved, tmp_path / "b.html").read_text(encoding="utf-8")
    assert first.replace(str(finished), "") == second.replace(str(moved), ""), "and the same each time"


def test_hostile_text_stays_text(copied: Path, parse: Any) -> None:
    content = json.loads((copied / "evaluation.json").read_text())
    content["classes"] = [f"{HOSTILE} {i}" for i in range(10)]
    (copied / "evaluation.json").write_text(json.dumps(content))
    lines = (copied / "metrics.jsonl").read_text().splitlines()
    note = json.dumps({"kind": "note", "step": 0, "message": HOSTILE})
    (copied / "metrics.jsonl").write_text("\n".join([lines[0], note, *lines[1:]]) + "\n")
    text = (copied / "config.toml").read_text()
    config = text.replace('data = "digits"', f"data = {json.dumps(HOSTILE)}")
    assert config != text
    (copied / "config.toml").write_text(config)
    traces = (copied / "traces.jsonl").read_text()
    (copied / "traces.jsonl").write_text(traces.replace("net.layers.1.weight_site", json.dumps(HOSTILE)[1:-1]))
    folder = copied.rename(copied.parent / "<b>&amp;'run")
    page = parse(write_report(folder).read_text(encoding="utf-8"))
    check(page)
    assert "".join(page.words).count("<script>alert('x')</script>") >= 5
    others = comparison.render([read_run(folder), read_run(folder)])
    check(parse(others))


@pytest.mark.parametrize(
    ("layers", "classes", "epochs", "per"), [(1, 2, 1, 1), (4, 10, 3, 20), (60, 100, 40, 100), (10, 25, 2, 400)]
)
def test_any_size(layers: int, classes: int, epochs: int, per: int, make_view: Any, parse: Any) -> None:
    page = render(make_view(layers=layers, classes=classes, length=epochs, per=per))
    check(parse(page))
    assert len(page.encode()) < 1_500_000


@pytest.mark.parametrize(
    "changes",
    [
        {"sites": []},
        {"epochs": []},
        {"epochs": [], "loss": [], "lr": [], "sites": [], "steps_per_epoch": 0},
        {"confusion": None, "worst": []},
        {"weights": []},
        {"finished": False, "notes": ["something happened"]},
        {"loss": [(1.0, 0.0), (2.0, 0.0)]},
        {"loss": [(1.0, 3.0)], "epochs": []},
        {"covered": False, "test_accuracy": None, "digest": None},
    ],
)
def test_missing_parts(changes: dict[str, Any], make_view: Any, parse: Any) -> None:
    page = parse(render(make_view(**changes)))
    check(page)
    if not changes.get("finished", True):
        assert "qnn train --out runs/made-up --resume" in "".join(page.words)


def test_no_mistakes_and_no_overflow(make_view: Any, parse: Any) -> None:
    view: RunView = make_view(confusion=np.diag(np.arange(10)))
    for site in view.sites:
        site.overflow = site.saturated = np.zeros_like(site.overflow)
        site.exponents = np.full_like(site.exponents, -3)
    page = parse(render(view))
    check(page)
    words = "".join(page.words)
    assert "No mistakes" in words
    assert "None of them moved" in words


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "traces.jsonl", "evaluation.json", "checkpoint.safetensors", "runtime.json"]
)
@pytest.mark.parametrize("how", ["missing", "broken", "cut"])
def test_damaged_folder(name: str, how: str, copied: Path, parse: Any) -> None:
    path = copied / name
    content = path.read_bytes() if path.exists() else b"{}"
    if how == "missing":
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"{broken\n[1]\n")
    check(parse(write_report(copied).read_text(encoding="utf-8")))


def test_only_settings(copied: Path, parse: Any) -> None:
    for path in copied.iterdir():
        if path.name != "config.toml":
            path.unlink()
    check(parse(write_report(copied).read_text(encoding="utf-8")))
    (copied / "config.toml").unlink()
    with pytest.raises(RunError, match="config"):
        write_report(copied)


def test_pictures_that_cannot_be_read_are_left_out(copied: Path, parse: Any) -> None:
    content = json.loads((copied / "evaluation.json").read_text())
    images = [
        None,
        {},
        {"shape": [8, 8, 1], "pixels": "AA=="},
        {"shape": [2, 2], "pixels": "%%"},
        {"shape": "x", "pixels": ""},
    ]
    content["worst"] = [{**item, "image": image} for item, image in zip(content["worst"], images, strict=False)]
    (copied / "evaluation.json").write_text(json.dumps(content))
    page = parse(write_report(copied).read_text(encoding="utf-8"))
    check(page)
    assert not page.named("img")


def test_report_that_cannot_be_written(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--out"):
        write_report(finished, tmp_path / "none" / "r.html")


def test_comparison(make_view: Any, parse: Any) -> None:
    views = [make_view(length=e, name=f"digits-mlp-{e}") for e in (1, 2, 5)]
    text = comparison.render(views)
    page = parse(text)
    check(page)
    assert "digits-mlp-5" in "".join(page.words)
    assert comparison.short_names(views) == ["1", "2", "5"]
    assert comparison.short_names([views[0], views[0]]) == ["1 (1)", "1 (2)"]
    assert [row[0] for row in comparison.differences(views)] == ["epochs"]


def test_histogram_counts_every_weight_once(finished: Path) -> None:
    view = read_run(finished)
    assert [item.name for item in view.weights] == ["1 Conv2d", "4 Conv2d", "9 Linear"]
    for item in view.weights:
        size = int(np.prod(item.shape))
        assert item.codes.sum() == size
        assert item.floats.sum() + item.clipped == size


def test_site_totals_are_those_of_the_trace(finished: Path) -> None:
    from qnn.training.runs import RunFolder

    traces = RunFolder(finished).traces()
    view = read_run(finished)
    assert [site.name for site in view.sites] == traces.sites
    assert [site.hits for site in view.sites] == traces.overflow.sum(axis=0).tolist()
    assert all(site.rounding and site.stream is not None for site in view.sites)


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (4.25, "4.2"), (75.0, "15"), (7260.0, "01")])
def test_duration(value: float | None, text: str) -> None:
    assert text in duration(value)


@pytest.mark.parametrize("name", recipes.names())
def test_a_run_of_every_recipe_has_a_report(name: str, tmp_path: Path, parse: Any) -> None:
    training.train(TrainConfig(recipe=name, train_limit=32, epochs=1, out=str(tmp_path / "run")))
    view = read_run(tmp_path / "run")
    assert view.notes == []
    assert len(view.weights) == (0 if name == "fp32" else 3)
    page = parse(write_report(tmp_path / "run", tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.complaints == []
