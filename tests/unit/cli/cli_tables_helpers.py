"""What the tests of tables share: two ids that are alike in their first twelve characters."""

from __future__ import annotations

from uuid import UUID

IDS = [UUID("3f2b1c9e-8d41-4f0e-9a53-0c1d2e3f4a5b"), UUID("3f2b1c9e-8d41-4f0f-9a53-0c1d2e3f4a5b")]
