"""The mailbox of the stand-in: every mail it sent, to be read on a page or as JSON, on this machine only."""

from __future__ import annotations

import html
import ipaddress
import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from supabase_standin import timestamps
from supabase_standin.wire import Answer, Received

PATH: Final = "/mailbox"
JSON_PATH: Final = "/mailbox.json"
#: How many mails are kept.
SIZE: Final = 500
NO_STORE: Final = ("Cache-Control", "no-store")
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mailbox</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
article {{ border: 1px solid #8888; border-radius: .5rem; padding: .5rem 1rem; margin: 1rem 0 }}
h2 {{ font-size: 1.1rem; margin: .25rem 0 }} p {{ margin: .25rem 0; overflow-wrap: anywhere }}
code {{ font-size: 1.25rem; letter-spacing: .1em }}
</style></head><body><h1>Mailbox</h1>
<p>{summary} Load the page again to see newer ones. <a href="{json_path}">As JSON</a></p>
{mails}</body></html>
"""
MAIL: Final = """<article><h2>{subject}</h2>
<p>To <a href="{path}?to={quoted}">{to}</a>, {sent_at}</p>
<p>Code: <code>{token}</code></p>
{link}</article>
"""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One mail.

    Attributes:
        to: Who got it.
        type: Its kind, as in the link: signup, invite, recovery, magiclink, email_change, or reauthentication.
        template: What the original calls its template.
        subject: The subject.
        token: The code.
        token_hash: What the link carries; empty where the mail has only a code.
        link: The link; empty where the mail has only a code.
        redirect_to: Where the link leads in the end.
        site_url: The site, as templates see it.
        email: The user's present address.
        new_email: The address it is to become.
        sent_at: Seconds since 1970.
    """

    to: str
    type: str
    template: str
    subject: str
    token: str
    token_hash: str
    link: str
    redirect_to: str
    site_url: str
    email: str
    new_email: str
    sent_at: float

    def shown(self) -> dict[str, str]:
        """Return what readers of the mail see, as JSON."""
        names = ("to", "type", "subject", "token", "token_hash", "link")
        return {name: getattr(self, name) for name in names} | {"sent_at": timestamps.precise_text(self.sent_at)}


class Mailbox:
    """The mails that were sent, newest first; the oldest are forgotten.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Mail] = deque(maxlen=size)

    def add(self, mail: Mail) -> None:
        """Put a mail on top."""
        with self._lock:
            self._kept.appendleft(mail)

    def to(self, address: str) -> list[Mail]:
        """Return the mails to an address, newest first."""
        return [mail for mail in self if mail.to.lower() == address.strip().lower()]

    def clear(self) -> None:
        """Forget all mails."""
        with self._lock:
            self._kept.clear()

    def __iter__(self) -> Iterator[Mail]:
        """Iterate over a copy, newest first."""
        with self._lock:
            return iter(list(self._kept))


class MailboxPages:
    """Answers ``GET /mailbox`` and ``GET /mailbox.json``, both with ``?to=`` for one address.

    Only requests from this machine to a loopback name are answered, so that no page in a browser can get at
    the mails under a name of its own (DNS rebinding).

    Args:
        mailbox: What is shown.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def __call__(self, request: Received) -> Answer | None:
        """Return the answer, None for other paths."""
        if request.path not in {PATH, JSON_PATH} or request.method not in {"GET", "HEAD"}:
            return None
        if not (_is_loopback(request.address) and _is_local_name(request.headers.get("Host", ""))):
            return Answer(status=403, body=b"The mailbox is for this machine only.\n")
        wanted = parse_qs(request.query).get("to", [""])[0]
        mails = self._mailbox.to(wanted) if wanted else list(self._mailbox)
        if request.path == JSON_PATH:
            body = json.dumps([mail.shown() for mail in mails]).encode()
            return Answer(status=200, headers=(("Content-Type", "application/json"), NO_STORE), body=body)
        headers = (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
            ("Referrer-Policy", "no-referrer"),
            NO_STORE,
        )
        return Answer(status=200, headers=headers, body=_page(mails, wanted).encode())


def _page(mails: list[Mail], wanted: str) -> str:
    number = f"{len(mails)} mail{'' if len(mails) == 1 else 's'}"
    summary = f"{number} to {html.escape(wanted)}, newest first." if wanted else f"{number}, newest first."
    json_path = JSON_PATH + (f"?to={quote(wanted)}" if wanted else "")
    return PAGE.format(summary=summary, json_path=json_path, mails="".join(map(_article, mails)))


def _article(mail: Mail) -> str:
    address = html.escape(mail.link)
    return MAIL.format(
        subject=html.escape(mail.subject),
        path=PATH,
        quoted=quote(mail.to),
        to=html.escape(mail.to),
        sent_at=timestamps.precise_text(mail.sent_at).partition(".")[0].replace("T", " ").rstrip("Z") + " UTC",
        token=html.escape(mail.token),
        link=f'<p>Link: <a href="{address}" rel="noreferrer">{address}</a></p>\n' if mail.link else "",
    )


def _is_local_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
