"""All metrics in one typed list: name, kind, unit, meaning, and what to do when one rises.

`docs/metrics.md` is generated from this list.
"""

from __future__ import annotations

from feedmill.streams.observe.metric import Metric
from feedmill.streams.observe.record_metrics import RECORD_METRICS

METRICS = (
    *RECORD_METRICS,
    Metric(
        "feedmill_model_errors_total",
        "counter",
        "posts",
        "Posts on which the model failed; their gate or prior decides.",
        "Read `error` in the signal; roll the model back if it is new.",
    ),
    Metric(
        "feedmill_altered_models",
        "gauge",
        "models",
        "1 while the model is stopped, since what it is in memory was altered, or it gave another"
        " known answer: each post has an `error`, and its gate or prior decides.",
        "Restart the worker: /readyz and the log say what was altered.",
    ),
    Metric(
        "feedmill_alterations_total",
        "counter",
        "times",
        "How often the model was stopped so; the first time it is loaded anew within seconds.",
        "The log says what was altered. If it comes again, the memory of the machine is bad:"
        " move the worker.",
    ),
    Metric(
        "feedmill_poison_total",
        "counter",
        "posts",
        "Posts that ended the process in which they were tried after an unclean end of a worker; no"
        " model judges them any more.",
        "Read the reasons: `feedmill dead-letters list --reason 'judged by no model'`. Mend the"
        " model, release it, then send the posts again: `feedmill dead-letters replay`.",
    ),
    Metric(
        "feedmill_outdated_share",
        "gauge",
        "ratio",
        "Part of the last week's posts, by offsets, whose signals are of an earlier version of the"
        " model; they are scored again, the newest first.",
        "Wait, or raise FEEDMILL_RESCORE_RATE where the machine has room.",
    ),
    Metric(
        "feedmill_rescored_total",
        "counter",
        "posts",
        "Earlier posts that were scored again after a release of the model.",
        "Nothing to do.",
    ),
    Metric(
        "feedmill_capped_sources",
        "gauge",
        "sources",
        "Communities, languages, authors and linked domains of which the filter flags more than"
        " FEEDMILL_FLAGGED_CAP; there it demotes instead of hiding.",
        "The log names them. Either the filter is wrong there or it is an attack: look at some"
        " posts, then hide by rules, or put the filter in shadow.",
    ),
    Metric(
        "feedmill_capped_total",
        "counter",
        "posts",
        "Posts that were demoted instead of hidden because of that cap.",
        "As for feedmill_capped_sources.",
    ),
    Metric(
        "feedmill_rule_hits_total",
        "counter",
        "posts",
        "Posts that a rule or a list decided instead of the model, by its verdict.",
        "One matches more than intended: `decided_by` of the posts names it.",
        ("verdict",),
    ),
    Metric(
        "feedmill_duplicates_total",
        "counter",
        "events",
        "Engagements that were already counted: a repeated event_id, or read again after a crash.",
        "A producer retries without idempotence, or a stage restarts often.",
    ),
    Metric(
        "feedmill_repeated_users_total",
        "counter",
        "events",
        "Engagements that did not count because their user did the same with the post on that day.",
        "An account acts again and again, or a product gives many readers one `user_id`.",
        ("kind",),
    ),
    Metric(
        "feedmill_damped_engagements_total",
        "counter",
        "events",
        "Reactions that count little because neither impressions nor the minutes before explain so"
        " many of the post in a minute.",
        "`reason` in `signals.engagement` names the posts: many accounts act as one, or a product"
        " sends impressions late.",
        ("kind",),
    ),
    Metric(
        "feedmill_feature_rows_total",
        "counter",
        "records",
        "Values of engagement of which `features` has what the model read.",
        "Nothing to do; FEEDMILL_FEATURE_SHARE says of which part of the values.",
    ),
    Metric(
        "feedmill_unknown_posts_total",
        "counter",
        "posts",
        "Posts whose engagements were forgotten because no record of the post came, and too many"
        " such posts were newer.",
        "A producer sends engagements before the posts, or for ids that do not exist.",
    ),
    Metric(
        "feedmill_loop_seconds",
        "histogram",
        "seconds",
        "One cycle of a worker's loop, without its waiting: nothing else can happen meanwhile.",
        "A batch was large, or a step does too much at once.",
    ),
    Metric(
        "feedmill_loop_cpu_seconds",
        "histogram",
        "seconds",
        "The processor time of the loop's own thread in such a cycle.",
        "As for feedmill_loop_seconds. Where that one alone rises, other threads of the worker or"
        " other processes have the processor.",
    ),
    Metric(
        "feedmill_leg_seconds",
        "histogram",
        "seconds",
        "What a record of `posts` or `engagements` waits for, leg by leg; see below the table.",
        "`append_to_fetch`: the worker is behind, see feedmill_loop_seconds. `fetch_to_judged`:"
        " models. `judged_to_ranked`: feeds change faster than Redis takes them. `ranked_to_redis`:"
        " Redis or the network to it.",
        ("topic", "leg"),
    ),
    Metric(
        "feedmill_batch_records",
        "histogram",
        "records",
        "Records of a topic that one cycle of a worker's loop took.",
        "More traffic, or slower cycles: a batch is what came during the cycle before.",
        ("topic",),
    ),
    Metric(
        "feedmill_commit_seconds",
        "histogram",
        "seconds",
        "The commit of a transaction, from sending its offsets to the broker's answer.",
        "The broker has become slow; readers see the worker's records that much later.",
    ),
    Metric(
        "feedmill_commit_records_total",
        "counter",
        "records",
        "Records that were committed in transactions.",
        "Traffic.",
    ),
    Metric(
        "feedmill_aborts_total",
        "counter",
        "transactions",
        "Transactions that failed; their records were sent again, or belong to another worker now.",
        "Rebalances, or the broker is down: read the log.",
    ),
    Metric(
        "feedmill_clock_refused_total",
        "counter",
        "timestamps",
        "Timestamps of the broker that were ignored: more than two hours from the time so far.",
        "The broker's clock jumped: correct it, or restart all workers to follow it.",
    ),
    Metric(
        "feedmill_lag",
        "gauge",
        "records",
        "Records that are written but not yet processed.",
        "The stage is down, slow or short of instances.",
    ),
    Metric(
        "feedmill_partition_lag",
        "gauge",
        "records",
        "The same for each partition that the instance owns, by consumer group.",
        "All partitions: as for feedmill_lag. One of them: a very active key, or a transaction of a"
        " producer that stays open.",
        ("group", "topic", "partition"),
    ),
    Metric(
        "feedmill_late_seconds",
        "gauge",
        "seconds",
        "For how long a partition has had something that the instance has not read, of those where"
        " that is more than 5 s; by consumer group.",
        "As for feedmill_partition_lag; feeds are stale meanwhile.",
        ("group", "topic", "partition"),
    ),
    Metric(
        "feedmill_held_back",
        "gauge",
        "0 or 1",
        "A late partition that cannot be read on because of a transaction that does not end; by"
        " consumer group.",
        "`feedmill topics abort-hanging --dry-run` lists such transactions.",
        ("group", "topic", "partition"),
    ),
    Metric(
        "feedmill_memory_bytes",
        "gauge",
        "bytes",
        "Resident memory of the process.",
        "Live posts and feeds grow; of what waits FEEDMILL_MEMORY_MIB is the limit.",
    ),
    Metric(
        "feedmill_ready",
        "gauge",
        "0 or 1",
        "Whether the instance has caught up and serves.",
        "1 is good; at 0, read the instance's log.",
    ),
    Metric(
        "feedmill_metrics_timestamp_seconds",
        "gauge",
        "Unix time in seconds",
        "When the instance's metrics were read; under a supervisor that is up to a second ago.",
        "It grows all the time; when it stands still, the loop of the worker does.",
    ),
    Metric(
        "feedmill_config_offset",
        "gauge",
        "offset",
        "The offset of the last record of `config` that this instance applied or refused.",
        "An operator changed a setting; all instances should have the same value within seconds.",
    ),
    Metric(
        "feedmill_model_swaps_total",
        "counter",
        "models",
        "Released models that replaced another version.",
        "None follows a release: look for `feedmill_refused_releases_total`.",
    ),
    Metric(
        "feedmill_canary_posts_total",
        "counter",
        "posts",
        "Posts that the version of a canary judged in place of the model in force.",
        "`feedmill models health` shows where it judges, or the alarm that ended it.",
    ),
    Metric(
        "feedmill_shadow_posts_total",
        "counter",
        "posts",
        "Posts that the challenger of the stage's model scored in shadow.",
        "Nothing to do.",
    ),
    Metric(
        "feedmill_shadow_skipped_total",
        "counter",
        "posts",
        "Posts that it left out because it had taken its share of a core.",
        "`feedmill models shadow --core-share` allows more.",
    ),
    Metric(
        "feedmill_shadow_cpu_seconds_total",
        "counter",
        "seconds",
        "Processor time that it took of the worker's loop.",
        "`feedmill models shadow <model> --stop` ends it.",
    ),
    Metric(
        "feedmill_waiting_releases",
        "gauge",
        "records",
        "Releases whose artifact the server of the store does not give at present; the old version"
        " goes on, and the store is asked again.",
        "`feedmill models health` shows the reason: bring the server back.",
    ),
    Metric(
        "feedmill_refused_releases_total",
        "counter",
        "records",
        "Releases, canaries, challengers and lists this instance refused or stopped; the old one"
        " goes on.",
        "`feedmill models health` shows each with its reason.",
    ),
    Metric(
        "feedmill_refused_settings_total",
        "counter",
        "records",
        "Settings this instance refused.",
        "`feedmill config history` shows each with its reason.",
    ),
    Metric(
        "feedmill_drift",
        "gauge",
        "0 or 1",
        "Whether a quantity of a model differs from the same hour of earlier days; only of"
        " `feedmill models watch`.",
        "`feedmill models health` says by how much: look at recent posts, or train again.",
        ("model", "version", "quantity"),
    ),
    Metric(
        "feedmill_stability_index",
        "gauge",
        "index",
        "Population stability index of this hour's values against the same hour of earlier days.",
        "Below 0.1 all is as ever; an alarm comes from 0.25 on.",
        ("model", "version", "quantity"),
    ),
    Metric(
        "feedmill_shift",
        "gauge",
        "mean rank",
        "How far the mean rank of recent values among those of earlier days is from a half.",
        "Above 0 values are higher than on earlier days; an alarm of scores comes from 0.1 on.",
        ("model", "version", "quantity"),
    ),
    Metric(
        "feedmill_posts",
        "gauge",
        "posts",
        "Posts in the combiner's view by decision under the default gates.",
        "`hold`: a filter is behind or down. `hide`: an attack, or a filter gone wrong.",
        ("decision",),
    ),
    Metric(
        "feedmill_feeds",
        "gauge",
        "feeds",
        "Feeds that exist.",
        "New communities; `max_feeds` of their pattern bounds them.",
    ),
    Metric(
        "feedmill_stale_feeds",
        "gauge",
        "feeds",
        "Feeds that the worker that ranks does not call fresh: they grow stale within 15 s.",
        "`feedmill health` says what is not read or not judged.",
    ),
    Metric(
        "feedmill_feeds_refused_total",
        "counter",
        "feeds",
        "Feeds that `max_feeds` left without a place for the first time since places are short.",
        "Raise `max_feeds` in `feeds/community:*`, or look for invented community names.",
    ),
    Metric(
        "feedmill_feeds_waiting",
        "gauge",
        "feeds",
        "Feeds with a shown post that have no place under `max_feeds`: others have more authors.",
        "As for `feedmill_feeds_refused_total`.",
        ("pattern",),
    ),
    Metric(
        "feedmill_signals_dropped_total",
        "counter",
        "signals",
        "Signals dropped because too many waited for a version of a post that had not come.",
        "A stage of other posts writes `signals.*`, or `posts` is far behind; write them again.",
    ),
    Metric(
        "feedmill_cycle_seconds",
        "histogram",
        "seconds",
        "One cycle of the combiner: rank what changed and write it to Redis.",
        "Redis is slow, or too many feeds change at once.",
    ),
    Metric(
        "feedmill_redis_errors_total",
        "counter",
        "errors",
        "Writes to Redis that failed, and looks whether it is back; then all is written again.",
        "Redis is down or full; feeds become stale meanwhile.",
    ),
    Metric(
        "feedmill_redis_refused_total",
        "counter",
        "writes",
        "Writes that Redis refused because a newer owner has the feed.",
        "Two combiners alternate, or a paused one has resumed.",
    ),
    Metric(
        "feedmill_worker_restarts_total",
        "counter",
        "restarts",
        "Workers that the supervisor restarted, by name.",
        "The worker keeps failing: read the end of its log.",
        ("child",),
    ),
)
