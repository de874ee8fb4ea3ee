"""A command's help with its commands grouped by what one does."""

from __future__ import annotations

import click


class Grouped(click.Group):
    """A group that lists its commands under headings, in the order in which they were added."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.headings: dict[str, list[str]] = {}

    def add(self, heading: str, *commands: click.Command) -> None:
        """Add commands under a heading."""
        for command in commands:
            self.add_command(command)
            self.headings.setdefault(heading, []).append(str(command.name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.headings.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for heading, names in self.headings.items():
            shown = [self.commands[name] for name in names if not self.commands[name].hidden]
            with formatter.section(heading):
                formatter.write_dl([(str(command.name).ljust(width), command.get_short_help_str(formatter.width)) for command in shown])
