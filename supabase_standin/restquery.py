"""Reads the query language of the data API, the part that is spoken to one table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from psycopg import sql
from werkzeug.wrappers import Request

TABLE: Final = sql.Identifier("users")
#: Parameters that are no filters.
RESERVED: Final = frozenset(("select", "order", "limit", "offset", "columns", "apikey"))
COLUMN: Final = re.compile(r"(?:([\w ]+):)?(\w+)")
ORDER: Final = re.compile(r"(\w+)(?:\.(asc|desc))?(?:\.(nullsfirst|nullslast))?")

#: Operator → its SQL.
OPERATORS: Final[Mapping[str, str]] = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "like",
    "ilike": "ilike",
}
#: What ``is.`` can compare with.
STATES: Final[Mapping[str, str]] = {
    "null": "is null",
    "not_null": "is not null",
    "true": "is true",
    "false": "is false",
    "unknown": "is unknown",
}
ORDERINGS: Final[Mapping[str, str]] = {
    "asc": " asc",
    "desc": " desc",
    "nullsfirst": " nulls first",
    "nullslast": " nulls last",
    "": "",
}


class Unparsable(Exception):
    """The query is not understood."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A request's query in SQL, with the values apart.

    Attributes:
        columns: What to select or return.
        where: The condition, with the keyword; empty without filters.
        order: The order, with the keyword; empty without one.
        limit: How many rows at most; None for all.
        offset: How many rows to skip.
        values: The values of the filters, in order.
        wants_count: Whether the total is to be counted.
        wants_rows: Whether changed rows are to be returned.
        wants_single: Whether exactly one row is expected, as an object.
    """

    columns: sql.Composable
    where: sql.Composable
    order: sql.Composable
    limit: int | None
    offset: int
    values: list[str]
    wants_count: bool
    wants_rows: bool
    wants_single: bool

    @property
    def slice(self) -> sql.Composable:
        """Return limit and offset as SQL."""
        limit = sql.SQL("") if self.limit is None else sql.SQL(" limit {}").format(self.limit)
        return sql.SQL("{} offset {}").format(limit, self.offset)


def parse(request: Request) -> Query:
    """Return what *request* asks for.

    Raises:
        Unparsable: A part of it is outside the language spoken here.
    """
    filters = list(_filters(request))
    offset, limit = _range(request)
    wishes = request.headers.get("Prefer", "")
    return Query(
        columns=_columns(request.args.get("select", "*")),
        where=_where([condition for condition, _ in filters]),
        order=_order(request.args.get("order", "")),
        limit=limit,
        offset=offset,
        values=[value for _, values in filters for value in values],
        wants_count="count=" in wishes,
        wants_rows="return=representation" in wishes,
        wants_single="application/vnd.pgrst.object+json" in request.headers.get("Accept", ""),
    )


def _columns(text: str) -> sql.Composable:
    return sql.SQL(", ").join([_column(part.strip()) for part in text.split(",")])


def _column(text: str) -> sql.Composable:
    if text in {"*", ""}:
        return sql.SQL("{}.*").format(TABLE)
    found = COLUMN.fullmatch(text)
    if found is None:
        raise Unparsable(f'"failed to parse select parameter ({text})" (line 1, column 1)')
    alias, name = found.groups()
    column = sql.Identifier("users", name)
    return sql.SQL("{} as {}").format(column, sql.Identifier(alias)) if alias else column


def _filters(request: Request) -> Iterator[tuple[sql.Composable, list[str]]]:
    for name, text in request.args.items(multi=True):
        if name not in RESERVED:
            yield _filter(name, text)


def _filter(name: str, text: str) -> tuple[sql.Composable, list[str]]:
    is_negated, rest = text.startswith("not."), text.removeprefix("not.")
    operator, _, value = rest.partition(".")
    column = sql.Identifier("users", name)
    if operator in OPERATORS:
        condition = sql.SQL("{} {} %s").format(column, sql.SQL(OPERATORS[operator]))
        values = [value.replace("*", "%") if "like" in operator else value]
    elif operator == "is" and value.lower() in STATES:
        condition, values = sql.SQL("{} {}").format(column, sql.SQL(STATES[value.lower()])), []
    elif operator == "in" and value.startswith("(") and value.endswith(")"):
        values = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^,"]+)', value[1:-1])]
        places = sql.SQL(", ").join(sql.Placeholder() * len(values)) if values else sql.SQL("null")
        condition = sql.SQL("{} in ({})").format(column, places)
    else:
        raise Unparsable(f'"failed to parse filter ({text})" (line 1, column 1)')
    return (sql.SQL("not ({})").format(condition) if is_negated else condition), values


def _where(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL(" where ") + sql.SQL(" and ").join(conditions) if conditions else sql.SQL("")


def _order(text: str) -> sql.Composable:
    terms = [_order_term(part.strip()) for part in text.split(",") if part.strip()]
    return sql.SQL(" order by ") + sql.SQL(", ").join(terms) if terms else sql.SQL("")


def _order_term(text: str) -> sql.Composable:
    found = ORDER.fullmatch(text)
    if found is None:
        raise Unparsable(f'"failed to parse order ({text})" (line 1, column 1)')
    name, direction, nulls = found.groups(default="")
    return sql.SQL("{}{}{}").format(
        sql.Identifier("users", name), sql.SQL(ORDERINGS[direction]), sql.SQL(ORDERINGS[nulls])
    )


def _range(request: Request) -> tuple[int, int | None]:
    """Return how many rows to skip and how many to give; parameters go before the header."""
    from_header = re.fullmatch(r"(\d+)-(\d*)", request.headers.get("Range", ""))
    first, last = from_header.groups() if from_header else ("0", "")
    limit = int(last) - int(first) + 1 if last else None
    try:
        offset = int(request.args.get("offset", first))
        limit = int(request.args["limit"]) if "limit" in request.args else limit
    except ValueError as error:
        raise Unparsable(str(error)) from error
    return max(offset, 0), None if limit is None else max(limit, 0)
