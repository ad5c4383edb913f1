from __future__ import annotations

import pytest

from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.filters.registry import FILTERS
from feedmill.rankers.registry import RANKERS
from feedmill.streams.settings.environment import Environment, read_environment
from feedmill.streams.stages import flow


def test_the_stages_are_the_registries_and_the_combiner() -> None:
    assert list(flow.STAGES) == [*FILTERS, *RANKERS, "combiner"]


def test_the_table_names_every_stage_in_its_order() -> None:
    table = (flow.__doc__ or "").split("\n\n")[1]
    assert [line.split()[0] for line in table.splitlines()[1:]] == list(flow.STAGES)


def test_a_model_without_a_declared_signal_has_no_stage() -> None:
    names = SignalNames(gates=("spam", "nsfw"))
    assert flow.stages_of(names) == ("spam", "nsfw", "quality", "engagement", "combiner")
    with pytest.raises(UsageError, match="FEEDMILL_SIGNALS=misinformation:gate"):
        flow.STAGES["misinformation"](Environment(signals=names))


def test_the_environment_knows_which_gates_have_filters() -> None:
    names = read_environment({"FEEDMILL_SIGNALS": "extreme:gate"}).signals
    assert names.gates == (*FILTERS, "extreme")
    assert names.filters == tuple(FILTERS)
    assert all(names.default_gate(name) == spec.gate for name, spec in FILTERS.items())
