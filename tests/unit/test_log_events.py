"""docs/log-events.md is what the source logs and what the templates read, both ways."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from tests.filter_patterns import parse_filter, read_metric_filters, read_resources
from tests.log_calls import ANY_FIELD, SOURCE, find_bound_fields, find_log_calls
from tests.log_document import names_in, read_context, read_events, read_field_types, read_rows

EVENTS = {event.name: event for event in read_events()}


def test_every_event_stands_once_and_in_order() -> None:
    names = [event.name for event in read_events()]

    assert names == sorted(set(names))


def test_what_is_logged_is_documented_and_nothing_else() -> None:
    levels, fields = defaultdict(set), defaultdict(set)
    for call in find_log_calls():
        for event in call.events:
            levels[event] |= call.levels
            fields[event] |= call.fields

    assert set(levels) == set(EVENTS)
    for name, event in EVENTS.items():
        assert event.levels == levels[name], name
        assert event.fields == fields[name], name
        assert event.when, name


def test_every_logger_is_one_that_is_looked_at() -> None:
    made = {
        line.strip()
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "get_logger(" in line
    }

    assert made == {
        "log = structlog.get_logger(__name__)",
        "_log = structlog.get_logger(__name__)",
        'structlog.get_logger(__name__).exception("internal_error")',
    }


def test_every_field_has_its_type() -> None:
    used = {name for event in EVENTS.values() for name in event.fields} | find_bound_fields()

    assert set(read_field_types()) == (used | {"timestamp", "level", "event"}) - {ANY_FIELD}


def test_what_is_bound_to_a_piece_of_work_is_told() -> None:
    assert read_context() == find_bound_fields()


def test_which_metrics_read_an_event_is_told() -> None:
    readers = defaultdict(set)
    for each in read_metric_filters():
        for event in re.findall(r'\$\.event = "(\w+)"', each.pattern):
            readers[event].add(each.metric)

    assert {name: event.metrics for name, event in EVENTS.items() if event.metrics} == readers


def test_every_metric_and_its_alarm_are_told() -> None:
    alarms = {
        made["MetricName"]: made["AlarmName"].removeprefix("${AWS::StackName}-")
        for made in read_resources("AWS::CloudWatch::Alarm").values()
        if made["Namespace"] == "Billfold"
    }

    told = {row[0].strip("`"): names_in(row[2]) for row in read_rows("Metrics of CloudWatch")}

    assert told == {
        each.metric: {alarms[each.metric]} - {None} if each.metric in alarms else set()
        for each in read_metric_filters()
    }


def test_every_field_that_a_filter_reads_is_one_of_its_events() -> None:
    for each in read_metric_filters():
        events = re.findall(r'\$\.event = "(\w+)"', each.pattern)
        read = set(re.findall(r"\$\.(\w+)", f"{each.pattern} {each.value} {' '.join(each.dimensions.values())}"))
        told = {name for event in events for name in EVENTS[event].fields}
        assert read <= told | {"event", "level"}, each.name


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
