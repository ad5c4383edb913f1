"""What goes wrong with the local stack."""

from feedmill.events.errors import FeedmillError


class LocalStackError(FeedmillError):
    """A local server cannot be fetched, started or stopped; says which, why and the way out."""
