"""What stands in a query is answered or refused: a filter that nobody reads would give the sums of everything."""

from __future__ import annotations

from typing import get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


def refuse_unknown(request: Request) -> None:
    """Raise RequestValidationError for a parameter that the route has not, and for a second value of one that has one.

    FastAPI passes the former over and takes the latter's last value.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    takes_many = {
        field.alias: get_origin(field.field_info.annotation) is list for field in route.dependant.query_params
    }
    complaints = []
    for name in dict.fromkeys(request.query_params):
        if name not in takes_many:
            known = f"known are {', '.join(sorted(takes_many))}" if takes_many else "there is none here"
            complaints.append({"loc": ("query", name[:100]), "msg": f"there is no such parameter: {known}"})
        elif not takes_many[name] and len(request.query_params.getlist(name)) > 1:
            complaints.append({"loc": ("query", name), "msg": "may be given once"})
    if complaints:
        raise RequestValidationError(complaints)
