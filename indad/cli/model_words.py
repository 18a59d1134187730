"""The options of a model as words, made from the one table of them, `presets.OPTIONS`.

What is not given is left out of what the parser returns, so that the preset's value stays.
"""

import argparse
from collections.abc import Collection, Mapping
from typing import Any

from ..data.arguments import as_word
from ..presets import OPTIONS

# The headings of `--help`, in its order.
GROUPS = {"photos": "what of a photo is looked at, and at which size",
          "features": "what describes a patch", "memory": "which patches are remembered",
          "scores": "what distances mean, for images and in maps",
          "verdicts": "where the threshold lies", "machine": "where it is computed, and how"}
PRESET = ("Of a model's options, in groups below, what is not given is the preset's; the defaults "
          "are those of the preset `default`; the word none takes away what a preset has.")
SEVERAL = ("They take several values here, and all combinations are run: `--num-neighbors 1 3` are "
           "two. A value of several numbers has commas in it: `--layers 2,3 3` are two as well, "
           "and so are `--squared --no-squared`.")


class Value(argparse.Action):
    """One value of an option, or in a sweep several, each a word; read and checked by its rule."""

    sweep = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 words: Any, option_string: str | None = None) -> None:
        rule = OPTIONS[self.dest].rule
        if self.sweep:
            setattr(namespace, self.dest, [rule.from_word(self.dest, word) for word in words])
        else:
            word = words if isinstance(words, str) else ",".join(words)
            setattr(namespace, self.dest, rule.from_word(self.dest, word))


class Values(Value):
    sweep = True


class Flag(argparse.Action):
    """--name or --no-name; in a sweep both may be given."""

    sweep = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 words: Any, option_string: str | None = None) -> None:
        value = not str(option_string).startswith("--no-")
        before = getattr(namespace, self.dest, []) if self.sweep else None
        setattr(namespace, self.dest, value if before is None else [*before, value])


class Flags(Flag):
    sweep = True


def add_options(parser: argparse.ArgumentParser, *, without: Collection[str] = (),
                several: bool = False, single: Collection[str] = (),
                defaults: Mapping[str, Any] | None = None) -> None:
    """Add a word for each option, under its heading.

    Args:
        without: options that this command has no use for.
        several: a sweep, in which all options but those in `single` take several values.
        defaults: the command's own, in place of the table's.
    """
    parser.description = " ".join(filter(None, [
        parser.description, PRESET, SEVERAL if several else ""]))
    for heading, meaning in GROUPS.items():
        group = parser.add_argument_group(f"{heading} ({meaning})")
        for name, option in OPTIONS.items():
            if option.group == heading and name not in without:
                _add(group, name, several and name not in single, defaults or {})


def _add(group: argparse._ArgumentGroup, name: str, sweep: bool,
         defaults: Mapping[str, Any]) -> None:
    option, word = OPTIONS[name], name.replace("_", "-")
    default = defaults.get(name, option.default)
    text = f"{option} (default: {as_word(default)})".replace("%", "%%")
    kept = default if name in defaults else argparse.SUPPRESS
    if isinstance(option.default, bool):
        group.add_argument(f"--{word}", f"--no-{word}", dest=name, nargs=0, help=text,
                           default=kept, action=Flags if sweep else Flag)
    else:
        group.add_argument(f"--{word}", help=text, default=kept, metavar=option.rule.written,
                           nargs="+" if sweep or option.rule.listed else None,
                           action=Values if sweep else Value)


def model_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of a model's options, in the order of the table."""
    return {name: getattr(options, name) for name in OPTIONS if hasattr(options, name)}


def words_of(options: Mapping[str, Any]) -> list[str]:
    """The words that say these options, such as those of a preset."""
    words: list[str] = []
    for name, value in options.items():
        word = name.replace("_", "-")
        words += ([f"--{'' if value else 'no-'}{word}"] if isinstance(value, bool)
                  else [f"--{word}", as_word(value)])
    return words
