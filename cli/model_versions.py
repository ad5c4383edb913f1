"""What the commands of `feedmill models` share: which versions there are, and which is released."""

from __future__ import annotations

import click

from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store import find_card
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.releases.loading import MODELS, shipped_sha256, shipped_store, store_of
from feedmill.streams.releases.release_log import TOPIC, ReleaseHistory

SHIPPED = "shipped"

model_argument = click.argument("model", type=click.Choice(MODELS))


def read_history(environment: Environment) -> ReleaseHistory:
    return ReleaseHistory(MODELS, read_all(environment, TOPIC))


def sha256_in_force(history: ReleaseHistory, model: str) -> str:
    """Return the version that workers are told to run: the released one, else the shipped one."""
    release = history.current(model)
    return shipped_sha256(model) if release is None else release.sha256


def chosen_card(environment: Environment, model: str, version: str | None) -> ModelCard:
    """Return the card of a version, of the one in force if None; `shipped` is a version, too."""
    shipped = shipped_store(model)
    store = environment.models or shipped
    if version == SHIPPED:
        version = shipped_sha256(model)
    elif version is None:
        version = sha256_in_force(read_history(environment), model)
    return find_card(store, model, version, shipped)


def trained_card(environment: Environment, model: str) -> ModelCard:
    """Return the card of the version that `train` stored last; raises `BadArtifact`."""
    return read_card(store_of(model, environment.models), model)
