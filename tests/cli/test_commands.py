"""The other commands: eval, predict, compare, report, digest, data, info, and what belongs to all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import data
from qnn.cli import COMMANDS, cli
from qnn.training.runs import RunFolder


def _json(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_version_and_help(invoke: Any) -> None:
    import qnn

    assert invoke("--version").stdout == f"qnn {qnn.__version__}\n"
    text = invoke("--help").stdout
    assert all(name in text for name in COMMANDS)
    assert "2 bad usage" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str, invoke: Any) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.get_short_help_str()
    assert invoke(name, "--help").exit_code == 0
    for child in [command, *getattr(command, "commands", {}).values()]:
        assert child.help
        for param in child.params:
            if param.param_type_name == "option":
                assert getattr(param, "help", None), f"{name} {param.name}"


def test_eval_repeats_the_stored_result(invoke: Any, trained: Path) -> None:
    stored = RunFolder(trained).evaluation()
    for extra in ([], ["--kernels", "reference"], ["--batch-size", "7", "--threads", "1"]):
        found = _json(invoke("eval", trained, "--json", *extra))
        assert found["test_accuracy"] == stored["accuracy"]
        assert found["confusion"] == stored["confusion"]
    text = invoke("eval", trained).stdout
    assert "most mistakes" in text


def test_eval_has_the_same_outputs_whatever_multiplies(invoke: Any, trained: Path) -> None:
    found = [
        _json(invoke("eval", trained, "--json", "--products", products)) for products in ("auto", "multiply", "layers")
    ]
    assert len({result["outputs"] for result in found}) == 1
    assert [result["products"] for result in found] == ["auto", "multiply", "layers"]
    for products in ("xnor", "shift", "shift-truncating"):
        refused = invoke("eval", trained, "--products", products)
        assert refused.exit_code == 1
        assert f"products='{products}'" in refused.stderr


def test_eval_says_that_truncating_shifts_are_not_the_network(invoke: Any, tmp_path: Path) -> None:
    recipe = ["--recipe", "nbq(n=4)", "--epochs", "1", "--train-limit", "64"]
    run = tmp_path / "run"
    assert invoke("train", "--out", run, *recipe).exit_code == 0
    results = {p: invoke("eval", run, "--json", "--products", p) for p in ("layers", "shift", "shift-truncating")}
    outputs = {products: _json(result)["outputs"] for products, result in results.items()}
    assert outputs["layers"] == outputs["shift"] != outputs["shift-truncating"]
    assert "not the outputs" in results["shift-truncating"].stderr
    assert "not the outputs" not in results["shift"].stderr


def test_eval_on_other_data(invoke: Any, trained: Path, tmp_path: Path) -> None:
    digits = data.load("digits", split="test")
    arrays = {
        "x_train": digits.images,
        "y_train": digits.labels,
        "x_test": digits.images[:9],
        "y_test": digits.labels[:9],
    }
    np.savez(tmp_path / "mine.npz", **arrays)
    found = _json(invoke("eval", trained, "--data", tmp_path / "mine.npz", "--json", "--split", "train"))
    assert found["images"] == len(digits)
    np.savez(tmp_path / "big.npz", **{k: np.repeat(v, 2, 1) if v.ndim == 4 else v for k, v in arrays.items()})
    unfit = invoke("eval", trained, "--data", tmp_path / "big.npz")
    assert unfit.exit_code == 2
    assert "16x8x1" in unfit.stderr
    assert "8x8x1" in unfit.stderr


def test_predict_says_what_the_network_says(invoke: Any, trained: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    digits = data.load("digits", split="test")
    expected = RunFolder(trained).evaluation()
    wrong = {item["index"]: item["predicted"] for item in expected["worst"]}
    paths = []
    for index in list(wrong)[:3]:
        path = tmp_path / f"{index}.png"
        image.fromarray(digits.images[index, :, :, 0]).save(path)
        paths.append(path)
    found = _json(invoke("predict", *paths, "--run", trained, "--json", "--top", "10"))
    for path, item in zip(paths, found["predictions"], strict=True):
        assert item["top"][0]["class"] == digits.classes[wrong[int(path.stem)]]
        assert abs(sum(entry["probability"] for entry in item["top"]) - 1) < 1e-9
    text = invoke("predict", paths[0], "--run", trained).stdout
    assert "probability" in text


def test_predict_takes_any_picture(invoke: Any, trained: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    paths = []
    for mode, shape, ending in [
        ("RGB", (31, 17, 3), "jpg"),
        ("RGBA", (9, 9, 4), "png"),
        ("L", (5, 80), "bmp"),
        ("1", (8, 8), "png"),
    ]:
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        picture = image.fromarray(pixels).convert(mode)
        paths.append(tmp_path / f"{mode}.{ending}")
        picture.save(paths[-1])
    image.fromarray(rng.integers(0, 65536, (12, 12)).astype(np.uint16)).save(tmp_path / "deep.png")
    paths.append(tmp_path / "deep.png")
    found = _json(invoke("predict", *paths, "--run", trained, "--json"))
    assert len(found["predictions"]) == len(paths)


def test_invert_and_transparency() -> None:
    image = pytest.importorskip("PIL.Image")
    from qnn.cli.predict import read_picture

    path = Path("unused")
    import io

    def read(picture: Any, shape: tuple[int, int, int], invert: bool = False) -> Any:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        stream.seek(0)
        return read_picture(stream, shape, invert)  # type: ignore[arg-type]

    assert path.name == "unused"
    clear = image.new("RGBA", (4, 4), (255, 255, 255, 0))
    assert read(clear, (2, 2, 1)).tolist() == [[[0], [0]], [[0], [0]]], "laid on black"
    assert read(clear, (2, 2, 3), invert=True).min() == 255
    half = image.fromarray(np.array([[0, 200], [100, 100]], np.uint8))
    assert read(half, (1, 1, 1)).item() == 100, "a box filter is a mean"


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\x00" * 20])
def test_predict_refuses_what_is_no_picture(content: bytes | None, invoke: Any, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    result = invoke("predict", path, "--run", trained)
    assert result.exit_code == 2
    assert "a.png" in result.stderr


def test_predict_refuses_a_truncated_picture(invoke: Any, trained: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert invoke("predict", tmp_path / "a.png", "--run", trained).exit_code == 2


def test_compare(invoke: Any, trained: Path, small: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert invoke("train", *small, "--seed", "2", "--out", other, "--no-report").exit_code == 0
    page, picture = tmp_path / "c.html", tmp_path / "c.png"
    found = _json(invoke("compare", trained, other, trained, "--out", page, "--json"))
    assert [run["bits"] for run in found["runs"][1:]] == ["other settings", "the same bits"]
    assert found["settings_that_differ"] == {"seed": ["1", "2", "1"]}
    assert "Test accuracy" in page.read_text(encoding="utf-8")
    text = invoke("compare", trained, other, "--out", picture)
    assert text.exit_code == 0, text.stderr
    assert "seed: 1 | 2" in text.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert invoke("compare", trained, other, "--out", tmp_path / "c.gif").exit_code == 2
    assert invoke("compare", trained, other, "--out", tmp_path / "none" / "c.html").exit_code == 1
    assert invoke("compare", trained, other, "--out", tmp_path / "none" / "c.png").exit_code == 1


def test_report(invoke: Any, trained: Path, tmp_path: Path) -> None:
    result = invoke("report", trained, "--out", tmp_path / "r.html")
    assert result.exit_code == 0
    assert (tmp_path / "r.html").read_bytes() == (trained / "report.html").read_bytes(), "drawn from the folder alone"
    assert invoke("report", trained, "--out", tmp_path / "none" / "r.html").exit_code == 1


def test_digest(invoke: Any, trained: Path, copied: Path) -> None:
    chain = RunFolder(trained).digests()
    assert invoke("digest", trained).stdout.strip() == chain[-1]["digest"]
    assert len(invoke("digest", trained, "--steps").stdout.splitlines()) == len(chain)
    assert _json(invoke("digest", trained, "--json"))["step"] == len(chain) - 1
    assert _json(invoke("digest", "replay", trained, "--json", "--kernels", "reference"))["same"] is True
    assert invoke("digest", "bisect", trained, copied).exit_code == 0
    lines = (copied / "digest.jsonl").read_text().splitlines()
    for step in (2, 3):
        lines[step] = lines[step].replace(chain[step]["digest"], "00" * 32)
    (copied / "digest.jsonl").write_text("\n".join(lines) + "\n")
    unlike = invoke("digest", "bisect", trained, copied, "--no-repeat")
    assert unlike.exit_code == 1
    assert "step 2" in unlike.stdout
    replayed = invoke("digest", "replay", copied)
    assert replayed.exit_code == 1
    assert "step 2" in replayed.stdout


def test_data(invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QNN_DATA", str(tmp_path))
    found = _json(invoke("data", "list", "--json"))
    assert {row["name"]: row["state"] for row in found["data"]}["digits"] == "built in"
    assert "digits" in invoke("data", "list").stdout
    assert _json(invoke("data", "check", "digits", "--json"))["data"]["digits"][0]["ok"] is True
    assert invoke("data", "get", "digits").exit_code == 0
    assert invoke("data", "check", "mnist").exit_code == 1


def test_info(invoke: Any) -> None:
    found = _json(invoke("info", "--json", "--kernels"))
    assert found["kernels"] in found["kernel_paths"]
    assert "digits" in found["data"]
    assert found["operations"]
    assert "kernel paths" in invoke("info").stdout


def test_costly_libraries_are_not_loaded_by_the_package(environment: dict[str, str]) -> None:
    code = "import sys, qnn; print(sorted({'click', 'rich', 'matplotlib', 'PIL'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys\nfrom qnn.cli import cli\ntry: cli.main(['info'])\nexcept SystemExit: pass\n"
    code += "print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a POSIX shell")
def test_a_closed_pipe_is_silent(environment: dict[str, str], trained: Path) -> None:
    command = [sys.executable, "-m", "qnn", "digest", str(trained), "--steps"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="streams of a POSIX shell")
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_closed_before_the_start(closed: str, environment: dict[str, str], trained: Path) -> None:
    shell = f'"$0" -m qnn eval "$1" {">&-" if closed == "stdout" else "2>&-"}'
    command = ["sh", "-c", shell, sys.executable, str(trained)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("accuracy" in done.stdout) is (closed == "stderr")


def test_no_color_is_obeyed(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in invoke("eval", "no-run", color=True).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in invoke("eval", "no-run", color=True).stderr
    assert "\x1b[" not in invoke("data", "check", "digits", color=True).stdout


@pytest.mark.parametrize(("width", "shown"), [("80", False), ("140", True)])
def test_a_narrow_table_keeps_its_words_whole(
    width: str, shown: bool, invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from qnn.cli import common

    monkeypatch.setattr(common, "console", lambda: Console(file=sys.stdout, width=int(width), highlight=False))
    text = invoke("data", "list").stdout
    assert "fashion-mnist " in text
    assert ("Street View House Numbers" in text) is shown
