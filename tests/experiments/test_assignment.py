"""Arms of users: the vectors in four languages, a million users, traffic that grows.

`examples/assignment/vectors.json` was written with sha256sum and bc, by none of these programs.
"""

import importlib.util
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import chisquare

from feedmill.events.experiment import WHOLE
from feedmill.experiments.assignment import arm_of, places

EXAMPLES = Path(__file__).parents[2] / "examples" / "assignment"
DRIVERS = Path(__file__).parent / "drivers"
VECTORS = json.loads((EXAMPLES / "vectors.json").read_text("utf-8"))
EXPECTED = [vector["arm"] for vector in VECTORS["vectors"]]


def lines() -> str:
    """Each vector as a line that needs no reader of JSON, with its arms as the last fields."""
    rows = []
    for vector in VECTORS["vectors"]:
        arms = [str(field) for arm in vector["arms"] for field in arm]
        rows.append([VECTORS["salt"], VECTORS["experiment"], vector["user_id"]])
        rows[-1] += [str(vector["traffic"]), *arms]
    return "".join("\t".join(row) + "\n" for row in rows)


def printed_by(command: Sequence[str | Path], folder: Path | None = None) -> list[str | None]:
    """The arms that a program prints for the lines, `-` for none."""
    done = subprocess.run(
        command, cwd=folder, input=lines(), capture_output=True, encoding="utf-8", check=True
    )
    return [None if arm == "-" else arm for arm in done.stdout.splitlines()]


def test_python_agrees_with_the_vectors() -> None:
    source = importlib.util.spec_from_file_location("example", EXAMPLES / "assignment.py")
    assert source is not None
    assert source.loader is not None
    example: Any = importlib.util.module_from_spec(source)
    source.loader.exec_module(example)
    for function in (arm_of, example.arm_of):
        found = [
            function(
                *(VECTORS["salt"], VECTORS["experiment"]),
                *(vector["user_id"], vector["traffic"], vector["arms"]),
            )
            for vector in VECTORS["vectors"]
        ]
        assert found == EXPECTED
        with pytest.raises(ValueError, match="the shares"):
            function("s", "e", "u", WHOLE, [("control", 0)])


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript_agrees_with_the_vectors() -> None:
    assert printed_by(["node", DRIVERS / "driver.mjs", EXAMPLES / "assignment.mjs"]) == EXPECTED


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")
def test_go_agrees_with_the_vectors(tmp_path: Path) -> None:
    (tmp_path / "assignment").mkdir()
    shutil.copy(EXAMPLES / "assignment.go", tmp_path / "assignment")
    shutil.copy(DRIVERS / "driver.go", tmp_path / "main.go")
    (tmp_path / "go.mod").write_text("module driver\n\ngo 1.18\n")
    assert printed_by(["go", "run", "."], tmp_path) == EXPECTED


@pytest.mark.skipif(shutil.which("javac") is None, reason="javac is not installed")
def test_java_agrees_with_the_vectors(tmp_path: Path) -> None:
    sources = [EXAMPLES / "Assignment.java", DRIVERS / "Driver.java"]
    subprocess.run(["javac", "-encoding", "UTF-8", "-d", tmp_path, *sources], check=True)  # noqa: S607 - the JDK on the path
    assert printed_by(["java", "-Xshare:auto", "-cp", tmp_path, "Driver"]) == EXPECTED


def test_a_million_users_are_uniform_and_traffic_and_arm_are_independent() -> None:
    in_traffic, in_shares, both = Counter[int](), Counter[int](), Counter[int]()
    for number in range(1_000_000):
        traffic, share = places("salt", "experiment", f"user-{number}")
        in_traffic[traffic] += 1
        in_shares[share] += 1
        both[traffic // 1000 * 10 + share // 1000] += 1
    for counts, cells in ((in_traffic, WHOLE), (in_shares, WHOLE), (both, 100)):
        assert chisquare([counts[cell] for cell in range(cells)]).pvalue > 0.001


def test_more_traffic_moves_nobody_and_another_salt_everybody() -> None:
    arms = [("control", 3334), ("b", 3333), ("c", 3333)]
    users = [f"user-{number}" for number in range(50_000)]
    at_10 = {user: arm_of("s", "e", user, 1000, arms) for user in users}
    at_50 = {user: arm_of("s", "e", user, 5000, arms) for user in users}
    inside = [user for user in users if at_10[user]]
    assert abs(len(inside) / len(users) - 0.1) < 0.01
    assert [user for user in inside if at_50[user] != at_10[user]] == []
    elsewhere = [user for user in users if at_50[user] == arm_of("t", "e", user, WHOLE, arms)]
    assert abs(len(elsewhere) / len(users) - 0.5 / 3) < 0.01
