"""The management API: projects and tokens over HTTP, at the port of ``llm_management``.

`access` says who may, `fields` reads what they send, `store_thread` does the work beside the event loop,
`handlers` has the routes, `errors` what can go wrong. docs/management.md describes it to its users.
"""
