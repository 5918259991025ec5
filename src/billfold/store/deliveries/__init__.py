"""Statements and what happens to them: from the registration of a delivery to the history of its publications.

registration, claims, attempts   a delivery in short transactions: known, claimed, started, ended
records, statements, runs        the same rows read: deliveries, statements, runs of files
members, landing, split_costs    the publishing transaction: dimension members, raw rows, charges, split costs
ledger, sums                     exact sums of a bill's line items, and of what a publication changed
publications                     the control rows of a publication, and its locks
history                          past publications restored or forgotten
hold                             held deliveries
counting, parts                  which statements of the same bill are counted
left_out                         files that are not bills
"""
