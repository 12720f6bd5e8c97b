"""``docs/cli.md`` says what the commands are; a shell completes them."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

from ida_rd.commands import commands, main
from ida_rd.inventory import PROGRAMS

TEXT = (ROOT / "docs/cli.md").read_text()


def test_the_table_has_every_command_in_the_order_of_the_help_with_what_it_does_and_prints() -> None:
    rows = re.findall(r"^\| `ida-rd ([a-z]+)` \| (.+?) \| (yes|no) \|", TEXT, re.MULTILINE)
    wanted = []
    for name, module in commands().items():
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        prints = "yes" if "--json" in parser.format_help() else "no"
        wanted.append((name, module.ABOUT, prints))
    order = [name for name, _, _ in wanted]
    assert sorted(rows, key=lambda row: order.index(row[0])) == wanted
    assert [name for name, _, _ in rows] == order


def test_the_extras_of_the_document_are_those_of_the_package() -> None:
    import tomllib

    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    section = TEXT.partition("## What is installed")[2].partition("\n## ")[0]
    assert set(re.findall(r"\[(\w+)\]", section)) == extras - {"dev"}
    assert "pip install 'ida-rd[pipeline]'" in PROGRAMS["dvc"]


def _complete(script: str, *words: str) -> list[str]:
    typed = " ".join(f"'{word}'" for word in words)
    ask = f'COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _ida_rd; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "--norc"], input=f"{script}\n{ask}\n", capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_shell_completes_commands_options_and_fixed_words(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    script = capsys.readouterr().out
    assert _complete(script, "ida-rd", "") == list(commands())
    assert _complete(script, "ida-rd", "pu") == ["publish"]
    assert _complete(script, "ida-rd", "score", "--hr", "photos", "--down") == ["--downscaler"]
    assert _complete(script, "ida-rd", "list", "d") == ["downscale", "distort"]
    assert _complete(script, "ida-rd", "nonsense", "") == []
    main(["completion", "zsh"])
    assert capsys.readouterr().out.endswith(script)
