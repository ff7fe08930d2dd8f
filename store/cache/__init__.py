"""Keep answers to be given again: in memory, and behind that in a SQLite file or in Redis.

What may be kept, and for whom, is decided in :mod:`addons.caching`; here are places to keep it in.
"""
