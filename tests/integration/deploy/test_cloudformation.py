"""Our templates and the clients': cfn-lint accepts them, and an event travels through what they make.

moto plays CloudFormation, S3, SQS and EventBridge. It heeds no policies: who may send is asserted on the documents
themselves. It makes none of the resources in NOT_IN_MOTO: those are left out before a template is deployed. Of a bucket
it takes the encryption alone: its notification is set by S3's API as the template words it. An event that crosses
accounts is judged as of the account that it came to, and arrives without any, where AWS keeps the one that it came
from. S3 notifies queues of the bucket's own account only.
"""

from __future__ import annotations

import ast
import gc
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from billfold.aws import LocalAws
from billfold.aws.notifications import parse_notification
from billfold.clients.onboarding import (
    Destination,
    ExportContents,
    Onboarding,
    make_template,
    next_steps,
    permission_policy,
    trust_policy,
)
from billfold.model import Client, ExportTable, Notify, TimeGranularity, TriggerSource

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "cloudformation"
OUR_TEMPLATES = sorted(FOLDER.glob("*.yaml"))
# moto's own account, which everybody is in who has no session of another one.
OURS = "123456789012"
THEIRS = "111122223333"
KEY = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
NOT_IN_MOTO = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::BCMDataExports::Export",
    "AWS::CloudTrail::Trail",
    "AWS::CloudWatch::Alarm",
    "AWS::Events::ApiDestination",
    "AWS::Events::Connection",
    "AWS::Events::EventBusPolicy",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::QueryDefinition",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}
ACME = Client(
    client_id="acme",
    role_arn=f"arn:aws:iam::{THEIRS}:role/billfold-acme",
    external_id="between-acme-and-us",
    region="eu-central-1",
    bucket="acme-billing",
    prefix="exports/",
    account_id=THEIRS,
)
IN_US = replace(ACME, region="us-east-1")
BUS = Destination(notify=Notify.EVENTBRIDGE, arn=f"arn:aws:events:us-east-1:{OURS}:event-bus/billfold")
QUEUE = Destination(notify=Notify.SQS, arn=f"arn:aws:sqs:us-east-1:{OURS}:billfold")
PLAN = Onboarding(our_account_id=OURS)
CLIENTS_TEMPLATES = {
    "a role of another path with a key and a source identity": (
        replace(
            ACME,
            role_arn=f"arn:aws:iam::{THEIRS}:role/finance/bills",
            kms_key_arn=f"arn:aws:kms:eu-central-1:{THEIRS}:key/1234abcd-12ab",
            source_identity="billfold-finops",
        ),
        PLAN,
    ),
    "a whole bucket and a rule": (replace(ACME, prefix=""), replace(PLAN, destination=BUS)),
    "CUR 2.0 and a queue": (IN_US, replace(PLAN, destination=QUEUE, export=ExportTable.CUR2)),
    "CUR 2.0 by the day, without what can be left out": (
        IN_US,
        replace(
            PLAN,
            export=ExportTable.CUR2,
            contents=ExportContents(
                time_granularity=TimeGranularity.DAILY,
                resources=False,
                split_cost_allocation_data=False,
                capacity_reservation_data=False,
                iam_principal_data=False,
                tags=False,
            ),
        ),
    ),
    "FOCUS and a rule": (
        replace(IN_US, client_id="acme.eu_1"),
        replace(PLAN, destination=BUS, export=ExportTable.FOCUS),
    ),
    "a trail": (ACME, replace(PLAN, is_recorded=True)),
    "an export, a rule and a trail": (
        IN_US,
        replace(PLAN, destination=BUS, export=ExportTable.CUR2, is_recorded=True),
    ),
    "China": (
        replace(ACME, region="cn-north-1", role_arn=f"arn:aws-cn:iam::{THEIRS}:role/billfold-acme"),
        replace(
            PLAN,
            is_recorded=True,
            destination=replace(BUS, arn=f"arn:aws-cn:events:cn-north-1:{OURS}:event-bus/billfold"),
        ),
    ),
    "GovCloud": (
        replace(ACME, region="us-gov-west-1", role_arn=f"arn:aws-us-gov:iam::{THEIRS}:role/billfold-acme"),
        replace(PLAN, destination=replace(BUS, arn=f"arn:aws-us-gov:events:us-gov-west-1:{OURS}:event-bus/billfold")),
    ),
}


class Account:
    """An account other than ours, in which AWS is called by somebody who is at home there."""

    def __init__(self, aws: LocalAws, account_id: str) -> None:
        self._aws = aws
        self._credentials = aws.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{account_id}:role/administrator", RoleSessionName="administrator"
        )["Credentials"]

    def client(self, service: Any, region: str) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self._aws.endpoint_url,
            aws_access_key_id=self._credentials["AccessKeyId"],
            aws_secret_access_key=self._credentials["SecretAccessKey"],
            aws_session_token=self._credentials["SessionToken"],
        )

    def create_bucket(self, client: Client) -> None:
        located = {"CreateBucketConfiguration": {"LocationConstraint": client.region}}
        self.client("s3", str(client.region)).create_bucket(Bucket=client.bucket, **located)


@pytest.fixture(scope="module", autouse=True)
def _seldom_collected() -> Iterator[None]:
    """cfn-lint makes so many objects that half of its time would go into looking for garbage."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 50)
    yield
    gc.set_threshold(*before)


@cache
def read(name: str) -> dict[str, Any]:
    """One of our templates, with each short function in its long form; nobody changes it."""
    import cfnlint.decode  # Imported here: it takes a second that the collection of all tests need not wait for.

    read, problems = cfnlint.decode.decode(str(FOLDER / f"{name}.yaml"))
    assert not problems
    return dict(json.loads(json.dumps(read)))


@cache
def rules() -> Any:
    """All that cfn-lint checks: to read that takes longer than to check a template."""
    from cfnlint.config import ConfigMixIn
    from cfnlint.runner import Runner

    return Runner(ConfigMixIn()).rules


def lint(template: str, *regions: str) -> list[str]:
    """What cfn-lint finds wrong with a template in these regions."""
    from cfnlint.config import ConfigMixIn
    from cfnlint.decode import decode_str
    from cfnlint.runner.template.runner import run_template_by_data

    # What cfn-lint offers as its API reads the rules again for each template.
    body, problems = decode_str(template)
    return [str(each) for each in problems or run_template_by_data(body, ConfigMixIn(regions=list(regions)), rules())]


def deploy(cloudformation: Any, name: str, body: dict[str, Any], **parameters: str) -> Mapping[str, str]:
    """Make a stack of what moto can make, and return its outputs."""
    left = {key: made for key, made in body["Resources"].items() if made["Type"] not in NOT_IN_MOTO}
    gone = body["Resources"].keys() - left.keys()
    outputs = {key: o for key, o in body.get("Outputs", {}).items() if not gone & set(re.findall(r"\w+", str(o)))}
    cloudformation.create_stack(
        StackName=name,
        # moto knows no rules about parameters.
        TemplateBody=json.dumps(
            {k: v for k, v in body.items() if k != "Rules"} | {"Resources": left, "Outputs": outputs}
        ),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}


def deploy_messaging(aws: LocalAws, *accounts: str) -> Mapping[str, str]:
    return deploy(
        aws.client("cloudformation"),
        "billfold-messaging",
        read("messaging"),
        ClientAccountIds=",".join(accounts),
        ClientBucketArns=f"arn:aws:s3:::{ACME.bucket}",
    )


def run_notification_command(s3: Any, client: Client, plan: Onboarding) -> None:
    """What the administrator runs beside the template, as it is told."""
    [command] = [step for step in next_steps(client, plan, "acme.json") if "put-bucket-notification" in step]
    words = shlex.split(command)
    options = dict(zip(words[3::2], words[4::2], strict=True))
    s3.put_bucket_notification_configuration(
        Bucket=options["--bucket"],
        ExpectedBucketOwner=options["--expected-bucket-owner"],
        NotificationConfiguration=json.loads(options["--notification-configuration"]),
    )


def receive_all(aws: LocalAws, url: str) -> list[dict[str, Any]]:
    """The bodies of what is in a queue; S3's test event, which comes first, is left out."""
    sqs = aws.client("sqs")
    bodies = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages"):
        bodies += [json.loads(message["Body"]) for message in messages]
    return [body for body in bodies if body.get("Event") != "s3:TestEvent"]


def inline_policy(iam: Any, role_arn: str, name: str) -> dict[str, Any]:
    """A policy of a role; moto keeps one that CloudFormation made as Python writes it."""
    document = iam.get_role_policy(RoleName=role_arn.split("/")[-1], PolicyName=name)["PolicyDocument"]
    return dict(ast.literal_eval(document))


def policies(part: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy in a template, both ends of an Fn::If included, with the resource it is in."""
    if isinstance(part, dict):
        if "Effect" in part:
            yield place, part
        for key, value in part.items():
            yield from policies(value, place or key)
    if isinstance(part, list):
        for value in part:
            yield from policies(value, place)


@pytest.mark.parametrize("path", OUR_TEMPLATES, ids=lambda path: path.stem)
def test_cfn_lint_accepts_our_templates(path: Path) -> None:
    assert not lint(path.read_text(encoding="utf-8"), "us-east-1", "eu-central-1")


@pytest.mark.parametrize("path", OUR_TEMPLATES, ids=lambda path: path.stem)
def test_our_templates_have_no_aliases_which_cloudformation_refuses(path: Path) -> None:
    events = yaml.parse(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)

    assert not [event for event in events if isinstance(event, yaml.AliasEvent)]


@pytest.mark.parametrize("name", CLIENTS_TEMPLATES)
def test_cfn_lint_accepts_what_a_client_deploys(name: str) -> None:
    client, plan = CLIENTS_TEMPLATES[name]

    assert not lint(json.dumps(make_template(client, plan)), str(client.region))


def test_what_moto_lacks_is_listed_and_nothing_more() -> None:
    made = [read(path.stem) for path in OUR_TEMPLATES] + [make_template(*each) for each in CLIENTS_TEMPLATES.values()]

    types = {resource["Type"] for body in made for resource in body["Resources"].values()}

    from moto.cloudformation.parsing import get_model_map

    assert types - get_model_map().keys() == NOT_IN_MOTO


def test_our_side_deploys(aws: LocalAws) -> None:
    cloudformation, ec2 = aws.client("cloudformation"), aws.client("ec2")
    messaging = deploy_messaging(aws, THEIRS)
    worker = deploy(
        cloudformation,
        "billfold-worker",
        read("worker"),
        Image="billfold:test",
        ImageRepositoryArn=f"arn:aws:ecr:us-east-1:{OURS}:repository/billfold",
        DatabaseSecretArn=f"arn:aws:secretsmanager:us-east-1:{OURS}:secret:billfold-AbCdEf",
        VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
        SubnetIds=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        DatabaseCidr="10.0.0.0/16",
    )
    alarms = deploy(cloudformation, "billfold-alarms", read("alarms"))
    audit = deploy(cloudformation, "billfold-audit", read("audit"))

    [task] = [
        aws.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
        for arn in aws.client("ecs").list_task_definitions(familyPrefix="billfold-worker-worker")["taskDefinitionArns"]
    ]
    [container] = task["containerDefinitions"]
    assert container["command"][:3] == ["worker", "--queue-url", messaging["QueueUrl"]]
    assert [secret["name"] for secret in container["secrets"]] == ["DATABASE_URL"]
    assert "DATABASE_URL" not in [variable["name"] for variable in container["environment"]]
    assert alarms["TopicArn"].endswith(":billfold-alarms-alarms")
    assert aws.client("s3").head_bucket(Bucket=audit["LogBucketName"])
    allowed = {
        each["Sid"]: each
        for each in inline_policy(aws.client("iam"), worker["WorkerRoleArn"], "billfold-worker")["Statement"]
    }
    assert allowed["ActForClients"]["Resource"] == "arn:aws:iam::*:role/billfold-*"
    assert allowed["WorkOnTheQueue"]["Resource"] == messaging["QueueArn"]
    assert allowed["SetBrokenMessagesAside"]["Resource"] == messaging["DeadLetterQueueArn"]
    assert allowed["ReadAndWriteMessages"]["Resource"] == messaging["QueueKeyArn"]


def test_the_queue_waits_for_its_worker_and_its_dead_letters_take_nobody_elses(aws: LocalAws) -> None:
    made = deploy_messaging(aws, THEIRS)

    said = aws.client("sqs").get_queue_attributes(QueueUrl=made["QueueUrl"], AttributeNames=["All"])["Attributes"]
    assert json.loads(said["RedrivePolicy"]) == {
        "deadLetterTargetArn": made["DeadLetterQueueArn"],
        "maxReceiveCount": 1000,
    }
    assert said["KmsMasterKeyId"] == made["QueueKeyArn"]
    assert read("messaging")["Resources"]["DeadLetterQueue"]["Properties"]["RedriveAllowPolicy"][
        "redrivePermission"
    ] == ("byQueue")


def test_a_new_object_is_told_from_the_clients_account_and_region_through_both_rules(aws: LocalAws) -> None:
    ours = deploy_messaging(aws, THEIRS, OURS)
    plan = replace(PLAN, destination=replace(BUS, arn=ours["EventBusArn"]))
    account = Account(aws, THEIRS)
    account.create_bucket(ACME)
    deploy(account.client("cloudformation", "eu-central-1"), "billfold-acme", make_template(ACME, plan))
    s3 = account.client("s3", "eu-central-1")
    s3.put_object(Bucket=ACME.bucket, Key=KEY, Body=b"before the bucket tells EventBridge")
    run_notification_command(s3, ACME, plan)

    s3.put_object(Bucket=ACME.bucket, Key=KEY, Body=b"a bill")
    s3.put_object(Bucket=ACME.bucket, Key="exports-evil/bill.csv.gz", Body=b"not theirs")

    [event] = receive_all(aws, ours["QueueUrl"])
    assert (event["source"], event["detail-type"]) == ("aws.s3", "Object Created")
    [created] = parse_notification(json.dumps(event | {"account": THEIRS})).created
    assert (created.bucket, created.key, created.source) == (ACME.bucket, KEY, TriggerSource.EVENTBRIDGE)


def test_what_aws_limits_does_not_grow_with_the_clients_of_the_bus() -> None:
    made = read("messaging")["Resources"]
    by_bus = [place for place, said in policies(made) if "ClientAccountIds" in json.dumps(said)]

    patterns = {key: each["Properties"]["EventPattern"] for key, each in made.items() if "Rule" in each["Type"]}

    assert patterns.keys() == {"RuleToQueue", "RuleToHttp"}
    assert all(said == {"source": ["aws.s3"], "detail-type": ["Object Created"]} for said in patterns.values())
    assert by_bus == ["QueueKey", "QueuePolicy", "EventBusPolicy"]


def test_the_dead_letters_outlive_the_stack_and_can_be_read_then() -> None:
    made = read("messaging")["Resources"]

    for kept in ("DeadLetterQueue", "QueueKey"):
        assert (made[kept]["DeletionPolicy"], made[kept]["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_a_schedule_that_does_not_run_rings() -> None:
    made = read("alarms")["Resources"]

    alarm = made["SilentScheduleAlarm"]["Properties"]
    assert made["SchedulesFinished"]["Properties"]["FilterPattern"] == '{ $.event = "schedule_finished" }'
    assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("SchedulesFinished", "breaching")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)


def test_s3_tells_our_queue_by_itself(aws: LocalAws) -> None:
    ours = deploy_messaging(aws, OURS)
    client = replace(IN_US, account_id=OURS, role_arn=f"arn:aws:iam::{OURS}:role/billfold-acme")
    plan = replace(PLAN, destination=replace(QUEUE, arn=ours["QueueArn"]))
    aws.create_bucket(str(client.bucket))
    deploy(aws.client("cloudformation"), "billfold-acme", make_template(client, plan))
    run_notification_command(aws.client("s3"), client, plan)

    aws.put(str(client.bucket), KEY, b"a bill")
    aws.put(str(client.bucket), "exports-evil/bill.csv.gz", b"not theirs")

    [event] = receive_all(aws, ours["QueueUrl"])
    [created] = parse_notification(json.dumps(event | {"account": THEIRS})).created
    assert (created.bucket, created.key, created.source) == (ACME.bucket, KEY, TriggerSource.SQS)


def test_a_bucket_that_the_template_makes_tells_of_the_first_delivery(aws: LocalAws) -> None:
    ours = deploy_messaging(aws, OURS)
    client = replace(IN_US, account_id=OURS, role_arn=f"arn:aws:iam::{OURS}:role/billfold-acme")
    plan = replace(PLAN, destination=replace(QUEUE, arn=ours["QueueArn"]), export=ExportTable.CUR2)
    made = make_template(client, plan)
    deploy(aws.client("cloudformation"), "billfold-acme", made)
    [wanted] = made["Resources"]["ExportBucket"]["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    queue = {
        "QueueArn": wanted["Queue"],
        "Events": [wanted["Event"]],
        "Filter": {"Key": {"FilterRules": wanted["Filter"]["S3Key"]["Rules"]}},
    }
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=client.bucket, NotificationConfiguration={"QueueConfigurations": [queue]}
    )

    aws.put(str(client.bucket), KEY, b"a bill")

    assert len(receive_all(aws, ours["QueueUrl"])) == 1


def test_the_clients_role_is_there_as_it_was_written(aws: LocalAws) -> None:
    account = Account(aws, THEIRS)

    made = deploy(account.client("cloudformation", "eu-central-1"), "billfold-acme", make_template(ACME, PLAN))

    iam = account.client("iam", "eu-central-1")
    role = iam.get_role(RoleName="billfold-acme")["Role"]
    assert (made["RoleArn"], role["MaxSessionDuration"]) == (ACME.role_arn, 3600)
    assert role["AssumeRolePolicyDocument"] == trust_policy(ACME, OURS)
    assert inline_policy(iam, made["RoleArn"], "billfold-read") == permission_policy(ACME)


@pytest.mark.parametrize("path", OUR_TEMPLATES, ids=lambda path: path.stem)
def test_our_templates_allow_nothing_by_a_wildcard_that_could_be_named(path: Path) -> None:
    for place, statement in policies(read(path.stem)["Resources"]):
        if statement["Effect"] == "Deny" or statement.get("Sid") == "ThisAccountGoverns":
            continue
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action], place
        assert statement.get("Principal") != "*", place
        # In a key's policy the resource is that key. ECR's login knows no resource.
        if place != "QueueKey" and actions != ["ecr:GetAuthorizationToken"]:
            assert statement.get("Resource") != "*", place


def test_our_trail_claims_no_objects_that_it_cannot_see() -> None:
    [selector] = read("audit")["Resources"]["Trail"]["Properties"]["AdvancedEventSelectors"]

    assert selector["FieldSelectors"] == [{"Field": "eventCategory", "Equals": ["Management"]}]


def test_who_sends_to_the_queue_is_named_by_account_and_source() -> None:
    made = read("messaging")["Resources"]

    sending = {s["Sid"]: s for place, s in policies(made) if place == "QueuePolicy"}
    assert {sid for sid, statement in sending.items() if statement["Effect"] == "Allow"} == {
        "ClientsBucketsNotify",
        "TheRuleSends",
    }
    assert sending["ClientsBucketsNotify"]["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "ClientAccountIds"}},
        "ArnLike": {"aws:SourceArn": {"Ref": "ClientBucketArns"}},
    }
    assert sending["TheRuleSends"]["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["RuleToQueue", "Arn"]}}
    }
    bus = made["EventBusPolicy"]["Properties"]["Statement"]
    assert bus["Principal"] == {"AWS": {"Ref": "ClientAccountIds"}}
    assert bus["Condition"] == {"StringEquals": {"events:source": "aws.s3", "events:detail-type": "Object Created"}}


def test_every_alarm_on_our_log_has_a_metric_that_is_made() -> None:
    made = read("alarms")["Resources"].values()

    metrics = {
        transformed["MetricName"]
        for each in made
        if each["Type"] == "AWS::Logs::MetricFilter"
        for transformed in each["Properties"]["MetricTransformations"]
        if "Dimensions" not in transformed
    }
    alarmed = {
        each["Properties"]["MetricName"]
        for each in made
        if each["Type"] == "AWS::CloudWatch::Alarm" and each["Properties"]["Namespace"] == "Billfold"
    }
    assert alarmed <= metrics
    assert {"DeliveriesFailed", "Retries", "ClientsLate", "MessagesDead"} <= alarmed
