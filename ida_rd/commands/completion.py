"""``ida-rd completion``."""

from __future__ import annotations

import argparse

PLACE = 110
ABOUT = "print what makes a shell complete commands and options"
EXAMPLES = """\
examples:
  source <(ida-rd completion bash)               in ~/.bashrc, to keep it
  source <(ida-rd completion zsh)                in ~/.zshrc, after compinit"""

ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
# What an option or a place takes is, where it is no choice of words, a file: the shell's own completion.
BASH = """\
_ida_rd() {{
    local words
    case "${{COMP_WORDS[1]}}" in
{cases}
    *) words="" ;;
    esac
    [ "$COMP_CWORD" = 1 ] && words="{commands}"
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o bashdefault -o default -F _ida_rd ida-rd"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh"])


def run(options: argparse.Namespace) -> None:
    cases = [f'    {name}) words="{" ".join(words)}" ;;' for name, words in _words().items()]
    script = BASH.format(cases="\n".join(cases), commands=" ".join(_words()))
    print(ZSH + script if options.shell == "zsh" else script)


def _words() -> dict[str, list[str]]:
    """Options of every command, and the words that its places take."""
    from ida_rd.commands import commands

    found = {}
    for name, module in commands().items():
        parser = argparse.ArgumentParser(prog=name)
        module.add_arguments(parser)
        words = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
        places = [action for action in parser._actions if not action.option_strings and action.choices]
        found[name] = sorted(words) + [str(word) for action in places for word in action.choices or ()]
    return found
