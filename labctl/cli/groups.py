"""Groups of commands: one that says what was probably meant, and one that imports a command when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class HelpfulGroup(click.Group):
    """Where a command is not known, names those that are spelt alike, or all there are."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as problem:
            from difflib import get_close_matches  # only a mistake pays for it

            known = self.list_commands(ctx)
            near = get_close_matches(args[0], known)
            meant = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
            raise click.UsageError(f"{problem.message} {meant}", ctx) from None


class LazyGroup(HelpfulGroup):
    """A group that knows its commands' names and one-line helps without importing them.

    lazy: name to (`module:attribute`, one-line help).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._lazy:
            return None
        module, _, name = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])
