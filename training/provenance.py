"""What cards say of how a model was made: code, libraries, licence and intended use."""

from __future__ import annotations

import hashlib
import platform
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from feedmill.models.artifact import CodeVersion

MODEL_LICENCE = "Apache-2.0; the licence of each data set is stated with it"
# The licence of what a product's own topics hold.
OWN_DATA = "the product's own"
INTENDED_USE = (
    "to demote and hide posts of a newsfeed, under thresholds and rules of its operator, with "
    "moderators who can overrule it",
    "not to judge people: not to block accounts, report them or decide on their rights",
    "not as the only safeguard where a missed post does harm",
)
FACTORS = (
    "the length of a post and the platform it comes from: figures are given by both",
    "the group (subreddit, page, author, video) that a post belongs to: groups are judged whole, "
    "and one that weighs more than 5 % of the violating posts is shown apart",
    "language and script: nearly all labelled posts are English",
)
ETHICS = (
    "the labels are what raters or platforms of one time and place called a violation; their "
    "prejudices, such as against dialects and communities, are learned with them",
    "the posts were public; people wrote them without this use in mind",
    "a hidden post harms its author: operators should watch the rate hidden, label a sample and "
    "let authors appeal",
)


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
