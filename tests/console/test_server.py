import asyncio
import socket
from pathlib import Path

import pytest

from builders.running_console import NOWHERE
from feedmill.console.access import Access
from feedmill.console.server import Address, checked_address, serve
from feedmill.events.errors import UsageError
from feedmill.streams.tokens import TokenFile


def test_without_a_sign_in_it_listens_on_loopback_alone() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.3.2.1"):
        assert checked_address(host, 80, "", has_sign_in=False).is_loopback
    for host in ("0.0.0.0", "10.0.0.1", "::"):  # noqa: S104 - this is what is refused
        with pytest.raises(UsageError, match="feedmill token add"):
            checked_address(host, 80, "", has_sign_in=False)
    assert not checked_address("10.0.0.1", 80, "", has_sign_in=True).is_loopback


@pytest.mark.parametrize("url", ["console.example", "ftp://a/", "http://", "https://a/?b=1"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--url: expected http:// or https://"):
        checked_address("127.0.0.1", 80, url, has_sign_in=True)


def test_browsers_must_be_told_of_an_address_that_is_any() -> None:
    with pytest.raises(UsageError, match="give --url"):
        checked_address("0.0.0.0", 80, "", has_sign_in=True)  # noqa: S104 - as above
    with pytest.raises(UsageError, match="--host: expected an address"):
        checked_address("console.example", 80, "", has_sign_in=True)


def test_browsers_reach_it_by_its_url_and_its_own_address() -> None:
    address = Address("10.0.0.1", 0, "https://console.example/feedmill/")
    assert address.root == "/feedmill"
    assert address.origins(81) == ["https://console.example", "http://10.0.0.1:81"]
    assert Address("127.0.0.1", 0).origins(80)[0] == "http://127.0.0.1"
    assert "http://[::1]:81" in Address("::1", 0).origins(81)


def test_it_says_where_it_listens_and_a_taken_port(tmp_path: Path) -> None:
    access, said = Access(TokenFile(tmp_path / "none")), list[str]()

    async def start(port: int) -> None:
        stopping = asyncio.Event()

        def told(page: str) -> None:
            said.append(page)
            stopping.set()

        address = Address("127.0.0.1", port)
        await serve(NOWHERE, address, access, read_only=False, told=told, stopping=stopping)

    asyncio.run(start(0))
    assert said[0].startswith("http://127.0.0.1:")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
            asyncio.run(start(port))
