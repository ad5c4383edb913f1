"""What users do wrong: each text says what, where, and the way out, and the way out works."""

import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from builders.golden import Golden
from builders.mistakes import LOCAL, THEMES, Mistake, make_folder
from builders.waiting import now_ms
from builders.written_redis import WrittenRedis
from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress
from feedmill.filters.model import STORE
from feedmill.streams.kafka import topics

WITHOUT_SERVERS = tuple(name for name in THEMES if name != "servers")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    make_folder(folder)
    return folder


@pytest.fixture
def folder(
    prepared: Path, no_variables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of the user, with nothing of feedmill in the environment."""
    own = tmp_path / "user"
    shutil.copytree(prepared, own)
    monkeypatch.chdir(own)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("USER", "somebody")
    return own


@pytest.fixture
def taken() -> Iterator[str]:
    """A port of this machine that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield str(other.getsockname()[1])


def run(line: str, variables: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, shlex.split(line), prog_name="feedmill", env=variables)


def fail(mistake: Mistake, line: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run the command of a mistake; what it writes fails if the mistake says so."""
    with monkeypatch.context() as patched:
        if mistake.writes_fail:
            number = mistake.writes_fail

            def refuse(path: Path, *_: object, **__: object) -> None:
                raise OSError(number, os.strerror(number), str(path))

            patched.setattr(Path, "write_bytes", refuse)
            patched.setattr(Path, "mkdir", refuse)
        return run(line, mistake.variables)


def told(mistake: Mistake, monkeypatch: pytest.MonkeyPatch, gone: set[str], **names: str) -> str:
    """The block of a mistake in its golden file, after its way out was gone, once for all."""
    line = mistake.line.format(**names) if names else mistake.line
    failed = fail(mistake, line, monkeypatch)
    assert failed.exit_code in (1, 2), (line, failed.output, failed.exception)
    assert failed.exception is None or isinstance(failed.exception, SystemExit), line
    before = "".join(f"{name}={text} " for name, text in mistake.variables.items())
    lines = [f"## {mistake.what}", f"$ {before}feedmill {line}"]
    lines += [f"    {each}".rstrip() for each in failed.stderr.splitlines()]
    lines += [f"    exit {failed.exit_code}"]
    for template in mistake.instead:
        instead = template.format(**names) if names else template
        if instead not in gone:
            done = run(instead)
            assert done.exit_code == 0, (instead, done.output, done.exception)
            gone.add(instead)
        lines.append(f"instead $ feedmill {instead}")
    return "\n".join(lines) + "\n"


def checked(text: str, folder: Path, **hidden: str) -> str:
    """The text as it is on every machine."""
    text = text.replace(str(folder), "<folder>").replace(str(STORE), "<shipped>")
    text = re.sub(r"\.\d+\.part", ".part", text)
    for name, value in hidden.items():
        text = text.replace(value, f"<{name}>")
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "<time>", text)


def test_there_are_sixty_of_them() -> None:
    assert sum(map(len, THEMES.values())) >= 60
    # The ways out of these start servers: `tests/deploy/local` and `tests/e2e/test_journeys.py`.
    without = [one for theme in THEMES.values() for one in theme if not one.instead]
    assert without == list(LOCAL)


@pytest.mark.parametrize("theme", WITHOUT_SERVERS)
def test_a_mistake_is_explained_and_its_way_out_works(
    theme: str, folder: Path, taken: str, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"taken": taken} if theme == "local" else {}
    gone: set[str] = set()
    blocks = [told(one, monkeypatch, gone, **names) for one in THEMES[theme]]
    golden.check(f"mistakes/{theme}.txt", checked("\n".join(blocks), folder, **names))


def test_mistakes_with_servers_are_explained_and_their_ways_out_work(
    folder: Path, stack: StackAddress, prefix: str, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_KAFKA", stack.kafka)
    monkeypatch.setenv("FEEDMILL_REDIS", stack.redis)
    monkeypatch.setenv("FEEDMILL_TOPIC_PREFIX", prefix)
    monkeypatch.setenv("FEEDMILL_REDIS_PREFIX", prefix)
    topics.create(stack.kafka, prefix, 2, ("spam", "nsfw", "misinformation", "quality"))
    producer = KafkaProducer(bootstrap_servers=stack.kafka)
    producer.send(f"{prefix}instances", b"", b"clock/health", timestamp_ms=now_ms()).get(20)
    producer.close()
    writer = WrittenRedis(stack.redis, prefix)
    writer.signals("p1", {"quality": 0.5, "spam": 0.1})
    writer.feed("global", {"p1": 1.0})
    gone: set[str] = set()
    address = stack.redis.removeprefix("redis://").removesuffix("/0")
    names = {
        "prefix": prefix,
        "login": f"redis://me:secret@{address}/0",
        "beyond": f"redis://{address}/99",
    }
    blocks = [told(one, monkeypatch, gone, **names) for one in THEMES["servers"]]
    writer.close()
    hidden = {"prefix": prefix, "kafka": stack.kafka, "redis": address}
    golden.check("mistakes/servers.txt", checked("\n".join(blocks), folder, **hidden))
