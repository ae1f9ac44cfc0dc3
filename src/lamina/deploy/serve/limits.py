"""What a server grants: how much a client may ask of it, and who may ask."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from lamina.core.config import UserError

__all__ = ["Access", "Limits"]

LOCAL = ("127.0.0.1", "localhost", "[::1]")  # names of one another
SHORTEST = 16  # characters of a token: what nobody guesses


@dataclass(frozen=True)
class Limits:
    """Bounds for each client, and for all of them.

    listeners: streams at once, which are the rows of the batch. frame_bytes: of one message of sound. text_bytes: of
    one message of text, which a saved stream is part of. messages: a second, on average over ten. waiting: seconds of
    sound that may wait to be heard. length: seconds that a stream may last, and of sound that it may hear. hello, idle,
    slow: seconds without a hello, without a message, and until a message to the client is taken.
    """

    listeners: int = 32
    frame_bytes: int = 1 << 16
    text_bytes: int = 4 << 20
    messages: int = 200
    waiting: float = 10.0
    length: float = 3600.0
    hello: float = 10.0
    idle: float = 60.0
    slow: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise UserError(f"{name}={value}: it must be more than 0")


@dataclass(frozen=True)
class Access:
    """Who may listen: those that know the token, if there is one, from pages of these origins, and programs.

    A browser says the page's origin, and no page can make it lie; programs say none, and have the token alone.
    """

    origins: frozenset[str]
    token: str | None = None

    @classmethod
    def of(cls, host: str, port: int, token: str | None, origins: list[str]) -> Access:
        """On this machine alone its own page is trusted; anywhere else a token and the pages' origins must be given."""
        for origin in origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest:
                raise UserError(
                    f"--origin {origin}: give scheme and host as a browser does, such as https://example.org"
                )
        if token is not None and len(token) < SHORTEST:
            raise UserError(f"--token: {len(token)} characters are soon guessed; give {SHORTEST} at least")
        if not _loopback(host) and (token is None or not origins):
            raise UserError(
                f"--host {host}: others can reach it; give --token (or LAMINA_TOKEN) and --origin, the page's address"
            )
        near = [_named(host)] if _loopback(host) else []
        near += LOCAL if {*near} & {*LOCAL} else []
        return cls(frozenset([*(f"http://{name}:{port}" for name in near), *origins]), token)

    def admits(self, origin: str | None) -> bool:
        """Whether a client with that Origin header may speak."""
        return origin is None or origin in self.origins

    def knows(self, token: str | None) -> bool:
        """Whether that is the token; takes as long for a wrong one."""
        return self.token is None or hmac.compare_digest(_bytes(self.token), _bytes(token or ""))


def _bytes(token: str) -> bytes:
    return token.encode(errors="surrogatepass")  # JSON and the environment may hold half a pair


def _named(host: str) -> str:
    """As it stands in a browser's address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[{address}]" if address.version == 6 else str(address)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
