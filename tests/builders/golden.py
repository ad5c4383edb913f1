"""Texts that a test compares with a file checked in beside it: a plugin of pytest."""

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Golden:
    """The golden files of one folder of tests.

    `pytest --update-golden` writes the files instead of comparing; the diff is then the review.
    """

    folder: Path
    update: bool

    def check(self, name: str, text: str) -> None:
        """Fail unless the file `name`, beside the test, holds exactly this text."""
        path = self.folder / name
        if self.update:
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        if not path.exists():
            pytest.fail(f"{path} is missing; write it with `pytest --update-golden`", pytrace=False)
        expected = path.read_text(encoding="utf-8")
        assert text == expected, f"{path.name} differs; `pytest --update-golden` rewrites it"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the golden files with what the code says now, instead of comparing",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files beside the test: `golden.check("refusals.txt", text)`."""
    return Golden(request.path.parent, update=request.config.getoption("--update-golden"))
