"""grafana-dashboard.json: every figure on it is one that a server tells, and none is left out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import promql_parser as promql
import pytest
from prometheus_client import parser

from tests.examples.launch import EXAMPLES
from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE

DASHBOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
TARGETS = [target for panel in CHARTS for target in panel["targets"]]

COLUMNS = 24  # of Grafana's grid


def ids(panel: dict[str, Any]) -> str:
    return f"{panel['id']}-{panel['title']}"


# -- what it asks for ------------------------------------------------------------------------------


def parsed(expression: str) -> Any:
    """The expression as Prometheus gets it, once Grafana has put its values in."""
    for variable, value in {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return promql.parse(expression)


def within(node: Any) -> Iterator[Any]:
    """All parts of a parsed expression."""
    if node is None or isinstance(node, (str, int, float)):
        return
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        part = getattr(node, name, None)
        for each in part if isinstance(part, list) else [part]:
            yield from within(each)


def selectors(expression: str) -> list[Any]:
    return [each for each in within(parsed(expression)) if type(each).__name__ == "VectorSelector"]


ASKED = {selector.name for target in TARGETS for selector in selectors(target["expr"])}


# -- what there is ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """The metrics of a server that has done a little of everything, and the labels of each."""
    with running("public-server") as server:
        use(server)
        end = time.monotonic() + DEADLINE
        while True:
            found = metrics(server)
            if {"rtcio_disconnects_total", "rtcio_closed_connections_total"} <= set(found):
                return found
            assert time.monotonic() < end, sorted(found)
            time.sleep(0.05)


def use(server: Running) -> None:
    """A call, a message that goes nowhere, and a client at fault."""
    with RawWebSocket(server) as a, RawWebSocket(server) as b:
        for peer in (a, b):
            peer.join()
        for target in ("nobody", b.sid):
            a.send(a.envelope(target, {"candidate": {}}))
        assert '"candidate"' in str(b.receive())
        b.send("4nonsense")
        b.receive_close()


def metrics(server: Running) -> dict[str, set[str]]:
    answer = server.get("/metrics")
    assert answer.status == 200
    families = list(parser.text_string_to_metric_families(answer.read().decode()))
    found = {sample.name: set(sample.labels) for each in families for sample in each.samples}
    # Of a cluster, which this server is not one of: nothing was lost, for no reason.
    (lost,) = (each for each in families if each.name == "rtcio_cluster_dropped_messages")
    return {f"{lost.name}_total": {"reason"}, **found}


def test_a_server_tells_every_metric_that_it_asks_for(told: dict[str, set[str]]) -> None:
    assert ASKED - set(told) == set()


def test_it_asks_for_every_metric_that_a_server_tells(told: dict[str, set[str]]) -> None:
    ours = {name for name in told if name.startswith("rtcio_")}
    assert len(ours) >= 18
    assert ours - ASKED == set()


def test_the_guides_alarms_are_about_metrics_that_there_are(told: dict[str, set[str]]) -> None:
    guide = (EXAMPLES.parent / "docs/deployment.md").read_text()
    alarms = re.findall(r"^\| `([^`]*rtcio_[^`]*[>=] [^`]*)` \|", guide, re.MULTILINE)
    assert len(alarms) >= 4
    for alarm in alarms:
        assert {each.name for each in selectors(alarm)} <= set(told), alarm


@pytest.mark.parametrize("panel", CHARTS, ids=ids)
def test_labels_are_those_of_the_metrics(panel: dict[str, Any], told: dict[str, set[str]]) -> None:
    for target in panel["targets"]:
        names = {each.name for each in selectors(target["expr"])}
        # Prometheus itself adds these two to all that it scrapes.
        known = {"instance", "job"}.union(*(told[name] for name in names))
        grouped = set(re.findall(r"\bby \((\w+)\)", target["expr"]))
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert grouped <= known, target
        assert shown == grouped, target


@pytest.mark.parametrize("panel", CHARTS, ids=ids)
def test_counters_are_shown_as_rates_and_gauges_as_they_are(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for call in within(parsed(target["expr"])):
            if type(call).__name__ == "Call" and call.func.name in ("rate", "increase"):
                (counter,) = selectors(target["expr"].partition(" / ")[0])
                assert counter.name.endswith("_total")
        for selector in selectors(target["expr"]):
            rated = re.search(rf"(rate|increase)\({selector.name}\{{", target["expr"])
            assert bool(rated) == selector.name.endswith("_total"), target


# -- whether Grafana can show it -------------------------------------------------------------------


def test_it_brings_its_own_choice_of_a_data_source() -> None:
    """Nothing of the Grafana that it was made with is needed: no input to fill in, no id."""
    assert "__inputs" not in DASHBOARD
    assert DASHBOARD["id"] is None
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "job", "instance"}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    source = {"type": "prometheus", "uid": "${datasource}"}
    for each in (variables["job"], variables["instance"], *CHARTS, *TARGETS):
        assert each["datasource"] == source, each
    for each in (variables["job"], variables["instance"]):
        (name,) = re.findall(r"label_values\((\w+)", each["query"]["query"])
        assert name in ASKED


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target["expr"][:60]))
def test_the_choice_of_a_job_and_an_instance_is_for_all(target: dict[str, Any]) -> None:
    chosen = '{job=~"$job", instance=~"$instance"}'
    assert target["expr"].count(chosen) == len(selectors(target["expr"])) > 0


def test_panels_have_ids_and_titles_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["title"] for panel in PANELS)
    for kind in ("row", "stat", "timeseries"):
        titles = [panel["title"] for panel in PANELS if panel["type"] == kind]
        assert titles and len(set(titles)) == len(titles)
    for panel in CHARTS:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_no_panel_lies_on_another_or_beside_the_page() -> None:
    covered = {}
    for panel in PANELS:
        grid = panel["gridPos"]
        assert grid["w"] > 0 and grid["h"] > 0
        assert 0 <= grid["x"] <= COLUMNS - grid["w"], panel["title"]
        covered[panel["id"]] = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
    for (one, cells), (other, others) in combinations(covered.items(), 2):
        assert cells.isdisjoint(others), (one, other)
    # Nor does it leave holes: Grafana would move what is below into them.
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PANELS)
    assert sum(map(len, covered.values())) == COLUMNS * height
