"""Profile rows, read and written by Supabase's data API with the user's own token: row level security applies."""

from __future__ import annotations

import functools
import importlib
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from velro_auth.auth.models import Profile
from velro_auth.errors import TokenInvalid, UpstreamThrottled, UpstreamUnavailable, WrongAnswer
from velro_auth.upstream.answers import content, demand
from velro_auth.upstream.transport.transport import Reply, Transport

if TYPE_CHECKING:
    import httpx
    import supabase

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_SERVER_CLASS: Final = 500

logger = logging.getLogger("velro_auth.upstream")

#: With the id, so that the answer can be checked: it must be about the user who was asked about.
COLUMNS: Final = "id,display_name,avatar_url,credits_balance,created_at,updated_at"


class SupabaseProfiles:
    """Reads ``public.users`` with the ``supabase`` package, and writes it.

    The package is imported on first use: a process that only logs people in is 300 ms and 40 MB better off
    without it. A client is made per call, because a shared one would keep the user's token; it costs 22 µs,
    since all of them send through the transport of the login path, with its deadline and its body cap.

    Args:
        transport: The way to the project.
        url: Address of the project.
        key: API key to send along; with any key, the row is read with the user's rights.
    """

    def __init__(self, transport: Transport, *, url: str, key: str) -> None:
        self._transport = transport
        self._url = url
        self._key = key

    def load(self) -> None:
        """Import the package."""
        importlib.import_module("supabase")

    def of(self, access_token: str, user_id: str) -> Profile | None:
        """Return the row of a user, None where there is none or it cannot be read. Never raises."""
        try:
            data = self._row(access_token, user_id)
        except WrongAnswer as error:
            logger.error("Supabase's answer is about another user", extra={"what": error.reason})  # noqa: TRY400 - ours
            return None
        except Exception as error:  # noqa: BLE001 - a profile that cannot be read never fails a login
            logger.warning("profile not read", extra={"user_id": user_id, "error": type(error).__name__})
            return None
        if data is None:
            logger.warning("profile not found", extra={"user_id": user_id})
            return None
        return _profile(data)

    def change(self, access_token: str, user_id: str, values: Mapping[str, str | None]) -> Profile | None:
        """Write columns of a user's row and return it; None where there is no row, or none that may be written.

        Raises:
            TokenInvalid: The data API refuses the token.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        request = self._transport.prepare("PATCH", f"/rest/v1/users?id=eq.{user_id}&select={COLUMNS}")
        headers = {"Authorization": f"Bearer {access_token}", "Prefer": "return=representation"}
        judge = functools.partial(_only_rows_of, f"eq.{user_id}")
        reply = self._transport.ask(request, judge, json.dumps(dict(values)).encode(), headers)
        if reply.status == _UNAUTHORIZED:
            raise TokenInvalid("the data API refused the token")
        if reply.status == _TOO_MANY:
            raise UpstreamThrottled("the data API answered 429")
        if reply.status >= _SERVER_CLASS:
            raise UpstreamUnavailable(f"the data API answered {reply.status}")
        rows = content(reply) if reply.status == _OK else []
        if not rows or not isinstance(rows, list) or not isinstance(rows[0], dict):
            # Without the migrations there is no such table.
            logger.warning("profile not written", extra={"user_id": user_id, "upstream_status": reply.status})
            return None
        return _profile(rows[0])

    def _row(self, access_token: str, user_id: str) -> dict[str, Any] | None:
        client = self._client()
        query = client.postgrest.auth(access_token).from_("users").select(COLUMNS).eq("id", user_id).limit(1)
        rows = query.execute().data
        row = rows[0] if isinstance(rows, list) and rows else None
        return row if isinstance(row, dict) else None

    def _client(self) -> supabase.Client:
        import supabase  # noqa: PLC0415 - see the class

        options = supabase.ClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
            httpx_client=self._http,
        )
        return supabase.create_client(self._url, self._key, options)

    @functools.cached_property
    def _http(self) -> httpx.Client:
        import httpx  # noqa: PLC0415 - see the class

        transport = self._transport

        class Bridge(httpx.BaseTransport):
            """Sends the requests of httpx through our transport."""

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                judge = functools.partial(_only_rows_of, request.url.params.get("id", ""))
                reply = transport.pass_on(
                    request.method, str(request.url), dict(request.headers), request.read() or None, judge
                )
                return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)

        return httpx.Client(transport=Bridge(), trust_env=False)


def _profile(row: Mapping[str, Any]) -> Profile:
    return Profile(**{name: row.get(name) for name in COLUMNS.split(",")[1:]})


def _only_rows_of(wanted: str, reply: Reply) -> Reply:
    """Return the answer when all its rows have the id that was asked for, as PostgREST spells it: ``eq.<id>``.

    Raises:
        WrongAnswer: It is about another user.
    """
    rows = content(reply) if reply.status == _OK else []
    # No set: an id that is a list cannot be in one.
    ids = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else [None]
    demand(is_right=all(f"eq.{row_id}" == wanted for row_id in ids), what="the id of the row")
    return reply
