"""The queries of pages: each module turns the parameters of a URL into one typed value, and back into a link.

Forms send empty fields and people edit URLs by hand, so every value is checked; each error names its field.
"""
