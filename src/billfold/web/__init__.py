"""The HTTP server: a JSON API, a dashboard, metrics, and a receiver of EventBridge events.

A request passes `guards` (host, origin, size), then `gate` (token and rate limit), then reaches a route in `api` or
`pages`. Routes translate the request, make one call and translate its result; they hold no rules and no SQL.
`forms` reads the queries of pages, `templates` and `static` are what a browser gets.
"""

from billfold.web.application import create_app as create_app
from billfold.web.server import serve as serve
