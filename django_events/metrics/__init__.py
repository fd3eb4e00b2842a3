"""All metrics: their names, what they mean, and their labels. ``docs/metrics.md`` has them, too.

Labels have few values: names of topics, groups, handlers and databases that the site declares, and words from here.
Never a key or an id. Importing this loads prometheus_client, if it is installed.
"""

from collections.abc import Sequence

from django_events.metrics.prometheus import (
    MOST,
    Kind,
    Metric,
    Reading,
    Series,
    Together,
    is_there,
    page,
    register,
    serve,
)

__all__ = ["ALL", "MOST", "Metric", "Reading", "Series", "is_there", "page", "register", "serve"]

ALL: list[Metric] = []

WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)
"""Seconds; for what may wait for an outage."""

CALLS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
"""Seconds; for calls."""

SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
"""Events."""


def _add(
    kind: Kind, name: str, text: str, *labels: str, together: Together = "", buckets: Sequence[float] = ()
) -> Metric:
    ALL.append(Metric(kind, f"django_events_{name}", text, labels, together=together, buckets=buckets))
    return ALL[-1]


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

SAVED = _add(
    "counter", "saved_total", "Events written to the outbox, also in transactions that were rolled back.", "topic"
)
SENT = _add(
    "counter", "sent_total", "Events that Kafka has acknowledged; method: relay, catchup or now.", "topic", "method"
)
NOT_SENT = _add(
    "counter",
    "not_sent_total",
    "Tries that failed; reason: refused (the event for itself), held (its topic), unanswered.",
    *("topic", "method", "reason"),
)
SEND_DELAY = _add(
    "histogram",
    "send_delay_seconds",
    "From the saving of an event to its acknowledgement by Kafka; of each round the oldest event of a topic.",
    *("topic", "method"),
    buckets=WAITS,
)
ROUND_SECONDS = _add(
    "histogram",
    "round_seconds",
    "How long a round took that read, sent and deleted rows; outcome: sent, unanswered.",
    *("method", "outcome"),
    buckets=CALLS,
)
ROUND_EVENTS = _add("histogram", "round_events", "Events that a round read.", "method", buckets=SIZES)

# ── the tables, read when Prometheus asks ────────────────────────────────────────────────────────────────────────

OUTBOX_WAITING = _add(
    "reading", "outbox_waiting_rows", "Events that wait to be sent, counted up to 10,001.", "database", "topic"
)
OUTBOX_OLDEST = _add(
    "reading", "outbox_oldest_waiting_seconds", "Age of the oldest event that waits to be sent.", "database", "topic"
)
OUTBOX_SET_ASIDE = _add(
    "reading",
    "outbox_set_aside_rows",
    "Events that Kafka refuses and that wait for an operator, counted up to 10,001.",
    *("database", "topic"),
)
DEAD_LETTERS = _add(
    "reading",
    "dead_letters",
    "Open dead letters, the 10,001 that failed longest ago; state: waiting, kept (for an operator), running.",
    *("group", "handler", "state"),
)
DEAD_LETTERS_OLDEST = _add(
    "reading", "dead_letters_oldest_seconds", "Time since the first failure of the oldest of them.", "group", "handler"
)
TABLES_READ = _add(
    "reading", "tables_read", "Whether the tables of this database could be read in time: 1 or 0.", "database"
)

# ── consuming ────────────────────────────────────────────────────────────────────────────────────────────────────

RECORDS_CONSUMED = _add("counter", "records_consumed_total", "Records read from Kafka.", "group", "topic")
MISSED = _add(
    "counter",
    "consumer_missed_events_total",
    "Records that Kafka had deleted before the group read them; at most so many, because offsets have holes.",
    *("group", "topic"),
)
RECEIVE_DELAY = _add(
    "histogram",
    "receive_delay_seconds",
    "From the time of a record to its reading; of each look at Kafka the first record.",
    *("group", "topic"),
    buckets=WAITS,
)
HANDLE_DELAY = _add(
    "histogram",
    "handle_delay_seconds",
    "From the time of a record to the success of its handler; the first of those that went to a worker together.",
    *("group", "handler", "topic"),
    buckets=WAITS,
)
HANDLER_OUTCOMES = _add(
    "counter",
    "handler_outcomes_total",
    "What became of an event at a handler, each time; outcome: handled, duplicate, ignored, again, discarded, buried "
    "(a dead letter), postponed (it could not be tried). The group of broadcast handlers is empty.",
    *("group", "handler", "topic", "outcome"),
)
HANDLER_DURATION = _add(
    "histogram", "handler_duration_seconds", "How long calls of a handler took.", "group", "handler", buckets=CALLS
)
HANDLER_BATCH = _add(
    "histogram",
    "handler_batch_events",
    "Events that went to a worker together: a batch, or those that may share a transaction.",
    *("group", "handler"),
    buckets=SIZES,
)
HANDLER_WAITING = _add(
    "gauge",
    "handler_waiting_events",
    "Events in hand that no worker has just now.",
    "group",
    "handler",
    together="livesum",
)
HANDLER_RUNNING = _add(
    "gauge", "handler_running_events", "Events that a worker has.", "group", "handler", together="livesum"
)
HANDLER_BATCHES = _add(
    "gauge",
    "handler_running_batches",
    "Batches, or events together, that a worker has.",
    *("group", "handler"),
    together="livesum",
)
HANDLER_LONGEST = _add(
    "gauge",
    "handler_longest_running_seconds",
    "For how long the longest of its running calls has run, but for those with dead letters; 0 if none runs.",
    *("group", "handler"),
    together="livemax",
)
LAG = _add(
    "gauge", "consumer_lag_events", "Records in this process's partitions that are not handled.", "group", "topic",
    together="livesum",
)  # fmt: skip
OLDEST_UNHANDLED = _add(
    "gauge",
    "consumer_oldest_unhandled_seconds",
    "Age of the oldest record in this process's hands that is not handled; 0 if there is none.",
    *("group", "topic"),
    together="livemax",
)
IN_FLIGHT = _add(
    "gauge",
    "consumer_in_flight_events",
    "Records in this process's hands: they wait, run, or wait for a retry.",
    "group",
    together="livesum",
)
ASSIGNED = _add("gauge", "consumer_assigned_partitions", "Partitions that it has.", "group", together="livesum")
PAUSED = _add(
    "gauge",
    "consumer_paused_partitions",
    "Partitions of which nothing more is taken, because too much is in flight.",
    "group",
    together="livesum",
)
LAST_POLL = _add(
    "gauge",
    "consumer_last_poll_timestamp_seconds",
    "When it last looked at Kafka, and was connected with it.",
    "group",
    together="livemin",
)
LAST_COMMIT = _add(
    "gauge",
    "consumer_last_commit_timestamp_seconds",
    "When Kafka last took offsets; it gets some only when something was handled.",
    "group",
    together="livemin",
)
REBALANCES = _add(
    "counter",
    "consumer_rebalances_total",
    "Changes of its partitions; change: assigned, revoked, lost.",
    *("group", "change"),
)

# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────

LETTERS_WRITTEN = _add(
    "counter", "dead_letters_written_total", "Dead letters that Kafka has.", "group", "handler", "topic"
)
LETTERS_READ = _add(
    "counter", "dead_letters_read_total", "Dead letters brought from Kafka into the table.", "group", "topic"
)
LETTER_ATTEMPTS = _add(
    "counter",
    "dead_letter_attempts_total",
    "Tries of handlers with dead letters; outcome: resolved, failed, postponed.",
    *("group", "handler", "topic", "outcome"),
)
LETTERS_DISCARDED = _add(
    "counter", "dead_letters_discarded_total", "Dead letters that somebody has discarded.", "group", "handler", "topic"
)

# ── broadcast ────────────────────────────────────────────────────────────────────────────────────────────────────

BROADCAST_LATENCY = _add(
    "gauge",
    "broadcast_latency_seconds",
    "How old what a broadcast handler knows is at most; +Inf before its start, and after an error.",
    "handler",
    together="livemax",
)
BROADCAST_GAPS = _add("counter", "broadcast_gaps_total", "Times when events may have been missed.", "handler")

# ── everything ───────────────────────────────────────────────────────────────────────────────────────────────────

ERRORS = _add(
    "counter",
    "errors_total",
    "What did not work and is tried again; category: kafka, outbox, topic, commit, broadcast, dead_letter_topic, "
    "dead_letter_table, process_table, metrics (the tables for them).",
    "category",
)
BUILD = _add("reading", "build_info", "Always 1; the labels tell.", "version", "python", "django")
