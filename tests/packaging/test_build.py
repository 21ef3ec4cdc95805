"""The build: extensions are optional and do not drag each other down, flags keep the bits, stubs are complete."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qnn
import qnn._kernels as kernels

PACKAGE = Path(qnn.__file__).resolve().parent
CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = CHECKOUT / "qnn" / "_kernels" / "src"
COMPILER = shutil.which("cc") or shutil.which("gcc")

needs_sources = pytest.mark.skipif(not (CHECKOUT / "setup.py").exists(), reason="no source tree around the tests")


def needs_build_tools() -> None:
    """Skip where the tools that a source build declares are not installed beside the tests."""
    for name in ("setuptools", "Cython"):
        pytest.importorskip(name, reason="building from source needs setuptools and Cython")


def copy_of_sources(folder: Path) -> Path:
    """The files that a build needs, without what earlier builds left behind."""
    tree = folder / "tree"
    for name in ("qnn/_kernels", "qnn/numerics"):
        shutil.copytree(
            CHECKOUT / name,
            tree / name,
            ignore=shutil.ignore_patterns("*.so", "_m*.c", "_elem.c", "_bench.c", "__pycache__"),
        )
    for name in ("setup.py", "pyproject.toml", "qnn/__init__.py"):
        shutil.copy(CHECKOUT / name, tree / name)
    (tree / "README.md").write_text("for the build\n")
    return tree


def build(tree: Path, **environment: str) -> tuple[int, str, list[str]]:
    """Run build_ext in a tree; return its exit code, its output and the names of the extensions that came out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("QNN_")}
    env.update(environment)
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", "out", "--build-temp", "temp"]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=300, check=False)
    built = [path.name.split(".")[0] for path in (tree / "out").rglob("*") if path.suffix in (".so", ".pyd")]
    return done.returncode, done.stdout + done.stderr, sorted(built)


@needs_sources
def test_no_extension_is_built_when_none_is_wanted(tmp_path: Path) -> None:
    needs_build_tools()
    code, output, built = build(copy_of_sources(tmp_path), QNN_NO_EXT="1")
    assert code == 0
    assert built == []
    assert "NumPy reference path" in output


@needs_sources
def test_without_a_compiler_the_build_succeeds_and_says_so(tmp_path: Path) -> None:
    needs_build_tools()
    tree = copy_of_sources(tmp_path)
    code, output, built = build(tree, CC="/nowhere/cc", LDSHARED="/nowhere/cc")
    assert code == 0, output
    assert built == []
    assert "no working C compiler" in output
    code, output, _ = build(tree, CC="/nowhere/cc", LDSHARED="/nowhere/cc", QNN_REQUIRE_EXT="1")
    assert code != 0
    assert "QNN_REQUIRE_EXT" in output


@needs_sources
@pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")
@pytest.mark.parametrize(("broken", "kind"), [("_elem", "pyx"), ("_mac", "c")])
def test_one_broken_extension_does_not_stop_the_other(tmp_path: Path, broken: str, kind: str) -> None:
    needs_build_tools()
    tree = copy_of_sources(tmp_path)
    for name in ("_mac", "_elem"):
        # A small binding stands for the real one: what is tested is that setup.py keeps the two apart.
        (tree / "qnn" / "_kernels" / f"{name}.pyx").write_text("def answer():\n    return 42\n")
    setup = (tree / "setup.py").read_text()
    setup = setup.replace("PARTS = (", "PARTS_OF_THE_PACKAGE = (", 1)
    files = {"_mac": '("bad.c",)' if kind == "c" else "()", "_elem": "()"}
    setup = setup.replace(
        "# Directives of", f'PARTS = (Part("_mac", {files["_mac"]}), Part("_elem", ()))\n# Directives of', 1
    )
    (tree / "setup.py").write_text(setup)
    if kind == "c":
        (tree / "qnn" / "_kernels" / "src" / "bad.c").write_text("this is not C;\n")
    else:
        (tree / "qnn" / "_kernels" / f"{broken}.pyx").write_text("def answer(:\n")
    code, output, built = build(tree)
    assert code == 0, output
    assert built == [{"_mac": "_elem", "_elem": "_mac"}[broken]]
    code, output, _ = build(tree, QNN_REQUIRE_EXT="1")
    assert code != 0, output


@needs_sources
def test_flags_that_could_change_bits_or_machines_are_not_there() -> None:
    text = (CHECKOUT / "setup.py").read_text()
    flags = set(re.findall(r'"(-[^"]+)"', text))
    assert {"-O3", "-std=c11", "-ffp-contract=off", "-fno-fast-math"} <= flags
    assert not [
        flag
        for flag in flags
        if flag.startswith(("-march", "-mtune", "-Ofast", "-ffast", "-funsafe", "-mavx", "-mfma"))
    ]


def code_of(path: Path) -> str:
    """A C file without its comments and strings."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r'"[^"\n]*"', '""', text)


@needs_sources
@pytest.mark.clause("MAC-1")
def test_no_kernel_uses_an_instruction_that_saturates() -> None:
    # Codes of 4 bits are unsigned bytes up to 128 there: a pair of products is from 2 * 128 * -128 to 2 * 128 * 127.
    assert -(2**15) <= 2 * 128 * -128 < 2 * 128 * 127 < 2**15
    bounded = {"qnn_codes_avx2.c": "maddubs"}
    for path in SOURCES.glob("*.[ch]"):
        found = re.findall(r"maddubs|packs_epi32.*madd|dpbusds|qdmulh", code_of(path))
        assert set(found) <= {bounded.get(path.name)}, path.name


@needs_sources
@pytest.mark.clause("MAC-1")
def test_integer_products_contain_no_float() -> None:
    for pattern in ("qnn_gemm*", "qnn_conv*"):
        for path in SOURCES.glob(pattern):
            assert not re.search(r"\b(float|double)\b|_ps\b|_pd\b", code_of(path)), path.name


@needs_sources
def test_threads_have_one_door() -> None:
    users = [
        path.name
        for path in SOURCES.glob("*.[ch]")
        if re.search(r"pthread_create|omp\.h|#pragma omp", path.read_text())
    ]
    assert users == ["qnn_threads.c"]


@needs_sources
def test_right_shifts_of_signed_numbers_go_through_one_macro() -> None:
    """A cast to a signed type that is shifted at once; the macro itself is the exception."""
    for path in SOURCES.glob("*.[ch]"):
        found = re.findall(r"\(int(?:8|16|32|64)_t\)\s*[\w\[\]\.>-]+\s*>>", code_of(path))
        assert not found, f"{path.name}: {found}"


def test_the_type_marker_ships() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("name", ["_memory", "_threading", "_mac", "_elem", "_bench"])
def test_stubs_name_what_the_extension_has(name: str) -> None:
    stub = PACKAGE / "_kernels" / f"{name}.pyi"
    module = sys.modules.get(f"qnn._kernels.{name}")
    if module is None:
        pytest.skip(f"{name} is not built here")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    public = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    public |= {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert public - {"Ints", "Pair"} == {item for item in vars(module) if not item.startswith("_")}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            there = {item for item in vars(getattr(module, node.name)) if not item.startswith("_")}
            assert methods - {"__init__"} == there, node.name


@needs_sources
def test_the_built_kernels_were_built_as_the_table_says() -> None:
    """Where there is a compiler, the kernels and, where we know its threads, the pool are there."""
    info = kernels.runtime_info()
    if info["available"] == ["reference"]:
        pytest.skip("no compiled kernels here")
    assert info["threading"] == (sys.platform != "win32")
    assert "c" in info["available"]


@needs_sources
def test_source_distribution_lists_what_a_build_needs() -> None:
    manifest = (CHECKOUT / "MANIFEST.in").read_text()
    for words in ("*.pyx", "*.pxi", "src *.c *.h", "recursive-include tests", "recursive-include docs", "conftest.py"):
        assert words in manifest
