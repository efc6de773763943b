"""``rtcio-sync cluster status``: the nodes of a cluster, as its Redis knows them."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import click

from ..errors import OptionError

__all__ = ["cluster"]


@click.group(help="Look at the servers that share a Redis.")
def cluster() -> None:
    """Has subcommands."""


@cluster.command("status", help="List the workers of all hosts that use the Redis at URL.")
@click.argument("url", envvar="RTCIO_CLUSTER")
@click.option("--prefix", default="rtcio", show_default=True, help="The option cluster_prefix.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def status(context: click.Context, url: str, prefix: str, as_json: bool) -> None:
    """Exits with 1 if Redis does not answer, or refuses, or a node was not heard for a while."""
    from ..cluster.redis_addresses import client, failures, refuses
    from ..cluster.redis_faults import described
    from ..cluster.redis_survey import survey

    try:
        make = client(url)
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    try:
        found = survey(make(), prefix)
    except failures() as error:
        how = "refuses" if refuses(error) else "does not answer"
        raise click.ClickException(f"Redis {how}: {described(str(error))}") from None
    if as_json:
        rows = [{**dataclasses.asdict(each), "stale": each.stale} for each in found]
        click.echo(json.dumps({"nodes": rows}, indent=2))
    elif not found:
        click.echo("no nodes")
    else:
        click.echo(_table(found))
    context.exit(1 if any(each.stale for each in found) else 0)


_COLUMNS = ("node", "host", "age", "last beat", "sessions", "rooms", "inbox", "bytes", "protocol")


def _table(found: list[Any]) -> str:
    now = time.time()
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for each in found:
        beat = "never" if each.silent is None else f"{each.silent:.1f} s"
        row: tuple[Any, ...] = (
            each.node, each.host[:8], _spelt(now - each.born), beat + (" !" if each.stale else ""),
            each.sessions, each.rooms, *map(_known, (each.inbox, each.inbox_bytes)), each.version,
        )  # fmt: skip
        rows.append(tuple(str(value) for value in row))
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    sums = f"{len(found)} workers on {len({each.host for each in found})} hosts"
    return "\n".join([*lines, sums])


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _spelt(seconds: float) -> str:
    rest = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if rest >= size:
            return f"{rest // size} {unit}"
    return f"{rest} s"
