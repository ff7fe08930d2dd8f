"""The management API: projects and tokens over HTTP, at the port of ``llm_management``.

`access` says who may, `fields` reads what they send, `store_thread` does the work beside the event loop,
`handler` is what all routes share, `errors` what can go wrong, `routes` lists what there is in `projects`,
`tokens` and `audit`. docs/management.md describes it to its users.
"""
