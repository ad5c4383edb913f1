"""A version as Redis and explanations name it.

feedmill's own models have versions of twelve hexadecimal digits, five in each post.  Six digits
name one among thousands, and `feedmill models show` takes them.  The signals in Kafka have all.
"""

from __future__ import annotations

import re

SHORT_DIGITS = 6
_is_long = re.compile(r"[0-9a-f]{12}").fullmatch


def short_version(version: str) -> str:
    """The first six digits of a version of twelve hexadecimal digits; any other one whole."""
    return version[:SHORT_DIGITS] if _is_long(version) else version
