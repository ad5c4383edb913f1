"""The memory of columns, which tracemalloc does not see."""

from typing import Any

from feedmill.tables.mapped_column import MappedColumn


def mapped_bytes(*of: Any) -> int:
    """What all columns take that these objects hold, and what they hold."""
    found, seen, waiting = 0, set[int](), [*of]
    while waiting:
        one = waiting.pop()
        if isinstance(one, MappedColumn):
            found += one.values.nbytes
        elif isinstance(one, dict | list | tuple):
            waiting += one.values() if isinstance(one, dict) else one
        elif hasattr(one, "__dict__") and id(one) not in seen:
            seen.add(id(one))
            waiting += vars(one).values()
    return found
