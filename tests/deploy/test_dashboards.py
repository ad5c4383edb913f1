"""The dashboards are those that the list of metrics gives, and lead to sections that are there."""

import re
from pathlib import Path

import pytest

from builders.dashboards import DASHBOARDS, FOLDER, Panel, file_of
from feedmill.streams.observe.metric_list import METRICS

DOCS = Path(__file__).parents[2] / "docs"
PANELS = [panel for _, panels in DASHBOARDS.values() for panel in panels]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_files_are_made_of_the_list(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == file_of(name), "make format writes them"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_asks_by_labels_that_its_metric_has_and_leads_to_a_section(panel: Panel) -> None:
    labels = {label for one in METRICS if one.name in panel.names for label in one.labels}
    asked = {*re.findall(r"\{\{(\w+)\}\}", panel.legend)}
    for group in re.findall(r"by \(([^)]*)\)", panel.query):
        asked |= {*group.split(", ")} - {"le"}
    assert asked <= labels | {"stage", "instance"}
    path, _, section = panel.section.partition("#")
    titles = re.findall(r"^#+ (.*)$", (DOCS / path).read_text("utf-8"), re.MULTILINE)
    assert not section or section in [title.lower().replace(" ", "-") for title in titles]
