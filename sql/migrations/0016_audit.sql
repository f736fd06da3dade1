-- Compares every kept figure with what the rows of usage_tracking say, and puts it right.
--
-- Each audit_…() gives the figures that differ, in a time from `first` to `last` (exclusive): whose,
-- which (`place`), what is kept and what the rows say, in seconds. Without any row all is well.

CREATE FUNCTION audit_months(first timestamptz, last timestamptz)
RETURNS TABLE (organization_id text, user_id text, place text, kept bigint, counted bigint)
LANGUAGE sql STABLE AS $$
    WITH rows AS (
        SELECT
            tracked.organization_id,
            tracked.user_id,
            date_trunc('month', tracked.minute_timestamp AT TIME ZONE 'UTC')::date AS month,
            sum(bit_count(tracked.seconds_mask::bit(60)))::bigint AS seconds
        FROM usage_tracking AS tracked
        WHERE tracked.minute_timestamp >= first AND tracked.minute_timestamp < last
        GROUP BY 1, 2, 3
    ), figures AS (
        SELECT cache.organization_id, cache.user_id, cache.month, cache.seconds_used
        FROM monthly_usage_cache AS cache
        WHERE
            cache.month >= (first AT TIME ZONE 'UTC')::date
            AND cache.month < (last AT TIME ZONE 'UTC')::date
    )
    SELECT
        organization_id, user_id, month::text, coalesce(seconds_used, 0), coalesce(seconds, 0)
    FROM rows
    FULL JOIN figures USING (organization_id, user_id, month)
    WHERE coalesce(seconds_used, 0) <> coalesce(seconds, 0)
$$;

-- Days in each account's own zone: those that lie within the time in any zone.
CREATE FUNCTION audit_days(first timestamptz, last timestamptz)
RETURNS TABLE (
    organization_id text, user_id text, place text, kept bigint, counted bigint, day date,
    time_zone text
)
LANGUAGE sql STABLE AS $$
    WITH rows AS (
        SELECT
            tracked.organization_id,
            tracked.user_id,
            (tracked.minute_timestamp AT TIME ZONE coalesce(force.time_zone, 'UTC'))::date AS day,
            coalesce(force.time_zone, 'UTC') AS time_zone,
            sum(bit_count(tracked.seconds_mask::bit(60)))::bigint AS seconds
        FROM usage_tracking AS tracked
        LEFT JOIN cycles_in_force AS force
            ON force.organization_id = tracked.organization_id
            AND force.since <= tracked.minute_timestamp
            AND tracked.minute_timestamp < force.until
        WHERE
            tracked.minute_timestamp >= first - interval '2 days'
            AND tracked.minute_timestamp < last + interval '2 days'
        GROUP BY 1, 2, 3, 4
    )
    SELECT
        organization_id,
        user_id,
        day || ' ' || time_zone,
        coalesce(figures.seconds_used, 0),
        coalesce(rows.seconds, 0),
        day,
        time_zone
    FROM rows
    FULL JOIN daily_usage AS figures USING (organization_id, user_id, day, time_zone)
    WHERE
        day >= (first AT TIME ZONE 'UTC')::date
        AND day < (last AT TIME ZONE 'UTC')::date
        AND coalesce(figures.seconds_used, 0) <> coalesce(rows.seconds, 0)
$$;

-- Periods that begin in the time.
CREATE FUNCTION audit_periods(first timestamptz, last timestamptz)
RETURNS TABLE (
    organization_id text, user_id text, place text, kept bigint, counted bigint,
    period_start timestamptz
)
LANGUAGE sql STABLE AS $$
    WITH rows AS (
        SELECT
            period.organization_id,
            tracked.user_id,
            period.period_start,
            sum(bit_count(tracked.seconds_mask::bit(60)))::bigint AS seconds
        FROM billing_periods AS period
        JOIN usage_tracking AS tracked
            ON tracked.organization_id = period.organization_id
            AND tracked.minute_timestamp >= period.period_start
            AND tracked.minute_timestamp < period.period_end
        WHERE period.period_start >= first AND period.period_start < last
        GROUP BY 1, 2, 3
    ), figures AS (
        SELECT usage.organization_id, usage.user_id, usage.period_start, usage.seconds_used
        FROM period_usage AS usage
        WHERE usage.period_start >= first AND usage.period_start < last
    )
    SELECT
        organization_id,
        user_id,
        to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
        coalesce(seconds_used, 0),
        coalesce(seconds, 0),
        period_start
    FROM rows
    FULL JOIN figures USING (organization_id, user_id, period_start)
    WHERE coalesce(seconds_used, 0) <> coalesce(seconds, 0)
$$;

-- Sessions with a row in the time, or that began in it.
CREATE FUNCTION audit_sessions(first timestamptz, last timestamptz)
RETURNS TABLE (
    organization_id text, user_id text, place text, kept bigint, counted bigint, session_id uuid
)
LANGUAGE sql STABLE AS $$
    SELECT
        session.organization_id,
        session.user_id,
        session.session_id::text,
        session.seconds_recorded,
        rows.seconds,
        session.session_id
    FROM interview_sessions AS session
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(bit_count(tracked.seconds_mask::bit(60))), 0)::bigint AS seconds
        FROM usage_tracking AS tracked
        WHERE tracked.session_id = session.session_id
    ) AS rows
    WHERE
        session.started_at >= first - interval '1 day'
        AND session.started_at < last
        AND session.seconds_recorded <> rows.seconds
    UNION ALL
    SELECT
        tracked.organization_id,
        tracked.user_id,
        tracked.session_id::text,
        0,
        sum(bit_count(tracked.seconds_mask::bit(60)))::bigint,
        tracked.session_id
    FROM usage_tracking AS tracked
    WHERE
        tracked.minute_timestamp >= first
        AND tracked.minute_timestamp < last
        AND NOT EXISTS (
            SELECT FROM interview_sessions AS session
            WHERE session.session_id = tracked.session_id
        )
    GROUP BY tracked.organization_id, tracked.user_id, tracked.session_id
$$;

-- Members' copies of their latest month, wherever that lies.
CREATE FUNCTION audit_members()
RETURNS TABLE (
    organization_id text, user_id text, place text, kept bigint, counted bigint, month date,
    minutes bigint
)
LANGUAGE sql STABLE AS $$
    SELECT
        member.organization_id,
        member.user_id,
        coalesce(member.current_month_start::text, 'none'),
        member.current_month_minutes_used * 60,
        coalesce(latest.minutes_used, 0) * 60,
        latest.month,
        coalesce(latest.minutes_used, 0)
    FROM organization_members AS member
    LEFT JOIN LATERAL (
        SELECT cache.month, cache.minutes_used
        FROM monthly_usage_cache AS cache
        WHERE
            cache.organization_id = member.organization_id
            AND cache.user_id = member.user_id
        ORDER BY cache.month DESC
        LIMIT 1
    ) AS latest ON true
    WHERE
        (coalesce(member.current_month_start, latest.month), member.current_month_minutes_used)
        IS DISTINCT FROM (latest.month, coalesce(latest.minutes_used, 0))
        AND latest.month IS NOT NULL
$$;

-- Puts right what the audits of a time found, and gives how many figures. Writers of minutes wait
-- meanwhile.
CREATE FUNCTION repair_usage(first timestamptz, last timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    repaired bigint := 0;
    changed bigint;
BEGIN
    LOCK TABLE usage_tracking IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO interview_sessions AS kept
        (session_id, organization_id, user_id, started_at, seconds_recorded)
    SELECT
        found.session_id,
        found.organization_id,
        found.user_id,
        (
            SELECT min(minute_timestamp) FROM usage_tracking
            WHERE usage_tracking.session_id = found.session_id
        ),
        found.counted
    FROM audit_sessions(first, last) AS found
    ON CONFLICT (session_id) DO UPDATE SET seconds_recorded = excluded.seconds_recorded;
    GET DIAGNOSTICS changed = ROW_COUNT;
    repaired := repaired + changed;
    INSERT INTO monthly_usage_cache AS kept (organization_id, user_id, month, seconds_used)
    SELECT found.organization_id, found.user_id, found.place::date, found.counted
    FROM audit_months(first, last) AS found
    ON CONFLICT (organization_id, month, user_id) DO UPDATE
    SET seconds_used = excluded.seconds_used;
    GET DIAGNOSTICS changed = ROW_COUNT;
    repaired := repaired + changed;
    INSERT INTO daily_usage AS kept (organization_id, user_id, day, time_zone, seconds_used)
    SELECT found.organization_id, found.user_id, found.day, found.time_zone, found.counted
    FROM audit_days(first, last) AS found
    ON CONFLICT (organization_id, day, user_id, time_zone) DO UPDATE
    SET seconds_used = excluded.seconds_used;
    GET DIAGNOSTICS changed = ROW_COUNT;
    repaired := repaired + changed;
    INSERT INTO period_usage AS kept (organization_id, user_id, period_start, seconds_used)
    SELECT found.organization_id, found.user_id, found.period_start, found.counted
    FROM audit_periods(first, last) AS found
    ON CONFLICT (organization_id, period_start, user_id) DO UPDATE
    SET seconds_used = excluded.seconds_used;
    GET DIAGNOSTICS changed = ROW_COUNT;
    repaired := repaired + changed;
    UPDATE organization_members AS member
    SET current_month_start = found.month, current_month_minutes_used = found.minutes
    FROM audit_members() AS found
    WHERE
        (member.organization_id, member.user_id) = (found.organization_id, found.user_id);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN repaired + changed;
END
$$;
