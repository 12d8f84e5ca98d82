"""The mails of the stand-in: their links, the mailbox, a real mail server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from supabase_standin import StandinConfig, mailer
from supabase_standin.errors import Failure
from supabase_standin.mailbox import Mailbox, MailboxPages
from supabase_standin.mailer import Mailer
from supabase_standin.wire import Received

BASE = "http://127.0.0.1:9999"
SITE = "https://app.example.com"
HASH = "a" * 56


def sender(mailbox: Mailbox, **options: Any) -> Mailer:
    config = StandinConfig(data_dir=Path(), site_url=SITE, **options)
    return Mailer(config, mailbox, base=BASE, clock=lambda: 1_800_000_000.0, after_commit=lambda call: call())


def send(given: Mailer, to: str = "ada@example.com", redirect_to: str = SITE) -> None:
    given.send(mailer.RECOVERY, to=to, code="123456", token_hash=HASH, redirect_to=redirect_to, email=to)


def read(mailbox: Mailbox, path: str = "/mailbox.json", query: str = "", **given: Any) -> Any:
    headers = Headers({"Host": given.pop("host", "localhost:9999")})
    request = Received(
        method=given.pop("method", "GET"),
        path=path,
        query=query,
        headers=headers,
        body=b"",
        address=given.pop("address", "127.0.0.1"),
    )
    return MailboxPages(mailbox)(request)


def test_a_link_leads_to_the_service() -> None:
    send(sender(mailbox := Mailbox()), redirect_to=f"{SITE}/reset")

    (mail,) = mailbox
    assert mail.link == f"{BASE}/auth/v1/verify?token={HASH}&type=recovery&redirect_to={SITE}/reset"


def test_a_redirect_with_a_query_is_escaped() -> None:
    send(sender(mailbox := Mailbox()), redirect_to=f"{SITE}/?a=b")

    (mail,) = mailbox
    assert mail.link.endswith("&redirect_to=https%3A%2F%2Fapp.example.com%2F%3Fa%3Db")


@pytest.mark.parametrize(
    ("redirect_to", "link"),
    [
        (f"{SITE}/reset", f"{SITE}/reset?token_hash={HASH}&type=recovery"),
        (f"{SITE}/reset?a=b#c", f"{SITE}/reset?a=b&token_hash={HASH}&type=recovery#c"),
        ("", f"{SITE}?token_hash={HASH}&type=recovery"),
    ],
)
def test_a_link_leads_to_the_page(redirect_to: str, link: str) -> None:
    send(sender(mailbox := Mailbox(), mail_link="redirect"), redirect_to=redirect_to)

    (mail,) = mailbox
    assert mail.link == link


def test_the_quota_is_one_for_all() -> None:
    given = sender(mailbox := Mailbox(), mails_per_hour=1)
    send(given)

    with pytest.raises(Failure) as refused:
        send(given, "grace@example.com")

    assert (refused.value.status, refused.value.code) == (429, "over_email_send_rate_limit")
    assert len(list(mailbox)) == 1


def test_a_mail_that_cannot_be_sent_is_not_in_the_mailbox() -> None:
    with pytest.raises(Failure, match="Error sending recovery email"):
        send(sender(mailbox := Mailbox(), smtp_down=True))

    assert list(mailbox) == []


def test_a_mail_server_that_is_not_there_fails_the_mail() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(Failure, match="Error sending recovery email"):
        send(sender(Mailbox(), smtp_url=f"smtp://127.0.0.1:{port}"))


class MailServer(threading.Thread):
    """Takes one mail, as far as `smtplib` can tell."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lines: list[str] = []

    def run(self) -> None:
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rw", newline="\r\n") as stream:
            self._say(stream, "220 here")
            in_data = False
            for line in stream:
                self.lines.append(line.rstrip())
                if in_data and line.rstrip() != ".":
                    continue
                in_data = line.rstrip().lower() == "data"
                self._say(
                    stream, "354 go on" if in_data else "221 bye" if line.lower().startswith("quit") else "250 fine"
                )

    @staticmethod
    def _say(stream: Any, line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()


@pytest.fixture
def server() -> Iterator[MailServer]:
    thread = MailServer()
    thread.start()
    yield thread
    thread.listener.close()
    thread.join(5)


def test_a_mail_server_gets_a_copy(server: MailServer) -> None:
    send(sender(mailbox := Mailbox(), smtp_url=server.url))
    server.join(5)

    assert "To: ada@example.com" in server.lines
    assert "Subject: Reset your password" in server.lines
    assert "Your code is 123456" in server.lines
    assert len(list(mailbox)) == 1


def test_the_mailbox_shows_the_newest_first_and_those_to_one_address() -> None:
    given = sender(mailbox := Mailbox())
    for to in ("ada@example.com", "grace@example.com", "ada@example.com"):
        send(given, to)

    everything, to_grace = (json.loads(read(mailbox, query=query).body) for query in ("", "to=Grace%40example.com"))

    assert [mail["to"] for mail in everything] == ["ada@example.com", "grace@example.com", "ada@example.com"]
    assert [mail["to"] for mail in to_grace] == ["grace@example.com"]
    assert set(everything[0]) == {"to", "type", "subject", "token", "token_hash", "link", "sent_at"}


def test_the_oldest_mails_are_forgotten() -> None:
    given = sender(mailbox := Mailbox(size=2))
    for to in ("a@example.com", "b@example.com", "c@example.com"):
        send(given, to)

    assert [mail.to for mail in mailbox] == ["c@example.com", "b@example.com"]


def test_a_mail_cannot_put_markup_into_the_page() -> None:
    send(sender(mailbox := Mailbox(), mail_link="redirect"), "<b>@example.com", redirect_to=f'{SITE}/"><script>')

    answer = read(mailbox, "/mailbox", "to=%3Cb%3E%40example.com")

    assert b"<b>" not in answer.body
    assert b"<script>" not in answer.body
    assert b"123456" in answer.body


@pytest.mark.parametrize("given", [{"host": "evil.example"}, {"host": ""}, {"host": "[::1"}, {"address": "10.0.0.9"}])
def test_only_this_machine_reads_the_mailbox(given: dict[str, str]) -> None:
    """A page under a name that leads here would read codes otherwise."""
    send(sender(mailbox := Mailbox()))

    answer = read(mailbox, **given)

    assert answer.status == 403
    assert b"123456" not in answer.body


@pytest.mark.parametrize(("path", "method"), [("/mailbox", "POST"), ("/mailbox/x", "GET"), ("/", "GET")])
def test_other_requests_go_on(path: str, method: str) -> None:
    assert read(Mailbox(), path, method=method) is None
