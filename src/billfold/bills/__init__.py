"""One statement's life: ingest, publish, hold, count, remap, roll back and prune."""
