"""`examples/frontend.ts`, called as `examples/frontend.py` is: the same tests hold for both."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import playwright

from builders.examples import EXAMPLES

# The package brings a Node that runs TypeScript as it is; that of a distribution may be too old.
NODE = Path(playwright.__file__).parent / "driver" / "node"
DRIVER = Path(__file__).parents[1] / "examples" / "frontend_driver.mjs"


class TypeScriptFrontend:
    """What the tests of the Python example call, answered by a process of Node."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _call(self, name: str, *words: Any) -> Any:
        """Have a function of the driver answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *words]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def read_feed(self, _: object, name: str, first: int, prefix: str) -> Any:
        feed = self._call("read_feed", name, first, prefix)
        return feed and SimpleNamespace(
            version=feed["version"],
            posts=tuple((one["postId"], one["score"]) for one in feed["posts"]),
            weights=feed["weights"],
            config_offset=feed["configOffset"],
            stale=lambda now_ms: self._call("is_stale", feed, now_ms),
        )

    def Pages(  # noqa: N802 - as the class is called
        self, _: object, prefix: str, expose: Callable[[Any], None] | None = None
    ) -> Any:
        def page(*asked: Any) -> Any:
            answer = self._call("page", prefix, expose is not None, *asked)
            if expose is not None:
                for exposure in answer["exposures"]:
                    expose(exposure)
            page = answer["page"]
            return page and SimpleNamespace(
                version=page["version"],
                first=page["first"],
                post_ids=tuple(page["postIds"]),
                next_cursor=page["nextCursor"],
                stale=page["stale"],
            )

        return SimpleNamespace(page=page)

    def hash_of(self, post_id: str) -> str:
        return str(self._call("hash_of", post_id))

    def cursor_of(self, hashes: Sequence[str]) -> str:
        return str(self._call("cursor_of", hashes))


@contextmanager
def typescript_frontend(redis_url: str) -> Iterator[TypeScriptFrontend]:
    """The frontend in TypeScript on this Redis; its process ends with the block."""
    at = urlsplit(redis_url)
    where = [str(part) for part in (at.hostname, at.port, at.username, at.password)]
    command = [str(NODE), str(DRIVER), str(EXAMPLES / "frontend.ts"), *where]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield TypeScriptFrontend(process)
        process.kill()
