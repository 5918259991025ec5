"""A CloudTrail trail of who read a client's bills, as resources of a CloudFormation template.

CloudTrail reports the read of an object only to the accounts of the reader and of the bucket's owner. Billfold reads
with the client's own role, so both are the client's account: only a trail there can record it.
"""

from __future__ import annotations

import re
from typing import Any

from billfold.model import Client

_KEEP_DAYS = 400

# The bucket that the trail writes to; each of its objects expires.
_BUCKET = {
    "Type": "AWS::S3::Bucket",
    "DeletionPolicy": "Retain",
    "UpdateReplacePolicy": "Retain",
    "Properties": {
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "LifecycleConfiguration": {"Rules": [{"Id": "forget", "Status": "Enabled", "ExpirationInDays": _KEEP_DAYS}]},
    },
}


def resources(client: Client) -> dict[str, Any]:
    """The trail, the bucket that it writes to and that bucket's policy, by their logical names.

    The trail records reads and writes of the folder's objects, in the bucket's region. Deleting the stack leaves the
    bucket and its records; each record expires after 400 days.
    """
    assert client.role_arn is not None
    partition = client.role_arn.split(":")[1]
    name = trail_name(client)
    trail_arn = f"arn:{partition}:cloudtrail:{client.region}:{client.account_id}:trail/{name}"
    folder_arn = f"arn:{partition}:s3:::{client.bucket}/{client.prefix}"
    return {
        "AccessLogBucket": _BUCKET,
        "AccessLogBucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": {"Ref": "AccessLogBucket"},
                "PolicyDocument": _bucket_policy(str(client.account_id), trail_arn),
            },
        },
        "AccessTrail": {
            "Type": "AWS::CloudTrail::Trail",
            # CloudTrail tests the bucket when the trail is created.
            "DependsOn": "AccessLogBucketPolicy",
            "Properties": {
                "TrailName": name,
                "S3BucketName": {"Ref": "AccessLogBucket"},
                "IsLogging": True,
                "EnableLogFileValidation": True,
                "AdvancedEventSelectors": [
                    {
                        "Name": "Objects of the billing exports",
                        "FieldSelectors": [
                            {"Field": "eventCategory", "Equals": ["Data"]},
                            {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
                            {"Field": "resources.ARN", "StartsWith": [folder_arn]},
                        ],
                    }
                ],
            },
        },
    }


def trail_name(client: Client) -> str:
    """CloudTrail takes letters and digits with single dots, hyphens or underscores between them."""
    return "billfold-" + re.sub("[^A-Za-z0-9]+", "-", client.client_id).strip("-")


def _bucket_policy(account_id: str, trail_arn: str) -> dict[str, Any]:
    """What CloudTrail asks for, for this trail alone (AWS: "Amazon S3 bucket policy for CloudTrail"), and TLS."""
    arn = {"Fn::GetAtt": ["AccessLogBucket", "Arn"]}
    writer = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TheTrailLooks",
                **writer,
                "Action": "s3:GetBucketAcl",
                "Resource": arn,
                "Condition": {"StringEquals": {"aws:SourceArn": trail_arn}},
            },
            {
                "Sid": "TheTrailWrites",
                **writer,
                "Action": "s3:PutObject",
                "Resource": {"Fn::Sub": f"${{AccessLogBucket.Arn}}/AWSLogs/{account_id}/*"},
                "Condition": {
                    "StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceArn": trail_arn}
                },
            },
            {
                "Sid": "RefuseWithoutTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, {"Fn::Sub": "${AccessLogBucket.Arn}/*"}],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
