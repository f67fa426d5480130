"""What is stored, shown or logged goes without the credentials that addresses may carry."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"://([^/@\s\"']+@)")  # user:password@
_SIGNATURE = re.compile(r"(://[^\s\"'?]+)\?[^\s\"']*")  # what follows may sign the address for whoever holds it


def redact(text: str, address: str = "") -> str:
    """The text with every address in it as anybody may see it; without the login of `address` wherever it stands.

    >>> redact("folder:sftp://me:secret@host/run and https://host/a?sig=secret or hub:org/name@step10")
    'folder:sftp://host/run and https://host/a or hub:org/name@step10'
    """
    for login in _LOGIN.findall(address):
        text = text.replace(login, "")
    return _SIGNATURE.sub(r"\1", _LOGIN.sub("://", text))
