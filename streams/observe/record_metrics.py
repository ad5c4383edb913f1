"""The metrics of records that came, and of what became of the bad ones."""

from __future__ import annotations

from feedmill.streams.observe.metric import Metric

RECORD_METRICS = (
    Metric(
        "feedmill_events_total",
        "counter",
        "events",
        "Records that were processed, by topic.",
        "Traffic; compare with the producers' own count.",
        ("topic",),
    ),
    Metric(
        "feedmill_rejected_total",
        "counter",
        "records",
        "Records that break the contract, by topic.",
        "Read `dead-letters`: each has the field, what is expected and what came.",
        ("topic",),
    ),
    Metric(
        "feedmill_passed_batches_total",
        "counter",
        "batches",
        "Compressed batches that inflate beyond what a client takes, by topic; each reader passes"
        " them by itself, after a restart again.",
        "Read `dead-letters`: each has the offsets. Stop who sends them.",
        ("topic",),
    ),
    Metric(
        "feedmill_letters_total",
        "counter",
        "records",
        "Dead letters this instance wrote, range letters included.",
        "As for feedmill_rejected_total; ranking goes on meanwhile.",
    ),
    Metric(
        "feedmill_shared_letters_total",
        "counter",
        "records",
        "Rejected records that share range letters: beyond 1,000 dead letters or 8 MiB a second.",
        "Find the producer: `feedmill dead-letters show` prints the topic and reasons of a range"
        " letter; `replay` reads the records themselves.",
    ),
    Metric(
        "feedmill_lost_letters_total",
        "counter",
        "records",
        "Rejected signals and overrides that have no dead letter: too many came while no worker"
        " ranked.",
        "The log names the topic; the records stand there still.",
    ),
    Metric(
        "feedmill_late_posts_total",
        "counter",
        "posts",
        "Posts whose `created_at_ms` was older than the window of every feed when they came: no"
        " feed shows them. A restart counts those again that are still on `posts`.",
        "A producer sends old posts, or times that are wrong by days: `feedmill explain` tells the"
        " age of a post.",
    ),
)
