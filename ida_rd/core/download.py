"""Download one file whose hash is known, by https, within its size and a time limit."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path
from ida_rd.core.foreign import reason

__all__ = ["NotDownloaded", "download_file"]

SCHEMES = ("https",)
STALLED_S = 15  # without a byte
LONGEST_S = 2 * 3600
LARGEST = 2 * 2**30  # bytes of a file whose size is not known
BLOCK = 1 << 20


class NotDownloaded(Exception):
    """The server or the network gave something else than the file; says what."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to https alone."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download_file(address: str, target: Path, sha256: Sequence[str], size: int | None, *, label: str) -> None:
    """Download to `target`, which is written whole and verified, or not at all.

    Parameters
    ----------
    address : str
    target : Path
    sha256 : sequence of str
        Accepted hashes of the whole file.
    size : int or None
        Its bytes; None: at most `LARGEST`.
    label : str
        For the progress bar.

    Raises
    ------
    NotDownloaded
        It is not there, larger, takes too long, or the connection fails.
    UserError
        It arrived, and is another file.
    """
    digest, count, limit, end = hashlib.sha256(), 0, size or LARGEST, time.monotonic() + LONGEST_S
    with _opened(address) as response:
        if (said := response.headers.get("Content-Length", "")).isdecimal() and int(said) > limit:
            raise NotDownloaded(f"it would have {int(said):,} bytes, more than {limit:,}")
        with (
            atomic_path(target) as partial,
            partial.open("wb") as file,
            tqdm(total=size, desc=f"download {label}", unit="B", unit_scale=True, disable=None) as bar,
        ):
            while block := _read(response):
                count += len(block)
                if count > limit:
                    raise NotDownloaded(f"it has more than {limit:,} bytes")
                if time.monotonic() > end:
                    raise NotDownloaded(f"it takes more than {LONGEST_S:,} seconds")
                file.write(block)
                digest.update(block)
                bar.update(len(block))
            if digest.hexdigest() not in sha256:
                raise UserError(
                    f"{address}: the download's sha256 {digest.hexdigest()} is not the expected one; it was not kept"
                )


def _check_scheme(address: str) -> None:
    if address.partition(":")[0].lower() not in SCHEMES:
        raise urllib.error.URLError(f"an address that is not https: {address}")


def _opened(address: str) -> Any:
    try:
        _check_scheme(address)
        return urllib.request.build_opener(_Redirects).open(address, timeout=STALLED_S)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotDownloaded(reason(error)) from None


def _read(response: Any) -> bytes:
    """What has arrived; a server that sends byte by byte is not waited for."""
    try:
        return response.read1(BLOCK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotDownloaded(reason(error)) from None
