"""Every error of feedmill descends from one tree.

FeedmillError
├── BadEvent          a record from Kafka breaks a rule: dead-lettered, the rest goes on
├── BadSetting        a setting is refused whole, the old value stays
├── BadArtifact       a model file is missing, altered or does not fit this build
└── UsageError        a command or an environment variable is wrong, or a service is away
"""

from __future__ import annotations


class FeedmillError(Exception):
    """Something feedmill refuses; its text says what, where and the way out."""


class BadEvent(FeedmillError):
    """A record that breaks the contract, with the path of the field, expected and found."""


class BadSetting(FeedmillError):
    """A setting that is refused whole."""


class BadArtifact(FeedmillError):
    """A model artifact that cannot be used."""


class UsageError(FeedmillError):
    """A command, flag or environment variable that cannot be followed."""
