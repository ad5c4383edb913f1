"""Compose accepts the file for one machine, whose ports are open to that machine alone."""

import subprocess
import sysconfig
from pathlib import Path

import click
import yaml  # type: ignore[import-untyped]  # it has no types

from feedmill.cli.main import main

FOLDER = Path(__file__).parents[2] / "deploy/compose"


def test_compose_accepts_the_file() -> None:
    program = Path(sysconfig.get_path("scripts")) / "docker-compose"
    done = subprocess.run(
        [program, "-f", FOLDER / "compose.yaml", "config", "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_ports_are_of_loopback_and_its_commands_and_files_are_there() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (FOLDER / source).is_file(), volume
    own = [one["command"] for one in services.values() if "feedmill" in one["image"]]
    assert len(own) == 3
    for command in own:
        assert isinstance(main, click.Group)
        assert main.get_command(click.Context(main), command[0]) is not None
