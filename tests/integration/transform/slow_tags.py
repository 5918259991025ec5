"""Tags and cost categories of CUR once more, slow and obvious: one line item at a time in plain Python."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping

LineItem = Mapping[str, str]
Tags = dict[str, str | None]

RESOURCE, CATEGORY = "resourceTags/", "costCategory/"
KEPT = ("accountTag/", "userAttribute/", "iamPrincipal/")
PREFIXES = (RESOURCE, CATEGORY, *KEPT)


def tags_of(item: LineItem) -> Tags | None:
    """What `Tags` holds: of the map `tags` all but cost categories, and the resource tags that it lacks."""
    newer = {source: value for source, value in _map(item, "tags").items() if not source.startswith(CATEGORY)}
    older = _map(item, "resource_tags")
    known = {_folded(_key_in_map(source)) for source in newer if not source.startswith(KEPT)}
    found = [(_key_in_map(source), source, value) for source, value in newer.items()]
    found += [
        (resource_key(source), source, value)
        for source, value in older.items()
        if _folded(resource_key(source)) not in known
    ]
    return _object(found)


def cost_categories_of(item: LineItem) -> Tags | None:
    """What `x_CostCategories` holds: those of the map `tags`, and those that it lacks."""
    newer = {source: value for source, value in _map(item, "tags").items() if source.startswith(CATEGORY)}
    found = [(source.removeprefix(CATEGORY), source, value) for source, value in newer.items()]
    known = {_folded(key) for key, _, _ in found}
    found += [
        (source, source, value) for source, value in _map(item, "cost_category").items() if _folded(source) not in known
    ]
    return _object(found)


def resource_key(source: str) -> str:
    """The key of a resource tag: never one that another kind of tag could have."""
    key = source
    if source.startswith(("user:", "user_")):
        key = source[5:]
    elif source.startswith("aws_"):
        key = "aws:" + source[4:]
    return RESOURCE + key if key.startswith(PREFIXES) else key


def _key_in_map(source: str) -> str:
    if source.startswith(RESOURCE):
        return resource_key(source.removeprefix(RESOURCE))
    return source if source.startswith(PREFIXES) else resource_key(source)


def _folded(key: str) -> str:
    return "".join(sign for sign in key.lower() if sign not in string.punctuation + " ")


def _object(found: list[tuple[str, str, str | None]]) -> Tags | None:
    """Where two keys have become one, all stay as AWS wrote them."""
    if not found:
        return None
    is_clear = len({key for key, _, _ in found}) == len(found)
    return {(key if is_clear else source): _without_nul(value) for key, source, value in found}


def _without_nul(value: str | None) -> str | None:
    return value and value.replace("\0", "")


def _map(item: LineItem, column: str) -> Tags:
    text = item.get(column, "")
    found: Tags = json.loads(text) if text else {}
    return {key.replace("\0", ""): value for key, value in found.items()}
