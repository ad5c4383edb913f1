"""How the user calls feedmill, for the commands that a command proposes."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from feedmill.streams.environment import Environment


def own_command() -> str:
    """Return how to call this feedmill: by its name where that finds it, else by its path."""
    script = Path(sys.executable).parent / "feedmill"
    found = shutil.which("feedmill")
    if not script.exists() or (found is not None and Path(found).samefile(script)):
        return "feedmill"
    return os.path.relpath(script)


def proposed(words: Sequence[str], variables: Mapping[str, str] | None = None) -> str:
    """Return a command line to paste, with the variables before it that it needs."""
    before = [f"{name}={shlex.quote(text)}" for name, text in (variables or {}).items()]
    return " ".join([*before, own_command(), *map(shlex.quote, words)])


def installation_flags(given: Environment) -> str:
    """Return the flags that name this installation to a command; none if it is the usual one.

    Without the password of Redis: it does not belong on a screen.
    """
    usual = Environment()
    found = {
        "--kafka": (given.kafka, usual.kafka),
        "--redis": (given.redis_address, usual.redis_address),
        "--prefix": (given.topic_prefix, usual.topic_prefix),
        "--redis-prefix": (given.redis_prefix, usual.redis_prefix),
    }
    named = ((flag, value) for flag, (value, default) in found.items() if value != default)
    return "".join(f" {flag} {shlex.quote(value)}" for flag, value in named)
