"""The package's top level: its names, and what importing it costs."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfcompress

ROOT = Path(tfcompress.__file__).parents[1]


def test_all_is_sorted_and_has_no_doubles() -> None:
    assert tfcompress.__all__ == sorted(set(tfcompress.__all__))


@pytest.mark.parametrize("name", tfcompress.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(tfcompress, name) is not None
    assert name in dir(tfcompress)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = tfcompress.nonsense


def test_compress_is_the_function_whatever_was_imported_before() -> None:
    import tfcompress.line

    assert callable(tfcompress.compress)
    assert tfcompress.compress is tfcompress.line.compress


@pytest.mark.parametrize("path", sorted((ROOT / "tfcompress").rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_all_of_every_room_is_sorted(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            if isinstance(node.value, ast.List):
                names = [element.value for element in node.value.elts]
                assert names == sorted(names)


CHILD = """
import sys, time
begin = time.perf_counter()
import tfcompress
took = time.perf_counter() - begin
heavy = sorted({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'keras', 'tf_keras', 'numpy', 'pydantic'})
print(took, heavy)
"""


def test_import_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, cwd=ROOT)
    took, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    # 0.2 s is the promise; without the heavy imports it takes a hundredth of that.
    assert float(took) < 0.2


def test_runtime_works_without_tensorflow_keras_and_pydantic() -> None:
    child = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf_keras', 'pydantic', 'yaml', 'rich', 'typer'):\n"
        "    sys.modules[name] = None\n"
        "import tfcompress\n"
        "print(tfcompress.Interpreter.__name__, tfcompress.benchmark.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["Interpreter", "benchmark"]


def test_the_version_is_written_the_same_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = setup["metadata"]["version"]
    assert declared in (tfcompress.__version__, "attr: tfcompress.__version__")
    cmake = (ROOT / "tfcompress/native/CMakeLists.txt").read_text()
    found = re.search(r"project\([^)]*VERSION\s+([\d.]+)", cmake)
    assert found is None or found.group(1) == tfcompress.__version__
