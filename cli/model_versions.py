"""What the commands of `feedmill models` share: which versions there are, and which is released."""

from __future__ import annotations

import click

from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store import find_card, installed_version
from feedmill.streams.kafka.header_reader import read_headers
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.loading import MODELS, shipped_store, store_of
from feedmill.streams.releases.release_history import ReleaseHistory
from feedmill.streams.releases.release_log import TOPIC
from feedmill.streams.settings.environment import Environment

SHIPPED = "shipped"

model_argument = click.argument("model", type=click.Choice(MODELS))


def read_history(environment: Environment, *, with_authors: bool = False) -> ReleaseHistory:
    """Read the releases; `with_authors` also who wrote records that have no value, and why."""
    records = [*read_all(environment, TOPIC)]
    return ReleaseHistory(
        MODELS, records, read_headers(environment, TOPIC) if with_authors else None
    )


def chosen_card(environment: Environment, model: str, version: str | None) -> ModelCard:
    """Return the card of a version, of the one in force if None; `shipped` is a version, too."""
    shipped = shipped_store(model)
    store = environment.models or shipped
    if version == SHIPPED:
        version = read_card(shipped, model).sha256
    if version is None:
        release = read_history(environment).current(model)
        installed = installed_version(store_of(model, store), model)
        sha256 = installed if release is None else release.sha256
        if sha256 is None:
            raise UsageError(f"`{model}` has no card in {store}; train it, or set FEEDMILL_MODELS")
        version = sha256
    return find_card(store, model, version, shipped)


def installed_card(environment: Environment, model: str) -> ModelCard:
    """Return the card of the installed version: what `train` stored last; raises `BadArtifact`."""
    return read_card(store_of(model, environment.models), model)
