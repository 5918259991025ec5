-- What a held delivery was judged by, so that it is judged anew where that is another now; and the end of its hold.

ALTER TABLE billing_deliveries
    ADD COLUMN held_below_percent smallint,
    ADD COLUMN held_against bigint[],
    ADD CHECK ((held_below_percent IS NULL) = (held_against IS NULL));
COMMENT ON COLUMN billing_deliveries.held_below_percent IS 'The limit by which it was last held; kept when the hold ends.';
COMMENT ON COLUMN billing_deliveries.held_against IS 'The publications that it was compared with when it was last held: its statement''s, and those of the standalone files that it would take over.';
COMMENT ON COLUMN billing_deliveries.reason IS 'Why it is superseded, held or rolled back, or why it waits.';
COMMENT ON COLUMN billing_deliveries.released_at IS 'When an operator let it through although it was held; empty again once it or a newer one is published.';

-- What was overtaken before this migration: a newer delivery is current, or another version of a standalone file. One
-- that had been published before it came back and was held is published again, as what was once published stays so.
UPDATE billing_deliveries AS overtaken SET
    state = CASE
        WHEN overtaken.state <> 'held' THEN overtaken.state
        WHEN overtaken.publication_id IS NULL THEN 'superseded'
        ELSE 'published'
    END,
    reason = CASE
        WHEN overtaken.state <> 'held' THEN overtaken.reason
        WHEN overtaken.publication_id IS NULL THEN 'was held (' || coalesce(overtaken.reason, 'without a reason')
            || ') until the delivery of ' || to_char(newer.delivered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
            || ' UTC was published'
    END,
    released_at = NULL
FROM billing_statements AS statement
JOIN billing_deliveries AS newer ON newer.delivery_id = statement.current_delivery_id
WHERE (overtaken.client_id, overtaken.bucket, overtaken.export_path)
        = (statement.client_id, statement.bucket, statement.export_path)
    AND overtaken.delivery_id <> newer.delivery_id
    AND (overtaken.state = 'held' OR overtaken.released_at IS NOT NULL)
    AND CASE WHEN overtaken.manifest_key IS NULL THEN overtaken.finished_at <= newer.finished_at
        ELSE overtaken.billing_period = statement.billing_period AND overtaken.delivered_at <= newer.delivered_at END;
