"""A stand-in for the host, so that `python -m unittest` runs a plugin natively.

It has a log, counters, rows and a clock that a test moves, and arguments to call hooks with. It enforces no limit:
`godwit plugin test` does, in the real engine. To be imported before the plugin's own modules.
"""

import datetime
import zoneinfo
from dataclasses import dataclass, field

from componentize_py_types import Err
from wit_world.exports import bot, delivery, fan_out, moderation
from wit_world.imports import chat, errors, http, kv, log, rate, secret, state, timer, types, zone

START = 1_750_000_000_000
"""When a test's clock starts: an ordinary day in 2025."""


@dataclass
class Host:
    """What the plugin did, and what it finds. A test changes it freely."""

    now: int = START
    lines: list = field(default_factory=list)
    """Lines that were logged: level and text."""
    hits: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    effects: list = field(default_factory=list)
    """What was done, in order: a name, and what was handed in."""
    secrets: dict = field(default_factory=dict)
    users: list = field(default_factory=list)
    members: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    answer_http: object = None
    """Answers requests of the plugin."""


host = Host()


def reset() -> None:
    """Makes the host new: nobody said or kept anything."""
    host.__dict__.update(Host().__dict__)


def advance(ms: int) -> None:
    """Lets time pass."""
    host.now += ms


def transaction(hook):
    """Runs a hook of an actor as the host does: what it did stays only if it returns."""
    rows, effects = dict(host.rows), len(host.effects)
    try:
        return hook()
    except BaseException:
        host.rows = rows
        del host.effects[effects:]
        raise


def sent() -> list[str]:
    """The texts that were sent, in order."""
    return [given[1].body for name, given in host.effects if name == "send"]


def id_of(value: int) -> types.Id:
    """An id with this value."""
    return types.Id(hi=0, lo=value)


def user(value: int, name: str, **more) -> types.User:
    """Someone."""
    given = dict(display_name=None, bot=False, joined_at=START - 86_400_000, time_zone=None) | more
    return types.User(id=id_of(value), name=name, **given)


def conversation() -> types.Conversation:
    """A small group."""
    return types.Conversation(
        id=id_of(1),
        kind=types.ConversationKind.GROUP,
        title="Team",
        member_count=3,
        encrypted=False,
        labels=[],
    )


def scene(**sender) -> types.Scene:
    """What every filter is told: a member of a small group, now."""
    counts = types.Counts(0, 0, 0)
    return types.Scene(
        now=host.now,
        conversation=conversation(),
        sender=user(2, "ada", **sender),
        sender_role=types.Role.MEMBER,
        activity=types.SenderActivity(
            here=counts, overall=counts, same_body_60s=0, member_since=START - 3_600_000
        ),
        via=None,
    )


def content(body: str) -> types.Content:
    """Content with that text."""
    return types.Content(
        kind=types.ContentKind.TEXT,
        body=body,
        attachments=[],
        reply_to=None,
        thread=None,
        mentions=[],
        expires_in_s=None,
    )


def message(body: str) -> moderation.Subject:
    """A message to be reviewed."""
    return moderation.Subject_Message(content(body))


def stored(body: str) -> types.Message:
    """A message that has its number."""
    return types.Message(
        conversation=id_of(1),
        seq=1,
        sender=id_of(2),
        sent_at=host.now,
        content=content(body),
        edited=False,
        via=None,
    )


def facts(member_count: int) -> fan_out.Facts:
    """What a fan-out rule is told of a conversation with so many members."""
    return fan_out.Facts(
        follow_above=100,
        member_count=member_count,
        follower_count=0,
        online_count=member_count,
        admins=[],
        mentioned=[],
        members=None,
    )


def recipient(name: str, **more) -> delivery.Recipient:
    """Someone whom a message is about to reach."""
    given = dict(role=types.Role.MEMBER, online=True, active=False, mentioned=False, muted_until=None) | more
    return delivery.Recipient(user=user(7, name), **given)


def said(body: str, what=bot.What_Message) -> bot.Event:
    """An event of a message; `what` may be `bot.What_Mentioned`."""
    heard = bot.Said(message=stored(body), sender=user(2, "ada"))
    return bot.Event(id="event", at=host.now, conversation=conversation(), what=what(heard))


# ── the services ──


def _peek(key, window):
    return sum(1 for at in host.hits.get((key, window), []) if at + window > host.now)


def _hit(key, window):
    host.hits.setdefault((key, window), []).append(host.now)
    return _peek(key, window)


def _bucket(key):
    return key.split("/", 1)[0] if "/" in key else ""


def _scan(bucket, after, limit):
    keys = sorted(key for key in host.rows if _bucket(key) == bucket and (after is None or key > after))
    return [kv.Entry(key=key, value=host.rows[key]) for key in keys[:limit]]


def _act(name):
    return lambda *given: host.effects.append((name, given))


def _send(to, what):
    host.effects.append(("send", (to, what)))
    return f"event#{len(host.effects) - 1}"


def _find_user(who):
    by_name = isinstance(who, chat.Person_Name)
    return next((user for user in host.users if (user.name if by_name else user.id) == who.value), None)


def _local(name, at):
    try:
        there = datetime.datetime.fromtimestamp(at / 1000, zoneinfo.ZoneInfo(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None
    return zone.LocalTime(
        year=there.year,
        month=there.month,
        day=there.day,
        hour=there.hour,
        minute=there.minute,
        second=there.second,
        millisecond=there.microsecond // 1000,
        weekday=there.isoweekday(),
        offset_s=int(there.utcoffset().total_seconds()),
    )


def _instant(name, local):
    try:
        there = datetime.datetime(
            local.year, local.month, local.day, local.hour, local.minute, local.second, tzinfo=zoneinfo.ZoneInfo(name)
        )
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None
    return int(there.timestamp() * 1000) + local.millisecond


def _fetch(request):
    if host.answer_http is None:
        raise Err(http.HttpError_Connection("the test answers no request"))
    return host.answer_http(request)


log.log = lambda level, text: host.lines.append((level, text))
rate.hit, rate.peek = _hit, _peek
state.get = lambda key: host.rows.get(key)
state.get_many = lambda keys: [host.rows.get(key) for key in keys]
zone.local, zone.instant = _local, _instant
kv.get, kv.scan = lambda key: host.rows.get(key), _scan
kv.set = lambda key, value, ttl_s=None: host.rows.__setitem__(key, bytes(value))
kv.delete = lambda key: host.rows.pop(key, None) and None
chat.send, chat.find_user = _send, _find_user
chat.edit, chat.delete, chat.react, chat.typing = map(_act, ("edit", "delete", "react", "typing"))
chat.history = lambda place, before, limit: [
    found for found in reversed(host.messages) if before is None or found.seq < before
][:limit]
chat.members = lambda place, after, limit: host.members[:limit]
timer.set, timer.cancel = map(_act, ("timer", "cancel_timer"))
http.fetch = _fetch
secret.get = lambda name: host.secrets.get(name)
