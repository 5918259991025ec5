"""What doctor makes of a few bytes of a file, and of a bucket's notifications."""

from __future__ import annotations

import pytest

from billfold.aws.file_header import read_headers
from billfold.aws.notification_probe import judge_notification
from billfold.model import Client

QUEUE = "arn:aws:sqs:eu-central-1:999988887777:billfold-events"
QUEUE_URL = "https://sqs.eu-central-1.amazonaws.com/999988887777/billfold-events"


def test_a_damaged_parquet_footer_tells_no_columns() -> None:
    content = b"PAR1" + b"\xff" * 40 + (40).to_bytes(4, "little") + b"PAR1"

    headers = read_headers(content[:4], len(content), lambda part: content[int(part.removeprefix("bytes=")) :])

    assert headers is None


def judge(
    *rules: tuple[str, str],
    prefix: str = "exports/",
    queue_url: str | None = None,
    target: str = QUEUE,
    key: str = "QueueArn",
) -> str:
    filter_rules = [{"Name": name, "Value": value} for name, value in rules]
    entry = {key: target, "Events": ["s3:ObjectCreated:Put"], "Filter": {"Key": {"FilterRules": filter_rules}}}
    kind = "QueueConfigurations" if key == "QueueArn" else "TopicConfigurations"
    client = Client(client_id="acme", bucket="acme-bills", prefix=prefix)
    return str(judge_notification({kind: [entry]}, client, queue_url).state)


@pytest.mark.parametrize("value", ["", "exp", "exports/", "exports%2F"])
def test_a_filter_that_holds_the_clients_folder_tells_of_it(value: str) -> None:
    assert judge(("Prefix", value)) == "ok"


def test_a_filters_value_is_decoded() -> None:
    assert judge(("prefix", "my+exports%2Fa%2Bb"), prefix="my exports/a+b/") == "ok"


@pytest.mark.parametrize("value", ["logs/", "exports/other/", "exports%2Fother%2F"])
def test_a_filter_for_a_part_of_the_folder_or_another_one_does_not(value: str) -> None:
    assert judge(("prefix", value)) == "warning"


@pytest.mark.parametrize(
    ("suffix", "state"),
    [
        ("", "ok"),
        (".json", "ok"),
        ("Manifest.json", "ok"),
        ("-Manifest.json", "ok"),
        ("acme-Manifest.json", "ok"),
        (".csv.gz", "warning"),
        ("manifest.json", "warning"),
        ("-RedshiftManifest.json", "warning"),
    ],
)
def test_a_filter_has_to_let_manifests_through(suffix: str, state: str) -> None:
    assert judge(("Suffix", suffix)) == state


@pytest.mark.parametrize(
    ("key", "target", "state"),
    [
        ("QueueArn", QUEUE, "ok"),
        ("QueueArn", "arn:aws:sqs:eu-central-1:999988887777:somebodys", "unknown"),
        ("TopicArn", "arn:aws:sns:eu-central-1:999988887777:billfold-events", "unknown"),
    ],
)
def test_a_target_is_compared_with_the_workers_queue(key: str, target: str, state: str) -> None:
    assert judge(key=key, target=target, queue_url=QUEUE_URL) == state
