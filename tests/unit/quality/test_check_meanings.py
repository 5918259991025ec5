"""Every check has its meaning, and the documents have the same."""

from __future__ import annotations

from billfold.quality.checks import CHECKS
from billfold.quality.meanings import CHECK_MEANINGS, describe_check
from tests.unit.deploy.test_docs import section, table_rows, text_of


def test_every_check_has_a_meaning() -> None:
    assert set(CHECK_MEANINGS) == set(CHECKS)
    assert len({meaning.title for meaning in CHECK_MEANINGS.values()}) == len(CHECKS)


def test_the_documents_have_the_same_meanings() -> None:
    _, _, *rows = table_rows(section(text_of("dashboard.md"), "### What each check means"))

    assert rows == [
        [f"`{name}`", meaning.title, meaning.severity, meaning.meaning, meaning.advice]
        for name, meaning in CHECK_MEANINGS.items()
    ]


def test_a_check_of_another_version_is_told_by_its_name() -> None:
    assert describe_check("of_yesterday").title == "of_yesterday"
