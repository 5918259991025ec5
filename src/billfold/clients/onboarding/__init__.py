"""What a client deploys in its AWS account: the role, the bucket's events, the trail and the export."""
