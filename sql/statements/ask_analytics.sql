-- What was used from one day to another, of all organizations or of one.
--   $1 date  first      $2 date  last      $3 text  organization, or null
WITH used AS (
    SELECT day, organization_id, user_id, seconds_used
    FROM daily_usage
    WHERE
        day BETWEEN $1 AND $2
        AND seconds_used > 0
        AND ($3::text IS NULL OR organization_id = $3)
), accounts AS (
    SELECT
        used.organization_id,
        sum(used.seconds_used)::bigint AS seconds,
        count(DISTINCT used.user_id) AS users
    FROM used
    GROUP BY used.organization_id
), subscribed AS (
    SELECT organization_id, plan_id
    FROM user_subscriptions
    WHERE ended_at IS NULL AND ($3::text IS NULL OR organization_id = $3)
)
SELECT
    $1::date AS first_day,
    $2::date AS last_day,
    (SELECT coalesce(sum(seconds), 0)::bigint FROM accounts) AS seconds,
    ((SELECT coalesce(sum(seconds), 0)::bigint FROM accounts) + 59) / 60 AS minutes,
    (
        SELECT coalesce(sum(seconds), 0)::bigint
        FROM usage_adjustments
        WHERE
            effective_at >= $1::date::timestamp AT TIME ZONE 'UTC'
            AND effective_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
            AND ($3::text IS NULL OR organization_id = $3)
    ) AS adjusted_seconds,
    (SELECT count(*) FROM accounts) AS organizations,
    (SELECT count(DISTINCT user_id) FROM used) AS users,
    (
        SELECT count(*)
        FROM interview_sessions
        WHERE
            started_at >= $1::date::timestamp AT TIME ZONE 'UTC'
            AND started_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
            AND seconds_recorded > 0
            AND ($3::text IS NULL OR organization_id = $3)
    ) AS sessions,
    (
        SELECT coalesce(jsonb_agg(line ORDER BY line.day), '[]')
        FROM (
            SELECT
                day,
                sum(seconds_used)::bigint AS seconds,
                count(DISTINCT organization_id) AS organizations,
                count(DISTINCT user_id) AS users
            FROM used
            GROUP BY day
        ) AS line
    ) AS days,
    (
        SELECT coalesce(
            jsonb_agg(line ORDER BY line.seconds DESC, line.organization_id), '[]'
        )
        FROM (
            SELECT organization_id, plan_id, seconds, users
            FROM accounts
            LEFT JOIN subscribed USING (organization_id)
            ORDER BY seconds DESC, organization_id
            LIMIT 100
        ) AS line
    ) AS top_organizations,
    (
        SELECT coalesce(jsonb_agg(line ORDER BY line.plan_id NULLS LAST), '[]')
        FROM (
            SELECT
                plan_id,
                count(*) AS accounts,
                count(accounts.organization_id) AS active_accounts,
                coalesce(sum(accounts.seconds), 0)::bigint AS seconds
            FROM subscribed
            FULL JOIN accounts USING (organization_id)
            GROUP BY plan_id
        ) AS line
    ) AS plans,
    (
        SELECT coalesce(
            jsonb_agg(line ORDER BY line.usage_type, line.plan_id NULLS LAST), '[]'
        )
        FROM (
            SELECT
                usage_type,
                plan_id,
                sum(amount)::bigint AS amount,
                count(DISTINCT user_id) AS users
            FROM feature_events
            WHERE
                day BETWEEN $1 AND $2 AND ($3::text IS NULL OR organization_id = $3)
            GROUP BY usage_type, plan_id
        ) AS line
    ) AS features
