#!/usr/bin/env bash
# Runs the kernel tests of the paths avx512vnni and amx with plain C in the place of their instructions, on any machine
# (the elementwise steps of avx512vnni on x86): products, convolutions, shifts, bits, elementwise steps and noise; then
# all kernel tests, those of the other paths too, under the address and undefined-behaviour sanitizers. Shows that layouts,
# tails, bounds, orders, masks and tile configurations are right; the instructions themselves and their speed need a
# machine that has them.
#
#   tools/emulate.sh [more arguments for pytest]
#
# PYTHON names the interpreter (default: python3; it needs numpy, cython, setuptools, pytest, hypothesis). Everything is
# built in a temporary copy, so the checkout's own extensions stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
python=$(command -v "$python")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/tree"
tar cf - --exclude='*.so' --exclude='*.pyd' --exclude='__pycache__' --exclude='qnn/_kernels/_*.c' \
    qnn tests conftest.py setup.py pyproject.toml tools | tar xf - -C "$work/tree"
cd "$work/tree"
[ -e README.md ] || echo >README.md

export QNN_EMULATE=1 QNN_REQUIRE_EXT=1
unset QNN_KERNELS QNN_NUM_THREADS
if ! "$python" setup.py build_ext --inplace >"$work/build.log" 2>&1; then
    cat "$work/build.log"
    exit 1
fi
"$python" -c 'import qnn; assert qnn.available_kernels()[:2] == ["amx", "avx512vnni"], qnn.available_kernels()'
"$python" -c 'from platform import machine; from qnn._kernels import _elem; assert machine() != "x86_64" or _elem.has_vbmi()'

# These have code of their own on these paths; the rest falls to avx2, which every run tests. Exhaustive tests look for
# wrong values, not for wrong addresses.
products="(test_mac or test_shift or test_xnor) and (amx or avx512vnni)"
steps="(test_elementwise or test_noise or test_lanes) and avx512vnni"
steps="$steps and not (softmax or channel_ or batch_constants or float_range or relu or ratio or with_bias)"
new="($products) or ($steps)"
QNN_TEST_EXAMPLES=${QNN_TEST_EXAMPLES:-60} "$python" -m pytest tests/kernels -q -x -p no:cacheprovider \
    -k "$new or dispatch or self_check" "$@"
emulated="amx or avx512vnni"
PYTHON=$python QNN_TEST_EXAMPLES=6 tools/sanitize.sh -k "not ($emulated) or (($new) and not exhaustively)" "$@"
