"""``qnn bench``: tables, JSON, checksums that can fail, absent peers, unknown names; no test asks how fast it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import _kernels
from qnn.bench import GROUPS, group, peers
from qnn.bench.document import HEADER, SCHEMA, cells
from qnn.bench.plan import Plan
from qnn.bench.rows import Row, digest
from qnn.bench.scaling import fit
from qnn.bench.timing import Quiet, interleave

KEYS = set(Row("", "", "", "", "", 1, "", 1).plain())
QUICK = ("--quick", "--no-peers")


@pytest.fixture(scope="module")
def documents(invoke: Any) -> dict[str, dict[str, Any]]:
    """The JSON of every group on small shapes."""
    found = {}
    for name in GROUPS:
        result = invoke("bench", name, *QUICK, "--json")
        assert result.exit_code == 0, result.stderr
        found[name] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", GROUPS)
def test_json_of_a_group(documents: dict[str, dict[str, Any]], name: str) -> None:
    found = documents[name]
    assert found["schema"] == SCHEMA
    assert set(found) == {
        *("schema", "machine", "settings", "peers", "peaks", "notes", "same", "groups"),
    }
    assert found["machine"]["cpu"]
    assert found["same"] is True
    rows = found["groups"][name]
    assert rows
    for row in rows:
        assert set(row) == KEYS
        assert row["group"] == name
        assert row["seconds"] >= row["seconds_best"] > 0
        assert row["turns"] >= 1
        assert row["side"] in ("qnn", "loop")
        assert row["same"] is not False


@pytest.mark.parametrize("name", [name for name in GROUPS if name != "train"])
def test_every_path_is_measured_and_has_a_checksum(documents: dict[str, dict[str, Any]], name: str) -> None:
    rows = [row for row in documents[name]["groups"][name] if row["side"] == "qnn" and row["variant"] != "qnn fp32"]
    paths = [path for path in _kernels.available_kernels() if path != "reference"] or ["reference"]
    # A path without one of these operations is not measured.
    own = {"quantize": ("quantize", "requantize"), "noise": ("noise_u16",)}.get(name, ("gemm",))
    assert {row["path"] for row in rows} == {
        p for p in paths if any(p in _kernels.TABLE[operation] for operation in own)
    }
    for work in {(row["work"], row["variant"]) for row in rows}:
        assert len({row["checksum"] for row in rows if (row["work"], row["variant"]) == work}) == 1
        assert all(row["checksum"] for row in rows)


def test_compiled_products_are_compared_with_their_peak(documents: dict[str, dict[str, Any]]) -> None:
    pytest.importorskip("qnn._kernels._bench")
    assert all(row["peak_fraction"] > 0 for row in documents["gemm"]["groups"]["gemm"] if row["path"] in ("c", "avx2"))
    assert all(row["traffic_fraction"] > 0 for row in documents["quantize"]["groups"]["quantize"])
    named = {peak["name"] for peak in documents["gemm"]["peaks"]}
    assert "mac c" in named


def test_shifting_stands_beside_multiplying_with_the_same_checksum(documents: dict[str, dict[str, Any]]) -> None:
    pytest.importorskip("qnn._kernels._bench")
    loops = [row for row in documents["shift"]["groups"]["shift"] if row["work"].startswith("loops")]
    assert len({row["checksum"] for row in loops}) == 1
    against = {row["variant"]: row["ratio_to"] for row in loops if row["ratio"]}
    assert against["shift, plain C scalar"] == "multiply, plain C scalar"
    codes = [row for row in documents["shift"]["groups"]["shift"] if row["variant"] in ("int8", "4-bit codes")]
    for work in {row["work"] for row in codes}:
        assert len({row["checksum"] for row in codes if row["work"] == work}) == 1


def test_training_digests_are_the_same_on_every_path(documents: dict[str, dict[str, Any]]) -> None:
    rows = documents["train"]["groups"]["train"]
    assert len({row["checksum"] for row in rows if row["variant"] == "qnn dfp8"}) == 1
    assert len({row["extra"]["parameters"] for row in rows}) == 1


def test_tables(invoke: Any) -> None:
    result = invoke("bench", "gemm", *QUICK, "--kernels", "reference")
    assert result.exit_code == 0, result.stderr
    assert "gemm to int8" in result.stdout
    assert all(word in result.stdout for word in ("ns/unit", "GOPS", "checksum", "1 x 512 x 512", "an impression"))


def test_a_table_leaves_empty_columns_out() -> None:
    row = Row("gemm", "work", "what", "qnn", "c", 1, "MAC", 1, ns_per_unit=0.5, gops=4.0, checksum="ab", same=False)
    header, lines = cells([row.plain()])
    assert header == ["work", "what", "path", "thr", "ns/unit", "GOPS", "checksum"]
    assert lines == [["work", "what", "c", "1", "0.5", "4.00", "ab DIFFERS"]]
    assert set(header) <= set(HEADER)


@pytest.mark.skipif("c" not in _kernels.available_kernels(), reason="no compiled kernels here")
def test_a_wrong_kernel_is_found(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = _kernels.TABLE["gemm"]["c"]

    def wrong(*arguments: Any) -> Any:
        made = right(*arguments).copy()
        made[-1, -1] += 1
        return made

    monkeypatch.setitem(_kernels.TABLE["gemm"], "c", wrong)
    result = invoke("bench", "gemm", *QUICK)
    assert result.exit_code == 1
    assert "integers differ" in result.stderr
    assert "gemm on c" in result.stderr
    assert "DIFFERS" in result.stdout
    found = invoke("bench", "gemm", *QUICK, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["same"] is False


def test_absent_peers_are_one_line_and_no_error(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "installed", lambda *names: False)
    for name in ("gemm", "train"):
        result = invoke("bench", name, "--quick", "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert set(found["peers"].values()) == {None}
        assert len([note for note in found["notes"] if "torch" in note]) == 1
        assert not [row for row in found["groups"][name] if row["variant"].startswith("torch")]


def test_a_peer_that_does_not_work_is_one_line() -> None:
    from qnn.bench.rows import Case

    def broken() -> Iterator[Case]:
        yield Case("good", lambda: 1, "peer", exact=False)
        raise RuntimeError("no such engine\nsecond line")

    plan = Plan(quick=True)
    assert [case.variant for case in peers.collect(plan, ("numpy",), broken)] == ["good"]
    assert plan.notes == ["numpy left out of a row: RuntimeError: no such engine"]


def test_a_process_that_dies_is_one_line_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from qnn.bench import processes
    from qnn.bench.steps import Spec
    from qnn.bench.worker import Worker

    ask = Worker.seconds

    def seconds(self: Worker, steps: int) -> float:
        if self.spec.variant == "qnn fp32":
            self.process.kill()
            self.process.wait()
        return ask(self, steps)

    monkeypatch.setattr(Worker, "seconds", seconds)
    plan = Plan(quick=True)
    specs = [Spec("train", variant, "lenet5", 2, 1) for variant in ("qnn dfp8", "qnn fp32", "qnn nothing")]
    rows = list(processes.compare(plan, "train", "lenet5", specs, 2, 1))
    assert [row.variant for row in rows] == ["qnn dfp8"]
    assert [note.split(":")[0] for note in plan.notes] == ["qnn nothing left out", "qnn fp32 ended early"]


def test_a_start_that_fails_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from qnn.bench import processes
    from qnn.bench.steps import Spec
    from qnn.bench.worker import Worker

    made: list[Worker] = []
    ready = Worker.ready

    def broken(self: Worker) -> None:
        made.append(self)
        if self.spec.variant == "qnn fp32":
            raise RuntimeError("no more")
        ready(self)

    monkeypatch.setattr(Worker, "ready", broken)
    monkeypatch.setattr(processes, "allowed_cpus", lambda: 2)
    specs = [Spec("train", variant, "lenet5", 2, 1) for variant in ("qnn fp32", "qnn dfp8", "qnn nothing")]
    with pytest.raises(RuntimeError, match="no more"):
        list(processes.compare(Plan(quick=True), "train", "lenet5", specs, 2, 1))
    assert made
    assert all(worker.process.poll() is not None for worker in made)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gem",), "gemm"),
        (("gemm", "--kernels", "z80"), "reference"),
        (("gemm", "--threads", "0"), "1024"),
        (("gemm", "--scaling"), "train"),
        (("gemm", "--plot", "no/such/folder/a.png"), "folder"),
        (("gemm", "--plot", "picture.foo"), ".png"),
        (("gemm", "--plot", "picture"), ".png"),
    ],
)
def test_bad_usage(invoke: Any, words: tuple[str, ...], message: str) -> None:
    result = invoke("bench", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_unknown_group_lists_those_that_there_are(invoke: Any) -> None:
    result = invoke("bench", "convolution")
    assert result.exit_code == 2
    assert ", ".join(GROUPS) in result.stderr
    with pytest.raises(ValueError, match="gemm, conv"):
        group("convolution")


def test_an_interruption_prints_what_was_measured(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qnn.bench import gemm

    def rows(plan: Plan) -> Iterator[Row]:
        yield Row("gemm", "first shape", "gemm", "qnn", "c", 1, "MAC", 1, ns_per_unit=1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(gemm, "rows", rows)
    result = invoke("bench", "gemm")
    assert result.exit_code == 1
    assert "first shape" in result.stdout
    assert "interrupted" in result.stderr


def test_a_picture(invoke: Any, tmp_path: Path) -> None:
    for name in ("shift", "xnor"):
        file = tmp_path / f"{name}.png"
        assert invoke("bench", name, *QUICK, "--plot", file).exit_code == 0
        assert file.read_bytes().startswith(b"\x89PNG")


def test_how_cost_grows(invoke: Any) -> None:
    result = invoke("bench", "train", *QUICK, "--scaling", "--json", "--kernels", _kernels.available_kernels()[0])
    assert result.exit_code == 0, result.stderr
    grown = [row["extra"] for row in json.loads(result.stdout)["groups"]["train"] if "axis" in row["extra"]]
    assert {extra["axis"] for extra in grown} == {"batch", "width"}
    assert all(isinstance(extra["exponent"], float) for extra in grown)


def test_the_fit_finds_the_exponent() -> None:
    assert fit([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    with pytest.raises(ValueError, match="two different"):
        fit([2, 2], [1, 1])


def test_checksums_are_over_values_and_shapes() -> None:
    a = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert digest(a) == digest(a.astype(np.int64)) == digest(np.asfortranarray(a))
    assert len({digest(a), digest(a.reshape(3, 2)), digest(a + 1), digest((a, a))}) == 4
    with pytest.raises(TypeError, match="float32"):
        digest(a.astype(np.float32))


def test_turns_interleave_and_waits_end() -> None:
    order: list[str] = []
    quiet = Quiet(lambda: None, 1)
    found = interleave([lambda: order.append("a"), lambda: order.append("b")], quiet, turns=2, budget=1.0)
    assert [len(samples.seconds) for samples in found] == [2, 2]
    assert all(samples.best <= samples.median for samples in found)
    assert {"a", "b"} == set(order)
    assert interleave([], quiet) == []
    assert Quiet(lambda: None, 2).wait() in (True, False)
