-- The masks of some minutes of sessions, where there are any.
--   $1 uuid[]  session         $2 bigint[]  minute: epoch seconds / 60; both of one length
SELECT tracked.session_id::text, asked.minute, tracked.seconds_mask
FROM unnest($1::uuid[], $2::bigint[]) AS asked (session_id, minute)
JOIN usage_tracking AS tracked
    ON tracked.session_id = asked.session_id
    AND tracked.minute_timestamp = to_timestamp(asked.minute * 60)
