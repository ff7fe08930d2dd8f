"""Admit people by OpenID Connect: `issuer` finds its places and keys, `verifier` judges tokens, `settings`
says what they open, `code_flow` leads a browser to the issuer and back.

PyJWT checks signatures and times; Authlib speaks OAuth 2.0 (extra ``llmproxy[oidc]``).
"""
