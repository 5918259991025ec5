"""What tests of the whole may use of the integration tests': databases on a server of the session's own."""

from __future__ import annotations

from tests.integration.conftest import new_database as new_database
