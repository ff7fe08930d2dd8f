"""Hold what was counted here against what the vendor says that it bills.

::

    vendor.py      reads the API's own usage and costs, with an admin key
    comparison.py  compares both by day and model, and names what explains each difference
    service.py     does it for one project of the store; the dispatcher does so daily
"""
