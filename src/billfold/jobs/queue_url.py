"""Which SQS queue a command uses: the given one, or BILLFOLD_QUEUE_URL."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from billfold.errors import UsageError
from billfold.settings import EndpointUrl, Settings, require


def choose_queue_url(settings: Settings, given: str | None, *, purpose: str) -> str:
    """The queue's URL; raises UsageError for an invalid URL, and ConfigurationError if no queue is configured."""
    if given is None:
        require(settings, "BILLFOLD_QUEUE_URL", purpose=purpose)
        assert settings.queue_url is not None
        return settings.queue_url
    try:
        return TypeAdapter(EndpointUrl).validate_python(given)
    except ValidationError:
        raise UsageError(
            f"--queue-url is {given[:200]!r}: expected https://sqs.<region>.amazonaws.com/<account>/<name>"
        ) from None
