"""The Grafana dashboard shows metrics and labels that exist, and all of them."""

import json
import re
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from service import metrics

DASHBOARD = json.loads((Path(__file__).parents[3] / "docs" / "grafana.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
#: Labels by metric, without what Prometheus adds to a name.
KNOWN = {
    metric._name: set(metric._labelnames)
    for metric in vars(metrics).values()
    if isinstance(metric, (Counter, Gauge, Histogram))
}


def _base(name: str) -> str:
    return re.sub(r"_(total|bucket|count|sum)$", "", name)


def test_it_asks_for_no_metric_that_does_not_exist() -> None:
    named = {_base(name) for expression in EXPRESSIONS for name in re.findall(r"demur_\w+", expression)}
    assert named == set(KNOWN)


def test_it_asks_for_no_label_that_does_not_exist() -> None:
    for expression in EXPRESSIONS:
        (name,) = {_base(found) for found in re.findall(r"demur_\w+", expression)}
        chosen = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        assert chosen | grouped <= KNOWN[name] | {"le"}, expression


def test_its_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & taken
        assert max(column for column, _ in cells) < 24
        taken |= cells
