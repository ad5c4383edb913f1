from collections.abc import Sequence

import pytest

from feedmill.events.built_in import BUILT_IN_GATES, FURTHER_SIGNALS
from feedmill.events.errors import UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.signal import SignalNames
from feedmill.filters.model import Evidence, FilterSpec
from feedmill.filters.registry import FILTERS
from feedmill.rankers.registry import RANKERS
from feedmill.streams import environment, flow
from feedmill.streams.ranking.ranking import RankingStep


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
        flow.chosen_stages(names, ["misinformation"])


def test_all_stages_are_chosen_unless_some_are_named_or_left_out() -> None:
    names = SignalNames()
    assert flow.chosen_stages(names) == flow.stages_of(names)
    assert flow.chosen_stages(names, ["combiner", "spam"]) == ("spam", "combiner")
    left = ("nsfw", "misinformation", "quality", "engagement", "combiner")
    assert flow.chosen_stages(names, without=["spam"]) == left
    assert flow.chosen_stages(names, ["nsfw", "spam"], ["spam"]) == ("nsfw",)


def test_stages_that_do_not_exist_and_no_stage_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match="no stage `ham`; there are: spam, nsfw"):
        flow.chosen_stages(SignalNames(), ["ham"])
    with pytest.raises(UsageError, match="no stage is left"):
        flow.chosen_stages(SignalNames(), ["spam"], ["spam"])


@pytest.mark.parametrize(
    ("stages", "group"),
    [
        (flow.STAGES[::-1], "worker"),
        (("quality", "spam", "engagement"), "worker"),
        (("combiner",), "worker"),
        (("combiner", "spam"), "worker-spam"),
        (("spam",), "worker-spam"),
        (("engagement", "spam", "combiner"), "worker-spam-engagement"),
    ],
)
def test_a_group_is_named_by_the_stages_that_judge(stages: Sequence[str], group: str) -> None:
    names = SignalNames(gates=("spam",), objectives=("quality", "engagement"))
    assert flow.group_of(stages, names) == group


def test_the_combiner_comes_last_and_does_not_read_what_is_made_beside_it() -> None:
    environment_ = environment.Environment()
    steps = flow.steps_of(["combiner", "engagement", "spam"], environment_)
    assert [step.name for step in steps] == ["spam", "engagement", "combiner"]
    (ranking,) = [step for step in steps if isinstance(step, RankingStep)]
    assert ranking.made_here == {"spam", "engagement", *FURTHER_SIGNALS}


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
