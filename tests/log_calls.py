"""Which events the source logs: found in its syntax, so that none is missed because no test reaches it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "billfold"

# What `**` adds that only its run knows.
ANY_FIELD = "…"

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCall:
    """One call: the events that it can write, at which levels, and which fields it gives them."""

    place: str
    events: frozenset[str]
    levels: frozenset[str]
    fields: frozenset[str]


def find_log_calls(folder: Path = SOURCE) -> Iterator[LogCall]:
    """Every call of a logger of structlog in the source."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in _functions(tree):
            for node in _own_nodes(function):
                if isinstance(node, ast.Call) and (levels := _levels_of(node.func, function)):
                    assert node.args, f"{path.name}:{node.lineno} logs no event"
                    fields = {name for keyword in node.keywords for name in _fields_of(keyword, function)}
                    if _is_exception(node.func):
                        fields.add("exception")
                    yield LogCall(
                        place=f"{path.relative_to(folder)}:{node.lineno}",
                        events=frozenset(_texts_of(node.args[0], function, tree)),
                        levels=frozenset(levels),
                        fields=frozenset(fields),
                    )


def find_bound_fields(folder: Path = SOURCE) -> frozenset[str]:
    """The fields that all events of a piece of work have, because they are bound to its thread."""
    calls = (node for path in folder.rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return frozenset(
        name
        for node in calls
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "contextvars" in node.func.attr
        for keyword in node.keywords
        for name in _fields_of(keyword, None)
    )


def _functions(tree: ast.Module) -> Iterator[_Function]:
    return (node for node in ast.walk(tree) if isinstance(node, _Function))


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """All nodes of a function but those of functions within it."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _Function):
            waiting.extend(ast.iter_child_nodes(node))


def _levels_of(called: ast.expr, function: _Function) -> set[str]:
    """The levels of `log.info`, or of a name that stands for one of several; empty for what is no logger."""
    if isinstance(called, ast.Attribute) and called.attr in _LEVELS and _is_logger(called.value):
        return {_LEVELS[called.attr]}
    if isinstance(called, ast.IfExp):
        return _levels_of(called.body, function) | _levels_of(called.orelse, function)
    if isinstance(called, ast.Name) and (value := _assigned(called.id, function)) is not None:
        return _levels_of(value, function)
    return set()


def _is_logger(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id.strip("_") in ("log", "logger")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get_logger"


def _is_exception(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == "exception"


def _assigned(name: str, function: _Function) -> ast.expr | None:
    """What the function assigns to the name, if it does."""
    for node in _own_nodes(function):
        assert not _adds_to(name, node), f"{function.name} adds to {name}: what is spread is written as a whole"
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node.value
    return None


def _adds_to(name: str, node: ast.AST) -> bool:
    """Whether it is `name["key"] = …`, which would be missed."""
    return isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and getattr(node.value, "id", "") == name


def _texts_of(node: ast.expr, function: _Function, tree: ast.Module) -> set[str]:
    """What a text can be: itself, either end of a choice, or whatever the function is called with in its module."""
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.IfExp):
        return _texts_of(node.body, function, tree) | _texts_of(node.orelse, function, tree)
    assert isinstance(node, ast.Name), f"{function.name} logs an event that cannot be told"
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    calls = [
        call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) == function.name
    ]
    return {text for call in calls for text in _texts_of(call.args[names.index(node.id)], function, tree)}


def _fields_of(keyword: ast.keyword, function: _Function | None) -> set[str]:
    if keyword.arg is not None:
        return {"exception" if keyword.arg == "exc_info" else keyword.arg}
    return _keys_of(keyword.value, function)


def _keys_of(node: ast.expr, function: _Function | None) -> set[str]:
    """The keys of what `**` spreads."""
    if isinstance(node, ast.Dict):
        return {
            name
            for key, value in zip(node.keys, node.values, strict=True)
            for name in ([str(key.value)] if isinstance(key, ast.Constant) else _keys_of(value, function))
        }
    if isinstance(node, ast.IfExp):
        return _keys_of(node.body, function) | _keys_of(node.orelse, function)
    if isinstance(node, ast.Name) and function and (value := _assigned(node.id, function)) is not None:
        return _keys_of(value, function)
    return {ANY_FIELD}
