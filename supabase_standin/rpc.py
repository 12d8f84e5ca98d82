"""Functions of the schema ``public``, called through the data API: ``POST /rest/v1/rpc/<name>``, arguments by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from supabase_standin.resterrors import RestFailure

#: What PostgREST calls first in each request: a setting of its own role, best for this database.
_PRE_REQUEST: Final = """
select split_part(one, '=', 2) from pg_db_role_setting s, unnest(s.setconfig) one
where s.setrole = 'authenticator'::regrole and one like 'pgrst.db\\_pre\\_request=%'
  and s.setdatabase in (0, (select d.oid from pg_database d where d.datname = current_database()))
order by s.setdatabase desc limit 1
"""

#: The functions of one name: arguments with their types, how many of the last ones have defaults, what comes back.
_FUNCTIONS: Final = """
select coalesce(p.proargnames[1:p.pronargs], '{}'),
       array(select format_type(t, null) from unnest(p.proargtypes) with ordinality x (t, n) order by n),
       p.pronargdefaults, p.proretset, p.prorettype = 'void'::regtype
from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname = %s and p.prokind = 'f'
"""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that can be called.

    Attributes:
        name: Its name.
        types: Name of an argument → its type.
        needed: The arguments without a default.
        is_set: Whether it gives any number of results.
        is_void: Whether it gives nothing.
    """

    name: str
    types: Mapping[str, str]
    needed: Collection[str]
    is_set: bool
    is_void: bool


def before_request(connection: psycopg.Connection) -> None:
    """Call the function that is to run before each request, if one is set.

    Raises:
        psycopg.Error: The function refuses the request, or is not there.
    """
    row = connection.execute(_PRE_REQUEST.encode()).fetchone()
    if row is not None and row[0]:
        name = sql.Identifier(*str(row[0]).split(".", 1))
        connection.execute(sql.SQL("select {}()").format(name), prepare=False)


def call(connection: psycopg.Connection, name: str, given: Mapping[str, Any]) -> str | None:
    """Call a function and return its result as JSON; None for a function that gives nothing.

    Raises:
        RestFailure: There is no function that takes these arguments.
    """
    function = _find(connection, name, given)
    target = sql.Identifier("public", name)
    values = sql.SQL(", ").join([sql.SQL("{0} => given.{0}").format(sql.Identifier(one)) for one in given])
    fields = [sql.SQL("{} ").format(sql.Identifier(one)) + sql.SQL(function.types[one]) for one in given]
    source = sql.SQL("json_to_record(%s) as given({})").format(sql.SQL(", ").join(fields)) if given else sql.SQL("")
    called = sql.SQL("{}{}({})").format(sql.SQL(", lateral ") if given else sql.SQL(""), target, values)
    statement = sql.SQL("select {}::text from {}{} as f").format(_shown(function), source, called)
    row = connection.execute(statement, [json.dumps(given)] if given else [], prepare=False).fetchone()
    return None if function.is_void or row is None else str(row[0] if row[0] is not None else "null")


def _shown(function: Function) -> sql.SQL:
    """Return the expression that turns the results into one JSON value."""
    if function.is_void:
        return sql.SQL("null")
    return sql.SQL("coalesce(json_agg(f), '[]')" if function.is_set else "to_json(f)")


def _find(connection: psycopg.Connection, name: str, given: Mapping[str, Any]) -> Function:
    for names, types, defaults, is_set, is_void in connection.execute(_FUNCTIONS.encode(), [name]):
        needed = names[: len(names) - defaults]
        if set(needed) <= given.keys() <= set(names):
            return Function(
                name=name,
                types=dict(zip(names, types, strict=True)),
                needed=needed,
                is_set=is_set,
                is_void=is_void,
            )
    arguments = ", ".join(sorted(given))
    said = f"with parameters {arguments}" if given else "without parameters"
    raise RestFailure(
        404,
        "PGRST202",
        f"Could not find the function public.{name}{f'({arguments})' if given else ''}"
        f"{'' if given else ' without parameters'} in the schema cache",
        details=f"Searched for the function public.{name} {said}, but no matches were found in the schema cache.",
    )
