"""From files to charges, in DuckDB: parse, identify, compare, map.

`open_bill` opens a session for one delivery; `Bill` has its steps in the order of their calls. Rows stay in DuckDB:
they come as files or Arrow streams and leave as Arrow streams. The mapping's rules are the scripts in `sql`, its tables
of services, regions and units the CSV files in `lookups`.
"""

from billfold.transform.bill import Bill, open_bill

__all__ = ["Bill", "open_bill"]
