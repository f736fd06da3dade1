-- Sessions that go on by their rows, though nothing was written of them for so long; the next ones
-- after one, by organization and session.
--   $1 text     organization      $2 uuid     session
--   $3 integer  seconds           $4 integer  most sessions
SELECT session.session_id, session.organization_id
FROM interview_sessions AS session
WHERE
    session.ended_at IS NULL
    AND session.revision > 0
    AND (session.organization_id, session.session_id) > ($1, $2)
    AND session.started_at < now() - make_interval(secs => $3)
    -- Asked by the session: a join with all minutes of late would read a month of them.
    AND (
        SELECT max(recorded.minute_timestamp)
        FROM usage_tracking AS recorded
        WHERE
            recorded.session_id = session.session_id
            AND recorded.minute_timestamp > now() - make_interval(secs => $3 + 60)
    ) IS NULL
ORDER BY session.organization_id, session.session_id
LIMIT $4
