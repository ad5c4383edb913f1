"""Records of `models`: which version of a model or list runs, challengers and canaries."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import Sha256, ShortText

MAX_ANSWERS = 256
# Before the name of the model in the key of a challenger's record.
SHADOW = "shadow/"
# Before the name of the model in the key of a canary's record.
CANARY = "canary/"
# Before `<filter>/<name>` in the key of a list's record.
LIST = "list/"
# What a challenger may take unless its record says otherwise.
CORE_SHARE = 0.05

Answer = Annotated[float, Meta(ge=0, le=1)]
Offset = Annotated[int, Meta(ge=0)]
Partitions = Annotated[int, Meta(ge=1, le=100_000)]
AfterMs = Annotated[int, Meta(ge=1, le=30 * 24 * 3_600_000)]
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
    canary
        The offset of the canary that this release promotes.  It counts only while that canary is
        under way: a worker that comes too late changes nothing.
    """

    frozen: bool = False
    canary: Offset | None = None


class Challenger(TriedVersion, frozen=True, gc=False, omit_defaults=True):
    """The value of a record of `models` whose key is `shadow/<model>`: it decides nothing.

    Attributes
    ----------
    core_share
        How much of one core it may take of each worker.
    """

    core_share: CoreShare = CORE_SHARE


class Canary(TriedVersion, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The value of a record of `models` whose key is `canary/<model>`: it begins or ends a canary.

    Attributes
    ----------
    partitions
        The version judges the posts of so many partitions, those with the lowest numbers.
    after_ms
        After so many milliseconds without an alarm it is released.
    ends
        The offset of the record that began the canary which this record ends; None: this one
        begins a canary.
    reason
        The alarm that ended it.
    """

    partitions: Partitions
    after_ms: AfterMs
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
