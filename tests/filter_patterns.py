"""CloudWatch's filter patterns for JSON, as far as our templates use them, told as its documentation tells them.

AWS, "Filter pattern syntax for metric filters": a pattern `{ … }` compares fields, which it selects by `$.name`, with
texts (`*` stands for any characters), numbers, true and false, and joins comparisons by `&&` and `||`, of which `&&`
binds more tightly. A field that is missing fulfils no comparison. The value of a metric is a number or a field.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEMPLATES = Path(__file__).resolve().parents[1] / "deploy" / "cloudformation"

Matcher = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r'\s*(\$(?:\.\w+)+|"[^"]*"|-?\d+(?:\.\d+)?|&&|\|\||IS (?:TRUE|FALSE)|[()]|[<>]=|[=<>])')
_SIGNS = {"=": operator.eq, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFilter:
    """One metric filter of our template: its pattern, the metric that it feeds, with which value and dimensions."""

    name: str
    pattern: str
    metric: str
    value: str
    dimensions: Mapping[str, str]

    def measure(self, event: Mapping[str, Any]) -> float | None:
        """What the event adds to the metric; None where the pattern does not match."""
        if not parse_filter(self.pattern)(event):
            return None
        return float(select(self.value, event) if self.value.startswith("$") else self.value)


class _Loader(yaml.SafeLoader):
    """Reads a template without knowing its short functions: `!Ref Topic` is just `Topic`."""


_Loader.add_multi_constructor(
    "!",
    lambda loader, _suffix, node: (
        loader.construct_scalar(node)
        if isinstance(node, yaml.ScalarNode)
        else loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else loader.construct_mapping(node, deep=True)
    ),
)


def read_resources(kind: str) -> dict[str, Mapping[str, Any]]:
    """The properties of all resources of a kind in the templates that read the workers' log."""
    found = {}
    for name in ("alarms.yaml", "worker.yaml"):
        template = yaml.load((TEMPLATES / name).read_text(encoding="utf-8"), Loader=_Loader)
        found |= {name: made["Properties"] for name, made in template["Resources"].items() if made["Type"] == kind}
    return found


def read_metric_filters() -> list[MetricFilter]:
    """All metric filters of these templates."""
    return [
        MetricFilter(
            name=name,
            pattern=made["FilterPattern"],
            metric=feed["MetricName"],
            value=feed["MetricValue"],
            dimensions={each["Key"]: each["Value"] for each in feed.get("Dimensions", ())},
        )
        for name, made in read_resources("AWS::Logs::MetricFilter").items()
        for feed in made["MetricTransformations"]
    ]


def parse_filter(pattern: str) -> Matcher:
    """Tells whether an event matches; raises ValueError for what this subset does not know."""
    text = pattern.strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"no pattern for JSON: {pattern}")
    tokens = list(_split(text[1:-1].strip()))
    matches = _parse_or(tokens)
    if tokens:
        raise ValueError(f"not understood: {tokens}")
    return matches


def select(selector: str, event: Mapping[str, Any]) -> Any:
    """What `$.a.b` selects; None where it is missing."""
    found: Any = event
    for name in selector.split(".")[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _split(text: str) -> Iterator[str]:
    end = 0
    while end < len(text):
        match = _TOKEN.match(text, end)
        if match is None:
            raise ValueError(f"not understood: {text[end:]}")
        yield match[1]
        end = match.end()


def _parse_or(tokens: list[str]) -> Matcher:
    choices = [_parse_and(tokens)]
    while tokens and tokens[0] == "||":
        tokens.pop(0)
        choices.append(_parse_and(tokens))
    return lambda event: any(matches(event) for matches in choices)


def _parse_and(tokens: list[str]) -> Matcher:
    conditions = [_parse_one(tokens)]
    while tokens and tokens[0] == "&&":
        tokens.pop(0)
        conditions.append(_parse_one(tokens))
    return lambda event: all(matches(event) for matches in conditions)


def _parse_one(tokens: list[str]) -> Matcher:
    token = tokens.pop(0) if tokens else "nothing"
    if token == "(":
        matches = _parse_or(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise ValueError("a bracket is not closed")
        return matches
    if token.startswith("$") and tokens and tokens[0].startswith("IS "):
        return _compare_truth(token, tokens.pop(0) == "IS TRUE")
    if not token.startswith("$") or len(tokens) < 2:
        raise ValueError(f"no comparison begins with {token}")
    sign, wanted = tokens.pop(0), tokens.pop(0)
    return _compare_text(token, sign, wanted[1:-1]) if wanted.startswith('"') else _compare_number(token, sign, wanted)


def _compare_truth(selector: str, wanted: bool) -> Matcher:
    return lambda event: select(selector, event) is wanted


def _compare_text(selector: str, sign: str, wanted: str) -> Matcher:
    if sign != "=":
        raise ValueError(f"texts have no order: {sign}")
    pattern = re.compile(".*".join(map(re.escape, wanted.split("*"))), re.DOTALL)

    def matches(event: Mapping[str, Any]) -> bool:
        found = select(selector, event)
        return isinstance(found, str) and pattern.fullmatch(found) is not None

    return matches


def _compare_number(selector: str, sign: str, wanted: str) -> Matcher:
    compare = _SIGNS[sign]

    def matches(event: Mapping[str, Any]) -> bool:
        found = select(selector, event)
        return isinstance(found, int | float) and not isinstance(found, bool) and compare(found, float(wanted))

    return matches
