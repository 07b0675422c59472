"""Builds the native library by CMake; everything else about the package is in setup.cfg."""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
LIBRARY = "libtfc_delegate.so"


class NativeExtension(Extension):
    """The delegate: a shared library for the TFLite runtime, not a Python module."""

    def __init__(self):
        super().__init__("tfcompress.runtime.libtfc_delegate", sources=[])


class BuildNative(build_ext):
    """Runs CMake and puts the library where `tfcompress.runtime` looks for it."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")[:-1], LIBRARY)

    def build_extension(self, ext):
        build = Path(self.build_temp).resolve() / "native"
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        configure = ["cmake", "-S", str(ROOT / "tfcompress" / "native"), "-B", str(build), *generator]
        subprocess.run([*configure, "-DCMAKE_BUILD_TYPE=Release"], check=True)
        subprocess.run(["cmake", "--build", str(build), "--target", "tfc_delegate"], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(build / LIBRARY, target)


class PlatformWheel(bdist_wheel):
    """The library needs a platform but no particular Python: py3-none-<platform>."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    packages=[*find_packages(include=["tfcompress", "tfcompress.*"]), "tfcompress.saved_models"],
    package_dir={"tfcompress.saved_models": "saved_models"},
    ext_modules=[NativeExtension()],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": PlatformWheel},
)
