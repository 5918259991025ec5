"""Dead letters: messages that the worker gave up. They are listed, shown, and sent to their queue again.

SQS cannot show a queue without receiving from it: a reader receives the messages and gives them back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog

from billfold.aws.notifications import parse_notification
from billfold.aws.queue import Attribute, Message, Queue, open_queue
from billfold.errors import BillfoldError, MessageError, SourceError, UsageError
from billfold.identifiers import MIN_CHARACTERS, refuse_ambiguous
from billfold.jobs.results import Dead
from billfold.log import Event
from billfold.settings import Settings

# Attributes that the worker adds to a message that it gives up.
REASON = "reason"
ERROR_CODE = "error_code"
SOURCE_MESSAGE_ID = "source_message_id"
OUR_ATTRIBUTES = (REASON, ERROR_CODE, SOURCE_MESSAGE_ID)

# The limits of SQS: attributes count towards a message's size with their names and types (AWS: "message quotas"; a
# queue may allow more, but one of another account or an older one does not).
_MAX_ATTRIBUTES = 10
_MAX_MESSAGE_BYTES = 262_144
_MAX_REASON_CHARACTERS = 1000
# Long enough to walk thousands of messages; they are given back as soon as that is done.
_HIDE_SECONDS = 900
# Only a poll with a wait asks all servers of the queue (AWS: "short and long polling").
_WAIT_SECONDS = 1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message of the dead-letter queue, why it is there, and what its body announces.

    Without a reason SQS moved it itself, because it was received too often. `key` is that of the first
    of its `object_count` objects.
    """

    message_id: str
    sent_at: datetime
    reason: str | None
    error_code: str | None
    client: str | None
    bucket: str | None
    key: str | None
    object_count: int
    body: str
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The dead letters that were read; `has_more` says whether the limit left others unread."""

    letters: tuple[DeadLetter, ...]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """How many were sent to their queue again, and which of the wanted messages were not found.

    `has_more` says whether the limit left others unread.
    """

    sent_count: int
    missing_ids: tuple[str, ...]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The queue of the worker and the one that its redrive policy names."""

    source: Queue
    dead: Queue


def open_queues(url: str, settings: Settings) -> Queues:
    """The queue at this URL and its dead-letter queue; raises UsageError if it has none."""
    source = open_queue(url, settings)
    dead = source.open_dead_letters()
    if dead is None:
        raise UsageError(
            f"the queue {url} has no dead-letter queue", advice="give it a redrive policy, as deploy/ does"
        )
    return Queues(source=source, dead=dead)


def bury(dead_letters: Queue, message: Message, dead: Dead) -> None:
    """Send the message to this dead-letter queue with the reason and its sender's attributes.

    Attributes that do not fit are left out, with a warning (`attributes_left_out`): first the sender's, and of a body
    that leaves no room at all also our own.
    """
    # SQS rejects control characters and empty values.
    reason = "".join(c if c.isprintable() else " " for c in dead.reason)[:_MAX_REASON_CHARACTERS] or "-"
    ours = zip(OUR_ATTRIBUTES, (reason, dead.error_code, message.message_id), strict=True)
    attributes = {name: Attribute(value=value) for name, value in ours}
    size_bytes = len(message.body.encode()) + sum(_size_of(*item) for item in attributes.items())
    left_out = []
    for name, attribute in message.attributes.items():
        grown_bytes = size_bytes + _size_of(name, attribute)
        if name in attributes or len(attributes) == _MAX_ATTRIBUTES or grown_bytes > _MAX_MESSAGE_BYTES:
            left_out.append(name)
        else:
            attributes[name] = attribute
            size_bytes = grown_bytes
    if left_out:
        log.warning(Event.ATTRIBUTES_LEFT_OUT, message_id=message.message_id, names=left_out)
    try:
        dead_letters.send(message.body, attributes)
    except SourceError as error:
        # How much a queue takes is its owner's choice, and 1 MiB at most.
        if error.retryable or size_bytes <= _MAX_MESSAGE_BYTES:
            raise
        log.warning(Event.ATTRIBUTES_LEFT_OUT, message_id=message.message_id, names=list(attributes))
        dead_letters.send(message.body)


def _size_of(name: str, attribute: Attribute) -> int:
    value = attribute.value if isinstance(attribute.value, bytes) else attribute.value.encode()
    return len(name.encode()) + len(attribute.data_type.encode()) + len(value)


def list_dead_letters(queues: Queues, *, limit: int) -> Listing:
    """The dead letters, the oldest first, at most `limit`; they are hidden from others while they are read."""
    with _Walk(queues.dead, limit) as walk:
        letters = sorted(map(_read, walk), key=lambda letter: (letter.sent_at, letter.message_id))
        return Listing(letters=tuple(letters), has_more=walk.has_more)


def find_dead_letter(queues: Queues, message_id: str, *, limit: int) -> DeadLetter:
    """The dead letter with this id, or the only one whose id begins with it.

    Raises UsageError if none is among the first `limit`, in the order of SQS, or if there are several.
    """
    found: list[DeadLetter] = []
    with _Walk(queues.dead, limit) as walk:
        for message in walk:
            if message.message_id == message_id:
                return _read(message)
            if _begins(message.message_id, message_id):
                found.append(_read(message))
        if not found:
            raise missing_error([message_id], limit if walk.has_more else None)
    if len(found) > 1:
        raise refuse_ambiguous(message_id, [letter.message_id for letter in found], what="message")
    return found[0]


def redrive(
    queues: Queues,
    message_ids: Collection[str] | None,
    *,
    limit: int | None,
    on_sent: Callable[[DeadLetter], None] = lambda letter: None,
) -> Redriven:
    """Send the named dead letters, or all of them, to their queue again; reads at most `limit`.

    Each is sent before it is deleted: a crash in between leaves a duplicate, which changes nothing. The worker's own
    attributes are removed. `on_sent` is called with each of them; of what was read only ids and receipts are kept. An
    id may be its first characters, as in `find_dead_letter`.
    """
    wanted = set(_complete(queues, message_ids, limit)) if message_ids is not None else None
    count = 0
    resent: set[str] = set()
    with _Walk(queues.dead, limit) as walk:
        for message in walk:
            if wanted is not None and message.message_id not in wanted:
                continue
            letter = _read(message)
            # One that fails again meanwhile comes back, as itself or with its former id: it is not sent again.
            if {letter.message_id, _text(letter.attributes, SOURCE_MESSAGE_ID)} & resent:
                continue
            kept = {name: value for name, value in message.attributes.items() if name not in OUR_ATTRIBUTES}
            resent.add(queues.source.send(message.body, kept))
            walk.delete(message)
            log.info(Event.MESSAGE_REDRIVEN, message_id=message.message_id, reason=letter.reason)
            count += 1
            on_sent(letter)
            if wanted is not None:
                wanted.discard(message.message_id)
                if not wanted:
                    break
        return Redriven(sent_count=count, missing_ids=tuple(sorted(wanted or ())), has_more=walk.has_more)


def _complete(queues: Queues, message_ids: Collection[str], limit: int | None) -> Iterator[str]:
    """The ids that begin with the given ones; one that matches none is returned unchanged.

    Raises UsageError for one that begins several, before anything is sent.
    """
    if all(_is_whole(message_id) for message_id in message_ids):
        yield from message_ids
        return
    with _Walk(queues.dead, limit) as walk:
        known = [message.message_id for message in walk]
    for message_id in message_ids:
        found = [message_id] if message_id in known else [each for each in known if _begins(each, message_id)]
        if len(found) > 1:
            raise refuse_ambiguous(message_id, found, what="message")
        yield from found or [message_id]


def _begins(message_id: str, text: str) -> bool:
    return len(text) >= MIN_CHARACTERS and message_id.startswith(text.lower())


def _is_whole(message_id: str) -> bool:
    try:
        return str(UUID(message_id)) == message_id
    except ValueError:
        return False


def missing_error(message_ids: Sequence[str], limit: int | None) -> UsageError:
    """The error for messages that are not among the first `limit` of the queue, or among all of them (None)."""
    names = ", ".join(message_ids)
    if limit is None:
        return UsageError(f"the dead letter {names} does not exist (any more)", advice="`billfold dlq list` lists them")
    return UsageError(
        f"no dead letter {names} is among the first {limit:,}",
        advice="the queue has more: --limit N reads more",
    )


class _Walk:
    """Each message of a queue once, up to a limit; at the end all that were not deleted are given back.

    `has_more` is true once the limit was reached and another message came.
    """

    def __init__(self, queue: Queue, limit: int | None) -> None:
        self._queue = queue
        self._limit = limit
        self._held: dict[str, Message] = {}
        self._seen: set[str] = set()
        self.has_more = False

    def __iter__(self) -> Iterator[Message]:
        while messages := self._queue.receive(wait_seconds=_WAIT_SECONDS, hide_seconds=_HIDE_SECONDS):
            # All of them are given back, even if the caller stops after the first. Bodies may be large.
            self._held.update({each.message_id: replace(each, body="", attributes={}) for each in messages})
            for message in messages:
                if message.message_id in self._seen:
                    continue
                if len(self._seen) == self._limit:
                    self.has_more = True
                    return
                self._seen.add(message.message_id)
                yield message

    def delete(self, message: Message) -> None:
        """Delete the message from the queue."""
        self._queue.delete(message)
        self._held.pop(message.message_id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for message in self._held.values():
            try:
                self._queue.hide(message, 0)
            except BillfoldError as refusal:
                log.warning(
                    Event.MESSAGE_NOT_GIVEN_BACK,
                    message_id=message.message_id,
                    error=str(refusal),
                    visible_again_in_seconds=_HIDE_SECONDS,
                )


def _read(message: Message) -> DeadLetter:
    client, objects = _subject_of(message.body)
    bucket, key = objects[0] if objects else (None, None)
    return DeadLetter(
        message_id=message.message_id,
        sent_at=message.sent_at,
        reason=_text(message.attributes, REASON),
        error_code=_text(message.attributes, ERROR_CODE),
        client=client,
        bucket=bucket,
        key=key,
        object_count=len(objects),
        body=message.body,
        attributes=message.attributes,
    )


def _text(attributes: Mapping[str, Attribute], name: str) -> str | None:
    """An attribute of the worker's; another sender may have used the name for bytes."""
    value = attributes[name].value if name in attributes else None
    return value if isinstance(value, str) else None


def _subject_of(body: str) -> tuple[str | None, list[tuple[str | None, str]]]:
    """The client and the objects that a body names; an unreadable body has none, so that a listing can show it."""
    try:
        notification = parse_notification(body)
    except MessageError:
        return None, []
    if notification.requests:
        return notification.requests[0].client_id, [(None, request.key) for request in notification.requests]
    return None, [(created.bucket, created.key) for created in notification.created]
