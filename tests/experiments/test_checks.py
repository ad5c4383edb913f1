"""What must hold before an effect is shown: each fault fails its check, and no effect is shown."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from builders.experiment_tables import experiment_of, user_columns, with_copy, write_table
from feedmill.events.errors import UsageError
from feedmill.experiments.checks import ExperimentRecord, Gap, decode_record
from feedmill.experiments.report import Report, report_of
from feedmill.experiments.table import read_table

USERS = 80_000
WHOLE = ExperimentRecord(gaps=(), overlap={"fresher": 0.6})
Columns = dict[str, Any]


@pytest.fixture
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Report]:
    def analyse(columns: Columns, record: ExperimentRecord = WHOLE, **changes: Any) -> Report:
        path = write_table(tmp_path_factory.mktemp("table") / "t.parquet", columns)
        experiment = experiment_of(**changes)
        return report_of("fresher", read_table(path, experiment), experiment, record)

    return analyse


def lost_users(columns: Columns) -> None:
    kept = (columns["arm"] == "control") | (np.random.default_rng(1).random(USERS) >= 0.1)
    for name, column in columns.items():
        columns[name] = pa.array(column).filter(pa.array(kept))


def lost_impressions(columns: Columns) -> None:
    """The second arm loses a tenth of its impressions, and with them what came of them."""
    lost = np.where(columns["arm"] == "fresher", 0.9, 1.0)
    for name in ("impressions", "take_rate"):
        columns[name] = np.random.default_rng(2).binomial(columns[name].astype(int), lost)


def lost_windows(columns: Columns) -> None:
    slow = (columns["arm"] == "fresher") & (np.random.default_rng(3).random(USERS) < 0.1)
    columns["complete"] &= ~slow


def other_arms(columns: Columns) -> None:
    columns["computed_arm"] = np.where(np.arange(USERS) % 200 == 0, "control", columns["arm"])


def better_before(columns: Columns) -> None:
    known = ~columns["pre_take_rate"].is_null().to_numpy(zero_copy_only=False)
    more = np.where(columns["arm"] == "fresher", 1.0, 0.0) * known
    before = columns["pre_take_rate"].fill_null(0).to_numpy() + more
    columns["pre_take_rate"] = pa.array(before, mask=~known)


def better_elsewhere(columns: Columns) -> None:
    columns["elsewhere_take_rate"] = columns["elsewhere_take_rate"] + (columns["arm"] == "fresher")


FAULTS: dict[str, tuple[Callable[[Columns], None], ExperimentRecord]] = {
    "ratio: assigned": (lost_users, WHOLE),
    "ratio: completed": (lost_windows, WHOLE),
    "ratio: impressions over served positions": (lost_impressions, WHOLE),
    "arms": (other_arms, WHOLE),
    "controls: the outcome before": (better_before, WHOLE),
    "controls: feeds outside": (better_elsewhere, WHOLE),
    "data: gaps": (lambda _: None, ExperimentRecord(gaps=(Gap(1, 2, "engagements"),))),
    "dose": (lambda _: None, ExperimentRecord(gaps=(), overlap={"fresher": 1.0})),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_check_and_no_effect_is_shown(
    name: str, analysed: Callable[..., Report]
) -> None:
    fault, record = FAULTS[name]
    columns = user_columns(7, USERS, uplift=0.3)
    fault(columns)
    report = analysed(columns, record)
    failed = [check.name for check in report.checks if check.state == "failed"]
    assert failed[0] == name
    assert report.arms == ()
    shown = report.as_dict()
    assert shown["arms"] == []
    assert not shown["valid"]
    assert shown["conclusion"].startswith(f"Nothing may be concluded: {name}: ")


def test_without_a_fault_every_check_holds_and_an_effect_is_shown(
    analysed: Callable[..., Report],
) -> None:
    report = analysed(user_columns(7, USERS, uplift=0.3))
    assert {check.state for check in report.checks} == {"ok"}
    assert [arm.arm for arm in report.arms] == ["fresher"]


def test_what_nobody_knows_is_said_and_stops_nothing(analysed: Callable[..., Report]) -> None:
    columns = user_columns(7, USERS)
    for name in [name for name in columns if name.startswith(("pre_", "elsewhere_"))]:
        del columns[name]
    report = analysed(columns, ExperimentRecord())
    unknown = [check.name for check in report.checks if check.state == "unknown"]
    assert unknown == ["data: gaps", "dose", "controls: the outcome before"]
    assert report.valid


def test_a_copy_of_the_control_that_differs_stops_the_analysis(
    analysed: Callable[..., Report],
) -> None:
    columns = user_columns(8, USERS, arms=("control", "fresher", "again"))
    assert analysed(columns, arms=with_copy()).valid
    columns["take_rate"] = columns["take_rate"] + (columns["arm"] == "again")
    report = analysed(columns, arms=with_copy())
    failed = [check.name for check in report.checks if check.state == "failed"]
    assert failed == ["controls: the copy of the control"]


@pytest.mark.parametrize("users", [1, 40, 2_500])
def test_few_users_show_nothing(users: int, analysed: Callable[..., Report]) -> None:
    report = analysed(user_columns(9, users, uplift=0.3, days=4.0))
    assert next(c.name for c in report.checks if c.state == "failed") == "data: users"
    assert report.arms == ()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"gaps": 1}', b'{"overlap": {"b": 2}}'])
def test_a_wrong_record_is_refused(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"^record\.json: "):
        decode_record(content, "record.json")
