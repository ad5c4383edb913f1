"""Records of `models`: which version of a model or list runs, and which is a candidate."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import Sha256, ShortText

MAX_ANSWERS = 256
# Before the name of the model in the key of a candidate's record.
CANDIDATE = "candidate/"
# Before `<filter>/<name>` in the key of a list's record.
LIST = "list/"
# What a candidate in shadow may take unless its record says otherwise.
CORE_SHARE = 0.05
# Of all posts a candidate may hide, or demote or hide, so many more than the version in force.
MAY_HIDE, MAY_DEMOTE = 0.01, 0.02

Answer = Annotated[float, Meta(ge=0, le=1)]
Offset = Annotated[int, Meta(ge=0)]
Partitions = Annotated[int, Meta(ge=0, le=100_000)]
UnixMs = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
CoreShare = Annotated[float, Meta(gt=0, le=1)]


class TriedVersion(Struct, frozen=True, gc=False, omit_defaults=True):
    """A version of a model by the sha256 of its artifact, and what it said where it was tried.

    `answers` are about feedmill's sample posts: a worker refuses an artifact that says something
    else on its machine.
    """

    sha256: Sha256
    answers: Annotated[tuple[Answer, ...], Meta(min_length=1, max_length=MAX_ANSWERS)]
    by: ShortText = ""
    note: ShortText = ""

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]


class ModelRelease(TriedVersion, frozen=True, gc=False, omit_defaults=True):
    """The value of a record of `models` whose key is the model's name: every worker runs it.

    `frozen` has commands refuse other releases.  `candidate` is the offset of the candidate that
    this release promotes: it counts only while that candidate is under way.
    """

    frozen: bool = False
    candidate: Offset | None = None


class Candidate(TriedVersion, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The value of a record of `models` whose key is `candidate/<model>`: it begins or ends one.

    The fields are those of docs/contracts.md, "Models".
    """

    partitions: Partitions = 0
    promotes: bool = False
    may_hide: Share = MAY_HIDE
    may_demote: Share = MAY_DEMOTE
    until_ms: UnixMs = 0
    core_share: CoreShare = CORE_SHARE
    ends: Offset | None = None
    reason: ShortText = ""


class ListRelease(Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of a record of `models` whose key is `list/<filter>/<name>`: a list in force."""

    sha256: Sha256
    by: ShortText = ""
    note: ShortText = ""

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]
