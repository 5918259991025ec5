"""What routes get from the application that serves them, so that they are made once for all applications."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from billfold.app import Billfold
from billfold.web.gate import AccessFinder
from billfold.web.throttle import Throttle


def _state(name: str, kind: type) -> Any:
    # This needs no thread of its own, so it is a coroutine.
    async def find(request: Request) -> Any:
        value = getattr(request.app.state, name)
        assert isinstance(value, kind)
        return value

    return Depends(find)


OurBillfold = Annotated[Billfold, _state("billfold", Billfold)]
OurFinder = Annotated[AccessFinder, _state("finder", AccessFinder)]
OurMetrics = Annotated[CollectorRegistry, _state("metrics", CollectorRegistry)]
OurThrottle = Annotated[Throttle, _state("throttle", Throttle)]
