"""What a client is asked to deploy for events, exports and a trail."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from billfold.clients.onboarding import (
    ExportContents,
    make_template,
    next_steps,
)
from billfold.model import ExportTable, TimeGranularity
from tests.unit.clients.onboarding_helpers import (
    ACME,
    BUCKET,
    BUS,
    IN_US,
    KEY_ARN,
    OURS,
    PLAN,
    QUEUE,
    THEIRS,
    statements,
)


def test_a_rule_passes_on_what_is_made_in_the_folder_and_may_do_nothing_else() -> None:
    made = make_template(ACME, replace(PLAN, destination=BUS))["Resources"]

    rule, role = made["EventsRule"]["Properties"], made["EventsRole"]["Properties"]
    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [BUCKET]}, "object": {"key": [{"prefix": "exports/data/"}]}},
    }
    assert [target["Arn"] for target in rule["Targets"]] == [BUS.arn]
    [allowed] = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert (allowed["Action"], allowed["Resource"]) == ("events:PutEvents", BUS.arn)
    [trusted] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "events.amazonaws.com"}
    assert trusted["Condition"] == {
        "StringEquals": {"aws:SourceAccount": THEIRS},
        "ArnEquals": {"aws:SourceArn": f"arn:aws:events:eu-central-1:{THEIRS}:rule/billfold-acme"},
    }


def put_notification(steps: list[str]) -> Any:
    [command] = [step for step in steps if "put-bucket-notification-configuration" in step]
    assert f"--bucket {BUCKET} --expected-bucket-owner {THEIRS} --region eu-central-1" in command
    return json.loads(command.split("--notification-configuration '")[1].removesuffix("'"))


def test_what_a_template_cannot_do_with_a_bucket_is_told_as_a_command() -> None:
    plan = replace(PLAN, destination=QUEUE)

    steps = list(next_steps(ACME, plan, "acme.json"))

    assert list(make_template(ACME, plan)["Resources"]) == ["BillfoldRole"]
    [queue] = put_notification(steps)["QueueConfigurations"]
    assert (queue["QueueArn"], queue["Events"]) == (QUEUE.arn, ["s3:ObjectCreated:*"])
    assert queue["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "exports/data/"}]
    assert put_notification(list(next_steps(ACME, replace(PLAN, destination=BUS), "acme.json"))) == {
        "EventBridgeConfiguration": {}
    }


def test_without_events_and_with_a_bucket_of_its_own_there_is_no_such_command() -> None:
    for client, plan in ((ACME, PLAN), (IN_US, replace(PLAN, destination=BUS, export=ExportTable.CUR2))):
        steps = next_steps(client, plan, "acme.json")

        assert not [step for step in steps if "s3api" in step]
        assert any(step.startswith("aws cloudformation deploy ") for step in steps)


def test_what_must_be_ready_on_our_side_is_told_first() -> None:
    by_queue = next_steps(ACME, replace(PLAN, destination=QUEUE), "acme.json")[0]
    by_bus = next_steps(ACME, replace(PLAN, destination=BUS), "acme.json")[0]

    assert f"add {THEIRS} to ClientAccountIds and arn:aws:s3:::{BUCKET} to ClientBucketArns" in by_queue
    assert f"add {THEIRS} to ClientAccountIds of" in by_bus
    assert next_steps(ACME, PLAN, "acme.json")[0].startswith(f"# In account {THEIRS}")
    assert [step for step in next_steps(replace(ACME, kms_key_arn=KEY_ARN), PLAN, "acme.json") if KEY_ARN in step]


@pytest.mark.parametrize(
    ("role", "is_covered"),
    [
        ("billfold-acme", True),
        ("billfold-team/acme", True),
        ("read-bills", False),
        ("team/billfold-acme", False),
        ("team/read-bills", False),
    ],
)
def test_a_role_that_our_own_role_may_not_assume_is_told(role: str, is_covered: bool) -> None:
    client = replace(ACME, role_arn=f"arn:aws:iam::{THEIRS}:role/{role}")

    told = [step for step in next_steps(client, PLAN, "acme.json") if "ActForClients" in step]

    assert bool(told) != is_covered
    assert fnmatchcase(client.role_arn or "", "arn:aws:iam::*:role/billfold-*") == is_covered
    assert all(f"add {client.role_arn} to" in step for step in told)


def test_a_folder_with_odd_letters_is_spelled_as_s3s_filters_want_it() -> None:
    steps = list(next_steps(replace(ACME, prefix="my exports/ä/"), replace(PLAN, destination=QUEUE), "acme.json"))

    [queue] = put_notification(steps)["QueueConfigurations"]
    assert queue["Filter"]["Key"]["FilterRules"][0]["Value"] == "my+exports/%C3%A4/"


def test_a_bucket_that_is_made_has_its_notification_at_once() -> None:
    queue = replace(QUEUE, arn=f"arn:aws:sqs:us-east-1:{OURS}:billfold")

    by_sqs = make_template(IN_US, replace(PLAN, destination=queue, export=ExportTable.CUR2))["Resources"]
    by_bus = make_template(IN_US, replace(PLAN, destination=BUS, export=ExportTable.CUR2))["Resources"]

    assert by_sqs["ExportBucket"]["Properties"]["NotificationConfiguration"] == {
        "QueueConfigurations": [
            {
                "Event": "s3:ObjectCreated:*",
                "Queue": queue.arn,
                "Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": "exports/data/"}]}},
            }
        ]
    }
    assert by_bus["ExportBucket"]["Properties"]["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    assert "EventsRule" in by_bus


@pytest.mark.parametrize(
    ("kind", "table", "columns"),
    [(ExportTable.CUR2, "COST_AND_USAGE_REPORT", 129), (ExportTable.FOCUS, "FOCUS_1_2_AWS", 60)],
)
def test_an_export_names_all_columns_of_its_table_and_delivers_below_the_folder(
    kind: ExportTable, table: str, columns: int
) -> None:
    made = make_template(IN_US, replace(PLAN, export=kind))["Resources"]

    export = made["BillingExport"]["Properties"]["Export"]
    query = export["DataQuery"]["QueryStatement"]
    named = query.removeprefix("SELECT ").removesuffix(f" FROM {table}").split(", ")
    assert len(set(named)) == len(named) == columns
    assert list(export["DataQuery"]["TableConfigurations"]) == [table]
    assert export["DestinationConfigurations"]["S3Destination"]["S3Prefix"] == "exports/data"
    assert export["Name"] == "billfold-acme"


def data_query(contents: ExportContents, table: ExportTable = ExportTable.CUR2) -> tuple[dict[str, str], set[str]]:
    """The table configuration and the columns that an export with these contents asks for."""
    made = make_template(IN_US, replace(PLAN, export=table, contents=contents))["Resources"]
    query = made["BillingExport"]["Properties"]["Export"]["DataQuery"]
    [configuration] = query["TableConfigurations"].values()
    columns = query["QueryStatement"].removeprefix("SELECT ").partition(" FROM ")[0].split(", ")
    assert columns == sorted(columns)
    return configuration, set(columns)


def test_cur_2_asks_for_everything_that_aws_adds_and_leaves_discounts_in_their_rows() -> None:
    configuration, columns = data_query(ExportContents())

    assert configuration == {
        "TIME_GRANULARITY": "HOURLY",
        "INCLUDE_RESOURCES": "TRUE",
        "INCLUDE_SPLIT_COST_ALLOCATION_DATA": "TRUE",
        "INCLUDE_CAPACITY_RESERVATION_DATA": "TRUE",
        "INCLUDE_IAM_PRINCIPAL_DATA": "TRUE",
        "INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY": "FALSE",
    }
    assert columns >= {"discount", "discount_total_discount", "line_item_user_identifier", "tags"}
    # AWS: these two need not be selected beside `tags`.
    assert not columns & {"resource_tags", "cost_category"}


SPLIT_COLUMNS = {
    "split_line_item_actual_usage",
    "split_line_item_net_split_cost",
    "split_line_item_net_unused_cost",
    "split_line_item_parent_resource_id",
    "split_line_item_public_on_demand_split_cost",
    "split_line_item_public_on_demand_unused_cost",
    "split_line_item_reserved_usage",
    "split_line_item_split_cost",
    "split_line_item_split_usage",
    "split_line_item_split_usage_ratio",
    "split_line_item_unused_cost",
}


@pytest.mark.parametrize(
    ("contents", "key", "gone", "instead"),
    [
        (
            ExportContents(split_cost_allocation_data=False),
            "INCLUDE_SPLIT_COST_ALLOCATION_DATA",
            SPLIT_COLUMNS,
            set(),
        ),
        (
            ExportContents(resources=False, split_cost_allocation_data=False),
            "INCLUDE_RESOURCES",
            {"line_item_resource_id", *SPLIT_COLUMNS},
            set(),
        ),
        (
            ExportContents(capacity_reservation_data=False),
            "INCLUDE_CAPACITY_RESERVATION_DATA",
            {f"capacity_reservation_capacity_reservation_{each}" for each in ("arn", "status", "type")},
            set(),
        ),
        (
            ExportContents(iam_principal_data=False),
            "INCLUDE_IAM_PRINCIPAL_DATA",
            {"line_item_iam_principal"},
            set(),
        ),
        (ExportContents(tags=False), None, {"tags"}, {"resource_tags", "cost_category"}),
    ],
)
def test_what_is_left_out_takes_its_columns_with_it(
    contents: ExportContents, key: str | None, gone: set[str], instead: set[str]
) -> None:
    everything = data_query(ExportContents())

    configuration, columns = data_query(contents)

    assert everything[1] - columns == gone
    assert columns - everything[1] == instead
    if key:
        assert (everything[0][key], configuration.get(key, "FALSE")) == ("TRUE", "FALSE")


def test_an_export_from_before_the_switches_keeps_its_configuration_without_them() -> None:
    configuration, _ = data_query(
        ExportContents(
            split_cost_allocation_data=False, capacity_reservation_data=False, iam_principal_data=False, tags=False
        )
    )

    # CloudFormation replaces an export whose configuration differs in any key, and AWS refuses two of one name.
    assert configuration == {
        "TIME_GRANULARITY": "HOURLY",
        "INCLUDE_RESOURCES": "TRUE",
        "INCLUDE_SPLIT_COST_ALLOCATION_DATA": "FALSE",
        "INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY": "FALSE",
    }


@pytest.mark.parametrize("table", ExportTable)
@pytest.mark.parametrize("granularity", TimeGranularity)
def test_the_time_granularity_is_of_either_table(table: ExportTable, granularity: TimeGranularity) -> None:
    configuration, _ = data_query(ExportContents(time_granularity=granularity), table)

    assert configuration["TIME_GRANULARITY"] == granularity.value.upper()


def test_what_only_the_console_can_switch_on_is_said_before_the_template_is_deployed() -> None:
    def preparing(contents: ExportContents, table: ExportTable = ExportTable.CUR2) -> list[str]:
        steps = list(next_steps(IN_US, replace(PLAN, export=table, contents=contents), "acme.json"))
        deploy = next(place for place, step in enumerate(steps) if step.startswith("aws cloudformation deploy"))
        return steps[: deploy - 1]

    [opt_in, activate] = preparing(ExportContents())

    assert "Cost Management preferences: opt in to split cost allocation data" in opt_in
    assert "Cost allocation tags: activate" in activate
    assert preparing(ExportContents(split_cost_allocation_data=False)) == [activate]
    assert preparing(ExportContents(tags=False)) == [opt_in]
    assert preparing(ExportContents(), ExportTable.FOCUS) == []
    assert not [step for step in next_steps(ACME, PLAN, "acme.json") if "Cost Management" in step]


def test_only_exports_of_the_clients_account_may_write_to_the_bucket() -> None:
    made = make_template(IN_US, replace(PLAN, export=ExportTable.FOCUS))["Resources"]

    allowed = statements(made["ExportBucketPolicy"]["Properties"]["PolicyDocument"])
    writing = allowed["EnableAWSDataExportsToWriteToS3AndCheckPolicy"]
    assert writing["Principal"] == {"Service": ["bcm-data-exports.amazonaws.com", "billingreports.amazonaws.com"]}
    assert writing["Action"] == ["s3:PutObject", "s3:GetBucketPolicy"]
    assert writing["Condition"] == {
        "StringEquals": {"aws:SourceAccount": THEIRS},
        "ArnLike": {
            "aws:SourceArn": [
                f"arn:aws:bcm-data-exports:us-east-1:{THEIRS}:export/*",
                f"arn:aws:cur:us-east-1:{THEIRS}:definition/*",
            ]
        },
    }
    assert [each["Sid"] for each in allowed.values() if each["Effect"] == "Deny"] == ["RefuseWithoutTls"]


def test_a_trail_is_made_where_asked_for_and_sees_the_folder_alone() -> None:
    assert "AccessTrail" not in make_template(ACME, PLAN)["Resources"]

    made = make_template(replace(ACME, client_id="acme.-_eu"), replace(PLAN, is_recorded=True))["Resources"]

    trail = made["AccessTrail"]["Properties"]
    [selector] = trail["AdvancedEventSelectors"]
    fields = {each["Field"]: each.get("Equals") or each.get("StartsWith") for each in selector["FieldSelectors"]}
    assert trail["TrailName"] == "billfold-acme-eu"
    assert fields == {
        "eventCategory": ["Data"],
        "resources.type": ["AWS::S3::Object"],
        "resources.ARN": [f"arn:aws:s3:::{BUCKET}/exports/data/"],
    }


def test_only_the_clients_trail_may_write_to_its_bucket_and_the_records_outlive_it() -> None:
    made = make_template(ACME, replace(PLAN, is_recorded=True))["Resources"]

    bucket = made["AccessLogBucket"]
    allowed = statements(made["AccessLogBucketPolicy"]["Properties"]["PolicyDocument"])
    arn = f"arn:aws:cloudtrail:eu-central-1:{THEIRS}:trail/billfold-acme"
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert [each["Sid"] for each in allowed.values() if each["Effect"] == "Deny"] == ["RefuseWithoutTls"]
    for sid, action in (("TheTrailLooks", "s3:GetBucketAcl"), ("TheTrailWrites", "s3:PutObject")):
        assert allowed[sid]["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        assert allowed[sid]["Action"] == action
        assert allowed[sid]["Condition"]["StringEquals"]["aws:SourceArn"] == arn


def test_the_bucket_outlives_the_stack() -> None:
    bucket = make_template(IN_US, replace(PLAN, export=ExportTable.FOCUS))["Resources"]["ExportBucket"]

    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
