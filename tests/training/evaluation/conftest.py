"""Models that only repeat what they learned."""

from builders.leaks import parrots  # noqa: F401 a fixture
