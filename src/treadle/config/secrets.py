"""What is not shown of a URL."""

from __future__ import annotations

import re

__all__ = ["mask"]

# Any word in which one of these is: "password", "sslkey", "access_token". A companion is a URL.
_SECRETS = re.compile(
    r"([?&][^=&#]*(?:pass|pwd|secret|token|key|auth|credential|companion)[^=&#]*=)[^&#\s]*",
    re.IGNORECASE,
)
# To the last @ before a blank: a password with / or ? in it is not written as a URL wants it, and
# is one all the same.
_LOGIN = re.compile(r"(://[^:/?#\s]*):[^\s]*@")


def mask(text: str) -> str:
    """A URL without its secrets; other text unchanged."""
    if "://" not in text:
        return text
    hidden = _LOGIN.sub(r"\1:***@", text)
    return _SECRETS.sub(r"\1***", hidden)
