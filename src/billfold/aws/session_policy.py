"""What a session that acts as a client may do: read that client's folder of its bucket, and nothing else.

A session has the rights that both the role and the session's policy allow (AWS: "Session policies"): even a role with
too many rights reads nothing else here.
"""

from __future__ import annotations

import json
from typing import Any

from billfold.model import Client


def session_policy(client: Client, bucket: str) -> str:
    """The policy for AssumeRole, of sessions that read `bucket` as the client.

    In the client's own bucket it covers the client's folder only. Without a configured key, it may decrypt
    with any key that the role may use, but only through S3.
    """
    partition = (client.role_arn or "arn:aws:").split(":")[1]
    arn = f"arn:{partition}:s3:::{bucket}"
    prefix = spell_literally(client.prefix) if bucket == client.bucket else ""
    listing: dict[str, Any] = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn}
    if prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": f"{prefix}*"}}
    decrypting: dict[str, Any] = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": client.kms_key_arn or "*"}
    if client.kms_key_arn is None:
        decrypting["Condition"] = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    statements = [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": f"{arn}/{prefix}*"},
        listing,
        {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": arn},
        decrypting,
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def spell_literally(text: str) -> str:
    """The text, escaped so that a policy takes it literally (AWS: "Policy variables", special characters)."""
    return "".join(f"${{{letter}}}" if letter in "*?$" else letter for letter in text)
