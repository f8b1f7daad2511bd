"""Explicit tables of named parts: losses, metrics, games, data sources."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar('T')


def look_up(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of `table` called `name`; `what` says what the table holds ('metric', 'loss')."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f'; did you mean {near[0]!r}?' if near else '.'
    raise ValueError(f'unknown {what} {name!r}{hint} Known: {", ".join(sorted(table))}.')
