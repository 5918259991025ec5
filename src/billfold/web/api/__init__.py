"""The JSON API under `/v1`: the documents of the command line, and requests to ingest.

Each module holds the routes of one subject, on a router of `routers`. `parameters` has what queries share, `responses`
what answers share.
"""

from __future__ import annotations

from billfold.web.api import changes, checks, clients, costs, deliveries, ingestions, jobs, statements

ROUTES = [
    route
    for subject in (clients, statements, deliveries, checks, ingestions, jobs, costs, changes)
    for route in subject.router.routes
]
