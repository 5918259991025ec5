"""Doctor: probes of all that an ingest needs, each with the fix for what is missing."""
