"""Count the tokens of a call from its text: the rules, one module for each kind of content.

:mod:`addons.openai.tokens` is the door. The API does not document how it writes messages, tools and schemas
out for the model; the rules here were derived from recorded calls that carry the provider's own count, and
``scripts/bench accuracy`` says how often they hold.
"""
