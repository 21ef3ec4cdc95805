"""Builds the optional C extensions: one table of extensions, one probe of the compiler, flags per file.

Everything else about the distribution is in pyproject.toml. The package works without any extension (the NumPy
reference path computes the same bits), so no failure in here stops an installation unless that is asked for.

Environment
-----------
QNN_NO_EXT=1
    Build no extension at all (what an installation on a machine without a compiler gives).
QNN_REQUIRE_EXT=1
    An extension that cannot be built is an error instead of a warning.
QNN_SANITIZE=address,undefined
    Build with these sanitizers (tools/sanitize.sh does).
QNN_EMULATE=1
    Plain C in the place of AVX-512 and AMX instructions, so that any machine can test these paths
    (tools/emulate.sh does).
QNN_DEBUG=1
    Bounds checks in the bindings, ``-O1 -g``.
"""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
KERNELS = "qnn/_kernels"
SOURCES = f"{KERNELS}/src"


@dataclass(frozen=True)
class Part:
    """One extension: its module name below ``qnn._kernels`` and the C files below ``src`` that it links."""

    name: str
    c_files: tuple[str, ...]


# The table of extensions. One that fails to build does not touch the others.
EPILOGUE = (
    "qnn_memory.c",
    "qnn_parallel.c",
    "qnn_epilogue.c",
    "qnn_epilogue_avx2.c",
    "qnn_noise.c",
    "qnn_noise_avx2.c",
    "qnn_epilogue_avx512.c",
    "qnn_noise_avx512.c",
)
MAC = (
    "qnn_gemm.c",
    "qnn_gemm_few.c",
    "qnn_gemm_dots_vnni.c",
    "qnn_gemm_codes.c",
    "qnn_codes_avx2.c",
    "qnn_codes_vnni.c",
    "qnn_gemm_output.c",
    "qnn_gemm_tile_c.c",
    "qnn_gemm_tile_avx2.c",
    "qnn_gemm_tile_vnni.c",
    "qnn_conv.c",
    "qnn_conv_plan.c",
    "qnn_conv_weight.c",
    "qnn_winograd.c",
    "qnn_winograd_weight.c",
    "qnn_winograd_c.c",
    "qnn_winograd_avx2.c",
    "qnn_self_check.c",
    "qnn_s8_pack.c",
    "qnn_block_s8_vnni.c",
    "qnn_block_s8_amx.c",
    "qnn_gemm_s8.c",
    "qnn_conv_s8.c",
    "qnn_conv_s8_plan.c",
    "qnn_conv_prepared.c",
    "qnn_conv_sums.c",
    "qnn_channel.c",
    "qnn_channel_avx512.c",
    "qnn_table.c",
    "qnn_table_vbmi.c",
    "qnn_weight_s8.c",
    "qnn_weight_s8_block.c",
)
ELEMENTWISE = (
    "qnn_requantize.c",
    "qnn_quantize.c",
    "qnn_quantize_avx2.c",
    "qnn_quantize_avx512.c",
    "qnn_normalize.c",
    "qnn_normalize_avx2.c",
    "qnn_normalize_avx512.c",
    "qnn_normalize_scale.c",
    "qnn_scale_avx512.c",
    "qnn_channel.c",
    "qnn_channel_avx512.c",
    "qnn_statistics.c",
    "qnn_loss.c",
    "qnn_scale_grad.c",
    "qnn_simple.c",
    "qnn_subsample.c",
    "qnn_table.c",
    "qnn_table_vbmi.c",
    "qnn_update.c",
    "qnn_pool.c",
    "qnn_pool_avx2.c",
    "qnn_shift.c",
    "qnn_sign.c",
    "qnn_sign_avx2.c",
    "qnn_xnor.c",
    "qnn_xnor_avx2.c",
    "qnn_xnor_avx512.c",
    "qnn_s8_pack.c",
)
BENCH = ("qnn_parallel.c", "qnn_bench_peak.c", "qnn_bench_peak_wide.c", "qnn_bench_memory.c", "qnn_bench_loops.c")
PARTS = (
    Part("_memory", ("qnn_arena.c",)),
    Part("_threading", ("qnn_threads.c",)),
    Part("_mac", MAC + EPILOGUE),
    Part("_elem", ELEMENTWISE + EPILOGUE),
    Part("_bench", BENCH),
)

# Directives of the Cython bindings, in one place. Every index is checked by hand before C is called.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
}


def flag(name: str) -> bool:
    """Return whether the environment variable `name` is set to something other than 0."""
    return os.environ.get(name, "0") not in ("", "0")


def say(message: str) -> None:
    """Print one line about the build where pip -v and setup.py show it."""
    print(f"qnn: {message}", file=sys.stderr, flush=True)


def extensions() -> list[Extension]:
    """Return an Extension for every row of the table whose files are there."""
    found = []
    for part in PARTS:
        sources = [f"{KERNELS}/{part.name}.pyx"] + [f"{SOURCES}/{name}" for name in part.c_files]
        missing = [source for source in sources if not (HERE / source).exists()]
        if missing:
            message = f"{part.name} is left out, these files are missing: {', '.join(missing)}"
            if flag("QNN_REQUIRE_EXT"):
                raise RuntimeError(f"{message}. QNN_REQUIRE_EXT is set, so this is an error; restore the files.")
            say(message)
            continue
        depends = [Path(p).relative_to(HERE).as_posix() for p in sorted(glob.glob(str(HERE / SOURCES / "*.h")))]
        depends += [Path(p).relative_to(HERE).as_posix() for p in sorted(glob.glob(str(HERE / KERNELS / "*.px[di]")))]
        found.append(Extension(f"qnn._kernels.{part.name}", sources, include_dirs=[SOURCES], depends=depends))
    return found


class BuildExt(build_ext):
    """Build each extension if that is possible on this machine; otherwise say why and go on."""

    def run(self) -> None:
        """Skip everything when QNN_NO_EXT asks for it."""
        if flag("QNN_NO_EXT"):
            say("QNN_NO_EXT is set: no extension is built, the NumPy reference path will be used")
            self.extensions = []
            return
        super().run()

    def build_extensions(self) -> None:
        """Probe the compiler, translate the bindings, set flags, compile; optional unless QNN_REQUIRE_EXT."""
        required = flag("QNN_REQUIRE_EXT")
        if not self._compiles():
            self._give_up(required, "no working C compiler was found; install one (for example gcc) and reinstall")
            self.extensions = []
            return
        unix = self.compiler.compiler_type != "msvc"
        compile_args, link_args = self._flags(unix)
        self.extensions = [ext for ext in self.extensions if self._translate(ext, required)]
        for ext in self.extensions:
            ext.optional = not required
            ext.extra_compile_args = compile_args
            ext.extra_link_args = link_args
        if unix:
            self._install_flags_per_file()
        super().build_extensions()

    def _flags(self, unix: bool) -> tuple[list[str], list[str]]:
        if not unix:
            return ["/O2", "/std:c11", "/fp:strict"], []
        # No -march=native: a wheel must run anywhere; instruction sets are chosen per function and at run time.
        # No fast-math, and no contraction of a*b+c: float32 steps are part of the bit promise.
        compile_args = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-fast-math", "-fvisibility=hidden"]
        compile_args.append("-fno-math-errno")  # a square root then needs no call; its bits are the same
        compile_args.append("-pthread")
        link_args = ["-pthread", "-lm"]
        sanitizers = os.environ.get("QNN_SANITIZE", "")
        if flag("QNN_DEBUG"):
            compile_args += ["-O1", "-g"]
        elif not sanitizers:
            compile_args.append("-g0")  # Python's own flags ask for debug information, which is most of the wheel
        if sanitizers:
            compile_args += [
                "-O2",
                "-g",
                f"-fsanitize={sanitizers}",
                "-fno-sanitize-recover=all",
                "-fno-omit-frame-pointer",
                "-fno-wrapv",  # Python's own -fwrapv would make signed overflow defined and hide it
            ]
            link_args += [f"-fsanitize={sanitizers}"]
        if flag("QNN_EMULATE"):
            compile_args.append("-DQNN_EMULATE")
        return compile_args, link_args

    def _compiles(self) -> bool:
        """Return whether a small program compiles and links."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("int probe(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder)
                self.compiler.link_shared_object(objects, str(Path(folder) / "probe.so"))
            except Exception:  # any failure of a compiler, of whatever class, means: not available
                return False
        return True

    def _translate(self, ext: Extension, required: bool) -> bool:
        """Let Cython write the C file of the binding; return whether that worked."""
        try:
            import numpy
            from Cython.Build import cythonize

            directives = dict(DIRECTIVES, boundscheck=flag("QNN_DEBUG"))
            ext.sources = cythonize([ext], compiler_directives=directives, quiet=True)[0].sources
        except Exception as error:
            self._give_up(required, f"{ext.name} could not be translated ({type(error).__name__}: {error})")
            return False
        ext.include_dirs.append(numpy.get_include())
        ext.define_macros.append(("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"))
        return True

    def _install_flags_per_file(self) -> None:
        """Warnings for our own C; less effort for what Cython writes."""
        compile_one = self.compiler._compile
        generated = {
            os.path.normpath(source)
            for ext in self.extensions
            for source in ext.sources
            if source.endswith(".c") and not os.path.normpath(source).startswith(os.path.normpath(SOURCES))
        }

        # The bindings only check and call: optimising them hard would double the time of the build. In builds for tests
        # only memory errors are looked for in them, or compiling Cython's C would be most of the time of such a run.
        bindings = ["-w", "-O1"]
        if os.environ.get("QNN_SANITIZE"):
            bindings = ["-w", "-O0", "-g0", "-fno-sanitize=undefined"]
        elif flag("QNN_EMULATE"):
            bindings = ["-w", "-O0"]

        def compile_with_flags(obj, src, ext, cc_args, extra_postargs, pp_opts):  # type: ignore[no-untyped-def]
            own = bindings if os.path.normpath(src) in generated else ["-Wall", "-Wextra"]
            compile_one(obj, src, ext, cc_args, list(extra_postargs) + own, pp_opts)

        self.compiler._compile = compile_with_flags

    def _give_up(self, required: bool, reason: str) -> None:
        if required:
            raise RuntimeError(f"{reason}. QNN_REQUIRE_EXT is set, so this is an error; unset it to go on without.")
        say(f"{reason}. The package still works, more slowly, on the NumPy reference path.")


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
