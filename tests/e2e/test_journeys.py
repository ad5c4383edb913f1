"""The pages of `docs/journeys`, every command as written, on a demo that runs meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from builders.waiting import until
from feedmill.deploy.local.process import free_port

# It starts servers of its own, as the pages do.  The first page waits for them, and Kafka's jars.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/journeys"
JOURNEYS = ("newcomer", "frontend", "producer", "moderator", "product", "operator", "trainer")

# A person who does not see a change yet looks again; only what reads is typed again.
_LOOK_AGAIN = """
feedmill() {
    if [ "$1" = explain ] || [ "$1" = feed ]; then
        for _ in $(seq 60); do command feedmill "$@" && return 0; sleep 0.5; done
    fi
    command feedmill "$@"
}
"""


# The parts of README that are typed on a running demo, and what it leaves to whoever types.
README_PARTS = ("From another terminal", "Reading a feed", "Training a model")
_TYPED = {
    ".venv/bin/": "",
    "<post_id>": "sample-1",
    "<author_id>": "member-7",
    "127.0.0.1:9100": "127.0.0.1:$FEEDMILL_PORT --once --every 1",
    "lang:de --follow": "lang:de --follow --for 3",
    # It goes on until Ctrl-C.
    "feedmill train spam --follow": ": train spam --follow",
}


class Block(NamedTuple):
    """A block of code of a page: `language` is "" for an indented one; `line` is its first."""

    language: str
    line: int
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page's text, in their order."""
    language: str | None = None
    start = 0
    lines: list[str] = []
    for number, line in enumerate([*page.splitlines(), ""], 1):
        if line.startswith("```"):
            if language:
                yield Block(language, start, "".join(lines))
            language, start, lines = (None if language else line[3:]), number, []
        elif language is not None:
            lines.append(f"{line}\n")
        elif line.startswith("    "):
            start = start if lines else number
            lines.append(f"{line[4:]}\n")
        elif lines:
            yield Block("", start, "".join(lines))
            lines = []


def terminal_of(page: Path) -> str:
    """Return what a page has for a terminal of its own: its blocks of `sh`."""
    return "".join(block.text for block in blocks_of(page.read_text()) if block.language == "sh")


def script_of(text: str, name: str) -> str:
    """Return a page's indented blocks and blocks of `python` as a script for bash."""
    parts = ["set -euo pipefail", _LOOK_AGAIN]
    for block in blocks_of(text):
        if block.language not in ("", "python"):
            continue
        parts.append(f"echo '== {name}, line {block.line}' >&2")
        is_python = block.language == "python"
        parts.append(f"python - <<'END'\n{block.text}END" if is_python else block.text)
    return "\n".join(parts)


@dataclass
class Walk:
    """A folder as of a user, and the pages that were walked in it."""

    folder: Path
    environment: dict[str, str]
    done: list[str] = field(default_factory=list)

    def walk(self, journey: str) -> None:
        """Type everything that a page has, after the page on which it builds."""
        if journey in self.done:
            return
        if journey != JOURNEYS[0]:
            self.walk(JOURNEYS[0])
        self.type(script_of((PAGES / f"{journey}.md").read_text(), f"{journey}.md"))
        self.done.append(journey)

    def type(self, script: str, within_s: int = 300) -> None:
        """Type what a script has."""
        ended = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The newcomer's whole tour takes less than five minutes.
            timeout=within_s,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-6000:]


def user_environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("FEEDMILL_")}
    scripts = Path(sys.executable).parent
    return {
        **kept,
        "PATH": f"{scripts}{os.pathsep}{kept['PATH']}",
        "FEEDMILL_PORT": str(free_port(set())),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """The first terminal of the newcomer: it runs until the last page is walked."""
    walk = Walk(tmp_path_factory.mktemp("user"), user_environment())
    (walk.folder / "examples").symlink_to(ROOT / "examples")
    output = walk.folder / "first-terminal.txt"
    with output.open("wb") as file:
        terminal = subprocess.Popen(
            ["/bin/bash", "-c", f"set -e\n{terminal_of(PAGES / 'newcomer.md')}"],
            cwd=walk.folder,
            env=walk.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        until(lambda: terminal.poll() is not None or "global version" in output.read_text(), 120)
        assert terminal.poll() is None, output.read_text()[-3000:]
        yield walk
    finally:
        os.killpg(terminal.pid, signal.SIGINT)
        terminal.wait(90)
    assert "stopping the local Kafka and Redis" in output.read_text()[-3000:]


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_journey_is_walked_as_written(demo: Walk, journey: str) -> None:
    demo.walk(journey)


def test_readme_works_as_typed(demo: Walk) -> None:
    demo.walk(JOURNEYS[0])
    sections = (ROOT / "README.md").read_text().split("\n## ")
    text = "\n".join(one for one in sections if one.startswith(README_PARTS))
    for written, typed in _TYPED.items():
        assert written in text
        text = text.replace(written, typed)
    demo.type(script_of(text, "README.md"), 500)


def test_every_page_is_a_journey() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {"README", *JOURNEYS}
    for journey in JOURNEYS:
        languages = {block.language for block in blocks_of((PAGES / f"{journey}.md").read_text())}
        assert "" in languages
        assert languages <= {"", "python", "sh", "text"}
