"""A frontend's client of readers: it asks one reader, then the next, then Redis.

It needs redis-py, and nothing of feedmill. Copy what you need.

    python examples/reader_client.py --readers http://127.0.0.1:8090 --feed global --author bob
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import redis


class BadRequest(Exception):
    """The request is wrong; no other reader would take it."""


class ReaderClient:
    """Asks readers in turn; any reader takes the cursor of any other.

    Parameters
    ----------
    readers
        Their addresses, `http://host:port`.
    client, prefix
        Redis, and what comes before its keys; for when no reader answers.
    token
        The bearer token, where readers ask for one.
    within_s
        How long a reader may take.
    """

    def __init__(
        self,
        readers: Sequence[str],
        client: redis.Redis | None = None,
        prefix: str = "",
        token: str = "",
        within_s: float = 1.0,
    ) -> None:
        self._readers, self._first = list(readers), 0
        self._redis, self._prefix = client, prefix
        self._token, self._within_s = token, within_s

    def page(self, feed: str, **body: Any) -> dict[str, Any]:
        """Return a page; from Redis it is the feed's own, without weights and follows of the user.

        A page from Redis says so by `"from": "redis"`.
        """
        for turn in range(len(self._readers)):
            reader = self._readers[(self._first + turn) % len(self._readers)]
            answer = self._ask(f"{reader}/v1/feeds/{feed}", body)
            if answer is not None:
                # The next request goes to the next reader, so that all have as much to do.
                self._first = (self._first + turn + 1) % len(self._readers)
                return answer
        if self._redis is None:
            raise ConnectionError("no reader answers")
        key = f"{self._prefix}feed:{{{feed}}}"
        found: Any = self._redis.zrange(key, 0, body.get("count", 50) - 1, desc=True)
        posts = [{"post_id": post_id.decode()} for post_id in found]
        return {"feed": feed, "from": "redis", "posts": posts, "cursor": None}

    def _ask(self, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer of a reader; None if another one is to be asked."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - of the frontend's own settings
        try:
            with urllib.request.urlopen(request, timeout=self._within_s) as response:  # noqa: S310 - as above
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            if error.code in (429, 503):
                return None
            raise BadRequest(f"{error.code}: {error.read().decode()}") from None
        except (OSError, ValueError):
            return None
        return answer


def main() -> None:
    """Print a page."""
    parser = argparse.ArgumentParser(description="Print a page of a feed for one user.")
    parser.add_argument("--readers", default="http://127.0.0.1:8090", help="with commas")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--feed", default="global")
    parser.add_argument("--user")
    parser.add_argument("--author", action="append", help="whom the user follows; repeatable")
    arguments = parser.parse_args()
    given = {"user_id": arguments.user, "authors": arguments.author}
    client = ReaderClient(
        arguments.readers.split(","),
        redis.Redis.from_url(arguments.redis),
        token=os.environ.get("READER_TOKEN", ""),
    )
    body = {name: value for name, value in given.items() if value is not None}
    for rank, post in enumerate(client.page(arguments.feed, **body)["posts"], 1):
        print(f"{rank:4} {post.get('score', ''):>16} {post['post_id']}")


if __name__ == "__main__":
    main()
