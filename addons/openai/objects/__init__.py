"""Find the objects that the API keeps under ids: which a request refers to, and which an answer makes.

Several projects may share one upstream key, and for the API whoever knows an id may use it. Who made an
object is kept by :mod:`store.objects.table`, and asked by :mod:`addons.hooks.ownership`; here nothing is
kept or asked.
"""
