"""Fetching one published file over HTTP: resumed where it broke off, checked, and put in place in one step."""

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from pyro_dsvae.models.errors import UsageError

_log = logging.getLogger(__name__)

_TIMEOUT_S = 30.0


def fetch(url: str, target: Path, sha256: str) -> None:
    """Download a file whose digest is known.

    A target that is sound is left alone. A ``.part`` file beside it, from an earlier try, is continued where the server
    allows it.

    Args:
        url: Where the file is published.
        target: Where to put it.
        sha256: Its SHA-256 digest, in hexadecimal.

    Raises:
        UsageError: Where the file cannot be fetched or written, or is not the expected one.
    """
    part = target.with_name(target.name + ".part")
    try:
        if _digest(target) == sha256:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _log.info("fetching %s", url)
        if _digest(part) != sha256:  # a complete part is there where only the renaming was cut off
            resumed = _transfer(url, part)
            # Old bytes may be of another file (or spoiled): they get one second chance from the start.
            if resumed and _digest(part) != sha256:
                part.unlink()
                _transfer(url, part)
        if _digest(part) != sha256:
            part.unlink()
            raise UsageError(f"{url} is not the expected file (its SHA-256 differs); nothing was kept, try again later")
        os.replace(part, target)
    except urllib.error.HTTPError as error:
        error.close()
        raise UsageError(f"{url} cannot be fetched: the server answers {error.code} {error.reason}") from None
    except http.client.IncompleteRead:
        raise UsageError(f"{url} broke off; try again, and what came will be continued ({part.name})") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        host = urllib.parse.urlsplit(url).netloc
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise UsageError(
            f"{host} cannot be reached for {url} ({reason}); try again online, or put the file at {target}"
        ) from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _transfer(url: str, part: Path) -> bool:
    """Append to part what the server sends beyond it, or write it anew; True where old bytes were kept."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "pyro-dsvae"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        error.close()
        part.unlink()  # it is longer than the file: worth nothing
        return _transfer(url, part)
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        expected = response.headers.get("Content-Length")
        received = 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(1 << 16):
                file.write(chunk)
                received += len(chunk)
    # read(n) ends quietly where the connection breaks off; what came stays for the next try.
    if expected is not None and received < int(expected):
        raise http.client.IncompleteRead(b"", int(expected) - received)
    return resumed
