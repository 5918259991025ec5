"""Bills with split cost allocation: instances, and the pods, tasks and jobs that run on them."""

from __future__ import annotations

from tests.bills.line_items import ACCOUNT, line_item

INSTANCE = "i-0aaaabbbbccccdddd"
CLUSTER, NAMESPACE = "shop", "checkout"


def instance(
    cost: str = "1", line_item_type: str = "Usage", resource_id: str = INSTANCE, **columns: str
) -> dict[str, str]:
    """An hour of an EC2 instance."""
    return line_item(
        line_item_type,
        cost,
        **{
            "line_item_resource_id": resource_id,
            "line_item_operation": "RunInstances",
            "line_item_usage_type": "USE1-BoxUsage:m5.xlarge",
            "line_item_usage_amount": "1",
            "product_product_family": "Compute Instance",
            "product_servicecode": "AmazonEC2",
            **columns,
        },
    )


def pod(name: str, split: str, unused: str = "0", *, parent: str = INSTANCE, **columns: str) -> dict[str, str]:
    """A Kubernetes pod's share of an instance's processors in one hour."""
    return line_item(
        "Usage",
        "0",
        **{
            "line_item_resource_id": f"arn:aws:eks:us-east-1:{ACCOUNT}:pod/{CLUSTER}/{NAMESPACE}/{name}/5e2f",
            "line_item_operation": "EKSPod-EC2",
            "line_item_product_code": "AmazonEKS",
            "product_servicecode": "AmazonEKS",
            "line_item_usage_type": "USE1-EKS-EC2-vCPU-Hours",
            "line_item_usage_amount": "0.5",
            "resource_tags": f'{{"aws_eks_cluster_name":"{CLUSTER}","aws_eks_namespace":"{NAMESPACE}",'
            f'"aws_eks_workload_name":"{name}-7b9d","aws_eks_workload_type":"ReplicaSet","aws_eks_deployment":"{name}",'
            f'"user_app":"{name}"}}',
            "split_line_item_parent_resource_id": parent,
            "split_line_item_split_cost": split,
            "split_line_item_unused_cost": unused,
            "split_line_item_split_usage": "0.5",
            "split_line_item_actual_usage": "0.25",
            "split_line_item_reserved_usage": "0.5",
            "split_line_item_split_usage_ratio": "0.125",
            "split_line_item_public_on_demand_split_cost": split,
            "split_line_item_public_on_demand_unused_cost": unused,
            **columns,
        },
    )


def task(name: str, split: str, unused: str = "0", **columns: str) -> dict[str, str]:
    """An ECS task's share."""
    return pod(
        name,
        split,
        unused,
        **{
            "line_item_resource_id": f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/{CLUSTER}/{name}",
            "line_item_operation": "ECSTask-EC2",
            "line_item_product_code": "AmazonECS",
            "product_servicecode": "AmazonECS",
            "line_item_usage_type": "USE1-ECS-EC2-vCPU-Hours",
            "resource_tags": f'{{"aws_ecs_cluster_name":"{CLUSTER}","aws_ecs_service_name":"{name}-service"}}',
            **columns,
        },
    )


def job(name: str, split: str, unused: str = "0", **columns: str) -> dict[str, str]:
    """A job's of AWS Batch, which runs as a task."""
    return task(
        name,
        split,
        unused,
        **{
            "resource_tags": '{"aws_batch_compute_environment":"spot","aws_batch_job_queue":"night",'
            '"aws_batch_job_definition":"report:3"}',
            **columns,
        },
    )
