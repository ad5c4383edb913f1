"""The jars of the local stack: fetched once, checked always."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feedmill.deploy.local import LocalStackError, kafka_server
from feedmill.deploy.local.kafka_server import Jar, class_path, read_lock

CONTENT = b"a jar"
LOCK = tuple(
    Jar("org.example", f"part{i}", "1.0", hashlib.sha256(CONTENT).hexdigest()) for i in range(5)
)


@pytest.fixture
def small_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of five small jars, and nothing to fetch them from."""
    monkeypatch.setattr(kafka_server, "read_lock", lambda: kafka_server.Lock("0.0", LOCK))
    monkeypatch.setattr(kafka_server, "download_from_maven", refuse)


def refuse(jar: Jar, scratch: Path) -> Path:
    raise RuntimeError(f"no network for {jar.name} and {scratch.name}")


def serve(jar: Jar, scratch: Path) -> Path:
    path = scratch / jar.name
    path.write_bytes(CONTENT)
    return path


def test_the_lock_names_each_jar_once_with_a_sha256() -> None:
    lock = read_lock()
    assert len({jar.name for jar in lock.jars}) == len(lock.jars)
    assert all(len(jar.sha256) == 64 for jar in lock.jars)
    assert f"kafka_2.13-{lock.kafka}.jar" in {jar.name for jar in lock.jars}


@pytest.mark.usefixtures("small_lock")
def test_jars_are_fetched_once_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def counting(jar: Jar, scratch: Path) -> Path:
        fetched.append(jar.name)
        return serve(jar, scratch)

    monkeypatch.setattr(kafka_server, "download_from_maven", counting)
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(class_path, [tmp_path] * 3))
    assert found == {os.pathsep.join(str(tmp_path / jar.name) for jar in LOCK)}
    assert sorted(fetched) == sorted(jar.name for jar in LOCK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", *sorted(fetched)]


@pytest.mark.usefixtures("small_lock")
def test_an_altered_jar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_server, "download_from_maven", serve)
    class_path(tmp_path)
    altered = tmp_path / LOCK[3].name
    altered.write_bytes(CONTENT + b" with a stowaway")
    with pytest.raises(LocalStackError, match=r"is not the jar that .* remove it") as error:
        class_path(tmp_path)
    assert str(altered) in str(error.value)
    altered.unlink()
    class_path(tmp_path)


@pytest.mark.usefixtures("small_lock")
def test_an_altered_download_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altering(jar: Jar, scratch: Path) -> Path:
        path = serve(jar, scratch)
        if jar is LOCK[0]:
            path.write_bytes(b"something else")
        return path

    monkeypatch.setattr(kafka_server, "download_from_maven", altering)
    with pytest.raises(LocalStackError, match=r"part0-1\.0\.jar is not the jar"):
        class_path(tmp_path)
    assert not (tmp_path / LOCK[0].name).exists()


@pytest.mark.usefixtures("small_lock")
def test_a_failed_fetch_names_the_jar_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        LocalStackError, match=r"cannot download org.example:part.*check the network"
    ):
        class_path(tmp_path)
    assert not list(tmp_path.glob(".fetch-*"))
