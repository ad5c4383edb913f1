"""Lists the consumer groups of workers, as commands ask for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from kafka.admin import KafkaAdminClient
from kafka.errors import CoordinatorLoadInProgressError

from feedmill.streams.settings.environment import Environment

_WORKER = "worker"
# So long a broker may read its groups after a start.
_LOADED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.2


def worker_groups(environment: Environment, admin: KafkaAdminClient) -> list[str]:
    """Return the full names of the groups that judge or rank, in order.

    Raises
    ------
    KafkaError
        If a broker cannot say; one that has just started is given half a minute.
    """
    prefix = environment.group(_WORKER)
    names = sorted(str(group["group_id"]) for group in _listed(admin))
    return [name for name in names if name == prefix or name.startswith(f"{prefix}-")]


def _listed(admin: KafkaAdminClient) -> Sequence[Mapping[str, object]]:
    end = time.monotonic() + _LOADED_WITHIN_S
    while True:
        try:
            listed: Sequence[Mapping[str, object]] = admin.list_groups()
            return listed
        except CoordinatorLoadInProgressError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK_EVERY_S)
