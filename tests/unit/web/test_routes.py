"""What all routes have in common, so that no module of routes can forget it."""

from __future__ import annotations

from fastapi.routing import APIRoute

from billfold.web import api, pages
from billfold.web.api.parameters import refuse_unknown
from billfold.web.forms.known_ids import refuse_unknown_ids
from billfold.web.gate import STATIC_PREFIX


def test_every_route_refuses_unknown_ids_and_those_of_the_api_unknown_parameters() -> None:
    checks = {
        route.path: {each.dependency for each in route.dependencies}
        for route in [*api.ROUTES, *pages.ROUTES]
        if isinstance(route, APIRoute) and not route.path.startswith(STATIC_PREFIX)
    }

    assert len(checks) > 30
    assert [path for path, found in checks.items() if refuse_unknown_ids not in found] == []
    assert [path for path, found in checks.items() if path.startswith("/v1/") != (refuse_unknown in found)] == []
