"""The queries of reports. Each report reads in one read-only transaction, as of a single moment (`reading`)."""
