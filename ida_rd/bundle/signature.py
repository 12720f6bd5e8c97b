"""Signatures of bundles, by OpenSSH: ``SHA256SUMS.sig`` signs ``SHA256SUMS``, which has the hash of every other file.

A signature says who published a bundle, and nothing of whether its numbers are right.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ida_rd.bundle.folder import SIGNATURE, SUMS, Bundle, refusal
from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import write_bytes
from ida_rd.core.software import MissingSoftware
from ida_rd.core.temporary import run_files

__all__ = ["NAMESPACE", "Signed", "check_key", "check_signature", "sign"]

NAMESPACE = "ida-rd"  # a signature made for something else is none of a bundle
GOOD = re.compile(r'Good "ida-rd" signature for .* with (\S+) key (SHA256:\S+)')
TIME_LIMIT_S = 60


@dataclass(frozen=True)
class Signed:
    """Who signed a bundle.

    Attributes
    ----------
    identity : str
        As the file of allowed signers calls the key.
    key : str
        Kind and fingerprint.
    """

    identity: str
    key: str


def check_key(key: Path) -> None:
    """Refuse a key that cannot be used, before anything else is done."""
    _program("--sign")
    if not key.is_file():
        raise UserError(
            f"--sign {key}: there is no such file: give an SSH key, such as ~/.ssh/id_ed25519 (or, where an agent has"
            " the key, its .pub)"
        )


def sign(folder: Path, key: Path) -> None:
    """Sign the checksums in a folder; a passphrase is asked for where the key has one.

    Raises
    ------
    UserError
        No such key, or OpenSSH cannot use it.
    """
    check_key(key)
    (folder / SIGNATURE).unlink(missing_ok=True)
    command = [_program("--sign"), "-Y", "sign", "-f", str(key.resolve()), "-n", NAMESPACE, str(folder / SUMS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / SIGNATURE).is_file():
        raise UserError(f"--sign {key}: OpenSSH could not sign with it ({_last(done)})")


def check_signature(bundle: Bundle, signers: str) -> Signed:
    """Check who signed a bundle's checksums, as they were read.

    Parameters
    ----------
    bundle : Bundle
        Its checksums must have been compared with its files already.
    signers : str
        File of allowed signers, as ``ssh-keygen`` and git read it; after a comma, the identity that it must be.

    Raises
    ------
    Refused
        No signature, or none by these signers of these checksums.
    UserError
        No such file, or no ``ssh-keygen``.
    """
    program = _program("--signer")
    allowed, wanted = _signers(signers)
    if SIGNATURE not in bundle.files:
        raise refusal(bundle.root, [f"it is not signed: it has no {SIGNATURE}"])
    with run_files() as folder:  # what was read is what is checked
        signature = folder / SIGNATURE
        write_bytes(signature, bundle.bytes(SIGNATURE))
        files = ["-s", str(signature), "-f", str(allowed)]
        names = [wanted] if wanted else _principals([program, "-Y", "find-principals", *files])
        if not names:
            raise refusal(bundle.root, [f"{SIGNATURE} is by none of the signers in {allowed}"])
        said = ""
        for name in names:
            done = _run([program, "-Y", "verify", *files, "-I", name, "-n", NAMESPACE], bundle.bytes(SUMS))
            said = _last(done)
            if not done.returncode and (good := GOOD.search(done.stdout)):
                return Signed(name, f"{good[1]} {good[2]}")
    by = f"by {' or '.join(names)}"
    raise refusal(bundle.root, [printable(f"{SIGNATURE} is no valid signature of {SUMS} {by} ({said})")])


def _signers(text: str) -> tuple[Path, str]:
    path, comma, identity = text.rpartition(",")
    if not comma or Path(text).is_file():
        path, identity = text, ""
    allowed = Path(path).expanduser()
    if not allowed.is_file():
        raise UserError(
            f"--signer {text}: there is no file {path}: give a file of allowed signers, with a line such as"
            " `me@example.org ssh-ed25519 AAAA...` for each"
        )
    if comma and path != text and not identity:
        raise UserError(f"--signer {text}: there is no identity after the comma")
    return allowed.resolve(), identity


def _principals(command: list[str]) -> list[str]:
    done = _run(command, b"")
    return done.stdout.splitlines() if not done.returncode else []


def _program(option: str) -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise MissingSoftware(f"{option}: ssh-keygen is not installed: install OpenSSH (Debian: openssh-client)")
    return found


def _run(command: list[str], message: bytes) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(command, input=message, capture_output=True, check=False, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"--signer: ssh-keygen did not end within {TIME_LIMIT_S} s") from None
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return printable((lines or ["no message"])[-1])[:300]
