"""A group of commands that says what was probably meant."""

from __future__ import annotations

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
