-- Sessions and their minutes; no row for one that was never written.
--   $1 uuid[]  sessions
SELECT
    session.session_id,
    session.organization_id,
    session.user_id,
    session.kind,
    session.revision,
    extract(epoch FROM session.started_at)::bigint AS origin,
    extract(epoch FROM session.ended_at)::bigint AS ended_at,
    session.end_reason,
    recorded.minutes,
    recorded.masks
FROM interview_sessions AS session
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(extract(epoch FROM minute_timestamp)::bigint / 60), '{}') AS minutes,
        coalesce(array_agg(seconds_mask), '{}') AS masks
    FROM usage_tracking
    -- Nothing before second 0 is of this session; it also spares looking into older partitions.
    WHERE session_id = session.session_id
        AND minute_timestamp > session.started_at - interval '1 minute'
) AS recorded
WHERE session.session_id = ANY ($1::uuid[])
