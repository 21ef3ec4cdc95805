"""get() against a server on this machine: everything that can go wrong on the way leaves nothing half-written."""

from __future__ import annotations

import errno
import gzip
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qnn.data import check, download, get, load, registry
from qnn.errors import DataError

pytest.importorskip("pooch", reason="pooch is not installed")


class Server:
    """Answers with the bytes of ``files``; ``announce`` adds to the promised length; ``asked`` lists the requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announce = 0
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + outer.announce))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Stay quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Server]:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    monkeypatch.setenv(download.MIRROR_VARIABLE, running.address)
    yield running
    running.close()


@pytest.fixture
def mnist(server: Server, accept: Callable[..., Any], make: SimpleNamespace) -> dict[str, bytes]:
    packed = {f"{name}.gz": gzip.compress(raw, mtime=0) for name, raw in make.contents("mnist").items()}
    accept("mnist", "idx", packed)
    server.files = {f"/mnist/{name}": raw for name, raw in packed.items()}
    return packed


@pytest.fixture
def cifar(server: Server, accept: Callable[..., Any], make: SimpleNamespace) -> bytes:
    files = {f"cifar-10-batches-bin/{name}": raw for name, raw in make.contents("cifar10").items()}
    packed = make.tar_gz({**files, "cifar-10-batches-bin/readme.html": b"hello"})
    accept("cifar10", "cifar10-binary", {"cifar-10-binary.tar.gz": packed})
    server.files = {"/cifar10/cifar-10-binary.tar.gz": packed}
    return packed


def everything(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))


def test_gzip_files(root: Path, mnist: dict[str, bytes]) -> None:
    seen: list[tuple[str, int, int]] = []
    assert get("mnist", lambda *step: seen.append(step)) == root / "mnist"
    assert len(load("mnist")) == 20
    assert everything(root) == ["mnist", *sorted(f"mnist/{name[:-3]}" for name in mnist)]
    assert {name for name, _, _ in seen} == set(mnist)
    assert all(done <= total == len(mnist[name]) for name, done, total in seen)
    assert {name for name, done, total in seen if done == total} == set(mnist)


def test_second_time_asks_nobody(root: Path, mnist: dict[str, bytes], server: Server) -> None:
    get("mnist")
    server.asked.clear()
    assert get("mnist") == root / "mnist"
    assert server.asked == []


def test_only_what_is_missing_or_wrong_is_fetched(root: Path, mnist: dict[str, bytes], server: Server) -> None:
    get("mnist")
    (root / "mnist/train-labels-idx1-ubyte").unlink()
    (root / "mnist/t10k-images-idx3-ubyte").write_bytes(b"damaged")
    server.asked.clear()
    get("mnist")
    assert sorted(server.asked) == ["/mnist/t10k-images-idx3-ubyte.gz", "/mnist/train-labels-idx1-ubyte.gz"]
    assert all(row.ok for row in check("mnist"))


def test_damaged_gzip_file_is_replaced(root: Path, mnist: dict[str, bytes]) -> None:
    (root / "mnist").mkdir()
    for name, raw in mnist.items():
        (root / "mnist" / name).write_bytes(raw[:-10])
    get("mnist")
    assert len(load("mnist")) == 20


def test_archive(root: Path, cifar: bytes) -> None:
    assert get("cifar10") == root / "cifar-10-batches-bin"
    assert len(load("cifar10")) == 50
    assert [name for name in everything(root) if "/" not in name] == ["cifar-10-batches-bin"]
    assert (root / "cifar-10-batches-bin/readme.html").is_file()


def test_plain_files(root: Path, server: Server, accept: Callable[..., Any], make: SimpleNamespace) -> None:
    files = make.contents("svhn")
    accept("svhn", "svhn", files)
    server.files = {f"/svhn/{name}": raw for name, raw in files.items()}
    get("svhn")
    assert len(load("svhn", "test")) == 10


def test_wrong_checksum(root: Path, mnist: dict[str, bytes], server: Server) -> None:
    server.files["/mnist/train-images-idx3-ubyte.gz"] = b"something else"
    with pytest.raises(DataError, match="wrong checksum") as caught:
        get("mnist")
    assert everything(root) == []
    text = str(caught.value)
    assert server.address in text
    assert str(root) in text
    assert "by hand" in text
    assert "qnn data get mnist" in text


@pytest.mark.parametrize("missing", [1, 1000])
def test_truncated_transfer(root: Path, cifar: bytes, server: Server, missing: int) -> None:
    server.files["/cifar10/cifar-10-binary.tar.gz"] = cifar[:-missing]
    server.announce = missing
    with pytest.raises(DataError, match="no copy of cifar-10-binary"):
        get("cifar10")
    server.announce = 0  # a server that does not know better
    with pytest.raises(DataError, match="wrong checksum"):
        get("cifar10")
    assert everything(root) == []


def test_not_found(root: Path, mnist: dict[str, bytes], server: Server) -> None:
    del server.files["/mnist/t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(DataError, match="404"):
        get("mnist")
    assert everything(root) == []


def test_offline(root: Path, mnist: dict[str, bytes], server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(download.MIRROR_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(DataError, match="check the network") as caught:
        get("mnist")
    assert "http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz" in str(caught.value)
    assert everything(root) == []


def test_second_source_when_the_first_fails(
    root: Path, mnist: dict[str, bytes], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    monkeypatch.delenv(download.MIRROR_VARIABLE)
    entry = registry.ENTRIES["mnist"]
    moved = [
        dataclasses.replace(d, urls=(f"{server.address}/gone/{d.file}", f"{server.address}/mnist/{d.file}"))
        for d in entry.layouts[0].downloads
    ]
    layout = dataclasses.replace(entry.layouts[0], downloads=tuple(moved))
    monkeypatch.setitem(registry.ENTRIES, "mnist", dataclasses.replace(entry, layouts=(layout,)))
    get("mnist")
    assert len(load("mnist")) == 20
    assert len(server.asked) == 8


@pytest.mark.parametrize("where", ["", "cifar-10-batches-bin"])
def test_archive_put_there_by_hand(root: Path, cifar: bytes, server: Server, where: str) -> None:
    (root / where).mkdir(exist_ok=True)
    (root / where / "cifar-10-binary.tar.gz").write_bytes(cifar)
    get("cifar10")
    assert server.asked == []
    assert len(load("cifar10")) == 50


def test_python_archive_by_hand(
    root: Path, cifar: bytes, server: Server, accept: Callable[..., Any], make: SimpleNamespace
) -> None:
    files = make.contents("cifar10", "cifar10-python")
    packed = make.tar_gz({f"cifar-10-batches-py/{name}": raw for name, raw in files.items()})
    accept("cifar10", "cifar10-python", {"cifar-10-python.tar.gz": packed})
    (root / "cifar-10-python.tar.gz").write_bytes(packed)
    assert get("cifar10") == root / "cifar-10-batches-py"
    assert server.asked == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_extraction(
    root: Path, cifar: bytes, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    real = download.extract

    def stop(archive: Path, into: Path) -> list[Path]:
        real(archive, into)
        next(into.rglob("*.bin")).write_bytes(b"half")
        raise error

    monkeypatch.setattr(download, "extract", stop)
    with pytest.raises(error):
        get("cifar10")
    assert everything(root) == []
    monkeypatch.setattr(download, "extract", real)
    get("cifar10")
    assert len(load("cifar10")) == 50


def test_interrupted_between_two_renames(root: Path, mnist: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder already there, files move one by one; each is whole, and the next get finishes."""
    (root / "mnist").mkdir()
    real, count = os.replace, 0

    def stop(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        get("mnist")
    assert sorted(row.state for row in check("mnist")) == ["missing", "missing", "ok", "ok"]
    monkeypatch.setattr(os, "replace", real)
    get("mnist")
    assert len(load("mnist")) == 20


def test_right_archive_with_wrong_content(
    root: Path, server: Server, accept: Callable[..., Any], make: SimpleNamespace
) -> None:
    packed = make.tar_gz({"cifar-10-batches-bin/data_batch_1.bin": b"too little"})
    accept("cifar10", "cifar10-binary", {"cifar-10-binary.tar.gz": packed})
    server.files = {"/cifar10/cifar-10-binary.tar.gz": packed}
    with pytest.raises(DataError, match="after unpacking"):
        get("cifar10")
    assert everything(root) == []


def test_hostile_archive(root: Path, server: Server, accept: Callable[..., Any], make: SimpleNamespace) -> None:
    packed = make.tar_gz({"cifar-10-batches-bin/../../evil": b"x"})
    accept("cifar10", "cifar10-binary", {"cifar-10-binary.tar.gz": packed})
    server.files = {"/cifar10/cifar-10-binary.tar.gz": packed}
    with pytest.raises(DataError, match="leads out"):
        get("cifar10")
    assert everything(root.parent) == ["data"]


def test_disk_full(root: Path, cifar: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(archive: Path, into: Path) -> list[Path]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "extract", full)
    with pytest.raises(DataError, match=r"No space left on device.*make room"):
        get("cifar10")
    assert everything(root) == []


def test_folder_that_is_a_file(root: Path, mnist: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").write_text("x")
    monkeypatch.setenv("QNN_DATA", str(root / "file"))
    with pytest.raises(DataError, match="set QNN_DATA to another folder"):
        get("mnist")


def test_unknown_name(root: Path) -> None:
    with pytest.raises(DataError, match="nearest known name: 'svhn'"):
        get("shvn")
