"""The queries behind reports: costs, checks, exports and conformance."""
