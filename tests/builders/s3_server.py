"""An S3 server on this machine, and an empty store in it: a plugin of pytest."""

import contextlib
import logging
import uuid
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from feedmill.models.store_files import RemoteStore

BUCKET = "models"


@contextlib.contextmanager
def running_s3_server() -> Iterator[str]:
    """Give the address of a server whose buckets are in memory; it takes any key."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    with running_s3_server() as address:
        yield address


@pytest.fixture
def s3_store(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> RemoteStore:
    """An empty store; this process has the keys to it in its variables."""
    set_keys(monkeypatch, s3_server)
    return new_store()


def new_store() -> RemoteStore:
    """An empty store on the server that this process's variables name."""
    store = RemoteStore.parse(f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/")
    files = store._files
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    return store


def set_keys(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Give this process, and those that it starts, a server and keys."""
    for name, value in keys_to(server).items():
        monkeypatch.setenv(name, value)


def keys_to(server: str) -> dict[str, str]:
    """The variables by which a process finds a server, and the keys to it."""
    return {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key-of-a-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
