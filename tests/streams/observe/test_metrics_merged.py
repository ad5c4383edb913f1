"""The metrics of several processes in one text."""

from prometheus_client.parser import text_string_to_metric_families

from feedmill.streams.observe.metrics import Metrics, merge


def test_several_processes_are_merged_family_by_family() -> None:
    texts = []
    for stage in ("spam", "combiner"):
        metrics = Metrics(stage, "one")
        metrics.set("feedmill_ready", 1)
        metrics.observe("feedmill_loop_seconds", 1.0)
        texts.append(metrics.text())
    families = list(text_string_to_metric_families(merge(texts)))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    ready = next(family for family in families if family.name == "feedmill_ready")
    assert {s.labels["stage"] for s in ready.samples} == {"spam", "combiner"}
    alone = sum(len(f.samples) for text in texts for f in text_string_to_metric_families(text))
    assert sum(len(family.samples) for family in families) == alone
