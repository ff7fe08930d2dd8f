"""The store in a database on a server: PostgreSQL, MySQL or MariaDB (extras ``postgresql`` and ``mysql``).

::

    engine.py      connections, on SQLAlchemy Core
    dialects.py    what differs between the servers
    watchdog.py    ends statements whose server does not answer any more
    schema.py      brings the schema up to date, with Alembic
    env.py         what Alembic asks for
    versions/      the schema's steps; each has the name of its counterpart in store/migrations.py
    columns.py     what they are written with
"""

import logging

# It tells of every plugin that it loads, and mitmproxy shows whatever is logged.
logging.getLogger("alembic").setLevel(logging.WARNING)
