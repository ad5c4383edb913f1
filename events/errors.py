"""The errors of feedmill, one tree.

FeedmillError
├── BadEvent          a record breaks the contract: it goes to `dead-letters`, the rest goes on
├── BadSetting        a setting is refused whole, and the old one stays in force
├── BadArtifact       a model file is missing or altered, or does not fit this build
└── UsageError        a command or an environment variable is wrong, or a service is not there
    ├── BadCredentials  how to sign in to Kafka or Redis is wrong: a new start fails as well
    └── StoreAway       the server of a store of models does not answer now, and may later
"""

from __future__ import annotations


class FeedmillError(Exception):
    """Something that feedmill refuses; its text says what, where, and the way out."""


class BadEvent(FeedmillError):
    """A record breaks the contract; the text has the path, what was expected and what was found."""


class BadSetting(FeedmillError):
    """A setting is refused whole."""


class BadArtifact(FeedmillError):
    """A model artifact cannot be used."""


class UsageError(FeedmillError):
    """A command, an option or an environment variable is wrong, or a service is not there."""


class BadCredentials(UsageError):
    """A setting by which a process signs in to Kafka or Redis is wrong."""


class StoreAway(UsageError):
    """The server of a store of models does not answer; it may when it is asked again."""
