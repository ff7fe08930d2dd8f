"""Recognise keys, wherever they come from. Bounded, so that a long text takes time in proportion."""

from __future__ import annotations

import re

CREDENTIAL = re.compile(
    r"(?<!\w)(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,512}"  # OpenAI, Anthropic, Stripe; our proxy tokens
    r"|(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)"  # AWS access key ids
    r"|(?<!\w)(?:gh[pousr]_|github_pat_|glpat-|hf_|npm_|pypi-|xox[abeprs]-|AIza)[A-Za-z0-9_-]{16,512}"
    r"|(?<!\w)eyJ[\w-]{8,4096}\.eyJ[\w-]{8,8192}\.[\w-]{8,4096}"  # JSON web tokens
    r"|(?<!\w)[Bb]earer [\w.~+/-]{16,4096}=*"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]{0,16384}?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
)
