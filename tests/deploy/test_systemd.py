"""systemd accepts the unit of a worker, and finds its sandbox closed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from builders.debian import unpacked

UNIT = Path(__file__).parents[2] / "deploy/systemd/feedmill-worker@.service"
MOST_EXPOSED = 2.5


def analyze(*arguments: str) -> str:
    """What `systemd-analyze` prints; it fails where it finds something."""
    path, variables = shutil.which("systemd-analyze"), {**os.environ}
    if path is None:
        folder = unpacked("systemd")
        (libraries,) = folder.glob("usr/lib/*/systemd")
        path, variables["LD_LIBRARY_PATH"] = str(folder / "usr/bin/systemd-analyze"), str(libraries)
    done = subprocess.run(
        [path, *arguments], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_accepts_the_unit_and_says_that_it_is_closed(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # A program that is there, in place of the installed one.
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/feedmill/bin/feedmill", "/bin/true"))
    assert analyze("verify", str(unit)) == ""
    said = analyze("security", "--offline=true", str(unit))
    level = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert level is not None and float(level[1]) <= MOST_EXPOSED, said


def test_a_mistake_of_a_setting_is_not_started_again_and_secrets_are_files() -> None:
    text = UNIT.read_text("utf-8")
    assert "RestartPreventExitStatus=78\n" in text
    assert not re.search(r"^Environment=.*PASSWORD=", text, re.MULTILINE)
