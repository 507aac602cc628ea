"""What is counted, under the field's names. What stands in the database is looked up when it is scraped."""

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

DECISIONS = Counter("demur_decisions_total", "Studies decided.", ["site", "decision", "reason"])
INSTANCES = Counter("demur_instances_total", "Instances received.", ["site", "outcome"])
DECODED = Counter("demur_decoded_total", "Images decoded.", ["transfer_syntax", "decoder"])
STAGES = Histogram(
    "demur_stage_seconds",
    "Time of a stage: store, decide and settle of a study; decode, wait and infer of an image.",
    ["stage"],
    buckets=_BUCKETS,
)
REQUESTS = Histogram("demur_request_seconds", "Time of a request.", ["route", "status"], buckets=_BUCKETS)
ERASED = Counter("demur_studies_erased_total", "Studies erased.", ["site", "why"])
SITE_FALLS = Counter("demur_site_falls_total", "Sites that went back to shadow.", ["site", "why"])

WORKITEMS = Gauge("demur_workitems", "Open workitems.", ["site", "state"])
OLDEST = Gauge("demur_oldest_workitem_seconds", "Age of the oldest open workitem.", ["site", "state"])
UNDECIDED = Gauge("demur_undecided_studies", "Studies not decided yet.", ["state"])

WATCHED_CALLS = Gauge(
    "demur_watched_calls",
    "Healthy calls under the open release: made, drawn to be read, read, errors.",
    ["site", "what"],
)
EVIDENCE = Gauge("demur_monitor_evidence", "Evidence against the promise; the alarm is at 1/delta.", ["site"])
FALSE_OMISSION_RATE_UPPER = Gauge(
    "demur_false_omission_rate_upper", "Upper bound on the average false omission rate.", ["site"]
)
DRIFT_P_VALUE = Gauge("demur_drift_p_value", "p-value of the last whole batch of a site's inputs.", ["site"])
SITE_MODE = Gauge(
    "demur_site_mode", "A site under the open release: 0 in shadow, 1 prioritises, 2 is autonomous.", ["site"]
)
