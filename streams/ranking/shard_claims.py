"""Who ranks: the owner of a shard of `feed-shards`, under the token of its latest claim there.

A claim is written in the owner's transaction, so no former owner can write one any more.  Its token
is the broker's timestamp of it, or one more than the highest token that its owner knew, whichever
is higher.  So it is above that of every former owner of the shard, and neither a flush of Redis,
nor a lagging replica, nor a clock of the broker that is put back lowers it.  Where Redis still has
a higher one, as after a topic was made anew, its owner claims again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Mapping

import msgspec

from feedmill.streams.kafka.assignment import SHARDS, AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import BEGINNING, WAITING, LogConsumer
from feedmill.streams.worker.step import Writer

# The worker that ranks this shard writes the dead letters of records that all rankers read.
FIRST_SHARD = TopicPartition(SHARDS, 0)
# How often the log is read while no claim is on its way, because a client must be polled.
_POLL_EVERY_S = 0.5
# A claim is repeated so seldom: two owners unaware of each other would do nothing else.
_AGAIN_AFTER_S = 5.0
# So far ahead of its own time a claim may be: a clock of the broker that was put back lowers no
# token, and nobody can claim a shard beyond what Redis' index of feeds has room for (2**47).
_MOST_AHEAD_MS = 10 * 365 * 86_400_000


class Claim(msgspec.Struct, frozen=True):
    """The value of a record: its token is higher than `above`."""

    instance: str
    above: int


_decode = msgspec.json.Decoder(Claim).decode
_encode = msgspec.json.Encoder().encode


def token_of(record: Record) -> int:
    """Return the token of a claim; that of a record that is none is its timestamp."""
    try:
        above = _decode(record.value or b"").above
    except msgspec.MsgspecError:
        above = 0
    is_near = above <= record.timestamp + _MOST_AHEAD_MS
    return max(record.timestamp, above + 1 if is_near else 0)


class ShardClaims:
    """Claims the shards of an assignment, and knows their tokens while it holds them.

    The log of a shard is read from when the shard is gained until the claim on it was read.

    Attributes
    ----------
    tokens
        By shard the token of the claim; this worker writes no other shards.  Not to be changed.
    """

    def __init__(self, connection: Connection) -> None:
        self.tokens: dict[int, int] = {}
        self._instance = connection.environment.instance
        self._log = LogConsumer(connection, "claims of shards", waiting=WAITING)
        self._wanted: frozenset[int] = frozenset()
        self._highest: dict[int, int] = {}
        self._claims: dict[int, bytes] = {}  # by shard the key of a claim on its way
        self._poll_at = 0.0
        self._outdone_at = -_AGAIN_AFTER_S

    @property
    def is_wanted(self) -> bool:
        """Whether this worker is to rank anything."""
        return bool(self._wanted)

    @property
    def is_whole(self) -> bool:
        """Whether this worker has a token of each shard that it is to rank."""
        return len(self.tokens) == len(self._wanted)

    def assigned(self, change: AssignmentChange) -> None:
        """Give shards up, and get ready to claim others, as the assignment has it."""
        kept = set(change.shards_kept)
        self._wanted = frozenset(change.shards)
        self.tokens = {shard: token for shard, token in self.tokens.items() if shard in kept}
        self._claims = {shard: key for shard, key in self._claims.items() if shard in kept}
        self._drop({*change.shards_lost, *change.shards_gained})
        self._add(change.shards_gained)

    def outdone(self, tokens: Mapping[int, int]) -> bool:
        """Give up shards that Redis has under higher tokens, to claim them again.

        Returns whether there are such shards.
        """
        now_s = time.monotonic()
        if not tokens or now_s < self._outdone_at + _AGAIN_AFTER_S:
            return False
        lower = {s for s, token in tokens.items() if self.tokens.get(s, token) < token}
        if lower:
            self._outdone_at = now_s
            self._highest |= {shard: tokens[shard] for shard in lower}
            self.tokens = {s: token for s, token in self.tokens.items() if s not in lower}
            self._add(lower)
        return bool(lower)

    def give_up(self) -> None:
        """Give all shards up, to claim them again when it may."""
        given, self.tokens = frozenset(self.tokens), {}
        self._add(given)

    def claim(self, writer: Writer, *, is_restored: bool) -> bool:
        """Claim missing shards once all is read; return whether tokens are new.  Never waits."""
        now_s = time.monotonic()
        if self.is_whole and now_s < self._poll_at:
            return False
        self._poll_at = now_s + _POLL_EVERY_S
        is_new = self._read()
        unclaimed = self._wanted.difference(self.tokens, self._claims)
        if unclaimed and is_restored and self._log.all_restored():
            key = f"{self._instance}/{uuid.uuid4().hex}".encode()
            for shard in sorted(unclaimed):
                claim = _encode(Claim(self._instance, self._highest.get(shard, 0)))
                writer.add(SHARDS, key, claim, owner=TopicPartition(SHARDS, shard))
                self._claims[shard] = key
        return is_new

    def _read(self) -> bool:
        """Take what came; return whether claims of this worker are among it."""
        found: dict[int, int] = {}
        for batch in self._log.read(1000):
            shard = batch.source.partition
            for record in batch.records:
                token = token_of(record)
                self._highest[shard] = max(self._highest.get(shard, 0), token)
                if record.key == self._claims.get(shard, b""):
                    found[shard] = token
        if found:
            self.tokens = self.tokens | found
            self._drop(found)
        return bool(found)

    def _add(self, shards: Iterable[int]) -> None:
        self._log.add({TopicPartition(SHARDS, shard): BEGINNING for shard in shards})

    def _drop(self, shards: Collection[int]) -> None:
        self._log.drop(TopicPartition(SHARDS, shard) for shard in shards)
        self._claims = {s: key for s, key in self._claims.items() if s not in shards}

    def ready_reason(self) -> str:
        """Say what is waited for; "" where this worker ranks all that it is to rank."""
        return "" if self.is_whole else "claiming shards of feeds"

    def close(self) -> None:
        self._log.close()
