"""Keep the store on a server: PostgreSQL, MySQL or MariaDB (extras ``postgresql`` and ``mysql``).

::

    engine.py      connections, on SQLAlchemy Core
    dialects.py    what differs between the servers
    watchdog.py    ends statements whose server does not answer any more
    schema.py      makes the tables, and brings earlier ones up to date
"""
