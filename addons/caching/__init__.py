"""Keep answers in a cache: which may be kept, under which key, for how long, and for whom (docs/cache.md)."""
