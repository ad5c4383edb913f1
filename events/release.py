"""A release: which version of a model every worker is to run."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from feedmill.events.limits import Sha256, ShortText

MAX_ANSWERS = 256

Answer = Annotated[float, Meta(ge=0, le=1)]


class ModelRelease(Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of a record of `models`, whose key is the model's name.

    Attributes
    ----------
    sha256
        Of the artifact in the store of each worker; a record has no path and no address.
    answers
        What the model said of feedmill's sample posts where it was released.  A worker refuses an
        artifact that says something else on its machine.
    by, note
        For people.
    frozen
        No command releases another version until one unfreezes the model.
    """

    sha256: Sha256
    answers: Annotated[tuple[Answer, ...], Meta(min_length=1, max_length=MAX_ANSWERS)]
    by: ShortText = ""
    note: ShortText = ""
    frozen: bool = False

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the artifact's sha256."""
        return self.sha256[:12]
