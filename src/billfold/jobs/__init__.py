"""What runs without a person: the queues, their workers, dead letters and the schedule."""
