"""All metrics in one typed list: name, kind, unit, meaning, and what to do when one rises.

`docs/metrics.md` is generated from this list.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric; every metric has the labels `stage` and `instance` beside its own `labels`."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    unit: str
    meaning: str
    when_it_rises: str
    labels: tuple[str, ...] = ()


counter, gauge, histogram = (partial(Metric, kind) for kind in ("counter", "gauge", "histogram"))


METRICS = (
    counter(
        "feedmill_events_total",
        "events",
        "Records that were processed, by topic.",
        "Traffic; compare with the producers' own count.",
        ("topic",),
    ),
    counter(
        "feedmill_rejected_total",
        "records",
        "Records that break the contract, by topic.",
        "Read `dead-letters`: each has the field, what is expected and what came.",
        ("topic",),
    ),
    counter(
        "feedmill_passed_batches_total",
        "batches",
        "Compressed batches that inflate too far and are passed, by each reader for itself.",
        "Read `dead-letters`: each has the offsets. Stop who sends them.",
        ("topic",),
    ),
    counter(
        "feedmill_letters_total",
        "records",
        "Dead letters this instance wrote, range letters included.",
        "As for feedmill_rejected_total; ranking goes on meanwhile.",
    ),
    counter(
        "feedmill_shared_letters_total",
        "records",
        "Rejected records that share range letters: beyond 1,000 dead letters or 8 MiB a second.",
        "Find the producer: `feedmill dead-letters show` prints the topic and reasons of a range"
        " letter; `replay` reads the records themselves.",
    ),
    counter(
        "feedmill_lost_letters_total",
        "records",
        "Rejected signals and overrides without a dead letter: too many while nobody ranked.",
        "The log names the topic; the records stand there still.",
    ),
    counter(
        "feedmill_late_posts_total",
        "posts",
        "Posts whose `created_at_ms` was older than the window of every feed when they came: no"
        " feed shows them. A restart counts those again that are still on `posts`.",
        "A producer sends old posts or wrong times: `feedmill explain` tells the age of a post.",
    ),
    counter(
        "feedmill_model_errors_total",
        "posts",
        "Posts on which the model failed; their gate or prior decides.",
        "Read `error` in the signal; roll the model back if it is new.",
    ),
    counter(
        "feedmill_poison_total",
        "posts",
        "Posts that ended the process in which they were tried; no model judges them any more.",
        "Read the reasons: `feedmill dead-letters list --reason 'judged by no model'`. Mend the"
        " model, release it, then send the posts again: `feedmill dead-letters replay`.",
    ),
    gauge(
        "feedmill_outdated_share",
        "ratio",
        "Part of the last week's posts with signals of an earlier model; they are scored again.",
        "Wait, or raise FEEDMILL_RESCORE_RATE where the machine has room.",
    ),
    counter(
        "feedmill_rescored_total",
        "posts",
        "Earlier posts that were scored again after a release of the model.",
        "Nothing to do.",
    ),
    gauge(
        "feedmill_capped_sources",
        "sources",
        "Sources of which the filter flags more than FEEDMILL_FLAGGED_CAP; there it demotes.",
        "The log names them. An attack, or the filter is wrong there: hide by rules, or shadow it.",
    ),
    counter(
        "feedmill_capped_total",
        "posts",
        "Posts that were demoted instead of hidden because of that cap.",
        "As for feedmill_capped_sources.",
    ),
    gauge(
        "feedmill_brigaded_sources",
        "sources",
        "Communities and authors with 50 hides and reports in ten minutes that count little.",
        "`feedmill health` names them; look at their posts. Many accounts act as one.",
    ),
    counter(
        "feedmill_rule_hits_total",
        "posts",
        "Posts that a rule or a list decided instead of the model, by its verdict.",
        "One matches more than intended: `decided_by` of the posts names it.",
        ("verdict",),
    ),
    counter(
        "feedmill_duplicates_total",
        "events",
        "Engagements that were already counted: a repeated event_id, or read again after a crash.",
        "A producer retries without idempotence, or a stage restarts often.",
    ),
    counter(
        "feedmill_repeated_users_total",
        "events",
        "Engagements that did not count because their user did the same with the post on that day.",
        "An account acts again and again, or a product gives many readers one `user_id`.",
        ("kind",),
    ),
    counter(
        "feedmill_damped_engagements_total",
        "events",
        "Events that count little or not at all: more of the post in a minute than is explained, or"
        " hides and reports of accounts that saw no impression of it, or never read the community.",
        "Many accounts act as one, or a product sends impressions late.",
        ("kind",),
    ),
    counter(
        "feedmill_feature_rows_total",
        "records",
        "Values of engagement of which `features` has what the model read.",
        "Nothing to do; FEEDMILL_FEATURE_SHARE says of which part of the values.",
    ),
    counter(
        "feedmill_unknown_posts_total",
        "posts",
        "Posts whose engagements were forgotten: no record of the post came, others were newer.",
        "A producer sends engagements before the posts, or for ids that do not exist.",
    ),
    histogram(
        "feedmill_loop_seconds",
        "seconds",
        "One cycle of a worker's loop, without its waiting: nothing else can happen meanwhile.",
        "A batch was large, or a step does too much at once.",
    ),
    histogram(
        "feedmill_loop_cpu_seconds",
        "seconds",
        "The processor time of the loop's own thread in such a cycle.",
        "As for feedmill_loop_seconds. Where that one alone rises, other threads of the worker or"
        " other processes have the processor.",
    ),
    histogram(
        "feedmill_leg_seconds",
        "seconds",
        "What a record of `posts` or `engagements` waits for, leg by leg; see below the table.",
        "`append_to_fetch`: the worker is behind, see feedmill_loop_seconds. `fetch_to_judged`:"
        " models. `judged_to_ranked`: feeds change faster than Redis takes them. `ranked_to_redis`:"
        " Redis or the network to it.",
        ("topic", "leg"),
    ),
    histogram(
        "feedmill_batch_records",
        "records",
        "Records of a topic that one cycle of a worker's loop took.",
        "More traffic, or slower cycles: a batch is what came during the cycle before.",
        ("topic",),
    ),
    histogram(
        "feedmill_commit_seconds",
        "seconds",
        "The commit of a transaction, from sending its offsets to the broker's answer.",
        "The broker has become slow; readers see the worker's records that much later.",
    ),
    counter(
        "feedmill_commit_records_total",
        "records",
        "Records that were committed in transactions.",
        "Traffic.",
    ),
    counter(
        "feedmill_aborts_total",
        "transactions",
        "Transactions that failed; their records were sent again, or belong to another worker now.",
        "Rebalances, or the broker is down: read the log.",
    ),
    counter(
        "feedmill_clock_refused_total",
        "timestamps",
        "Timestamps of the broker that were ignored: more than two hours from the time so far.",
        "The broker's clock jumped: correct it, or restart all workers to follow it.",
    ),
    gauge(
        "feedmill_lag",
        "records",
        "Records that are written but not yet processed.",
        "The stage is down, slow or short of instances.",
    ),
    gauge(
        "feedmill_partition_lag",
        "records",
        "The same for each partition that the instance owns, by consumer group.",
        "All partitions: as for feedmill_lag. One of them: a very active key, or a transaction of a"
        " producer that stays open.",
        ("group", "topic", "partition"),
    ),
    gauge(
        "feedmill_late_seconds",
        "seconds",
        "For how long a partition has had something that the instance has not read, of those where"
        " that is more than 5 s; by consumer group.",
        "As for feedmill_partition_lag; feeds are stale meanwhile.",
        ("group", "topic", "partition"),
    ),
    gauge(
        "feedmill_held_back",
        "0 or 1",
        "A late partition that cannot be read on because of a transaction that does not end; by"
        " consumer group.",
        "`feedmill topics abort-hanging --dry-run` lists such transactions.",
        ("group", "topic", "partition"),
    ),
    gauge(
        "feedmill_memory_bytes",
        "bytes",
        "Resident memory of the process.",
        "Live posts and feeds grow; of what waits FEEDMILL_MEMORY_MIB is the limit.",
    ),
    gauge(
        "feedmill_ready",
        "0 or 1",
        "Whether the instance has caught up and serves.",
        "1 is good; at 0, read the instance's log.",
    ),
    gauge(
        "feedmill_metrics_timestamp_seconds",
        "Unix time in seconds",
        "When the instance's metrics were read; under a supervisor that is up to a second ago.",
        "It grows all the time; when it stands still, the loop of the worker does.",
    ),
    gauge(
        "feedmill_config_offset",
        "offset",
        "The offset of the last record of `config` that this instance applied or refused.",
        "An operator changed a setting; all instances should have the same value within seconds.",
    ),
    counter(
        "feedmill_model_swaps_total",
        "models",
        "Released models that replaced another version.",
        "None follows a release: look for `feedmill_refused_releases_total`.",
    ),
    counter(
        "feedmill_canary_posts_total",
        "posts",
        "Posts that a candidate judged in place of the model in force.",
        "`feedmill models health` shows where it judges, or the alarm that ended it.",
    ),
    counter(
        "feedmill_shadow_posts_total",
        "posts",
        "Posts that the candidate of the stage's model scored in shadow.",
        "Nothing to do.",
    ),
    counter(
        "feedmill_shadow_skipped_total",
        "posts",
        "Posts that it left out because it had taken its share of a core.",
        "`feedmill models shadow --core-share` allows more.",
    ),
    counter(
        "feedmill_shadow_cpu_seconds_total",
        "seconds",
        "Processor time that it took of the worker's loop.",
        "`feedmill models shadow <model> --stop` ends it.",
    ),
    gauge(
        "feedmill_waiting_releases",
        "records",
        "Releases whose artifact the server of the store does not give at present; the old version"
        " goes on, and the store is asked again.",
        "`feedmill models health` shows the reason: bring the server back.",
    ),
    counter(
        "feedmill_refused_releases_total",
        "records",
        "Releases, candidates and lists this instance refused or stopped; the old one goes on.",
        "`feedmill models health` shows each with its reason.",
    ),
    counter(
        "feedmill_refused_settings_total",
        "records",
        "Settings this instance refused.",
        "`feedmill config history` shows each with its reason.",
    ),
    gauge(
        "feedmill_drift",
        "0 or 1",
        "Whether a quantity is unlike that hour, or day, before; of `feedmill models watch`.",
        "`feedmill models health` says by how much: look at recent posts, or train again.",
        ("model", "version", "quantity"),
    ),
    gauge(
        "feedmill_stability_index",
        "index",
        "Population stability index of this hour's values against the same hour of earlier days.",
        "Below 0.1 all is as ever; an alarm comes from 0.25 on.",
        ("model", "version", "quantity"),
    ),
    gauge(
        "feedmill_shift",
        "mean rank",
        "How far the mean rank of recent values among those of earlier days is from a half.",
        "Above 0 values are higher than on earlier days; an alarm of scores comes from 0.1 on.",
        ("model", "version", "quantity"),
    ),
    gauge(
        "feedmill_posts",
        "posts",
        "Posts by decision under the default gates; each combiner has all: take the largest.",
        "`hold`: a filter is behind or down. `hide`: an attack, or a filter gone wrong.",
        ("decision",),
    ),
    gauge(
        "feedmill_feeds",
        "feeds",
        "Feeds of the worker's shards; add the workers up.",
        "New communities; `max_feeds` of their pattern bounds them.",
    ),
    gauge(
        "feedmill_shards",
        "shards",
        "Shards of feeds that the worker ranks and writes: 64 in all workers together.",
        "Fewer in all: `feedmill health` names those that nobody ranks; their feeds are stale.",
    ),
    gauge(
        "feedmill_stale_feeds",
        "feeds",
        "Of these, those that it does not call fresh: they grow stale within 15 s.",
        "`feedmill health` says what is not read or not judged.",
    ),
    counter(
        "feedmill_feeds_refused_total",
        "feeds",
        "Feeds that `max_feeds` left without a place for the first time since places are short.",
        "Raise `max_feeds` in `feeds/community:*`, or look for invented community names.",
    ),
    gauge(
        "feedmill_feeds_waiting",
        "feeds",
        "Feeds with a shown post that have no place under `max_feeds`: others have more authors.",
        "As for `feedmill_feeds_refused_total`.",
        ("pattern",),
    ),
    counter(
        "feedmill_signals_dropped_total",
        "signals",
        "Signals of your own dropped because too many waited for a version of a post to come.",
        "A program writes a wrong `post_offset`, or `posts` is far behind; write them again.",
    ),
    histogram(
        "feedmill_cycle_seconds",
        "seconds",
        "One cycle of the combiner: rank what changed and write it to Redis.",
        "Redis is slow, or too many feeds change at once.",
    ),
    counter(
        "feedmill_redis_errors_total",
        "errors",
        "Writes to Redis that failed, and looks whether it is back; then all is written again.",
        "Redis is down or full; feeds become stale meanwhile.",
    ),
    counter(
        "feedmill_redis_refused_total",
        "writes",
        "Writes that Redis refused because a newer owner has the feed.",
        "Two combiners alternate, or a paused one has resumed.",
    ),
    gauge(
        "feedmill_certificate_days",
        "days",
        "Days until a certificate of this process expires, of Kafka or Redis, by its variable.",
        "Replace the file before, then restart the workers one by one.",
        ("variable",),
    ),
    counter(
        "feedmill_reader_requests_total",
        "requests",
        "Requests for pages that a reader answered, by HTTP status.",
        "429: a token's rate. 503: more than the reader can answer, or it is not ready: run more"
        " readers. Other 4xx: a frontend asks wrongly; the answer says what.",
        ("status",),
    ),
    histogram(
        "feedmill_reader_page_seconds",
        "seconds",
        "How long a reader took for a page, without HTTP.",
        "More posts, or longer lists of authors; run more readers.",
    ),
    histogram(
        "feedmill_reader_queue_seconds",
        "seconds",
        "How long requests that were answered waited for the reader; after 50 ms it answers 503.",
        "Run more readers.",
    ),
    gauge(
        "feedmill_reader_posts",
        "posts",
        "Posts that a reader holds.",
        "Memory follows: some 250 bytes a post.",
    ),
    counter(
        "feedmill_worker_restarts_total",
        "restarts",
        "Workers that the supervisor restarted, by name.",
        "The worker keeps failing: read the end of its log.",
        ("child",),
    ),
)
