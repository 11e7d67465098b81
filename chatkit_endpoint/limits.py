"""How much one visitor may ask for: requests over time, and answers at once.

Rows of the one database, so that all processes count together. What is counted is what costs: the
requests that :func:`is_costly` names, those that stream once they are known to be allowed. Reading
is not: a history is a query or two, for its owner.

A rate is a bucket of tokens that fills steadily, kept as the moment when it will be full again.
So one conditional UPDATE by the database's clock takes a token, and no two requests get the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.db.models import (
    BigAutoField,
    CharField,
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    Q,
)
from django.db.models.constants import OnConflict
from django.db.models.functions import Greatest, Now
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext

from observability.database import forgettable_transaction, run_in_database
from observability.prepared import Delete, Insert, Param, Ready, Select, Update, run_together

from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused
from .models import OWNER, OpenStream, RateBucket, owner_of

if TYPE_CHECKING:
    from chatkit.types import ChatKitReq
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

SEAT_SECONDS = 90
"""How long the seats of a process that died are taken. One that lives renews them in time."""
RENEWAL_INTERVAL = 15.0
STREAMS_RETRY_SECONDS = 5
KEEP_BUCKETS = timedelta(days=1)
FORGET_BATCH = 100
IPV6_PREFIX = 64
"""What one customer gets of IPv6: who has one address there has them all."""

_leaving: set[asyncio.Task[None]] = set()
"""Strong references: the event loop itself keeps only weak ones."""

_seats: set[int] = set()
"""The seats of this process' streams."""

_RATE = re.compile(r"([1-9]\d{0,5})/([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


_take_token = Update(
    RateBucket.objects.filter(
        key=Param("key", CharField()), full_at__lte=Now() + Param("room", DurationField())
    ),
    full_at=Greatest("full_at", Now()) + Param("interval", DurationField()),
)
_seats_taken = Select(OpenStream.objects.owned_by(OWNER).values_list("seat"))
_add_seats = Insert(
    OpenStream,
    expressions={"lease_expires_at": Now() + Param("lease", DurationField())},
    gives_keys=True,
    on_conflict=OnConflict.IGNORE,
)
_leave_seats = Delete(
    OpenStream.objects.filter(Q(pk=Param("pk", BigAutoField())) | Q(lease_expires_at__lt=Now()))
)


class Rate(NamedTuple):
    """So many requests in such a time; all of them may come at once."""

    requests: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Rate | None:
        """``60/m`` and the like; None for an empty text. Raises ImproperlyConfigured."""
        if not text:
            return None
        found = _RATE.fullmatch(text)
        if found is None:
            raise ImproperlyConfigured(f"A rate is like 60/m, with s, m, h or d; not {text!r}.")
        return cls(int(found[1]), timedelta(**{_UNITS[found[2]]: 1}))

    @property
    def interval(self) -> timedelta:
        """The time in which one token comes back."""
        return self.period / self.requests


class Allowance(NamedTuple):
    """One bucket to take from: whose it is, and its rate."""

    key: str
    rate: Rate


async def spend(request: HttpRequest, context: RequestContext, *, kind: str = "chat") -> None:
    """Count this request against its owner and its address.

    Raises Refused where either has none left; then nothing is counted.
    """
    if allowances := allowances_of(request, kind=kind, **owner_of(context)):
        await run_in_database(take, allowances)


def allowances_of(
    request: HttpRequest, *, tenant: str, owner_key: str, kind: str = "chat"
) -> list[Allowance]:
    """The buckets that a request takes from; each ``kind`` of request has buckets of its own."""
    settings = conf()
    found = []
    if rate := Rate.parse(settings.chatkit_rate_limit):
        found.append(Allowance(bucket_key(kind, "owner", tenant, owner_key), rate))
    # Unknown behind a Unix socket without CHATKIT_TRUSTED_PROXIES: one bucket for all would let
    # each visitor lock out the others.
    rate, address = Rate.parse(settings.chatkit_address_rate_limit), address_of(request)
    if rate and address:
        found.append(Allowance(bucket_key(kind, "address", address), rate))
    return found


def take(allowances: Iterable[Allowance]) -> None:
    """Take one token from each bucket, or from none and raise Refused. Synchronous."""
    with forgettable_transaction():
        for key, rate in allowances:
            _take(key, rate)


def give_back(allowances: Iterable[Allowance]) -> None:
    """Put back what :func:`take` took, where it turned out not to count. Synchronous."""
    for key, rate in allowances:
        RateBucket.objects.filter(key=key).update(full_at=F("full_at") - rate.interval)


def _take(key: str, rate: Rate) -> None:
    """To be called in a transaction."""
    room = rate.period - rate.interval
    while not _take_token.run(key=key, room=room, interval=rate.interval):
        bucket = RateBucket.objects.filter(key=key)
        now = ExpressionWrapper(Now(), output_field=DateTimeField())
        found = bucket.annotate(now=now).values_list("full_at", "now").first()
        if found is not None:
            full_at, now = found
            if full_at <= now + room:
                continue  # It was being made, by another's request.
            raise Refused(Fault.RATE, retry_after=_seconds_until_token(full_at, now, rate))
        RateBucket.objects.bulk_create(
            [RateBucket(key=key, full_at=Now() - rate.interval)],
            ignore_conflicts=True,
        )
        transaction.on_commit(forget, robust=True)


def _seconds_until_token(full_at: datetime, now: datetime, rate: Rate) -> int:
    wait = full_at + rate.interval - rate.period - now
    return max(1, math.ceil(wait.total_seconds()))


def forget() -> None:
    """Delete some of the buckets that nobody has used for long. Each new one brings this about."""
    old = RateBucket.objects.filter(full_at__lt=Now() - KEEP_BUCKETS)
    with transaction.atomic():
        # Without those that somebody is taking from: two requests must not wait for each other.
        locked = old.select_for_update(skip_locked=True).values_list("pk", flat=True)
        old.filter(pk__in=list(locked[:FORGET_BATCH])).delete()


def is_costly(request: ChatKitReq) -> bool:
    """Whether a request makes a model, a server's own code or a storage work: what is counted."""
    from chatkit.types import (
        AttachmentsCreateReq,
        InputTranscribeReq,
        ThreadsSyncCustomActionReq,
        is_streaming_req,
    )

    return is_streaming_req(request) or isinstance(
        request, AttachmentsCreateReq | InputTranscribeReq | ThreadsSyncCustomActionReq
    )


@asynccontextmanager
async def open_stream(
    context: RequestContext, allowances: Sequence[Allowance] = ()
) -> AsyncIterator[None]:
    """Take one of the owner's seats until the answer's turn is settled, and a token from each
    bucket; all of them or nothing.

    Raises Refused where CHATKIT_MAX_STREAMS are taken, or a bucket is empty. To be entered by the
    task that owns the stream: a client that leaves meanwhile does not cancel that, so the seat is
    always given back, by its lease if the process dies.
    """
    taking = asyncio.create_task(run_in_database(_come_in, context, allowances))
    try:
        context.settles_with = partial(_leaving_with_turn, await asyncio.shield(taking))
        yield
    finally:
        # A task: who is cancelled while a seat is being taken has it all the same, a moment later.
        leaving = asyncio.create_task(_give_back(taking))
        _leaving.add(leaving)
        leaving.add_done_callback(_leaving.discard)
        await asyncio.shield(leaving)


async def _give_back(taking: asyncio.Task[int]) -> None:
    """Leave the seat as soon as it is taken, if it is, and was not left with its turn's end."""
    await asyncio.wait([taking])
    if taking.exception() is not None or taking.result() not in _seats:
        return
    try:
        await run_in_database(_leave_seat, taking.result())
    except DatabaseError as error:
        logger.error("A seat was not given back: %s; its lease ends.", type(error).__name__)


def _come_in(context: RequestContext, allowances: Sequence[Allowance]) -> int:
    """The primary key of the seat."""
    with forgettable_transaction():
        # What others share, the address' bucket, comes last: it is locked until the commit.
        for key, rate in allowances[:1]:
            _take(key, rate)
        seat = _take_seat(context)
        for key, rate in allowances[1:]:
            _take(key, rate)
    _seats.add(seat)
    return seat


def _take_seat(context: RequestContext) -> int:
    lease = timedelta(seconds=SEAT_SECONDS)
    for seat in _seats_to_try(context):
        stream = OpenStream(tenant=context.tenant, owner_key=context.owner_key, seat=seat)
        if _add_seats.run([stream], lease=lease):
            return stream.pk
    raise Refused(
        Fault.RATE,
        gettext("Too many answers are being written at once. Wait until one is done."),
        retry_after=STREAMS_RETRY_SECONDS,
    )


def _seats_to_try(context: RequestContext) -> Iterator[int]:
    """The first without a look: it is free, but for who has another answer. Then those that are,
    one of which somebody else may be faster to take.
    """
    seats = set(range(conf().chatkit_max_streams))
    yield from sorted(seats)[:1]
    owner = owner_of(context)
    free = seats - {seat for (seat,) in _seats_taken.rows(**owner)}
    if not free and OpenStream.objects.owned_by(context).expired().delete()[0]:
        free = seats - {seat for (seat,) in _seats_taken.rows(**owner)}
    yield from free


def _leaving_with_turn(pk: int) -> list[Ready]:
    """For the transaction that settles the turn that the seat was taken for."""
    transaction.on_commit(partial(_seats.discard, pk), robust=True)
    return [_leave_seats.ready(pk=pk)]


def _leave_seat(pk: int) -> None:
    _seats.discard(pk)
    # With those of processes that died.
    run_together(_leave_seats.ready(pk=pk), is_forgettable=True)


def renew_seats() -> None:
    """Say that this process' streams are open still. A chore of the worker."""
    if _seats:
        lease = Now() + timedelta(seconds=SEAT_SECONDS)
        OpenStream.objects.filter(pk__in=tuple(_seats)).update(lease_expires_at=lease)


def address_of(request: HttpRequest) -> str:
    """The network that a request comes from: an IPv4 address, an IPv6 /64; empty if unknown.

    ``X-Forwarded-For`` counts only as far as proxies of ours have written it, from its end: what
    stands before is the visitor's own invention.
    """
    proxies = conf().chatkit_trusted_proxies
    if proxies:
        hops = request.headers.get("X-Forwarded-For", "").split(",")
        if len(hops) >= proxies and (address := _network(hops[-proxies])):
            return address
    return _network(request.META.get("REMOTE_ADDR") or "")


def _network(text: str) -> str:
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:4711
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:4711
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))
        address = address.ipv4_mapped
    return str(address)


def bucket_key(*parts: str) -> str:
    """The key of what these words name: a keyed hash, so that none of them is kept."""
    return salted_hmac(__name__, json.dumps(parts), algorithm="sha256").hexdigest()
