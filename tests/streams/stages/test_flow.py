from __future__ import annotations

import pytest

from feedmill.events.errors import UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import BUILT_IN_GATES, SignalNames
from feedmill.filters.model import Evidence
from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import FilterSpec
from feedmill.rankers.registry import RANKERS
from feedmill.streams.settings import environment
from feedmill.streams.stages import flow


def test_the_stages_are_the_registries_and_the_combiner() -> None:
    assert list(flow.STAGES) == [*FILTERS, *RANKERS, "combiner"]


def test_the_table_names_every_built_in_stage_in_its_order() -> None:
    table = (flow.__doc__ or "").split("\n\n")[1]
    stages = [line.split()[0] for line in table.splitlines()[1:]]
    assert tuple(stages) == flow.stages_of(SignalNames())


def test_a_model_without_a_declared_signal_has_no_stage() -> None:
    names = SignalNames(gates=("spam", "nsfw"))
    assert flow.stages_of(names) == ("spam", "nsfw", "quality", "engagement", "combiner")
    with pytest.raises(UsageError, match="FEEDMILL_SIGNALS=misinformation:gate"):
        flow.STAGES["misinformation"](environment.Environment(signals=names))


def test_the_environment_knows_which_gates_have_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    own = FilterSpec("extreme", Evidence(("text",), ()), "linear", gate=GatePolicy(shadow=True))
    built_in = {name: FILTERS[name] for name in BUILT_IN_GATES}
    monkeypatch.setattr(environment, "FILTERS", {**built_in, "extreme": own})
    names = environment.read_environment({"FEEDMILL_SIGNALS": "other:gate,extreme:gate"}).signals
    assert names.gates == (*BUILT_IN_GATES, "other", "extreme")
    assert names.filters == (*BUILT_IN_GATES, "extreme")
    assert names.default_gate("extreme") == own.gate
    assert names.default_gate("other") == GatePolicy()
    assert environment.read_environment({}).signals.filters == BUILT_IN_GATES
