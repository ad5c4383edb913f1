"""Events as bytes, and what their decoders say of bad ones."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from feedmill.events.errors import BadEvent


def bytes_of(event: dict[str, Any], **changed: Any) -> bytes:
    """The event as JSON; a field that is changed to `...` is left out."""
    fields = {**event, **changed}
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


def refusal(decode: Callable[..., Any], *arguments: Any) -> str:
    """Return the message of the `BadEvent` that a decoder must raise."""
    with pytest.raises(BadEvent) as caught:
        decode(*arguments)
    return str(caught.value)
