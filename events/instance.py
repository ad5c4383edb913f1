"""What a running stage instance says of itself on `instances`."""

from __future__ import annotations

from msgspec import Struct


class RefusedSetting(Struct, frozen=True, gc=False):
    """A setting that was refused, and why."""

    key: str
    offset: int
    reason: str


class Instance(Struct, frozen=True, omit_defaults=False):
    """A heartbeat; `config_offset` is the last record of `config` it has dealt with (-1: none)."""

    stage: str
    instance: str
    host: str
    pid: int
    build: str
    config_offset: int
    refused: tuple[RefusedSetting, ...]
    models: dict[str, str]
    ready: bool
    lag: int
    at_ms: int
