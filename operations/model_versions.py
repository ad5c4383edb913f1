"""Which models run in several versions at once, although their workers know the same releases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from feedmill.events.instance import Instance


def differing_versions(instances: Iterable[Instance]) -> dict[str, str]:
    """Return by model which versions of it run and where, in words; a model with one is left out.

    Compared are instances that have dealt with the same records of `models`: the others load still.
    A candidate's version is no difference: instances name it apart.
    """
    where: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for one in instances:
        for model, version in one.models.items():
            where[model, one.models_offset][version] = f"{one.instance} on {one.host}"
    return {
        model: "; ".join(f"{version} in {who}" for version, who in sorted(found.items()))
        for (model, _), found in sorted(where.items())
        if len(found) > 1
    }
