"""Builds the native CPU kernels where there is a compiler; all else is in pyproject.toml."""

import hashlib
import os
import pathlib
import platform
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

CPU = pathlib.Path("tempalign", "kernels", "cpu")  # through the symlink, as installed
LEVELS = ("v2", "v3", "v4") if platform.machine() in ("x86_64", "AMD64") else ("base",)
ARCHITECTURES = {level: [f"-march=x86-64-{level}"] for level in LEVELS if level != "base"}
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-g0",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-pthread",
    "-Wall",
    "-Wextra",
]


def sources() -> list[pathlib.Path]:
    """What the library is made of, and its digest computed from (see `native.sources_digest`)."""
    found = [path for path in CPU.iterdir() if path.suffix in (".h", ".cpp")]
    return sorted((p for p in found if not p.name.startswith("driver")), key=lambda path: path.name)


class BuildNative(build_ext):
    """A plain shared library, without Python in it: an object a level, and one for the handlers."""

    def get_ext_filename(self, fullname):
        """No version of Python in the name: any loads it."""
        return os.path.join(*fullname.split(".")) + ".so"

    def get_output_mapping(self):
        """A strict editable install links each of these, so only what was built."""
        found = super().get_output_mapping().items()
        return {built: source for built, source in found if os.path.exists(built)}

    def build_extension(self, ext):
        """Fails where it cannot; the extension is optional and XLA serves without it."""
        try:
            self.build_library(ext)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(str(error)) from error  # what an optional extension may fail by

    def build_library(self, ext):
        """Compiles and links."""
        library = self.get_ext_fullpath(ext.name)
        pathlib.Path(library).unlink(missing_ok=True)  # none of before after a failure
        if self.compiler.compiler_type != "unix":
            raise CompileError("needs GCC 12 or Clang 14, or newer ones")
        digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources())).hexdigest()[:16]
        # Nothing of Python's own flags: there is no Python in the library.
        compiler = shlex.split(os.environ.get("CXX", "")) or [self.compiler.compiler_cxx[0]]
        more = [
            flag
            for name in ("CXXFLAGS", "TEMPALIGN_CXXFLAGS")
            for flag in os.environ.get(name, "").split()
        ]
        version = subprocess.run(
            [*compiler, "--version"], check=True, capture_output=True, text=True
        ).stdout

        def compiled(source, macro, flags):
            """An object, compiled once for these sources, flags and compiler (a minute of work)."""
            command = [*compiler, *FLAGS, *flags, *more, f"-D{macro}", "-c", str(CPU / source)]
            key = hashlib.sha256("\n".join([digest, version, *command]).encode()).hexdigest()[:16]
            found = pathlib.Path("build", "native", key).with_suffix(".o")
            if not found.exists():
                found.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=found.parent) as folder:
                    made = os.path.join(folder, found.name)
                    subprocess.run([*command, "-o", made], check=True)
                    os.replace(made, found)
            return str(found)

        # A compiler a core, the longest first.
        parts = [
            (source, f"TA_LEVEL={level}", [*ARCHITECTURES.get(level, []), *flags])
            for source, flags in (("soft_level.cpp", ["-O2"]), ("level.cpp", []))
            for level in reversed(LEVELS)
        ]
        parts.append(("handlers.cpp", f'TA_SOURCES="{digest}"', []))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(lambda part: compiled(*part), parts))
        pathlib.Path(library).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*compiler, "-shared", *objects, "-o", library, "-pthread", *more], check=True
        )


class Wheel(bdist_wheel):
    """py3-none-PLATFORM with the library, py3-none-any without."""

    def get_tag(self):
        """The tag by what was built."""
        outputs = self.get_finalized_command("build_ext").get_outputs()
        built = any(pathlib.Path(name).exists() for name in outputs)
        return "py3", "none", super().get_tag()[2] if built else "any"


setup(
    ext_modules=[
        Extension(
            "tempalign.kernels.cpu._native",
            [str(CPU / name) for name in ("handlers.cpp", "level.cpp", "soft_level.cpp")],
            depends=[str(path) for path in sources()],
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": Wheel},
)
