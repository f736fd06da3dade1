-- Statistics of users by month and over their lifetime. Views over figures that are kept anyway, so
-- they always equal what the rows say; none of them reads the minutes themselves.

-- The plan that an account had last in a span of time; null: none.
CREATE FUNCTION plan_between(
    organization text, starts timestamptz, ends timestamptz
) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT plan_id
    FROM user_subscriptions
    WHERE
        organization_id = organization
        AND started_at < ends
        AND (ended_at IS NULL OR ended_at > starts)
    ORDER BY started_at DESC, id DESC
    LIMIT 1
$$;

-- Seconds past the limit in the billing period of an account that begins in a calendar month, where the
-- plan that it had then bills them. (Own limits and what plans include are those of today.)
CREATE FUNCTION overage_in(organization text, month date) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    last_day date := (month + interval '1 month')::date - 1;
    period record;
    plan plans;
    most bigint;
    used bigint;
BEGIN
    SELECT * INTO period
    FROM account_period(
        organization, start_of_day(last_day, zone_at(organization, last_day::timestamptz))
    );
    SELECT * INTO plan
    FROM plans
    WHERE id = plan_between(organization, period.period_start, period.period_end);
    IF NOT coalesce(plan.soft_cap OR plan.grace_is_overage, false) THEN
        RETURN 0;
    END IF;
    SELECT CASE
        WHEN own.monthly_audio_hours_limit IS NOT NULL THEN own.monthly_limit_seconds
        WHEN allotment.plan_id IS NULL THEN 0
        ELSE nullif(allotment.limit_value, -1) * 60
    END
    INTO most
    FROM (SELECT) AS one
    LEFT JOIN organizations AS own ON own.id = organization
    LEFT JOIN plan_limits AS allotment
        ON allotment.plan_id = plan.id AND allotment.usage_type = 'minutes_per_month';
    SELECT recorded.organization_seconds + adjusted.organization_seconds INTO used
    FROM period_seconds(
        organization, '', period.period_start, period.period_end, period.time_zone
    ) AS recorded
    CROSS JOIN adjustments_in(
        organization, '', period.period_start, period.period_end
    ) AS adjusted;
    RETURN coalesce(greatest(used - most, 0), 0);
END
$$;

-- A row a user, account and calendar month in the account's time zone. Sessions are of the month in
-- which they began; completed ones ended otherwise than by being lost, and of those are the average and
-- the longest. Overage is an account's, so it is null for members of an organization.
CREATE VIEW user_monthly_stats AS
SELECT
    stats.user_id,
    stats.organization_id,
    stats.month,
    stats.seconds_used,
    (stats.seconds_used + 59) / 60 AS minutes_used,
    stats.days_active,
    stats.sessions,
    stats.completed_sessions,
    CASE
        WHEN stats.completed_sessions > 0
            THEN round(stats.completed_seconds::numeric / stats.completed_sessions, 1)
    END AS average_session_seconds,
    stats.longest_session_seconds,
    CASE
        WHEN stats.user_id = stats.organization_id
            THEN overage_in(stats.organization_id, stats.month)
    END AS overage_seconds,
    stats.features_used,
    (
        -- {tier: {usage type: amount}}
        SELECT jsonb_object_agg(tier.plan, tier.used)
        FROM (
            SELECT each.plan, jsonb_object_agg(each.usage_type, each.amount) AS used
            FROM (
                SELECT
                    coalesce(event.plan_id, 'none') AS plan,
                    event.usage_type,
                    sum(event.amount) AS amount
                FROM feature_events AS event
                WHERE
                    event.user_id = stats.user_id
                    AND event.organization_id = stats.organization_id
                    AND event.day >= stats.month
                    AND event.day < (stats.month + interval '1 month')::date
                GROUP BY 1, 2
            ) AS each
            GROUP BY each.plan
        ) AS tier
    ) AS features_by_tier,
    plan_between(
        stats.organization_id,
        stats.month::timestamp AT TIME ZONE 'UTC',
        least(now(), (stats.month + interval '1 month') AT TIME ZONE 'UTC')
    ) AS tier,
    stats.last_activity
FROM (
    SELECT
        user_id,
        organization_id,
        month,
        sum(seconds_used)::bigint AS seconds_used,
        sum(days_active)::bigint AS days_active,
        sum(sessions)::bigint AS sessions,
        sum(completed_sessions)::bigint AS completed_sessions,
        sum(completed_seconds)::bigint AS completed_seconds,
        max(longest_session_seconds) AS longest_session_seconds,
        sum(features_used)::bigint AS features_used,
        max(last_activity) AS last_activity
    FROM (
        SELECT
            user_id,
            organization_id,
            date_trunc('month', day::timestamp)::date AS month,
            sum(seconds_used) AS seconds_used,
            count(DISTINCT day) AS days_active,
            0 AS sessions,
            0 AS completed_sessions,
            0 AS completed_seconds,
            NULL::bigint AS longest_session_seconds,
            0 AS features_used,
            NULL::timestamptz AS last_activity
        FROM daily_usage
        WHERE seconds_used > 0
        GROUP BY user_id, organization_id, date_trunc('month', day::timestamp)::date
        UNION ALL
        SELECT
            user_id,
            organization_id,
            date_trunc('month', started_at AT TIME ZONE zone_at(organization_id, started_at))::date,
            0,
            0,
            count(*),
            count(*) FILTER (WHERE end_reason <> 'lost'),
            coalesce(sum(seconds_recorded) FILTER (WHERE end_reason <> 'lost'), 0),
            max(seconds_recorded) FILTER (WHERE end_reason <> 'lost'),
            0,
            max(coalesce(ended_at, started_at))
        FROM interview_sessions
        WHERE seconds_recorded > 0
        GROUP BY
            user_id,
            organization_id,
            date_trunc('month', started_at AT TIME ZONE zone_at(organization_id, started_at))::date
        UNION ALL
        SELECT
            user_id,
            organization_id,
            date_trunc('month', day::timestamp)::date,
            0,
            0,
            0,
            0,
            0,
            NULL,
            sum(amount),
            max(used_at)
        FROM feature_events
        GROUP BY user_id, organization_id, date_trunc('month', day::timestamp)::date
    ) AS parts
    GROUP BY user_id, organization_id, month
) AS stats;

-- Runs of days on which a user recorded, on whichever account; each day in that account's time zone.
CREATE FUNCTION streaks_of(member text) RETURNS TABLE (first_day date, last_day date, days integer)
LANGUAGE sql STABLE AS $$
    SELECT min(day), max(day), count(*)::integer
    FROM (
        SELECT day, day - row_number() OVER (ORDER BY day)::integer AS run
        FROM (
            SELECT DISTINCT day FROM daily_usage WHERE user_id = member AND seconds_used > 0
        ) AS active
    ) AS numbered
    GROUP BY run
$$;

-- What a user's subscriptions come to at the plans' prices: each month that began, except in a trial.
CREATE FUNCTION subscribed_of(
    member text, OUT months bigint, OUT highest_tier text, OUT revenue_cents bigint
)
LANGUAGE sql STABLE AS $$
    WITH held AS (
        SELECT
            subscription.plan_id,
            subscription.status,
            plans.price_cents,
            subscription.started_at AT TIME ZONE 'UTC' AS starts,
            least(coalesce(subscription.ended_at, now()), now()) AT TIME ZONE 'UTC' AS ends
        FROM user_subscriptions AS subscription
        JOIN plans ON plans.id = subscription.plan_id
        WHERE subscription.organization_id = member AND subscription.started_at <= now()
    )
    SELECT
        (
            SELECT count(DISTINCT month)
            FROM held
            CROSS JOIN generate_series(
                date_trunc('month', held.starts), held.ends, interval '1 month'
            ) AS month
        ),
        (SELECT plan_id FROM held ORDER BY price_cents DESC, plan_id LIMIT 1),
        (
            SELECT coalesce(
                sum(
                    price_cents
                    * (
                        extract(year FROM age(ends, starts)) * 12
                        + extract(month FROM age(ends, starts)) + 1
                    )
                ),
                0
            )::bigint
            FROM held
            WHERE status <> 'trialing'
        )
$$;

-- A user's lifetime. Sessions are those with at least one second; the average is a calendar month from
-- the first one to the last. Always one row.
CREATE FUNCTION lifetime_of(
    member text,
    OUT total_sessions bigint,
    OUT total_seconds bigint,
    OUT features_used bigint,
    OUT days_active bigint,
    OUT current_streak integer,
    OUT longest_streak integer,
    OUT average_sessions_per_month numeric,
    OUT first_activity timestamptz,
    OUT last_activity timestamptz,
    OUT months_subscribed bigint,
    OUT highest_tier text,
    OUT revenue_cents bigint
)
LANGUAGE sql STABLE AS $$
    WITH sessions AS (
        SELECT
            count(*) AS number,
            min(started_at) AS first,
            max(coalesce(ended_at, started_at)) AS last,
            max(started_at) AS last_start
        FROM interview_sessions
        WHERE user_id = member AND seconds_recorded > 0
    ), streaks AS (
        SELECT
            coalesce(sum(days), 0) AS days,
            coalesce(max(days), 0) AS longest,
            -- It isn't over before a whole day has passed without a second.
            coalesce(max(days) FILTER (WHERE last_day >= today.day - 1), 0) AS present
        FROM streaks_of(member)
        CROSS JOIN (
            SELECT (
                now() AT TIME ZONE coalesce(
                    (
                        SELECT time_zone
                        FROM daily_usage
                        WHERE user_id = member AND seconds_used > 0
                        ORDER BY day DESC
                        LIMIT 1
                    ),
                    'UTC'
                )
            )::date
        ) AS today (day)
    ), features AS (
        SELECT coalesce(sum(amount), 0)::bigint AS used
        FROM feature_usage
        WHERE user_id = member
    )
    SELECT
        sessions.number,
        (
            SELECT coalesce(sum(seconds_used), 0)::bigint
            FROM monthly_usage_cache
            WHERE user_id = member
        ),
        features.used,
        streaks.days,
        streaks.present,
        streaks.longest,
        CASE
            WHEN sessions.number = 0 THEN 0
            ELSE round(
                sessions.number / (
                    extract(year FROM spans.length) * 12 + extract(month FROM spans.length) + 1
                ),
                1
            )
        END,
        sessions.first,
        sessions.last,
        subscribed.months,
        subscribed.highest_tier,
        subscribed.revenue_cents
    FROM sessions
    CROSS JOIN streaks
    CROSS JOIN features
    CROSS JOIN subscribed_of(member) AS subscribed
    CROSS JOIN LATERAL (
        SELECT age(
            date_trunc('month', sessions.last_start, 'UTC') AT TIME ZONE 'UTC',
            date_trunc('month', sessions.first, 'UTC') AT TIME ZONE 'UTC'
        )
    ) AS spans (length)
$$;

-- Everybody who is known, or has recorded.
CREATE VIEW user_lifetime_stats AS
SELECT
    everybody.user_id,
    users.id AS user_uuid,
    lifetime.total_sessions,
    lifetime.total_seconds,
    (lifetime.total_seconds + 59) / 60 AS total_minutes,
    lifetime.features_used,
    lifetime.days_active,
    lifetime.current_streak,
    lifetime.longest_streak,
    lifetime.average_sessions_per_month,
    lifetime.first_activity,
    lifetime.last_activity,
    lifetime.months_subscribed,
    lifetime.highest_tier,
    lifetime.revenue_cents
FROM (
    SELECT clerk_id AS user_id FROM users
    UNION
    SELECT user_id FROM monthly_usage_cache
) AS everybody
LEFT JOIN users ON users.clerk_id = everybody.user_id
CROSS JOIN LATERAL lifetime_of(everybody.user_id) AS lifetime;

-- Milestones --------------------------------------------------------------------------------------

-- What users are told that they reached; a new one is a row.
CREATE TABLE milestones (
    kind text NOT NULL CONSTRAINT milestones_kind
        CHECK (kind IN ('minutes', 'sessions', 'days_active', 'longest_streak')),
    value bigint NOT NULL CONSTRAINT milestones_value CHECK (value > 0),
    PRIMARY KEY (kind, value)
);

INSERT INTO milestones (kind, value)
SELECT 'minutes', unnest(ARRAY[60, 600, 3000, 6000, 30000, 60000])
UNION ALL
SELECT 'sessions', unnest(ARRAY[1, 10, 50, 100, 500, 1000])
UNION ALL
SELECT 'days_active', unnest(ARRAY[7, 30, 100, 365])
UNION ALL
SELECT 'longest_streak', unnest(ARRAY[3, 7, 30, 100, 365]);

CREATE VIEW user_milestones AS
SELECT
    stats.user_id,
    milestones.kind,
    milestones.value,
    counted.value AS present_value,
    counted.value >= milestones.value AS reached
FROM user_lifetime_stats AS stats
CROSS JOIN milestones
CROSS JOIN LATERAL (
    SELECT CASE milestones.kind
        -- Whole ones: a milestone isn't reached by rounding.
        WHEN 'minutes' THEN stats.total_seconds / 60
        WHEN 'sessions' THEN stats.total_sessions
        WHEN 'days_active' THEN stats.days_active
        ELSE stats.longest_streak
    END
) AS counted (value);

-- For operators -----------------------------------------------------------------------------------

-- Who uses what, by tier and month.
CREATE VIEW feature_adoption AS
SELECT
    date_trunc('month', day::timestamp)::date AS month,
    coalesce(plan_id, 'none') AS tier,
    usage_type,
    count(DISTINCT user_id) AS users,
    sum(amount)::bigint AS amount
FROM feature_events
GROUP BY 1, 2, 3;

-- Who recorded most since some day.
CREATE FUNCTION power_users(since date, most integer DEFAULT 100)
RETURNS TABLE (user_id text, seconds bigint, days_active bigint, last_day date)
LANGUAGE sql STABLE AS $$
    SELECT
        used.user_id, sum(used.seconds_used)::bigint, count(DISTINCT used.day), max(used.day)
    FROM daily_usage AS used
    WHERE used.day >= since AND used.seconds_used > 0
    GROUP BY used.user_id
    ORDER BY 2 DESC, 1
    LIMIT most
$$;

-- Who recorded once, and no more for so many days; those who did most come first.
CREATE FUNCTION dropped_off_users(idle_days integer, most integer DEFAULT 100)
RETURNS TABLE (user_id text, last_day date, idle integer, seconds bigint)
LANGUAGE sql STABLE AS $$
    SELECT
        used.user_id,
        max(used.day),
        (now() AT TIME ZONE 'UTC')::date - max(used.day),
        sum(used.seconds_used)::bigint
    FROM daily_usage AS used
    WHERE used.seconds_used > 0
    GROUP BY used.user_id
    HAVING (now() AT TIME ZONE 'UTC')::date - max(used.day) >= idle_days
    ORDER BY 4 DESC, 1
    LIMIT most
$$;
