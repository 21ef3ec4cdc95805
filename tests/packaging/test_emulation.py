"""The model of AMX's tiles, on which the path amx is tested, can fail: every misuse ends the process and says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "qnn" / "_kernels" / "src"
NAMES = [(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0], "cc", "gcc", "clang"]
COMPILER = next((found for name in NAMES if (found := shutil.which(name))), None)

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine"),
    pytest.mark.skipif(not SOURCES.exists(), reason="the C files are not installed, only what was built of them"),
    pytest.mark.skipif(sys.platform == "win32", reason="the compiler's arguments are those of Unix"),
]

PROGRAM = """
#include <stdlib.h>
#include "qnn_tile.h"
int main(int argc, char **argv)
{
    static int8_t memory[3][1024];
    int32_t sums[256];
    int wrong = argc > 1 ? atoi(argv[1]) : 0;
    qnn_tile_config c = qnn_whole_tiles();
    if (wrong == 1) c.palette = 2;
    if (wrong == 2) c.rows[3] = 17;
    if (wrong == 3) c.reserved[0] = 1;
    if (wrong == 4) c.rows[9] = 1;
    if (wrong == 5) c.rows[0] = 8;
    if (wrong == 6) c.row_bytes[4] = 32;
    if (wrong == 7) c.rows[6] = 0, c.row_bytes[6] = 0;
    for (int i = 0; i < 1024; i++) memory[0][i] = -128, memory[1][i] = (int8_t)(i % 5 - 2);
    if (wrong != 8) QNN_TILE_CONFIGURE(&c);
    if (wrong == 9) QNN_TILE_CONFIGURE(&c);
    if (wrong != 10) QNN_TILE_ZERO(0);
    QNN_TILE_LOAD(4, memory[0], 64);
    QNN_TILE_STREAM(6, memory[1], 64);
    QNN_TILE_DOT(0, 4, wrong == 11 ? 4 : 6);
    if (wrong == 12) QNN_TILE_RELEASE();
    QNN_TILE_STORE(0, sums, 64);
    QNN_TILE_RELEASE();
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            int32_t wanted = 0;
            for (int k = 0; k < 64; k++) wanted += memory[0][64 * m + k] * memory[1][64 * (k / 4) + 4 * n + k % 4];
            if (sums[16 * m + n] != wanted) return 3;
        }
    return 0;
}
"""

MISUSES = {
    1: "palette 1",
    2: "at most 16 rows",
    3: "reserved bytes",
    4: "eight tiles",
    5: "rows of its left tile",
    6: "inner sizes",
    7: "not configured",
    8: "not configured",
    9: "not released",
    11: "different ones",
    12: "not configured",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built."""
    folder = tmp_path_factory.mktemp("tiles")
    (folder / "tiles.c").write_text(PROGRAM)
    assert COMPILER is not None
    command = [COMPILER, "-std=c11", "-DQNN_EMULATE", f"-I{SOURCES}", "tiles.c", "-o", "tiles"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder / "tiles"


def test_the_model_multiplies(program: Path) -> None:
    assert subprocess.run([program], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("number", MISUSES)
def test_a_misuse_ends_the_process(program: Path, number: int) -> None:
    result = subprocess.run([program, str(number)], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode < 0
    assert MISUSES[number] in result.stderr


def test_nothing_is_zero_that_was_not_set(program: Path) -> None:
    assert subprocess.run([program, "10"], check=False, timeout=60).returncode == 3
