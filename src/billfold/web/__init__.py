"""The door for programs that speak HTTP."""

from billfold.web.application import create_app as create_app
from billfold.web.server import serve as serve
