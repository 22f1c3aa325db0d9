"""``dafm completion``: a script for bash, zsh or fish: commands, options, names of plugins."""

from __future__ import annotations

import argparse

EXAMPLES = {
    "completion": "examples:\n"
    '  eval "$(dafm completion bash)"                  # in ~/.bashrc\n'
    '  eval "$(dafm completion zsh)"                   # in ~/.zshrc\n'
    "  dafm completion fish > ~/.config/fish/completions/dafm.fish",
}

_BASH = """
_dafm() {{
  local command=${{COMP_WORDS[1]}} current=${{COMP_WORDS[COMP_CWORD]}}
  local before=${{COMP_WORDS[COMP_CWORD-1]}} words= first=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "$before" in
{names}
      *) case "$command" in
{options}
      esac ;;
    esac
  fi
  case "$words,$current" in ?*,*,*) first=${{current%,*}}, ;; esac  # the last of a list
  COMPREPLY=( $(compgen -W "$words" -P "$first" -- "${{current#"$first"}}") )
}}
complete -o default -F _dafm dafm
""".lstrip()
_ZSH = "autoload -Uz compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    print((_fish() if args.shell == "fish" else _bash(zsh=args.shell == "zsh")).rstrip())


def _bash(*, zsh: bool) -> str:
    """Return a function for bash; zsh takes the same after two lines."""
    values = _values()
    names = [f'      {flags}) words="{" ".join(names)}" ;;' for flags, names in values.items()]
    options = [
        f'        {command}) words="{" ".join(words)}" ;;' for command, words in _words().items()
    ]
    script = _BASH.format(
        commands=" ".join(_words()), names="\n".join(names), options="\n".join(options)
    )
    return (_ZSH if zsh else "") + script


def _fish() -> str:
    """Return a line for each command, option and list of names."""
    from dafm_core.cli.main import COMMANDS

    lines = ["complete -c dafm -e"]
    for command, (_, summary) in COMMANDS.items():
        quoted = summary.replace("'", "\\'")
        lines.append(f"complete -c dafm -f -n __fish_use_subcommand -a {command} -d '{quoted}'")
    for command, words in _words().items():
        seen = f"'__fish_seen_subcommand_from {command}'"
        longs = [word.removeprefix("--") for word in words if word.startswith("--")]
        lines += [f"complete -c dafm -n {seen} -l {word}" for word in longs]
        others = [word for word in words if not word.startswith("-")]
        if others:
            lines.append(f"complete -c dafm -n {seen} -a '{' '.join(others)}'")
    for flags, names in _values().items():
        for flag in flags.split("|"):
            word, given = flag.removeprefix("--"), " ".join(names)
            given = f"(__fish_append , {given})" if word.endswith("s") else given  # a list
            lines.append(f"complete -c dafm -l {word} -x -a '{given}'")
    return "\n".join(lines)


def _words() -> dict[str, list[str]]:
    """Return, for each command, its options and what its arguments can be."""
    from dafm_core.catalog import PluginCatalog
    from dafm_core.cli.main import COMMANDS, build_parser

    catalog = PluginCatalog.discover()
    known = {
        "providers": list(catalog.providers),
        "fusers": list(catalog.fusers),
        "datasets": list(catalog.datasets),
        "plugins": [plugin.name for plugin in catalog.plugins],
        "score": list(catalog.datasets),
        "check": [*catalog.providers, *catalog.fusers, *catalog.datasets],
        "index": list(catalog.datasets),
    }
    found = {}
    for command in COMMANDS:
        actions = build_parser(command)._actions
        choices = [str(c) for a in actions if not a.option_strings for c in a.choices or ()]
        longs = [o for a in actions for o in a.option_strings if o.startswith("--")]
        found[command] = [*choices, *known.get(command, ()), *longs]
    return found


def _values() -> dict[str, list[str]]:
    """Return what may follow an option, by the option's names as a pattern of the shell."""
    from dafm_core.catalog import PluginCatalog
    from dafm_core.cli.main import COMMANDS, build_parser

    catalog = PluginCatalog.discover()
    splits = {split for info in catalog.datasets.values() for split in info.splits}
    values = {
        "--provider|--providers|--base": list(catalog.providers),
        "--fuser|--fusers": list(catalog.fusers),
        "--dataset|--images": list(catalog.datasets),
        "--split": sorted(splits),
    }
    for action in (action for command in COMMANDS for action in build_parser(command)._actions):
        for flag in action.option_strings if action.choices else ():
            known = values.setdefault(flag, [])
            known += [str(choice) for choice in action.choices or () if str(choice) not in known]
    return values
