"""What runs without a person: the one queue, what writes its jobs, the pool that works on them, and dead letters.

    arrival         a message of SQS, from its text to the jobs that it makes
    receiver        takes messages from SQS, writes their jobs, and only then deletes them
    http_events     EventBridge events that arrive over HTTP
    schedule        `billfold schedule`: has the folder of each client visited at its refresh interval
    pool            takes jobs and works on several at a time: in the worker, the server and the schedule
    work            one job, from its object or folder to its result
    doctor_job      a doctor run that the dashboard requested
    results         the result of a job, `Done`, `Retry` or `Dead`, and how long a retry waits
    settlement      what comes of a result, in the queue, in the dead-letter queue and in the log
    rescue          frees the jobs of workers that are gone
    worker          `billfold worker`: a receiver and a pool
    dead_letters    writes what is dead to its queue; `billfold dlq` lists, shows and redrives it
    queue_url       which queue a command uses

The Lambda handler works on the same jobs. Import what you need from its module: the folder itself imports nothing, so
that the command line starts quickly.
"""
