"""Hold the page at the management port: HTML, a style sheet and a few modules of JavaScript, as they are.

Everything it shows comes from the management API (:mod:`addons.management_api`), in a session of its own.
"""
