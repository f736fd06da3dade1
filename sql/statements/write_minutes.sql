-- Merges minutes into usage_tracking: sets of seconds, so repeats and lateness change nothing.
--   $1 uuid[]    session      $2 text[]    organization   $3 text[]  user
--   $4 bigint[]  minute: epoch seconds / 60               $5 bigint[]  mask, bit i: second i
-- All of one length, in the order of (session, minute), each such pair once.
-- The account is written too, so that a session of another account is refused by its owner trigger.
INSERT INTO usage_tracking AS stored
    (session_id, organization_id, user_id, minute_timestamp, seconds_mask)
SELECT due.session_id, due.organization_id, due.user_id, to_timestamp(due.minute * 60), due.mask
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
    AS due (session_id, organization_id, user_id, minute, mask)
ON CONFLICT (session_id, minute_timestamp) DO UPDATE
SET
    organization_id = excluded.organization_id,
    user_id = excluded.user_id,
    seconds_mask = stored.seconds_mask | excluded.seconds_mask
WHERE
    stored.seconds_mask | excluded.seconds_mask <> stored.seconds_mask
    OR stored.organization_id <> excluded.organization_id
    OR stored.user_id <> excluded.user_id
