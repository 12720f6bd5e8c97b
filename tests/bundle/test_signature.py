"""Bundles that are signed by OpenSSH: by whom, and that nothing was changed since."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import run

from ida_rd.bundle.folder import SIGNATURE, SUMS, Bundle, Refused
from ida_rd.bundle.publish import write_checksums
from ida_rd.bundle.signature import check_signature, sign
from ida_rd.bundle.verify import verify
from ida_rd.commands import main
from ida_rd.core.errors import UserError

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (Debian: openssh-client)")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of Ann and Bob, and files of allowed signers."""
    folder = tmp_path_factory.mktemp("keys")
    public = {}
    for name in ("ann", "bob"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(make, check=True)
        public[name] = f"{name}@example.org {(folder / name).with_suffix('.pub').read_text()}"
    (folder / "both").write_text("".join(public.values()))
    (folder / "bob-alone").write_text(public["bob"])
    return folder


@pytest.fixture(scope="module")
def signed(finished: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that Ann published and signed."""
    folder = tmp_path_factory.mktemp("signed")
    shutil.copytree(finished, folder / "run", symlinks=True)
    out = run("ida-rd", "publish", "../bundle", "--sign", str(keys / "ann"), "--json", cwd=folder / "run").stdout
    assert json.loads(out)["signed"] is True
    return folder / "bundle"


@pytest.fixture
def bundle(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "bundle"))


def _refused(folder: Path, signers: str) -> str:
    with pytest.raises(UserError) as refusal:
        check_signature(Bundle(folder), signers)
    assert len(str(refusal.value).splitlines()) == 1
    return str(refusal.value)


def test_verify_says_who_signed_it_and_openssh_alone_agrees(
    signed: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["verify", str(signed), "--signer", str(keys / "both")])
    said = capsys.readouterr().out.splitlines()
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(keys / "ann.pub")], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    assert said[1] == f"signed by ann@example.org (ED25519 {fingerprint})"
    main(["verify", str(signed), "--json", "--signer", f"{keys / 'both'},ann@example.org"])
    assert json.loads(capsys.readouterr().out)["signer"] == {
        "identity": "ann@example.org",
        "key": f"ED25519 {fingerprint}",
    }
    main(["verify", str(signed)])
    assert "by whom was not asked: see --signer" in capsys.readouterr().out
    command = ["ssh-keygen", "-Y", "verify", "-f", str(keys / "both"), "-I", "ann@example.org", "-n", "ida-rd"]
    subprocess.run([*command, "-s", str(signed / SIGNATURE)], input=(signed / SUMS).read_bytes(), check=True)


def test_another_signer_or_none_is_refused(bundle: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{SIGNATURE} is by none of the signers in" in _refused(bundle, str(keys / "bob-alone"))
    assert "no valid signature of SHA256SUMS by bob@example.org" in _refused(bundle, f"{keys / 'both'},bob@example.org")
    (bundle / SIGNATURE).unlink()
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(bundle), "--signer", str(keys / "both")])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {bundle} is refused: it is not signed: it has no {SIGNATURE}\n"


def test_a_flipped_byte_is_refused_even_where_the_checksums_were_made_to_fit(bundle: Path, keys: Path) -> None:
    figure = next((bundle / "figures").glob("*.pdf"))  # the page has copies of the PNG
    content = bytearray(figure.read_bytes())
    content[-1] ^= 1
    figure.write_bytes(bytes(content))
    with pytest.raises(Refused, match="its checksum differs"):
        verify(bundle)
    write_checksums(bundle)
    checked = verify(bundle)  # the publisher alone could know
    with pytest.raises(Refused, match=f"{SIGNATURE} is no valid signature of {SUMS} by ann@example.org"):
        check_signature(checked.bundle, str(keys / "both"))
    sign(bundle, keys / "ann")
    assert check_signature(verify(bundle).bundle, str(keys / "both")).identity == "ann@example.org"
    signature = bytearray((bundle / SIGNATURE).read_bytes())
    signature[len(signature) // 2] = ord("A") if signature[len(signature) // 2] != ord("A") else ord("B")
    (bundle / SIGNATURE).write_bytes(bytes(signature))
    _refused(bundle, str(keys / "both"))


def test_a_signature_for_something_else_is_none(bundle: Path, keys: Path) -> None:
    (bundle / SIGNATURE).unlink()
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / "ann"), "-n", "git", str(bundle / SUMS)]
    subprocess.run(command, check=True, capture_output=True)
    assert "no valid signature" in _refused(bundle, str(keys / "both"))


def test_what_is_missing_is_named_in_one_line(
    bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "there is no file nowhere" in _refused(bundle, "nowhere,ann@example.org")
    assert "no identity after the comma" in _refused(bundle, f"{keys / 'both'},")
    with pytest.raises(UserError, match="there is no such file: give an SSH key"):
        sign(bundle, tmp_path / "nokey")
    (tmp_path / "odd").write_text("not a key\n")
    (tmp_path / "odd").chmod(0o600)
    with pytest.raises(UserError, match="OpenSSH could not sign with it"):
        sign(bundle, tmp_path / "odd")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh-keygen is not installed" in _refused(bundle, str(keys / "both"))
