"""The programs of `examples/`, as modules."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load_example(name: str, patch: pytest.MonkeyPatch) -> Any:
    """Load a program by its path without `.py`, as where it runs: its neighbours are found."""
    path = EXAMPLES / f"{name}.py"
    patch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module
