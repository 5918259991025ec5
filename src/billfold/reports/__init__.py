"""Reports: the lists, costs and changes that every caller shows, each as of a single moment.

`lists` and `identifiers` name deliveries, runs, statements and publications; `costs`, `spending` and `pace` sum
spending; `changes` and `moves` compare publications; `checks`, `bill_quality` and `conformance` judge bills;
`deliveries`, `freshness` and `instruments` watch arrivals; `owners` lists owners, `export` writes files.
"""
