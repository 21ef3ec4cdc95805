#!/usr/bin/env bash
# Runs the kernel tests with extensions built for the address and undefined-behaviour sanitizers, and before them the pool
# of threads, without Python around it, under the thread sanitizer; any finding fails the run.
#
#   tools/sanitize.sh [more arguments for pytest]
#
# PYTHON names the interpreter (default: python3; it needs numpy, cython, setuptools, pytest, hypothesis). Everything is
# built in a temporary copy, so the checkout's own extensions stay as they are. QNN_TEST_EXAMPLES (default 6) is the number
# of Hypothesis examples per test: each one checks every memory access, so few are enough.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
python=$(command -v "$python")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/tree"
tar cf - --exclude='*.so' --exclude='*.pyd' --exclude='__pycache__' --exclude='qnn/_kernels/_*.c' \
    qnn tests conftest.py setup.py pyproject.toml | tar xf - -C "$work/tree"
cd "$work/tree"
[ -e README.md ] || echo >README.md

export QNN_SANITIZE=address,undefined QNN_REQUIRE_EXT=1
if ! "$python" setup.py build_ext --inplace >"$work/build.log" 2>&1; then
    cat "$work/build.log"
    exit 1
fi

compiler=$("$python" -c 'import os, sysconfig; print((os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc").split()[0])')

"$compiler" -std=gnu11 -g -O1 -fsanitize=thread -pthread -Iqnn/_kernels/src tests/kernels/threads_stress.c \
    qnn/_kernels/src/qnn_parallel.c qnn/_kernels/src/qnn_threads.c -lm -o "$work/stress"
"$work/stress"

preload=
for library in libasan.so libubsan.so; do
    found=$("$compiler" -print-file-name="$library")
    [ -e "$found" ] && preload="$preload $(readlink -f "$found")"
done

# Python keeps memory until it exits, so leaks are not looked for; a single finding ends the run.
# Findings go to files, because pytest holds back what a test prints.
export ASAN_OPTIONS=detect_leaks=0:exitcode=99:allocator_may_return_null=1:log_path=$work/finding
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99:log_path=$work/finding
export PYTHONMALLOC=malloc QNN_TEST_EXAMPLES=${QNN_TEST_EXAMPLES:-6} OPENBLAS_NUM_THREADS=1
unset QNN_KERNELS QNN_NUM_THREADS
status=0
LD_PRELOAD="${preload# }" "$python" -m pytest tests/kernels --ignore tests/kernels/test_dispatch.py -q -x -p no:cacheprovider "$@" ||
    status=$?
if compgen -G "$work/finding*" >/dev/null; then
    cat "$work"/finding*
    status=99
fi
exit "$status"
