"""What the reports read: each in one read-only transaction that sees a single moment (`reading`)."""
