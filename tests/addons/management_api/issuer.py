"""An issuer of OpenID Connect on this machine, which does the authorization code flow as it is specified.

It forgives nothing: another redirect URI, a code shown twice, a wrong verifier or secret. Attacks set what it
then does wrong on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "llmproxy"
CLIENT, SECRET = "the page", "s3cret:with/signs"
FORM = """<!doctype html><html lang="en"><title>Log in</title><h1>Log in</h1>
<form method="post"><label>User <input name="user" id="user"></label><button>Log in</button></form>"""


@dataclass
class Asked:
    """What a browser came with, and who then logged in."""

    given: dict[str, str]
    user: str = ""


class Issuer:
    """Tells its configuration and its public keys, signs, and signs people in."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.keys: dict[str, Any] = {}
        self.asked: list[str] = []
        self.new_key("one")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://{host}:{self.server.server_address[1]}"
        self.named = self.url
        self.people: dict[str, dict[str, Any]] = {}
        self.redirect_uris: set[str] = set()
        self.after_logout: set[str] = set()
        self.secret: str | None = SECRET
        self.methods = ["client_secret_basic"]
        self.offers_logout = True
        self.lifetime = 300
        self.codes: dict[str, Asked] = {}
        self.exchanges: list[dict[str, str]] = []
        self.logged_out: list[str] = []
        self.twist: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        """What an ID token is to say in place of what it should."""
        self.key = "one"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def new_key(self, name: str) -> None:
        self.keys[name] = rsa.generate_private_key(65537, 2048)

    def configuration(self) -> dict[str, Any]:
        found = {
            "issuer": self.named,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "token_endpoint_auth_methods_supported": self.methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return found | ({"end_session_endpoint": f"{self.url}/logout"} if self.offers_logout else {})

    def jwks(self) -> dict[str, Any]:
        algorithm = jwt.algorithms.RSAAlgorithm
        keys = [
            {**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, "use": "sig", "alg": "RS256"}
            for name, key in self.keys.items()
        ]
        return {"keys": keys}

    def token(self, key: str = "one", **claims: Any) -> str:
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "jane", "iat": now, "exp": now + 60}
        return jwt.encode(
            {name: value for name, value in {**usual, **claims}.items() if value is not None},
            self.keys[key],
            algorithm="RS256",
            headers={"kid": key},
        )

    def log_in(self, url: str, user: str) -> str:
        """Do what a browser does at the issuer: give where it is sent back to."""
        given = self.checked(urlsplit(url).query)
        code = secrets.token_urlsafe(16)
        self.codes[code] = Asked(given, user)
        answer = {"code": code, "state": given["state"], "iss": self.url}
        return f"{given['redirect_uri']}?{urlencode(answer)}"

    def checked(self, query: str) -> dict[str, str]:
        given = dict(parse_qsl(query, strict_parsing=True))
        assert given["client_id"] == CLIENT
        assert given["redirect_uri"] in self.redirect_uris, given["redirect_uri"]
        assert given["response_type"] == "code"
        assert given["code_challenge_method"] == "S256"
        assert "openid" in given["scope"].split()
        assert min(len(given[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        return given

    def exchange(self, authorization: str, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Give tokens for a code, once, to the client that has the verifier."""
        self.exchanges.append(given)
        if not self._is_the_client(authorization, given):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(given.get("code", ""), None)
        challenge = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or given.get("grant_type") != "authorization_code"
            or given.get("redirect_uri") != asked.given["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).decode().rstrip("=") != asked.given["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        access = secrets.token_urlsafe(16)
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims = {
            "aud": CLIENT,
            "sub": asked.user,
            "nonce": asked.given["nonce"],
            "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            "exp": int(time.time()) + self.lifetime,
            **self.people.get(asked.user, {}),
        }
        token = self.token(self.key, **self.twist(claims))
        return 200, {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": token}

    def _is_the_client(self, authorization: str, given: dict[str, str]) -> bool:
        if self.secret is None:
            return not authorization and given.get("client_id") == CLIENT and "client_secret" not in given
        if self.methods == ["client_secret_post"]:
            return (given.get("client_id"), given.get("client_secret")) == (CLIENT, self.secret)
        scheme, _, text = authorization.partition(" ")
        if scheme != "Basic":
            return False
        name, _, secret = base64.b64decode(text).decode().partition(":")
        # RFC 6749, section 2.3.1, wants both form-encoded; many clients, and so issuers, don't do that.
        return (CLIENT, self.secret) in ((unquote_plus(name), unquote_plus(secret)), (name, secret))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                parts = urlsplit(self.path)
                if parts.path == "/authorize":
                    issuer.checked(parts.query)
                    self.answer(200, FORM, "text/html")
                elif parts.path == "/logout":
                    given = dict(parse_qsl(parts.query))
                    hint = jwt.decode(given["id_token_hint"], options={"verify_signature": False})
                    back = given["post_logout_redirect_uri"]
                    assert given["client_id"] == CLIENT
                    assert back in issuer.after_logout, back
                    issuer.logged_out.append(hint["sub"])
                    self.lead(back)
                else:
                    found = issuer.configuration() if "openid-configuration" in self.path else issuer.jwks()
                    self.answer(200, json.dumps(found))

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                given = dict(parse_qsl(text))
                if urlsplit(self.path).path == "/token":
                    status, answer = issuer.exchange(self.headers.get("Authorization", ""), given)
                    self.answer(status, json.dumps(answer))
                else:
                    self.lead(issuer.log_in(self.path, given["user"]))

            def answer(self, status: int, text: str, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def lead(self, location: str) -> None:
                self.send_response(303)
                self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler
