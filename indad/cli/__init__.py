"""The command line: words, commands, bars and menus."""

from .commands import COMMANDS, InputError, main

__all__ = ["COMMANDS", "InputError", "main"]
