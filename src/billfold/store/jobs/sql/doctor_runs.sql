-- The last doctor run of each client that the dashboard requested.

-- name: is_open
SELECT EXISTS (SELECT FROM billing_jobs WHERE client_id = %(client_id)s AND kind = 'doctor' AND state <> 'dead')

-- name: request
INSERT INTO billing_doctor_runs (client_id) VALUES (%(client_id)s)
ON CONFLICT (client_id) DO UPDATE SET started_at = NULL, ended_at = NULL, is_cut_off = false, error = NULL,
    probes = '[]'

-- name: begin
UPDATE billing_doctor_runs SET started_at = clock_timestamp(), probes = '[]' WHERE client_id = %(client_id)s

-- name: add_probe
UPDATE billing_doctor_runs SET probes = probes || %(probe)s WHERE client_id = %(client_id)s

-- name: end
UPDATE billing_doctor_runs SET started_at = coalesce(started_at, clock_timestamp()), ended_at = clock_timestamp(),
    is_cut_off = %(is_cut_off)s, error = %(error)s
WHERE client_id = %(client_id)s

-- name: find
SELECT started_at, ended_at, is_cut_off, error, probes,
    coalesce(extract(epoch FROM coalesce(ended_at, clock_timestamp()) - started_at), 0)::float AS duration_seconds
FROM billing_doctor_runs WHERE client_id = %(client_id)s
