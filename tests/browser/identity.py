"""A provider of logins by OpenID Connect on this machine, who lets everyone in at once."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "dashboard"
_CODE = "a code"


class Provider(ThreadingHTTPServer):
    """Answers the four questions of a login by authorization code.

    Attributes:
        nonce: Of the login that was begun last.
    """

    def __init__(self) -> None:
        """Listen on a free port of localhost."""
        super().__init__(("127.0.0.1", 0), _Answers)
        self.key = RSAKey.generate_key(2048, {"kid": "test"})
        self.nonce = ""

    @property
    def address(self) -> str:
        """Where it can be asked."""
        return f"http://localhost:{self.server_port}"

    def description(self) -> dict[str, object]:
        """Name the endpoints."""
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def tokens(self) -> dict[str, object]:
        """Say who logged in."""
        now = int(time.time())
        claims = {"iss": self.address, "aud": CLIENT_ID, "sub": "someone", "nonce": self.nonce}
        times = {"iat": now, "exp": now + 600}
        signed = jwt.encode({"alg": "RS256", "kid": "test"}, {**claims, **times}, self.key)
        return {"access_token": "unused", "token_type": "Bearer", "expires_in": 600, "id_token": signed}


class _Answers(BaseHTTPRequestHandler):
    """One request to the provider."""

    server: Provider

    def do_GET(self) -> None:
        """Describe the provider, show its key, or log in whoever comes and send them back."""
        parts = urlsplit(self.path)
        match parts.path:
            case "/.well-known/openid-configuration":
                self._send(self.server.description())
            case "/keys":
                self._send({"keys": [self.server.key.as_dict(private=False)]})
            case "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.server.nonce = asked["nonce"]
                self.send_response(302)
                answer = urlencode({"code": _CODE, "state": asked["state"]})
                self.send_header("Location", f"{asked['redirect_uri']}?{answer}")
                self.end_headers()
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        """Exchange the code for the tokens."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form.get("code") == [_CODE]:
            self._send(self.server.tokens())
        else:
            self.send_error(400)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _send(self, document: dict[str, object]) -> None:
        """Answer with JSON."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider."""
    with Provider() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
