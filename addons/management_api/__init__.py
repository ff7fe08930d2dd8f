"""Serve the management API: projects and tokens over HTTP, at the port of ``llm_management``.

`access` says who may, `oidc` who else; `parameters` names what requests may hold, `fields` reads it;
`store_thread` does the work beside the event loop. `handler` is what all routes share, `etags` keeps changes
to what was seen, `errors` is what can go wrong, `reference` how another system says the same. `routes` lists
what there is in `resources`, from which `openapi` makes the document. docs/management.md describes it to its
users.
"""
