"""All checks of an installation, before or while it runs: those of `feedmill doctor`."""

from __future__ import annotations

from feedmill.operations.status import (
    cluster,
    process,
    producers,
    redis_server,
    settings,
    workers,
)
from feedmill.operations.status.installation import Check

CHECKS: tuple[Check, ...] = (
    *(process.variables, process.home, process.port, process.libraries),
    *(cluster.addresses, cluster.replicas, cluster.broker_settings),
    *(cluster.broker_version, cluster.missing_topics, cluster.partitions, cluster.topic_settings),
    *(cluster.windows, cluster.undeclared_signals, cluster.recreated_topics),
    *(producers.partitioners, producers.contracts, producers.event_times),
    *(producers.authors, workers.host_clock, workers.instance_clocks),
    *(redis_server.redis_clock, redis_server.redis_kind, redis_server.redis_memory),
    *(redis_server.redis_encodings, redis_server.redis_writes, redis_server.redis_scripts),
    *(redis_server.redis_keys, settings.store, settings.models, settings.lists),
    *(settings.refused_records, settings.lost_feeds, settings.thresholds, settings.rules),
    *(settings.overrides, workers.engine, workers.feeds, workers.builds, workers.instance_names),
    *(workers.model_versions, workers.refused_settings),
    *(workers.refused_writes, workers.refused_releases, workers.capped_sources, workers.drift),
    *(workers.dead_letters, workers.members, workers.strangers, workers.positions),
    *(workers.hanging_transactions, workers.open_transactions),
)
