from feedmill.simulation.schedule import EventSchedule, OutgoingRecord, ScheduledEvent


def test_a_schedule_hands_out_its_events_in_order() -> None:
    schedule = EventSchedule()
    schedule.add(
        ScheduledEvent(due, "posts", OutgoingRecord(b"k", None)) for due in (3.0, 1.0, 2.0)
    )
    assert [t.due_s for t in schedule.until(2.5)] == [1.0, 2.0]
    assert [t.due_s for t in schedule.rest()] == [3.0]
    assert len(schedule) == 0
