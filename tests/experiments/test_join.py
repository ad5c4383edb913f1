"""The join of an export, against plain loops over the same events."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from builders.experiment_tables import experiment_of
from builders.exported_events import DAY_MS, NAME, STARTED_MS, Event, drawn_events, expected_rows
from feedmill.events.engagement import Engagement
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Exposure
from feedmill.events.signal import Signal
from feedmill.experiments import export_folder
from feedmill.experiments.export_folder import ExportFolder, KeptRows, KeyedHash, Part, open_export
from feedmill.experiments.join import JoinedExperiment, join
from feedmill.experiments.table import read_table

KEY = b"k" * 16
SETTING = experiment_of()
RUN = JoinedExperiment(NAME, SETTING, STARTED_MS)
THROUGH_MS = STARTED_MS + 14 * DAY_MS
STORED_MS = STARTED_MS + 400 * DAY_MS


class Exported:
    """An export of some events, in parts as they are cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = ExportFolder(folder)
        self.rows = KeptRows(KEY)

    def add(self, exposures: Sequence[Event] = (), engagements: Sequence[Event] = ()) -> None:
        for event in exposures:
            self.rows.add_exposure(msgspec.convert(event, Exposure), SETTING, STORED_MS)
        for event in engagements:
            self.rows.add_engagement(msgspec.convert(event, Engagement), STORED_MS)

    def write(self, at_ms: int = STORED_MS) -> None:
        number = self.folder.last.last + 1 if self.folder.last else 1
        tables = self.rows.take()
        offsets = {"exposures": {0: number}}
        part = Part(
            *(number, number, offsets, {"exposures": {0: at_ms}}, THROUGH_MS),
            {name: len(table) for name, table in tables.items()},
        )
        self.folder.write(part, tables)


def exported(folder: Path, events: tuple[list[Event], list[Event]], parts: int = 1) -> Exported:
    made = Exported(folder)
    for part in range(parts):
        made.add(*(some[part::parts] for some in events))
        made.write()
    return made


def joined(export: ExportFolder, run: JoinedExperiment = RUN) -> bytes:
    out = export.path.with_suffix(".parquet")
    join(export, run, out)
    return out.read_bytes()


def rows_of(export: ExportFolder) -> dict[int, Event]:
    rows = pa_parquet.read_table(export.path.with_suffix(".parquet")).to_pylist()
    return {row.pop("user"): row for row in rows}


def test_a_join_is_what_plain_loops_find(tmp_path: Path) -> None:
    for seed in range(3):
        events = drawn_events(SETTING, seed, 150)
        made = exported(tmp_path / f"export{seed}", events, parts=4)
        joined(made.folder)
        expected = expected_rows(SETTING, *events, THROUGH_MS)
        hashed = KeyedHash(KEY)
        found = rows_of(made.folder)
        assert list(found) == sorted(found)
        assert found == {hashed.user(user): row for user, row in expected.items()}
        assert 0 < sum(row["complete"] for row in found.values()) < len(found)
        table = read_table(made.folder.path.with_suffix(".parquet"), SETTING)
        assert len(table.arm) == 150


def test_cuts_merges_and_ranges_do_not_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = drawn_events(SETTING, 1, 100)
    whole = exported(tmp_path / "whole", events)
    bytes_of_whole = joined(whole.folder)
    assert joined(whole.folder) == bytes_of_whole
    cut = exported(tmp_path / "cut", events, parts=130)
    for part in cut.folder.parts:
        assert part.first == part.last
    export_folder.merge(cut.folder)
    assert len(cut.folder.parts) == 1
    assert len(list((cut.folder.path / "engagements").iterdir())) == 1
    monkeypatch.setattr("feedmill.experiments.join._RANGE_ROWS", 300)
    assert joined(open_export(cut.folder.path)) == bytes_of_whole


_ALL = drawn_events(SETTING, 2, 30)
EVENTS = [(_ALL[0][part::4], _ALL[1][part::4]) for part in range(4)]


def write_last(made: Exported) -> None:
    if len(made.folder.parts) == len(EVENTS) - 1:
        made.add(*EVENTS[-1])
        made.write()


FORGOTTEN: int = KeyedHash(KEY).user(_ALL[0][0]["user_id"])
# By name what is done to an export that has all its parts, or all but the last.
OPERATIONS: dict[str, Callable[[Exported], object]] = {
    "write": write_last,
    "merge": lambda made: export_folder.merge(made.folder),
    "drop": lambda made: export_folder.drop_old(made.folder, 10),
    "forget": lambda made: export_folder.forget(made.folder, FORGOTTEN),
}


def begun(folder: Path, *, is_whole: bool) -> Exported:
    made = Exported(folder)
    for events in EVENTS[:-1]:
        made.add(*events)
        made.write(STARTED_MS)
    if is_whole:
        write_last(made)
    return made


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Whoever comes next finds what was there before, or after, and goes on from there."""
    monkeypatch.setattr(export_folder, "MERGED", 4)
    work, is_whole = OPERATIONS[operation], operation != "write"
    undisturbed = begun(tmp_path / "undisturbed", is_whole=is_whole)
    work(undisturbed)
    expected = joined(undisturbed.folder)
    kills = 0
    while not works(begun(tmp_path / f"{kills}", is_whole=is_whole), work, kills, monkeypatch):
        again = Exported(tmp_path / f"{kills}")
        again.folder.tidy()
        work(again)
        assert joined(again.folder) == expected
        assert not list(again.folder.path.rglob("*.unfinished"))
        kills += 1
    assert kills >= 2


class Killed(BaseException):
    pass


def works(made: Exported, work: Any, steps: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Work until so many files were renamed or removed; whether the work ended before."""
    left = [steps]

    def step(call: Any) -> Any:
        def stepped(*arguments: Any, **more: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return call(*arguments, **more)

        return stepped

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", step(Path.replace))
        patch.setattr(Path, "unlink", step(Path.unlink))
        try:
            work(made)
        except Killed:
            return False
    return True


def test_sums_tell_of_the_days_before_an_exposure(tmp_path: Path) -> None:
    """Days before the first exposure's day, and dwells in steps of five seconds."""
    exposures, engagements = drawn_events(SETTING, 4, 60)
    begin = {
        user: min(one["at_ms"] for one in exposures if one["user_id"] == user)
        for user in {one["user_id"] for one in exposures}
    }
    before = [
        {**one, "feed": "global"}
        for one in engagements
        if one["at_ms"] // DAY_MS < begin[one["user_id"]] // DAY_MS
    ]
    # One of a user with a post, so that both count alike: sums know no post of another day.
    once = {(e["user_id"], e["post_id"]): e for e in before}
    before = [{k: v for k, v in one.items() if k != "event_id"} for one in once.values()]
    raw = exported(tmp_path / "raw", (exposures, before))
    summed = Exported(tmp_path / "summed")
    summed.add(engagements=before)
    summed.write(STARTED_MS)
    summed.add(exposures)
    summed.write()
    export_folder.drop_old(summed.folder, 10)
    assert [part.is_summed for part in summed.folder.parts] == [True, False]
    joined(raw.folder)
    joined(summed.folder)
    found, expected = rows_of(summed.folder), rows_of(raw.folder)
    for user, row in expected.items():
        for name in ("impressions", "actions", "reporters", "hiders"):
            assert found[user][f"pre_{name}"] == row[f"pre_{name}"]
    assert sum(row["pre_actions"] or 0 for row in found.values()) > 10


def test_quality_is_that_of_the_impression(tmp_path: Path) -> None:
    setting = experiment_of(metrics={"quality": {"per": "impression"}})
    exposures = drawn_events(SETTING, 5, 1)[0][:1]
    at_ms, user = exposures[0]["at_ms"], exposures[0]["user_id"]
    made = Exported(tmp_path / "export")
    made.add(exposures)
    for hours, value in ((-1, 0.25), (2, 0.5), (9, None)):
        signal = Signal("p", 1, value, "quality", "1", 1, None if value else "failed")
        made.rows.add_quality(signal, at_ms + hours * 3_600_000, hours + 2)
    for hours in (1, 30):
        event = Engagement("p", user, "impression", at_ms + hours * 3_600_000)
        made.rows.add_engagement(event, event.at_ms)
    unrated = Engagement("q", user, "impression", at_ms + 1)
    made.rows.add_engagement(unrated, at_ms + 1)
    made.write()
    joined(made.folder, JoinedExperiment(NAME, setting, STARTED_MS))
    (row,) = rows_of(made.folder).values()
    assert (row["impressions"], row["quality"]) == (2, 0.25)


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    events = drawn_events(SETTING, 1, 3)
    made = exported(tmp_path / "export", events)
    with pytest.raises(UsageError, match=r"no exposure of the experiment 'other'"):
        joined(made.folder, JoinedExperiment("other", SETTING, STARTED_MS))
    with pytest.raises(UsageError, match=r"'depth' has no `kinds`"):
        setting = experiment_of(metrics={"depth": {"per": "user"}})
        joined(made.folder, JoinedExperiment(NAME, setting, STARTED_MS))
    with pytest.raises(UsageError, match="has no export"):
        open_export(tmp_path / "nothing")


def test_a_stopped_experiment_takes_no_more_users(tmp_path: Path) -> None:
    events = drawn_events(SETTING, 6, 80)
    made = exported(tmp_path / "export", events)
    middle = int(np.median([one["at_ms"] for one in events[0]]))
    joined(made.folder, JoinedExperiment(NAME, SETTING, STARTED_MS, middle))
    found = rows_of(made.folder).values()
    assert 20 < len(found) < 80
    assert max(row["first_exposure_ms"] for row in found) < middle
    windows = [row["first_exposure_ms"] + 72 * 3_600_000 for row in found if row["complete"]]
    assert 0 < len(windows) < len(found)
    assert max(windows) <= middle


def exported_around(
    folder: Path,
    events: Sequence[tuple[str, str, float]],
    pages: Sequence[Event] = (),
    hours: int = 20,
) -> Event:
    """The row of one user, who has these kinds of events of posts, so many hours after a page."""
    first_ms = STARTED_MS + hours * 3_600_000
    page = {"experiment": NAME, "feed": "global", "version": 1, "first": 0, "count": 10}
    page |= {"user_id": "u", "arm": "control", "at_ms": first_ms}
    made = Exported(folder)
    made.add([page, *({**page, **one} for one in pages)])
    for post, kind, after in events:
        at_ms = first_ms + int(after * 3_600_000)
        event = {"user_id": "u", "post_id": post, "kind": kind, "at_ms": at_ms}
        made.rows.add_engagement(msgspec.convert(event, Engagement), at_ms)
    made.write()
    joined(made.folder)
    (row,) = rows_of(made.folder).values()
    return row


def test_an_impression_is_taken_by_what_comes_after_it(tmp_path: Path) -> None:
    """A post that is shown on three days is one unit; a like before the impression is none."""
    row = exported_around(
        tmp_path / "export",
        [
            *(("shown-thrice", "impression", hours) for hours in (1, 25, 49)),
            *(("shown-thrice", "like", hours) for hours in (26, 50)),
            *(("liked-before", kind, at) for kind, at in (("like", 7), ("impression", 8))),
            *(("reported", kind, at) for kind, at in (("impression", 9), ("like", 10))),
            ("reported", "report", 11),
            *(("late", kind, at) for kind, at in (("impression", 70), ("like", 71))),
        ],
    )
    assert (row["impressions"], row["take_rate"]) == (4, 2)
    # By the day of the impression, from that of the exposure, at six in the evening.
    assert [row[f"on_day{day}_impressions"] for day in range(4)] == [1, 2, 0, 1]
    assert [row[f"on_day{day}_take_rate"] for day in range(4)] == [1, 0, 0, 1]


def test_the_time_before_is_two_weeks_before_the_user_s_own_exposure(tmp_path: Path) -> None:
    events = [(f"p{days}", "impression", -24 * days) for days in (1, 13, 15, 30)]
    # The user comes ten days after the start.
    row = exported_around(tmp_path / "export", events, hours=240)
    assert (row["pre_impressions"], row["impressions"]) == (2, 0)


def test_pages_before_the_start_are_left_out_and_other_arms_counted(tmp_path: Path) -> None:
    pages = [
        {"at_ms": STARTED_MS - 1_100 * DAY_MS, "arm": "fresher"},
        {"at_ms": STARTED_MS + 30 * 3_600_000, "arm": "fresher", "client": "app"},
    ]
    row = exported_around(tmp_path / "export", [("p", "impression", 1)], pages)
    assert (row["arm"], row["first_exposure_ms"]) == ("control", STARTED_MS + 20 * 3_600_000)
    assert (row["arm_count"], row["client"]) == (2, None)
    found = join(open_export(tmp_path / "export"), RUN, tmp_path / "users.parquet")
    assert (found.early, found.late) == (1, (0, 0))
    run = JoinedExperiment(NAME, SETTING, STARTED_MS + 99 * DAY_MS)
    with pytest.raises(UsageError, match=r": 3 are dated before its start and left out"):
        join(open_export(tmp_path / "export"), run, tmp_path / "users.parquet")


def test_engagements_that_come_after_the_window_was_complete_are_counted(tmp_path: Path) -> None:
    exposures, engagements = drawn_events(SETTING, 8, 40)
    begin = {
        user: min(one["at_ms"] for one in exposures if one["user_id"] == user)
        for user in {one["user_id"] for one in exposures}
    }
    made, late = Exported(tmp_path / "export"), dict[str, int]()
    made.add(exposures)
    for number, event in enumerate(engagements):
        user, at_ms = event["user_id"], event["at_ms"]
        days = 2 if number % 10 == 0 else 0
        stored_ms = at_ms + days * DAY_MS
        own = {**event, "event_id": f"own-{number}", "feed": "global"}
        made.rows.add_engagement(msgspec.convert(own, Engagement), stored_ms)
        end_ms = begin[user] + 72 * 3_600_000
        if begin[user] <= at_ms < end_ms and stored_ms > end_ms + 3_600_000:
            late[user] = late.get(user, 0) + 1
    made.write()
    found = join(made.folder, RUN, tmp_path / "users.parquet")
    assert found.late == (sum(late.values()), len(late))
    assert len(late) > 3


def test_an_export_from_before_clients_were_named_is_joined_too(tmp_path: Path) -> None:
    events = drawn_events(SETTING, 2, 30)
    made = exported(tmp_path / "export", events, parts=2)
    joined(made.folder)
    expected = rows_of(made.folder)
    for file in made.folder.files("exposures"):
        table = pa_parquet.read_table(file)
        pa_parquet.write_table(table.drop_columns(["client"]), file)
    joined(made.folder)
    assert rows_of(made.folder) == {user: {**row, "client": None} for user, row in expected.items()}


def test_a_feed_has_its_part_of_the_impressions_of_posts_that_were_shown_in_it(
    tmp_path: Path,
) -> None:
    exposures = list(EVENTS[0][0][:1])
    at_ms = STARTED_MS + DAY_MS
    # The last two are of another post, and of nobody knows where.
    shown = [
        *(("p1", "global"), ("p1", "community:a"), ("p1", "community:a"), ("p2", "global")),
        *(("p3", "community:a"), ("p1", None)),
    ]
    events: list[Event] = [
        {"user_id": f"u{n}", "post_id": post, "kind": "impression", "at_ms": at_ms, "feed": feed}
        for n, (post, feed) in enumerate(shown)
    ]
    events.append({**events[0], "user_id": "early", "at_ms": STARTED_MS - 1})
    made = exported(tmp_path / "export", (exposures, events))
    found = join(made.folder, RUN, tmp_path / "users.parquet")
    assert found.feed_shares == {"global": 0.5}
