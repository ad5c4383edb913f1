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
    """A version of a model, and what it said where it was tried.

    Attributes
    ----------
    sha256
        Of the artifact in the store of each worker; a record has no path and no address.
    answers
        What the model said of feedmill's sample posts where it was released.  A worker refuses an
        artifact that says something else on its machine.
    by, note
        For people.
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

    Attributes
    ----------
    frozen
        No command releases another version until one unfreezes the model.
    candidate
        The offset of the candidate that this release promotes.  It counts only while that
        candidate is under way: a worker that comes too late changes nothing.
    """

    frozen: bool = False
    candidate: Offset | None = None


class Candidate(TriedVersion, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The value of a record of `models` whose key is `candidate/<model>`: it begins or ends one.

    Attributes
    ----------
    partitions
        The version judges the posts of so many partitions, those with the lowest numbers; 0: it
        scores all posts in shadow and decides nothing.
    promotes
        Whether the workers release it once it is sure to stay within its limits.
    may_hide, may_demote
        It goes back once it is sure to hide, or to demote or hide, a larger part of all posts than
        the version in force and this.
    until_ms
        When it goes back, Unix milliseconds, if nothing was sure by then; 0: never.  A model
        without a gate is released then.
    core_share
        How much of one core it may take of each worker in shadow.
    ends
        The offset of the record that began the candidate which this record ends; None: this one
        begins a candidate.
    reason
        Why it was sent back.
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
    """The value of a record of `models` whose key is `list/<filter>/<name>`: the list is in force.

    Attributes
    ----------
    sha256
        Of the artifact in the store of each worker; a record has no path and no address.
    by, note
        For people.
    """

    sha256: Sha256
    by: ShortText = ""
    note: ShortText = ""

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]
