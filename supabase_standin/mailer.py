"""Sends the mails of the Auth service: into the mailbox, and to a real SMTP server where one is set."""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from supabase_standin.config import RateLimit, StandinConfig
from supabase_standin.errors import Failure
from supabase_standin.limiter import Limiter
from supabase_standin.mailbox import Mail, Mailbox

SENDER: Final = "noreply@localhost"
SMTP_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Template:
    """A kind of mail.

    Attributes:
        name: What the original calls the template.
        type: ``type`` in the link; also the kind in the mailbox.
        subject: The original's default; ``{code}`` is the code.
        trouble: What the answer says when the mail cannot be sent.
    """

    name: str
    type: str
    subject: str
    trouble: str


CONFIRMATION: Final = Template(
    name="confirmation",
    type="signup",
    subject="Confirm your email address",
    trouble="Error sending confirmation email",
)
INVITE: Final = Template(
    name="invite", type="invite", subject="You've been invited", trouble="Error sending invite email"
)
RECOVERY: Final = Template(
    name="recovery", type="recovery", subject="Reset your password", trouble="Error sending recovery email"
)
MAGIC_LINK: Final = Template(
    name="magic_link", type="magiclink", subject="Your sign-in link", trouble="Error sending magic link email"
)
EMAIL_CHANGE: Final = Template(
    name="email_change",
    type="email_change",
    subject="Confirm your new email address",
    trouble="Error sending email change email",
)
REAUTHENTICATION: Final = Template(
    name="reauthentication",
    type="reauthentication",
    subject="{code} is your verification code",
    trouble="Error sending reauthentication email",
)


class Mailer:
    """Writes mails from templates and sends them while the request waits, as the original does.

    Args:
        config: The site, the form of links, quota, delay and SMTP server.
        mailbox: Gets each mail that was sent.
        base: The address of the stand-in, for links.
        clock: Seconds since 1970.
        after_commit: Calls something when the transaction with the code of a mail is committed.
    """

    def __init__(
        self,
        config: StandinConfig,
        mailbox: Mailbox,
        *,
        base: str,
        clock: Callable[[], float],
        after_commit: Callable[[Callable[[], object]], object],
    ) -> None:
        self._config = config
        self._mailbox = mailbox
        self._base = base
        self._clock = clock
        self._after_commit = after_commit
        hourly = config.mails_per_hour
        limit = None if hourly is None else RateLimit(burst=hourly, per_s=hourly / 3600)
        self._quota = Limiter(limit, clock=time.monotonic)

    def send(
        self,
        template: Template,
        *,
        to: str,
        code: str,
        token_hash: str = "",
        redirect_to: str = "",
        email: str,
        new_email: str = "",
    ) -> None:
        """Send one mail; the caller rolls its transaction back when that fails.

        Args:
            template: Which mail.
            to: Who gets it.
            code: The digits.
            token_hash: Of the link; empty for a mail without one.
            redirect_to: Where the link leads in the end.
            email: The user's present address.
            new_email: The address it is to become.

        Raises:
            Failure: The quota is used up (429), or the mail cannot be sent (500).
        """
        if not self._quota.allows("all"):
            raise Failure(429, "over_email_send_rate_limit", "email rate limit exceeded")
        mail = Mail(
            to=to,
            type=template.type,
            template=template.name,
            subject=template.subject.format(code=code),
            token=code,
            token_hash=token_hash,
            link=self.link(template, token_hash, redirect_to) if token_hash else "",
            redirect_to=redirect_to,
            site_url=self._config.site_url,
            email=email,
            new_email=new_email,
            sent_at=self._clock(),
        )
        time.sleep(self._config.mail_delay_ms / 1000)
        self._deliver(mail, trouble=template.trouble)
        # Who finds it there uses its code at once.
        self._after_commit(lambda: self._mailbox.add(mail))

    def link(self, template: Template, token_hash: str, redirect_to: str) -> str:
        """Return the link of a mail, in the form that was set."""
        if self._config.mail_link == "redirect":
            return page_link(token_hash, template.type, redirect_to or self._config.site_url)
        return verify_link(f"{self._base}{self._config.mail_verify_path}", token_hash, template.type, redirect_to)

    def _deliver(self, mail: Mail, *, trouble: str) -> None:
        if self._config.smtp_down:
            raise Failure(500, "unexpected_failure", trouble)
        if self._config.smtp_url is None:
            return
        try:
            deliver(mail, self._config.smtp_url)
        except (OSError, smtplib.SMTPException) as error:
            raise Failure(500, "unexpected_failure", trouble) from error


def verify_link(base: str, token_hash: str, kind: str, redirect_to: str) -> str:
    """Return the link of the original's default templates: to the Auth service, which redirects."""
    if set(redirect_to) & set("&=#"):
        redirect_to = quote(redirect_to, safe="")
    return f"{base}?token={token_hash}&type={kind}&redirect_to={redirect_to}"


def page_link(token_hash: str, kind: str, redirect_to: str) -> str:
    """Return the link of ``{{ .RedirectTo }}?token_hash={{ .TokenHash }}&type=…``: a GET of it spends nothing."""
    bare, mark, fragment = redirect_to.partition("#")
    joint = "&" if "?" in bare else "?"
    return f"{bare}{joint}token_hash={token_hash}&type={kind}{mark}{fragment}"


def deliver(mail: Mail, smtp_url: str) -> None:
    """Hand *mail* to the server of *smtp_url*; ``smtps`` speaks TLS from the start, ``smtp`` where it is offered.

    Raises:
        OSError: The server cannot be reached.
        smtplib.SMTPException: The server refused.
    """
    where = urlsplit(smtp_url)
    host = where.hostname or "localhost"
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, mail.to, mail.subject
    message.set_content("\n\n".join(_lines(mail)))
    with contextlib.ExitStack() as stack:
        connect = smtplib.SMTP_SSL if where.scheme == "smtps" else smtplib.SMTP
        server = stack.enter_context(connect(host, where.port or 0, timeout=SMTP_TIMEOUT_S))
        server.ehlo_or_helo_if_needed()
        if where.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls()
        if where.username:
            server.login(unquote(where.username), unquote(where.password or ""))
        server.send_message(message)


def _lines(mail: Mail) -> list[str]:
    parts: Mapping[str, str] = {"Your code is": mail.token, "Or follow this link:": mail.link}
    return [f"{words} {value}" for words, value in parts.items() if value]
