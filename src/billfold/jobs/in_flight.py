"""What a worker has in flight: the messages that its threads handle, those that wait, and the counts so far."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from billfold.aws.queue import Message
from billfold.model import Client

# For this long a client is known to have no free slot, unless one of its deliveries ends here.
_FULL_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker did, by number of messages: a message that comes again counts each time.

    `stuck_count` are dead ones that no dead-letter queue took; `unfinished_count` were still being handled when the
    time to shut down was over. `states` counts deliveries by their final state.
    """

    received_count: int = 0
    done_count: int = 0
    later_count: int = 0
    dead_count: int = 0
    stuck_count: int = 0
    given_back_count: int = 0
    unfinished_count: int = 0
    duration_seconds: float = 0.0
    states: Mapping[str, int] = field(default_factory=dict)


class InFlight:
    """Shared by all threads of a worker; each method is atomic."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._working: dict[str, Message] = {}
        self._kept: dict[str, Message] = {}
        self._waiting: dict[str, float] = {}
        self._full: dict[str, tuple[Client, float]] = {}
        self._counts: Counter[str] = Counter()
        self._states: Counter[str] = Counter()

    def wait_for_room(self, seconds: float) -> int:
        """How many more messages can be handled; waits at most `seconds` for the first free thread."""
        with self._changed:
            if len(self._working) >= self._size:
                self._changed.wait(seconds)
            return max(self._size - len(self._working), 0)

    def wait_for_end(self, seconds: float) -> Sequence[Message]:
        """The messages in flight; waits at most `seconds` for a change."""
        with self._changed:
            if self._working:
                self._changed.wait(seconds)
            return list(self._working.values())

    def receive(self, messages: Sequence[Message]) -> None:
        """Count received messages; they no longer wait."""
        with self._changed:
            self._counts["received"] += len(messages)
            for message in messages:
                self._waiting.pop(message.message_id, None)

    def begin(self, message: Message) -> bool:
        """Put the message in flight; False if a thread is handling it already."""
        with self._changed:
            if message.message_id in self._working:
                return False
            self._working[message.message_id] = message
            self._kept[message.message_id] = message
            return True

    def let_go(self, message: Message) -> None:
        """The message has its result: it need not be hidden from others any more."""
        with self._changed:
            self._kept.pop(message.message_id, None)

    def end(self, message: Message) -> None:
        """The thread is free again."""
        with self._changed:
            self._kept.pop(message.message_id, None)
            self._working.pop(message.message_id, None)
            self._changed.notify_all()

    def kept(self) -> list[Message]:
        """The messages that must stay hidden from other workers."""
        with self._changed:
            return list(self._kept.values())

    def wait_for(self, message: Message, seconds: int) -> None:
        """The message comes again after this time."""
        with self._changed:
            self._waiting[message.message_id] = time.monotonic() + seconds

    def is_empty(self) -> bool:
        """Whether nothing is in flight and none of our own messages is still hidden."""
        with self._changed:
            now = time.monotonic()
            # A message that another worker has received meanwhile does not come here again.
            self._waiting = {message_id: until for message_id, until in self._waiting.items() if until > now}
            return not self._working and not self._waiting

    def note_full(self, client: Client) -> None:
        """Note that all slots of the client were taken a moment ago."""
        with self._changed:
            self._full[client.client_id] = (client, time.monotonic() + _FULL_SECONDS)

    def note_room(self, client: Client) -> None:
        """Note that a slot of the client has just become free here."""
        with self._changed:
            self._full.pop(client.client_id, None)

    def full_clients(self) -> list[Client]:
        """The clients that are known to have no free slot now."""
        with self._changed:
            now = time.monotonic()
            return [client for client, until in self._full.values() if until > now]

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count of Report: `name` is the field without its `_count`."""
        with self._changed:
            self._counts[name] += number

    def count_state(self, state: str) -> None:
        """Count one more delivery with this final state."""
        with self._changed:
            self._states[state] += 1

    def report(self, duration_seconds: float) -> Report:
        """The counts until now."""
        with self._changed:
            counts = {f"{name}_count": number for name, number in self._counts.items()}
            states = dict(sorted(self._states.items()))
        return Report(duration_seconds=duration_seconds, states=states, **counts)
