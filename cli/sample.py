"""`feedmill sample <folder>`: simulated files to try training, scoring, lists and tune with."""

from __future__ import annotations

from pathlib import Path

import click

from feedmill.cli import FOLDER, option
from feedmill.cli.output import say
from feedmill.models.store_files import write_whole
from feedmill.simulation.sample_files import sample_files


@click.command()
@click.argument("folder", type=FOLDER, default=Path("sample"))
@option("--seed", "Another seed: other posts.", int, 0)
def sample(folder: Path, seed: int) -> None:
    """Write simulated files into FOLDER (`sample`), to try training, scoring and lists with.

    labelled.csv has posts that somebody called junk or fine, ordinary.jsonl posts without a label,
    posts.jsonl posts as on the topic, domains.txt hosts of spam. tune.json, tune-users.csv and
    tune-record.json are a finished experiment for `feedmill tune front`. Everything is invented:
    what a model is worth on them says nothing about people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sample_files(seed).items():
        write_whole(folder / name, content)
        say(f"{folder / name}  {content.count(10):,} lines")
