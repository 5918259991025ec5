"""The dashboard: pages rendered on the server; every view is a URL that can be bookmarked.

Each module holds the routes of one page, which the OpenAPI document leaves out. `rendering` turns templates into pages
and `formats` shows their figures.
"""

from __future__ import annotations

from billfold.web.pages import (
    changes,
    checks,
    clients,
    costs,
    deliveries,
    delivery,
    doctor,
    jobs,
    onboarding,
    static_files,
)

ROUTES = [
    route
    for page in (static_files, costs, changes, deliveries, delivery, jobs, checks, clients, doctor, onboarding)
    for route in page.router.routes
]
