"""From files to charges, in DuckDB: parse, identify, compare, map."""

from billfold.transform.bill import Bill, open_bill

__all__ = ["Bill", "open_bill"]
