"""The declared log events are what the source logs and what the templates read, both ways."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from itertools import chain

import pytest

from billfold.log import CONTEXT_FIELDS, FIELDS, STATE_COUNTS, Event
from tests.filter_patterns import parse_filter, read_metric_filters, read_resources
from tests.log_calls import SOURCE, LogCall, find_log_calls
from tests.unit.deploy.test_docs import section, table_rows, text_of


@pytest.fixture(scope="module")
def calls() -> list[LogCall]:
    return list(find_log_calls())


def test_events_are_declared_once_and_in_order() -> None:
    names = [event.value.replace("_", " ") for event in Event]

    assert names == sorted(names)
    assert all(event.value == event.name.lower() for event in Event)
    assert all(event.meaning.endswith(".") and event.levels for event in Event)


def test_every_call_logs_a_declared_event_with_fields_and_level_of_its_own(calls: list[LogCall]) -> None:
    assert len(calls) > 100
    for call in calls:
        for name in call.events:
            assert call.level in Event[name].levels, call
            assert call.fields <= Event[name].fields | CONTEXT_FIELDS, call


def test_every_declared_event_is_used_and_its_fields_and_levels_are(calls: list[LogCall]) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    used = {*re.findall(r"\bEvent\.(\w+)", source)}
    for event in Event:
        own = [call for call in calls if event.name in call.events]
        assert event.name in used, event
        # What is spread or chosen at run time is compared with the lines that real runs write.
        if own and not any(call.is_open for call in own):
            assert event.levels == {call.level for call in own}, event
            assert event.fields == set(chain.from_iterable(call.fields for call in own)), event


def test_every_logger_is_one_that_is_looked_at() -> None:
    made = {
        line.strip()
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "get_logger(" in line and "`" not in line
    }

    assert made == {
        "log = structlog.get_logger(__name__)",
        "_log = structlog.get_logger(__name__)",
        "structlog.get_logger(__name__).exception(Event.INTERNAL_ERROR)",
    }


def test_every_field_is_explained_and_used() -> None:
    used = {name for event in Event for name in event.fields} | CONTEXT_FIELDS

    assert set(FIELDS) == used - {STATE_COUNTS}


def test_the_names_of_events_load_no_library() -> None:
    script = "import sys, billfold.log; print({'structlog', 'pydantic', 'billfold.settings'} & set(sys.modules))"

    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert ended.stdout == "set()\n"


def test_which_metrics_read_an_event_is_declared() -> None:
    readers = defaultdict(set)
    for each in read_metric_filters():
        for event in re.findall(r'\$\.event = "(\w+)"', each.pattern):
            readers[event].add(each.metric)

    assert {event.value: event.metrics for event in Event if event.metrics} == readers


def test_every_metric_and_its_alarm_are_told() -> None:
    alarms = {
        made["MetricName"]: made["AlarmName"].removeprefix("${AWS::StackName}-")
        for made in read_resources("AWS::CloudWatch::Alarm").values()
        if made.get("Namespace") == "Billfold"
    }

    _, *rows = table_rows(section(text_of("log-events.md"), "## Metrics of CloudWatch"))
    told = {metric.strip("`"): alarm.strip("`") for metrics, _, alarm in rows for metric in metrics.split(", ")}

    assert told == {each.metric: alarms.get(each.metric, "") for each in read_metric_filters()}


def test_every_field_that_a_filter_reads_is_one_of_its_events() -> None:
    for each in read_metric_filters():
        events = re.findall(r'\$\.event = "(\w+)"', each.pattern)
        read = set(re.findall(r"\$\.(\w+)", f"{each.pattern} {each.value} {' '.join(each.dimensions.values())}"))
        assert read <= {name for event in events for name in Event(event).fields} | {"event", "level"}, each.name


@pytest.mark.parametrize(
    ("pattern", "event", "expected"),
    [
        ('{ $.event = "a" }', {"event": "a"}, True),
        ('{ $.event = "a" }', {"event": "ab"}, False),
        ('{ $.event = "a" }', {}, False),
        ('{ $.code = "*" }', {"code": "x"}, True),
        ('{ $.code = "*" }', {"code": None}, False),
        ('{ $.event = "a*c" }', {"event": "abc"}, True),
        ("{ $.n >= 0 }", {"n": 0}, True),
        ("{ $.n >= 0 }", {"n": "0"}, False),
        ("{ $.n < 2.5 }", {"n": 2.5}, False),
        ("{ $.is IS FALSE }", {"is": False}, True),
        ("{ $.is IS FALSE }", {"is": None}, False),
        ('{ $.a.b = "c" }', {"a": {"b": "c"}}, True),
        ('{ $.a = "1" || $.b = "1" && $.c = "1" }', {"a": "1"}, True),
        ('{ ($.a = "1" || $.b = "1") && $.c = "1" }', {"a": "1"}, False),
    ],
)
def test_patterns_mean_what_cloudwatch_says(pattern: str, event: dict[str, object], expected: bool) -> None:
    assert parse_filter(pattern)(event) is expected


@pytest.mark.parametrize(
    "pattern",
    ["$.event = a", "{ event = a }", '{ $.a = "1" && }', '{ ($.a = "1" }', '{ $.a > "x" }', "{ $.a IS NULL }"],
)
def test_what_this_subset_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        parse_filter(pattern)
