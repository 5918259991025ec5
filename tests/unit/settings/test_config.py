"""The settings: what is read, what is refused, and with which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billfold.errors import ConfigurationError
from billfold.log import configure_logging
from billfold.settings import Settings, find_unknown_variables, load_settings, require, setting_fields

Environment = pytest.MonkeyPatch


def complaint(environment: Environment, **values: str) -> str:
    for name, value in values.items():
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return str(caught.value)


def test_nothing_needs_to_be_set(environment: Environment) -> None:
    settings = load_settings()

    assert settings.spool == settings.home / "spool"
    assert (settings.client, settings.currency, settings.role_session_name) == ("default", "USD", "billfold")
    assert (settings.retry_max_attempts, settings.retry_base_delay_ms) == (3, 500)
    assert (settings.log_level, settings.log_format, settings.postgres_version) == ("info", "auto", 16)
    assert settings.database_url is None
    assert 1 <= settings.threads <= 8


@pytest.mark.parametrize(
    ("user_id", "holds", "expected"),
    [
        (1000, None, "~/.billfold"),
        (0, None, "/var/lib/billfold"),
        (0, "demo/postgres", "/var/lib/billfold"),
        (0, "postgres", "~/.billfold"),
    ],
)
def test_root_keeps_its_data_where_the_user_of_postgresql_can_reach_it(
    environment: Environment, tmp_path: Path, user_id: int, holds: str | None, expected: str
) -> None:
    environment.setenv("HOME", str(tmp_path))
    environment.setattr("os.geteuid", lambda: user_id)
    if holds:
        (tmp_path / ".billfold" / holds).mkdir(parents=True)
        (tmp_path / ".billfold" / holds / "PG_VERSION").touch()

    assert load_settings().home == Path(expected).expanduser()


def test_the_plans_example_describes_the_default_client(environment: Environment) -> None:
    environment.setenv("AWS_REGION", "ap-south-1")
    environment.setenv("AWS_ASSUME_ROLE_ARN", "arn:aws:iam::111122223333:role/team/read-only")
    environment.setenv("AWS_ASSUME_ROLE_SESSION_NAME", "kcx-ingestion")
    environment.setenv("AWS_BILLING_BUCKET", "acme-bills")
    environment.setenv("AWS_BILLING_PREFIX", "demo/kcx-msu/data/")
    environment.setenv("BILLFOLD_EXTERNAL_ID", "secret-id")
    environment.setenv("LOG_LEVEL", "INFO")

    client = load_settings().default_client()

    assert (client.client_id, client.region, client.bucket) == ("default", "ap-south-1", "acme-bills")
    assert client.role_arn == "arn:aws:iam::111122223333:role/team/read-only"
    assert (client.role_session_name, client.prefix) == ("kcx-ingestion", "demo/kcx-msu/data/")
    assert client.external_id == "secret-id"


def test_a_file_in_the_working_directory_is_read_and_the_environment_wins(environment: Environment) -> None:
    Path(".env").write_text("AWS_REGION=eu-central-1\nAWS_BILLING_BUCKET=from-file\nAWS_PROFILE=not-ours\n")
    environment.setenv("AWS_BILLING_BUCKET", "from-environment")

    settings = load_settings()

    assert (settings.region, settings.bucket) == ("eu-central-1", "from-environment")


def test_an_empty_value_is_unset(environment: Environment) -> None:
    environment.setenv("AWS_ASSUME_ROLE_ARN", "")
    environment.setenv("BILLFOLD_THREADS", "")
    environment.setenv("DATABASE_URL", "")

    settings = load_settings()

    assert (settings.role_arn, settings.database_url) == (None, None)


@pytest.mark.parametrize("name", ["home", "region", "bucket", "client"])
def test_a_fields_own_name_is_no_variable(environment: Environment, name: str) -> None:
    environment.setenv(name, "not a setting!")

    load_settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWS_ASSUME_ROLE_ARN", "foo", "arn:aws:iam::<12 digits>:role/<name>"),
        ("AWS_ASSUME_ROLE_ARN", "arn:aws:iam::1111:role/x", "arn:aws:iam::<12 digits>:role/<name>"),
        ("AWS_ASSUME_ROLE_SESSION_NAME", "a", "2 to 64 letters"),
        ("AWS_ASSUME_ROLE_SESSION_NAME", "über", "2 to 64 letters"),
        ("AWS_BILLING_BUCKET", "s3://acme", "a bucket's name without s3://"),
        ("AWS_BILLING_BUCKET", "Acme", "a bucket's name"),
        ("AWS_BILLING_BUCKET", "10.0.0.1", "a bucket's name"),
        ("AWS_BILLING_BUCKET", "a..b", "a bucket's name"),
        ("AWS_REGION", "Frankfurt", "a region such as"),
        ("AWS_ENDPOINT_URL", "localhost:5000", "http://host:port"),
        ("BILLFOLD_ACCOUNT_ID", "12345", "12 digits"),
        ("BILLFOLD_CURRENCY", "usd", "three capital letters"),
        ("BILLFOLD_POSTGRES_VERSION", "17", "16 or 18"),
        ("BILLFOLD_LOG_FORMAT", "xml", "auto, json or human"),
        ("BILLFOLD_MEMORY_LIMIT_MB", "255", "a whole number from 256"),
        ("BILLFOLD_THREADS", "many", "a whole number from 1 to 256"),
        ("BILLFOLD_MAX_FILE_BYTES", "0", "a number of bytes, 1 or more"),
        ("INGEST_RETRY_MAX_ATTEMPTS", "21", "a whole number from 1 to 20"),
        ("INGEST_RETRY_BASE_DELAY_MS", "-1", "a whole number from 0 to 60000"),
        ("LOG_LEVEL", "loud", "debug, info, warning or error"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(
    environment: Environment, name: str, value: str, expected: str
) -> None:
    line = complaint(environment, **{name: value})

    assert line.startswith(f"{name} is {value!r}: expected ")
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["DATABASE_URL", "BILLFOLD_READER_DATABASE_URL", "BILLFOLD_EXTERNAL_ID"])
def test_a_secret_is_never_shown(environment: Environment, name: str) -> None:
    line = complaint(environment, **{name: "mysql://root:hunter 2@db"})

    assert line.startswith(f"{name} is wrong: expected ")
    assert "hunter" not in line


def test_the_representation_of_settings_holds_no_secret(environment: Environment) -> None:
    environment.setenv("DATABASE_URL", "postgresql://root:hunter2@db/bills")
    environment.setenv("BILLFOLD_EXTERNAL_ID", "hunter2")

    assert "hunter2" not in repr(load_settings())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/bills",
        "postgres://user:pa%40ss@db:5432/bills?sslmode=require",
        "postgresql:///bills?host=/run/postgresql",
        "host=/run/postgresql dbname=bills",
        "host = 'a b' password='it\\'s'",
    ],
)
def test_a_database_is_named_by_url_or_conninfo(environment: Environment, url: str) -> None:
    environment.setenv("DATABASE_URL", url)

    assert load_settings().database_url == url


@pytest.mark.parametrize("url", ["bills", "postgresql+psycopg://db/bills", "postgresql://db:port/bills", "host=a b"])
def test_what_names_no_database_is_refused(environment: Environment, url: str) -> None:
    assert complaint(environment, DATABASE_URL=url).startswith("DATABASE_URL is wrong")


def test_every_wrong_setting_has_a_line_of_its_own(environment: Environment) -> None:
    Path(".env").write_text("BILLFOLD_HOM=/x\n")
    text = complaint(environment, AWS_REGION="x", BILLFOLD_THREADS="0")

    assert [line.split(" ")[0] for line in text.splitlines()] == ["BILLFOLD_HOM", "AWS_REGION", "BILLFOLD_THREADS"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BILLFOLD_HOM", "BILLFOLD_HOME"),
        ("BILLFOLD_BUCKET", "AWS_BILLING_BUCKET"),
        ("BILLFOLD_THREAD", "BILLFOLD_THREADS"),
    ],
)
def test_a_mistyped_name_is_corrected(environment: Environment, name: str, meant: str) -> None:
    Path(".env").write_text(f"{name}=1\n")

    assert complaint(environment) == f"{name} in .env is not a setting of Billfold: did you mean {meant}?"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BILLFOLD_HOEM", "BILLFOLD_HOME"),
        ("billfold_home", "BILLFOLD_HOME"),
        ("Billfold_Home", "BILLFOLD_HOME"),
        ("BILLFOLD_THREAD", "BILLFOLD_THREADS"),
    ],
)
def test_an_unknown_variable_of_the_environment_stops_nothing_and_is_warned_of_once(
    environment: Environment, capsys: pytest.CaptureFixture[str], name: str, meant: str
) -> None:
    environment.setenv(name, "1")

    configure_logging(load_settings())

    said = capsys.readouterr()
    [event] = [json.loads(line) for line in said.err.splitlines()]
    assert (event["level"], event["event"], event["name"], event["meant"]) == (
        "warning",
        "setting_unknown",
        name,
        meant,
    )
    assert said.out == ""


@pytest.mark.parametrize("name", ["billfold_home", "Billfold_Home"])
def test_a_name_of_another_case_in_the_file_is_corrected(environment: Environment, name: str) -> None:
    Path(".env").write_text(f"{name}=1\n")

    assert complaint(environment) == f"{name} in .env is not a setting of Billfold: did you mean BILLFOLD_HOME?"


@pytest.mark.parametrize(
    "name",
    [
        "BILLFOLD_SERVICE_HOST",
        "BILLFOLD_SERVICE_PORT",
        "BILLFOLD_SERVICE_PORT_HTTP",
        "BILLFOLD_PORT",
        "BILLFOLD_PORT_8080_TCP_ADDR",
        "BILLFOLD_WORKER_SERVICE_HOST",
        "GRAFANA_BILLFOLD_DASHBOARDS",
    ],
)
def test_what_others_call_after_us_is_not_warned_of(environment: Environment, name: str) -> None:
    environment.setenv(name, "1")

    assert find_unknown_variables() == {}


def test_a_file_that_is_no_text_is_refused(environment: Environment) -> None:
    Path(".env").write_bytes(b"AWS_REGION=\xff\n")

    assert complaint(environment).startswith(".env is not UTF-8 text")


def test_what_is_required_is_named_with_its_purpose(environment: Environment) -> None:
    settings = load_settings()

    with pytest.raises(ConfigurationError, match="AWS_BILLING_BUCKET is not set: backfill needs it") as caught:
        require(settings, "AWS_BILLING_BUCKET", "AWS_REGION", "BILLFOLD_HOME", purpose="backfill")

    assert len(str(caught.value).splitlines()) == 2


def test_settings_cannot_be_changed(environment: Environment) -> None:
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.bucket = "other"


def test_every_setting_has_a_description_and_says_what_it_expects() -> None:
    fields = setting_fields()

    assert len(fields) == len(Settings.model_fields)
    for name, (_, field) in fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["expected"], name


@pytest.mark.parametrize(
    "prefix", ["{{resolve:ssm:/secret}}", "exports/{{resolve:ssm-secure:x}}/", "${AWS::AccountId}"]
)
def test_a_prefix_that_cloudformation_would_replace_is_refused(environment: Environment, prefix: str) -> None:
    assert complaint(environment, AWS_BILLING_PREFIX=prefix).splitlines() == [
        f"AWS_BILLING_PREFIX is '{prefix}': expected a folder such as exports/, without {{{{ or ${{, which"
        " CloudFormation would replace"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "AWS_BILLING_BUCKET",
        "AWS_BILLING_PREFIX",
        "AWS_REGION",
        "AWS_ASSUME_ROLE_ARN",
        "AWS_ASSUME_ROLE_SESSION_NAME",
        "BILLFOLD_CLIENT",
        "BILLFOLD_ACCOUNT_ID",
        "BILLFOLD_OUR_ACCOUNT_ID",
        "BILLFOLD_EXTERNAL_ID",
        "BILLFOLD_SOURCE_IDENTITY",
        "BILLFOLD_KMS_KEY_ARN",
    ],
)
@pytest.mark.parametrize("text", ["{{resolve:ssm:x}}", "${AWS::AccountId}"])
def test_no_setting_that_goes_into_a_template_takes_such_a_text(environment: Environment, name: str, text: str) -> None:
    assert name in complaint(environment, **{name: text})
