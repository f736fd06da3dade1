-- What the rows say that each member of organizations has in a time, out of the masks themselves;
-- `at` is the place in the arrays, from 1.
--   $1 text[]  organization    $2 timestamptz[]  from       $3 timestamptz[]  to (exclusive)
SELECT asked.at, member.user_id, member.seconds
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[])
    WITH ORDINALITY AS asked (organization_id, start_at, end_at, at)
CROSS JOIN LATERAL (
    SELECT tracked.user_id, sum(bit_count(tracked.seconds_mask::bit(60)))::bigint AS seconds
    FROM usage_tracking AS tracked
    WHERE tracked.organization_id = asked.organization_id
        AND tracked.minute_timestamp >= asked.start_at
        AND tracked.minute_timestamp < asked.end_at
    GROUP BY tracked.user_id
) AS member
