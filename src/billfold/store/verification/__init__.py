"""What verification reads: one snapshot of a statement, compared inside PostgreSQL.

`charges` opens the snapshot and compares current rows, `history` withdrawn ones, `origin` deliveries and their files,
`split_costs` split cost allocation.
"""
