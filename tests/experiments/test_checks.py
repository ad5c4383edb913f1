"""What must hold before an effect is shown: each fault fails its check, and no effect is shown."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from builders.experiment_tables import (
    STARTED_MS,
    experiment_of,
    user_columns,
    with_copy,
    write_table,
)
from feedmill.events.errors import UsageError
from feedmill.experiments.checks import ExperimentRecord, Gap, decode_record
from feedmill.experiments.report import Report, report_of
from feedmill.experiments.table import DAY_MS, read_table

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


def never_rendered(columns: Columns) -> None:
    """A tenth of the second arm's users see a page that never renders."""
    lost = (columns["arm"] == "fresher") & (np.random.default_rng(2).random(USERS) < 0.1)
    for name in columns:
        if name.startswith(("on_day", "impressions", "take_rate")):
            columns[name] = np.where(lost, 0, columns[name])


def two_arms(columns: Columns) -> None:
    """Two users of a hundred are shown the other arm on a later page."""
    columns["arm_count"] = np.where(np.arange(USERS) % 50 == 0, 2, 1)


def one_bot(columns: Columns) -> None:
    columns["take_rate"][7] = columns["take_rate"].sum() / 8
    columns["complete"][7] = True


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


FAULTS: dict[str, tuple[Callable[[Columns], None], ExperimentRecord]] = {
    "ratio: exposed": (lost_users, WHOLE),
    "ratio: exposed with an impression": (never_rendered, WHOLE),
    "ratio: completed": (lost_windows, WHOLE),
    "arms": (other_arms, WHOLE),
    "arms: users in two": (two_arms, WHOLE),
    "controls: the outcome before": (better_before, WHOLE),
    "data: largest user": (one_bot, WHOLE),
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


def less_elsewhere(columns: Columns) -> None:
    """The arm displaces a tenth of what its readers do in other feeds."""
    taken = np.random.default_rng(4).poisson(np.where(columns["arm"] == "fresher", 0.9, 1.0))
    columns["elsewhere_take_rate"] = taken


def deeper(columns: Columns) -> None:
    """Readers of the arm see more of what is served to them."""
    columns["served"] = np.random.default_rng(5).binomial(
        columns["served"].astype(int), np.where(columns["arm"] == "fresher", 0.92, 1.0)
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("controls: feeds outside", less_elsewhere),
        ("ratio: impressions over served positions", deeper),
    ],
)
def test_what_comes_after_the_exposure_warns_and_the_effect_is_shown(
    name: str, change: Callable[[Columns], None], analysed: Callable[..., Report]
) -> None:
    columns = user_columns(7, USERS, uplift=0.3)
    change(columns)
    report = analysed(columns)
    assert {check.name: check.state for check in report.checks if check.state != "ok"} == {
        name: "warning"
    }
    assert [arm.arm for arm in report.arms] == ["fresher"]


def test_a_wrong_ratio_is_said_by_day_and_by_client(analysed: Callable[..., Report]) -> None:
    """One client loses a third of the second arm's users, on one day."""
    columns = user_columns(7, USERS)
    day = columns["first_exposure_ms"] // DAY_MS
    third = np.arange(USERS) % 3 == 0
    lost = (day == day.min() + 4) & (columns["client"] == "app") & (columns["arm"] == "fresher")
    for name, column in columns.items():
        columns[name] = pa.array(column).filter(pa.array(~(lost & third)))
    report = analysed(columns)
    assert "ratio: assigned" not in {check.name for check in report.checks}
    found = next(check.found for check in report.checks if check.name == "ratio: exposed")
    assert f"worst by day, {np.datetime64(int(day.min()) + 4, 'D')}: " in found
    assert "by client" not in found
    columns = user_columns(7, USERS)
    lost = (columns["client"] == "app") & (columns["arm"] == "fresher")
    for name, column in columns.items():
        columns[name] = pa.array(column).filter(pa.array(~(lost & third)))
    found = next(check.found for check in analysed(columns).checks if check.state == "failed")
    assert "worst by client, app: " in found


def test_exposures_before_the_start_and_late_engagements_are_counted(
    analysed: Callable[..., Report],
) -> None:
    columns = user_columns(7, USERS)
    columns["first_exposure_ms"][:5] -= 30 * DAY_MS
    columns["first_exposure_ms"][5] -= 1_100 * DAY_MS
    known = ExperimentRecord(
        gaps=(), overlap={"fresher": 0.6}, started_ms=STARTED_MS, early=2, late=(7, 3)
    )
    report = analysed(columns, known)
    found = {check.name: check.found for check in report.checks}
    assert found["data: the start"].startswith("8 exposures are dated before it, and left out")
    assert found["data: late engagements"].startswith("7 engagements of 3 users came when")
    assert report.users == USERS - 6
    # Nobody says when it began: the days are those on which both arms got users.
    assert analysed(columns).days - report.days <= 1


def test_without_a_fault_every_check_holds_and_an_effect_is_shown(
    analysed: Callable[..., Report],
) -> None:
    report = analysed(user_columns(7, USERS, uplift=0.3))
    assert {check.state for check in report.checks} == {"ok"}
    assert [arm.arm for arm in report.arms] == ["fresher"]


def test_what_nobody_knows_is_said_and_stops_nothing(analysed: Callable[..., Report]) -> None:
    columns = user_columns(7, USERS)
    optional = ("pre_", "elsewhere_", "on_day", "arm_count", "client")
    for name in [name for name in columns if name.startswith(optional)]:
        del columns[name]
    report = analysed(columns, ExperimentRecord())
    unknown = [check.name for check in report.checks if check.state == "unknown"]
    assert unknown == ["data: gaps", "arms: users in two", "dose", "controls: the outcome before"]
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
