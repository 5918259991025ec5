"""Dead letters: messages that could not be dealt with, listed, shown, and sent once more to the queue they came from.

SQS has no way to look at a queue: whoever reads it receives its messages and gives them back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import structlog

from billfold.config import Settings
from billfold.errors import BillfoldError, MessageError, UsageError
from billfold.exports.notifications import parse_notification
from billfold.exports.queue import Message, Queue, open_queue

# What the worker writes onto a message that it gives up.
REASON = "reason"
ERROR_CODE = "error_code"
SOURCE_MESSAGE_ID = "source_message_id"
OUR_ATTRIBUTES = (REASON, ERROR_CODE, SOURCE_MESSAGE_ID)

# Long enough to walk thousands of messages; they are given back as soon as that is done.
_HIDE_SECONDS = 900
# Asking all servers of the queue takes a wait, however short (AWS: "short and long polling").
_WAIT_SECONDS = 1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message of the dead-letter queue, why it is there, and what it is about as far as its body tells.

    Without a reason SQS moved it itself: it was received too often, and no worker lived to say why. `key` is that of
    the first object where it tells of several; `object_count` says of how many.
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
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What was sent to its queue once more, and which of the wanted messages are not there (any more)."""

    sent: tuple[DeadLetter, ...]
    missing_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The queue of the worker and the one that its redrive policy names."""

    source: Queue
    dead: Queue


def open_queues(url: str, settings: Settings) -> Queues:
    """The queue at this URL and its dead-letter queue; raises UsageError where it has none."""
    source = open_queue(url, settings)
    dead = source.open_dead_letters()
    if dead is None:
        raise UsageError(
            f"the queue {url} has no dead-letter queue", advice="give it a redrive policy, as deploy/ does"
        )
    return Queues(source=source, dead=dead)


def list_dead_letters(queues: Queues, *, limit: int) -> tuple[DeadLetter, ...]:
    """The dead letters, the oldest first, at most so many; they are hidden from others while they are looked at."""
    with _Walk(queues.dead, limit) as walk:
        return tuple(sorted(map(_read, walk), key=lambda letter: (letter.sent_at, letter.message_id)))


def find_dead_letter(queues: Queues, message_id: str, *, limit: int) -> DeadLetter:
    """The dead letter of this id; raises UsageError where it is not among the first so many."""
    with _Walk(queues.dead, limit) as walk:
        for message in walk:
            if message.message_id == message_id:
                return _read(message)
    raise _unknown([message_id])


def redrive(queues: Queues, message_ids: Collection[str] | None, *, limit: int) -> Redriven:
    """Send the named dead letters, or all that are there now, to their queue once more, at most so many looked at.

    Each is sent before it is deleted: a crash in between leaves a duplicate, which changes nothing. What the worker
    noted on it is left out.
    """
    started_at = datetime.now(UTC)
    sent: list[DeadLetter] = []
    wanted = set(message_ids) if message_ids is not None else None
    with _Walk(queues.dead, limit) as walk:
        for message in walk:
            # One that failed again meanwhile is not sent round and round.
            if message.message_id in wanted if wanted is not None else message.sent_at <= started_at:
                letter = _read(message)
                kept = {name: value for name, value in message.attributes.items() if name not in OUR_ATTRIBUTES}
                queues.source.send(message.body, kept)
                walk.delete(message)
                log.info("message_redriven", message_id=message.message_id, reason=letter.reason)
                sent.append(letter)
            if wanted is not None and len(sent) == len(wanted):
                break
    missing = sorted((wanted or set()) - {letter.message_id for letter in sent})
    return Redriven(sent=tuple(sent), missing_ids=tuple(missing))


def _unknown(message_ids: Sequence[str]) -> UsageError:
    return UsageError(f"there is no dead letter {', '.join(message_ids)}", advice="`billfold dlq list` lists them")


class _Walk:
    """Each message of a queue once, up to a limit; in the end all that were not deleted are given back."""

    def __init__(self, queue: Queue, limit: int) -> None:
        self._queue = queue
        self._limit = limit
        self._held: dict[str, Message] = {}
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Message]:
        while len(self._seen) < self._limit:
            messages = self._queue.receive(
                max_messages=min(10, self._limit - len(self._seen)),
                wait_seconds=_WAIT_SECONDS,
                hide_seconds=_HIDE_SECONDS,
            )
            if not messages:
                return
            # All of them are held, also where the caller has seen enough after the first.
            self._held.update({message.message_id: message for message in messages})
            for message in messages:
                if message.message_id not in self._seen:
                    self._seen.add(message.message_id)
                    yield message

    def delete(self, message: Message) -> None:
        """The message is no longer needed here."""
        self._queue.delete(message)
        del self._held[message.message_id]

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
                    "message_not_given_back",
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
        reason=message.attributes.get(REASON),
        error_code=message.attributes.get(ERROR_CODE),
        client=client,
        bucket=bucket,
        key=key,
        object_count=len(objects),
        body=message.body,
        attributes=message.attributes,
    )


def _subject_of(body: str) -> tuple[str | None, list[tuple[str | None, str]]]:
    """The client and the objects that a body names; whatever it is, a listing must be able to show it."""
    try:
        notification = parse_notification(body)
    except MessageError:
        return None, []
    if notification.requests:
        return notification.requests[0].client_id, [(None, request.key) for request in notification.requests]
    return None, [(created.bucket, created.key) for created in notification.created]
