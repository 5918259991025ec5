"""What runs without a person: workers of the two queues, dead letters, and the schedule.

    worker          `billfold worker`: receives messages from SQS and handles several at a time
    messages        one message: the client of each object that it announces, and the message's result
    message_ingest  the ingest behind a message: a turn, a slot, the attempt, and its outcome as a result
    results         the result of a message, `Done`, `Retry` or `Dead`, and how long a retry waits
    attempts        begins and ends attempts, so that a message that kills its workers is found
    in_flight       what one worker is handling now, and its counts
    dead_letters    `billfold dlq`: lists, shows and redrives what the worker gave up
    queue_url       which queue a command uses
    request_worker  the server's worker for requested deliveries, whose queue is in PostgreSQL
    http_events     EventBridge events that arrive over HTTP
    schedule        `billfold schedule`: visits the folder of each client at its refresh interval
    client_pool     threads that visit several clients at a time

The Lambda handler shares `messages` with the worker. Import what you need from its module: the folder itself imports
nothing, so that the command line starts quickly.
"""
