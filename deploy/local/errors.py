"""The error of the local stack."""

from feedmill.events.errors import FeedmillError


class LocalStackError(FeedmillError):
    """A server cannot be installed, started or stopped; the text has which, why and the way out."""
