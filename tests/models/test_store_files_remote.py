"""What keeps an S3 server from serving a store, in words that hold no key: `store_refusals.txt`."""

import builtins
import json
from typing import Any

import pytest

from builders.golden import Golden
from builders.s3_server import BUCKET, set_keys
from feedmill.events.errors import UsageError
from feedmill.models.store_files import RemoteStore

ADDRESSES = (
    "s3://",
    "s3://bucket/../etc",
    "s3://key:secret@bucket/a",
    "s3://bucket/a?secret=1",
    "s3://B/a",
    "gs://bucket/a",
    "ftp://user:secret@host/a",
)


def refusal(store: RemoteStore) -> str:
    with pytest.raises(UsageError) as error:
        store.read("spam.json", 10)
    assert error.value.__cause__ is None
    return str(error.value)


def deny_reads(store: RemoteStore) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{BUCKET}/{store.address.rpartition('/')[2]}/*",
            }
        ],
    }
    store._files.call_s3("put_bucket_policy", Bucket=BUCKET, Policy=json.dumps(policy))


def test_every_refusal_says_what_where_and_the_way_out(
    s3_store: RemoteStore, monkeypatch: pytest.MonkeyPatch, golden: Golden
) -> None:
    found = [f"{address}\n    {_refused_address(address)}" for address in ADDRESSES]
    s3_store.write("spam.json", b"{}")
    deny_reads(s3_store)
    cases = {"no rights": refusal(s3_store)}
    s3_store._files.call_s3("delete_bucket_policy", Bucket=BUCKET)
    cases["no bucket"] = refusal(RemoteStore("s3://no-such-bucket/a"))
    set_keys(monkeypatch, "http://127.0.0.1:1")
    cases["no server"] = refusal(RemoteStore("s3://bucket/a"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    cases["no keys"] = refusal(RemoteStore("s3://bucket/a"))
    _without_s3fs(monkeypatch)
    cases["without the extra"] = refusal_without_extra()
    text = "\n\n".join([*found, *(f"{what}\n    {why}" for what, why in cases.items())])
    text = text.replace(s3_store.address, "<store>")
    assert "secret" not in text.replace("s3://key:secret@", "").replace("?secret=1", "").replace(
        "ftp://user:secret@", ""
    )
    golden.check("store_refusals.txt", text + "\n")


def refusal_without_extra() -> str:
    with pytest.raises(UsageError) as error:
        RemoteStore("s3://bucket/a").read("spam.json", 10)
    return str(error.value)


def _refused_address(address: str) -> str:
    with pytest.raises(UsageError) as error:
        RemoteStore.parse(address)
    return str(error.value)


def _without_s3fs(monkeypatch: pytest.MonkeyPatch) -> None:
    importer = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "s3fs":
            raise ImportError(name)
        return importer(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
