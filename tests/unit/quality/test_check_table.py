"""Every check says in one table what it means."""

from __future__ import annotations

from billfold.quality import CHECKS, describe_check


def test_every_check_has_a_title_of_its_own_and_sentences() -> None:
    assert len({check.title for check in CHECKS.values()}) == len(CHECKS)
    for check in CHECKS.values():
        assert check.meaning.startswith("Warns ")
        assert all(text.endswith(".") for text in (check.meaning, check.advice, check.more) if text)


def test_a_check_of_another_version_is_told_by_its_name() -> None:
    assert describe_check("of_yesterday").title == "of_yesterday"
