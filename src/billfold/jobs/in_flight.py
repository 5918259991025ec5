"""What a worker has in hand: the messages that its threads work on, those that wait, and what was done so far."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from billfold.aws.queue import Message
from billfold.model import Client

# For so long nobody asks again whether a client without a free slot has one; its own end here tells it at once.
_FULL_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker did, by number of messages: a message that comes again counts each time.

    `stuck_count` are dead ones that no dead-letter queue took; `unfinished_count` were still worked on when the time to
    shut down was over. `states` says how deliveries ended.
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


class Workload:
    """Shared by all threads of a worker; each method is one step that no other thread sees half done."""

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
        """How many more messages can be worked on, after at most so long a wait for the first of them."""
        with self._changed:
            if len(self._working) >= self._size:
                self._changed.wait(seconds)
            return max(self._size - len(self._working), 0)

    def wait_for_end(self, seconds: float) -> Sequence[Message]:
        """What is worked on, after at most so long a wait for a change."""
        with self._changed:
            if self._working:
                self._changed.wait(seconds)
            return list(self._working.values())

    def receive(self, messages: Sequence[Message]) -> None:
        """These came: nobody waits for them any more."""
        with self._changed:
            self._counts["received"] += len(messages)
            for message in messages:
                self._waiting.pop(message.message_id, None)

    def begin(self, message: Message) -> bool:
        """A thread takes the message up; False where one is at it already."""
        with self._changed:
            if message.message_id in self._working:
                return False
            self._working[message.message_id] = message
            self._kept[message.message_id] = message
            return True

    def let_go(self, message: Message) -> None:
        """The message has its fate: it need not be kept from others any more."""
        with self._changed:
            self._kept.pop(message.message_id, None)

    def end(self, message: Message) -> None:
        """The thread is free again."""
        with self._changed:
            self._kept.pop(message.message_id, None)
            self._working.pop(message.message_id, None)
            self._changed.notify_all()

    def kept(self) -> list[Message]:
        """The messages that must not come to others now."""
        with self._changed:
            return list(self._kept.values())

    def wait_for(self, message: Message, seconds: int) -> None:
        """The message comes again after so long."""
        with self._changed:
            self._waiting[message.message_id] = time.monotonic() + seconds

    def is_empty(self) -> bool:
        """Whether nothing is worked on and nothing of our own is still hidden."""
        with self._changed:
            now = time.monotonic()
            # What others have received meanwhile never comes here again.
            self._waiting = {message_id: until for message_id, until in self._waiting.items() if until > now}
            return not self._working and not self._waiting

    def note_full(self, client: Client) -> None:
        """All slots of the client were taken a moment ago."""
        with self._changed:
            self._full[client.client_id] = (client, time.monotonic() + _FULL_SECONDS)

    def note_room(self, client: Client) -> None:
        """A slot of the client has just become free here."""
        with self._changed:
            self._full.pop(client.client_id, None)

    def full_clients(self) -> list[Client]:
        """The clients of which it is known that they have no free slot now."""
        with self._changed:
            now = time.monotonic()
            return [client for client, until in self._full.values() if until > now]

    def count(self, name: str, number: int = 1) -> None:
        """So many more messages of which this happened: a field of Report without its `_count`."""
        with self._changed:
            self._counts[name] += number

    def count_state(self, state: str) -> None:
        """One more object came to this state."""
        with self._changed:
            self._states[state] += 1

    def report(self, duration_seconds: float) -> Report:
        """What was done until now."""
        with self._changed:
            counts = {f"{name}_count": number for name, number in self._counts.items()}
            states = dict(sorted(self._states.items()))
        return Report(duration_seconds=duration_seconds, states=states, **counts)
