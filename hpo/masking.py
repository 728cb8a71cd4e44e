"""What hides passwords, wherever others' words are shown or stored."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, quote_plus, unquote, unquote_plus, urlsplit

__all__ = ["host_alone", "masked", "redacted", "remember", "remember_whole", "unreadable", "without_passwords"]

ENCODE = "percent-encoded: @ as %40, : as %3A, / as %2F, ? as %3F, # as %23"

SHORTEST = 8  # letters of a path that is a secret; `hook` would be hidden wherever somebody says it

_known: set[str] = set()  # the passwords that this process was given, in every spelling


def masked(url: str) -> str:
    """The URL with its password replaced, fit for a screen or a log."""
    url = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
    return re.sub(r"(password=)[^&\s]*", r"\1***", url)


def remember(*secrets: str | None) -> None:
    """Keep these passwords, and those of these URLs, out of whatever is told of errors from now on."""
    for secret in filter(None, secrets):
        for each in _passwords(secret) if "://" in secret else [secret]:
            plain = unquote(each)
            _known.update({each, plain, unquote_plus(each), quote(plain), quote(plain, safe=""), quote_plus(plain)})


def remember_whole(address: str) -> None:
    """Keep an address out of it that is a secret as a whole, and what follows its host."""
    path = address.partition("://")[2].partition("/")[2]
    _known.update({address} | ({path} if len(path) >= SHORTEST else set()))


def host_alone(address: str) -> str:
    """Such an address, fit for a screen or a log."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def _passwords(url: str) -> list[str]:
    userinfo = re.match(r"[^:]*://[^:/@]*:(.*)@", url)
    return [*(userinfo.groups() if userinfo else []), *parse_qs(url.partition("?")[2]).get("password", [])]


def redacted(error: object) -> str:
    """What an error says, or others say, without the password of any URL and without those that are remembered.

    What comes from SQL, MLflow or Ray goes through here on its way to a person, a log or a table.
    """
    text = str(error)
    for secret in sorted(_known, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return without_passwords(text)


def without_passwords(text: str) -> str:
    """A text without what looks like the password of a URL."""
    text = re.sub(r"(://[^:/@\s]*:)[^\s'\"]*@", r"\1***@", text)
    return re.sub(r"(password=)[^&\s]*", r"\1***", text)


def unreadable(url: str) -> str | None:
    """Why an address would be read otherwise than it was meant, parts of its password as a host; None where it is fine.

    The answer repeats nothing of it.
    """
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        return None
    # as SQLAlchemy reads it; in the address of a server, digits up to a slash are a port
    found = re.match(r"[^:/@]*:([^@]*)@(.*)", rest)
    is_port = scheme.startswith("http") and found and re.match(r"\d+/", found[1])
    if found and not is_port and (re.search(r"[/?#]", found[1]) or "@" in found[2]):
        return f"its password holds characters that mean something in a URL and must be {ENCODE}"
    try:
        _ = urlsplit(url).port
    except ValueError:
        return f"no port number stands where one should; in a password such characters must be {ENCODE}"
    return None
