"""What made a model: the code and the libraries, as its card states them."""

from __future__ import annotations

import hashlib
import platform
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from feedmill.models.artifact import CodeVersion

# What turns data into a model; a change of other code gives the same model.
_PACKAGES = ("events", "features", "models", "filters", "rankers", "training")
_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")


def code_version() -> CodeVersion:
    """Return the version of this package, and a hash over the files that make models."""
    return CodeVersion(version("feedmill"), source_sha256(_folders()))


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that fit models."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def _folders() -> list[Path]:
    return [Path(import_module(f"feedmill.{name}").__path__[0]) for name in _PACKAGES]


def source_sha256(folders: list[Path]) -> str:
    """Return a hash over the code and the lists in folders, without models that were trained.

    It is the same in a checkout and in an installed wheel.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not {"artifacts", "__pycache__"} & set(inside.parts):
                digest.update(f"{folder.name}/{inside.as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
