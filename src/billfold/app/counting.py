"""`billfold.counting`: which statements are counted in costs where several have the same bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.bills.counting import Decision, Switch
    from billfold.model import Relation


class Counting:
    """Choices about statements by their ids. Each is one transaction: a reader sees the state before it or after it.

    All raise UsageError for a statement that does not exist or was never published, and RunConflictError while a
    worker is changing one of them.
    """

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def count(self, statement: int) -> Switch:
        """Include a statement in costs, in place of others with the same bill.

        >>> billfold.counting.count(2).uncounted
        (1,)
        """
        return self._switch(statement, counted=True)

    def uncount(self, statement: int) -> Switch:
        """Exclude a statement from costs: its rows and charges stay, views and reports leave them out.

        >>> billfold.counting.uncount(1).overlapping
        (2,)
        """
        return self._switch(statement, counted=False)

    def parts(self, statement: int, other: int) -> Decision:
        """Treat two statements as parts of one bill, regardless of their content: both are counted.

        >>> billfold.counting.parts(1, 2).counted
        (2,)
        """
        from billfold.model import Relation

        return self._decide(statement, other, Relation.PARTS)

    def duplicates(self, statement: int, other: int) -> Decision:
        """Treat two statements as the same bill, regardless of their content: the one published first is counted.

        >>> billfold.counting.duplicates(1, 2).choice
        <Relation.DUPLICATES: 'duplicates'>
        """
        from billfold.model import Relation

        return self._decide(statement, other, Relation.DUPLICATES)

    def compare(self, statement: int, other: int) -> Decision:
        """Compare two statements now and let their content decide, in place of an earlier choice.

        >>> billfold.counting.compare(1, 2).relation
        <Relation.DUPLICATES: 'duplicates'>
        """
        return self._decide(statement, other, None)

    def _switch(self, statement: int, *, counted: bool) -> Switch:
        from billfold.bills.counting import switch

        return switch(statement, counted=counted, settings=self._billfold.settings, database=self._billfold.database)

    def _decide(self, statement: int, other: int, choice: Relation | None) -> Decision:
        from billfold.bills.counting import decide

        return decide(
            statement, other, choice=choice, settings=self._billfold.settings, database=self._billfold.database
        )
