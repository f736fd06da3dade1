-- Adjustments that can be meant, and are in members' figures too; check_usage_limit() for those who give
-- it a usage type alone; and what operators ask of all users.

-- Adjustments -------------------------------------------------------------------------------------

-- Whom a member's adjustment may be of: somebody who is or was one, as far as anything is known of it.
CREATE FUNCTION is_member(organization text, member text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT
        organization = member
        OR EXISTS (
            SELECT FROM organization_members
            WHERE organization_id = organization AND user_id = member
        )
        OR EXISTS (
            SELECT FROM monthly_usage_cache
            WHERE user_id = member AND organization_id = organization
        )
        OR EXISTS (
            SELECT FROM profile_accounts
            WHERE user_id = member AND organization_id = organization
        )
$$;

CREATE FUNCTION refuse_unmeant_adjustment() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF new.user_id IS NOT NULL AND NOT is_member(new.organization_id, new.user_id) THEN
        RAISE EXCEPTION '% is no member of %', new.user_id, new.organization_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'usage_adjustments_member';
    END IF;
    -- Corrections are of what was, and agreements of the periods to come.
    IF new.effective_at NOT BETWEEN '1970-01-01 00:00:00+00' AND now() + interval '1 year' THEN
        RAISE EXCEPTION 'an adjustment of % is too far away: a year ahead at most', new.effective_at
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_adjustments_moment';
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER adjustment_meant BEFORE INSERT ON usage_adjustments
    FOR EACH ROW EXECUTE FUNCTION refuse_unmeant_adjustment();

CREATE INDEX usage_adjustments_member
    ON usage_adjustments (organization_id, user_id, effective_at) WHERE user_id IS NOT NULL;

-- A member's minutes of a UTC month: what was recorded, with their adjustments, as in
-- check_usage_limit().
CREATE FUNCTION member_minutes(
    organization text, member text, month date, recorded bigint
) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT (greatest(recorded + coalesce(sum(seconds), 0), 0)::bigint + 59) / 60
    FROM usage_adjustments
    WHERE
        organization_id = organization
        AND user_id = member
        AND effective_at >= month::timestamp AT TIME ZONE 'UTC'
        AND effective_at < (month + interval '1 month') AT TIME ZONE 'UTC'
$$;

-- Copies what changed in monthly_usage_cache, with adjustments, unless a later month is there already.
-- Most organizations have no row of their members: then there is nothing to sort out.
CREATE OR REPLACE FUNCTION update_member_usage() RETURNS trigger
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
    has_adjusted boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM organization_members) OR NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    has_adjusted := EXISTS (SELECT FROM usage_adjustments WHERE user_id IS NOT NULL);
    UPDATE organization_members AS member
    SET
        current_month_start = latest.month,
        current_month_minutes_used = latest.minutes_used
    FROM (
        SELECT
            last_of.organization_id,
            last_of.user_id,
            last_of.month,
            CASE
                WHEN has_adjusted THEN (
                    -- As member_minutes(), but a part of this query.
                    SELECT
                        (
                            greatest(last_of.seconds_used + coalesce(sum(seconds), 0), 0)::bigint
                            + 59
                        ) / 60
                    FROM usage_adjustments AS adjustment
                    WHERE
                        adjustment.organization_id = last_of.organization_id
                        AND adjustment.user_id = last_of.user_id
                        AND adjustment.effective_at
                            >= last_of.month::timestamp AT TIME ZONE 'UTC'
                        AND adjustment.effective_at
                            < (last_of.month + interval '1 month') AT TIME ZONE 'UTC'
                )
                ELSE last_of.minutes_used
            END AS minutes_used
        FROM (
            SELECT DISTINCT ON (organization_id, user_id)
                organization_id, user_id, month, seconds_used, minutes_used
            FROM changed
            ORDER BY organization_id, user_id, month DESC
        ) AS last_of
        OFFSET 0
    ) AS latest
    WHERE
        member.organization_id = latest.organization_id
        AND member.user_id = latest.user_id
        AND coalesce(member.current_month_start <= latest.month, true)
        AND (member.current_month_start, member.current_month_minutes_used)
            IS DISTINCT FROM (latest.month, latest.minutes_used);
    RETURN NULL;
END
$$;

-- Touching the month's figures, as for a new member, gives the member their part by the trigger above,
-- and waits for a writer that has them under its hands. A month to come has no figures yet.
CREATE FUNCTION adjust_member_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF new.effective_at < (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month')
        AT TIME ZONE 'UTC'
    THEN
        INSERT INTO monthly_usage_cache AS kept (organization_id, user_id, month, seconds_used)
        VALUES (
            new.organization_id,
            new.user_id,
            date_trunc('month', new.effective_at AT TIME ZONE 'UTC')::date,
            0
        )
        ON CONFLICT (organization_id, month, user_id) DO UPDATE
        SET seconds_used = kept.seconds_used;
    END IF;
    RETURN NULL;
END
$$;

-- (By its name before the one that notes the change of limits: minutes that come as a number lock the
-- same two rows in this order.)
CREATE TRIGGER adjust_member AFTER INSERT ON usage_adjustments
    FOR EACH ROW WHEN (new.user_id IS NOT NULL)
    EXECUTE FUNCTION adjust_member_usage();

-- Adjustments of before this migration.
UPDATE organization_members AS member
SET current_month_minutes_used = member_minutes(
    cache.organization_id, cache.user_id, cache.month, cache.seconds_used
)
FROM monthly_usage_cache AS cache
WHERE
    (cache.organization_id, cache.user_id, cache.month)
        = (member.organization_id, member.user_id, member.current_month_start)
    AND EXISTS (SELECT FROM usage_adjustments WHERE user_id IS NOT NULL);

-- Members' copies of their latest month, wherever that lies.
CREATE OR REPLACE FUNCTION audit_members()
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
        SELECT
            cache.month,
            member_minutes(
                cache.organization_id, cache.user_id, cache.month, cache.seconds_used
            ) AS minutes_used
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

-- Days whose first or last second isn't what the rows say; these as they should be. Kept and counted are
-- moments, in epoch seconds (0: none). Days without a figure are found by audit_days() alone.
CREATE FUNCTION audit_moments(first timestamptz, last timestamptz)
RETURNS TABLE (
    organization_id text, user_id text, place text, kept bigint, counted bigint, day date,
    time_zone text, first_second_at timestamptz, last_second_at timestamptz
)
LANGUAGE sql STABLE AS $$
    WITH rows AS (
        SELECT
            tracked.organization_id,
            tracked.user_id,
            (tracked.minute_timestamp AT TIME ZONE coalesce(force.time_zone, 'UTC'))::date AS day,
            coalesce(force.time_zone, 'UTC') AS time_zone,
            min(first_second(tracked.minute_timestamp, tracked.seconds_mask)) AS first_second_at,
            max(end_of_last_second(tracked.minute_timestamp, tracked.seconds_mask))
                AS last_second_at
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
        day || ' ' || time_zone || moment.name,
        coalesce(extract(epoch FROM moment.kept), 0)::bigint,
        coalesce(extract(epoch FROM moment.counted), 0)::bigint,
        day,
        time_zone,
        rows.first_second_at,
        rows.last_second_at
    FROM daily_usage AS figures
    LEFT JOIN rows USING (organization_id, user_id, day, time_zone)
    CROSS JOIN LATERAL (
        VALUES
            (', first second', figures.first_second_at, rows.first_second_at),
            (', last second', figures.last_second_at, rows.last_second_at)
    ) AS moment (name, kept, counted)
    WHERE
        day >= (first AT TIME ZONE 'UTC')::date
        AND day < (last AT TIME ZONE 'UTC')::date
        AND moment.kept IS DISTINCT FROM moment.counted
$$;

-- Puts right what the audits of a time found, and gives how many figures. Writers of minutes wait
-- meanwhile.
CREATE OR REPLACE FUNCTION repair_usage(first timestamptz, last timestamptz) RETURNS bigint
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
    INSERT INTO daily_usage AS kept (
        organization_id, user_id, day, time_zone, seconds_used, first_second_at, last_second_at
    )
    SELECT
        found.organization_id,
        found.user_id,
        found.day,
        found.time_zone,
        found.counted,
        moments.first_second_at,
        moments.last_second_at
    FROM audit_days(first, last) AS found
    CROSS JOIN LATERAL seconds_of_day(
        found.organization_id, found.user_id, found.day, found.time_zone
    ) AS moments
    ON CONFLICT (organization_id, day, user_id, time_zone) DO UPDATE
    SET
        seconds_used = excluded.seconds_used,
        first_second_at = excluded.first_second_at,
        last_second_at = excluded.last_second_at;
    GET DIAGNOSTICS changed = ROW_COUNT;
    repaired := repaired + changed;
    UPDATE daily_usage AS kept
    SET first_second_at = found.first_second_at, last_second_at = found.last_second_at
    FROM audit_moments(first, last) AS found
    WHERE
        (kept.organization_id, kept.day, kept.user_id, kept.time_zone)
            = (found.organization_id, found.day, found.user_id, found.time_zone);
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

-- check_usage_limit() -----------------------------------------------------------------------------

-- May this member of an organization record on, as far as Postgres knows: what live sessions record
-- this minute isn't here yet. Figures are those of the limit that binds: the one with less room. Used
-- minutes are rounded up, the limit and what remains down; without a limit they are null.
ALTER FUNCTION check_usage_limit(text, text) RENAME TO recording_limit;
CREATE OR REPLACE FUNCTION recording_limit(
    user_id text, organization_id text,
    OUT can_record boolean,
    OUT minutes_used bigint,
    OUT minutes_limit bigint,
    OUT minutes_remaining bigint,
    OUT percentage_used numeric,
    OUT used_seconds bigint,
    OUT limit_seconds bigint,
    OUT remaining_seconds bigint,
    OUT unlimited boolean,
    OUT period_start timestamptz,
    OUT period_end timestamptz,
    OUT scope text,
    OUT overage_seconds bigint
)
LANGUAGE sql STABLE AS $$
    WITH standing AS (
        SELECT
            given.*,
            -- Room until the organization's end, its overage included once the limit is reached.
            CASE
                WHEN given.organization_limit > given.organization_used
                    THEN given.organization_limit - given.organization_used
                ELSE
                    given.organization_limit + given.room_past_limit - given.organization_used
            END AS organization_room,
            given.member_limit - given.member_used AS member_room,
            CASE
                WHEN given.bills_past_limit
                    THEN greatest(given.organization_used - given.organization_limit, 0)
                ELSE 0
            END AS past_limit
        FROM account_standing(
            recording_limit.organization_id, recording_limit.user_id
        ) AS given
    ), binding AS (
        SELECT
            standing.*,
            member.binds,
            CASE
                WHEN member.binds THEN standing.member_used ELSE standing.organization_used
            END AS used,
            CASE
                WHEN member.binds THEN standing.member_limit ELSE standing.organization_limit
            END AS most
        FROM standing
        CROSS JOIN LATERAL (
            SELECT
                standing.member_limit IS NOT NULL
                AND (
                    standing.organization_room IS NULL
                    OR standing.member_room < standing.organization_room
                )
        ) AS member (binds)
    ), figures AS (
        SELECT
            binding.*,
            greatest(
                used - CASE WHEN binds THEN 0 ELSE coalesce(past_limit, 0) END, 0
            ) AS shown,
            CASE WHEN most IS NOT NULL THEN greatest(most - used, 0) END AS left_over
        FROM binding
    )
    SELECT
        coalesce(member_room > 0, true)
            AND coalesce(
                organization_limit + room_past_limit - organization_used > 0, true
            ),
        (shown + 59) / 60,
        most / 60,
        left_over / 60,
        CASE
            WHEN most = 0 THEN 100
            WHEN most > 0 THEN trunc(greatest(used, 0) * 100.0 / most, 1)
        END,
        shown,
        most,
        left_over,
        most IS NULL,
        figures.period_start,
        figures.period_end,
        CASE WHEN binds THEN 'member' ELSE 'organization' END,
        coalesce(past_limit, 0)
    FROM figures
$$;

-- How an account stands with one usage type now: what is allowed (null: unlimited; 0 also where its
-- plan doesn't have it), used and left in the present period. No row for an unknown type. Minutes are
-- those of the limit that binds, as recording_limit() gives them.
CREATE OR REPLACE FUNCTION usage_standing(organization text, member text, type text)
RETURNS TABLE (
    usage_type text,
    unit text,
    period text,
    is_access boolean,
    period_start timestamptz,
    period_end timestamptz,
    limit_value bigint,
    used bigint,
    remaining bigint
)
LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    plan text;
    allotment record;
BEGIN
    SELECT t.name, t.unit, t.period, t.is_access INTO usage_type, unit, period, is_access
    FROM usage_types AS t
    WHERE t.name = type;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF type = 'minutes_per_month' THEN
        SELECT c.period_start, c.period_end, c.minutes_limit, c.minutes_used, c.minutes_remaining
        INTO period_start, period_end, limit_value, used, remaining
        FROM recording_limit(member, organization) AS c;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT p.period_start, p.period_end INTO period_start, period_end
    FROM usage_period(organization, period) AS p;
    used := feature_used(organization, type, period_start, period_end);
    plan := account_plan(organization, member);
    -- Without any plan nothing is limited, as with minutes.
    IF plan IS NOT NULL THEN
        SELECT l.limit_value INTO allotment
        FROM plan_limits AS l
        WHERE l.plan_id = plan AND l.usage_type = type;
        limit_value := CASE WHEN FOUND THEN nullif(allotment.limit_value, -1) ELSE 0 END;
    END IF;
    remaining := CASE
        WHEN is_access OR limit_value IS NULL THEN limit_value
        ELSE greatest(limit_value - used, 0)
    END;
    RETURN NEXT;
END
$$;

-- Two systems have a function of this name that takes two texts: a user and an organization, or a user
-- and a usage type (and 1 of it). It answers both. What is asked is a usage type if there is one of this
-- name, and no organization: neither a row of that id, nor anything recorded for it. Of an organization
-- `allowed`, `current_usage`, `limit_value` and `remaining` are the minutes; of a usage type, which is
-- asked for the user's personal account, the figures of recording are null unless it is the minutes.
CREATE FUNCTION check_usage_limit(
    user_id text, organization_id text,
    OUT can_record boolean,
    OUT minutes_used bigint,
    OUT minutes_limit bigint,
    OUT minutes_remaining bigint,
    OUT percentage_used numeric,
    OUT used_seconds bigint,
    OUT limit_seconds bigint,
    OUT remaining_seconds bigint,
    OUT unlimited boolean,
    OUT period_start timestamptz,
    OUT period_end timestamptz,
    OUT scope text,
    OUT overage_seconds bigint,
    OUT allowed boolean,
    OUT current_usage bigint,
    OUT limit_value bigint,
    OUT remaining bigint
)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    member text := user_id;
    account text := organization_id;
    type text;
BEGIN
    SELECT usage_types.name INTO type
    FROM usage_types
    WHERE
        usage_types.name = account
        AND NOT EXISTS (SELECT FROM organizations WHERE organizations.id = account)
        AND NOT EXISTS (
            SELECT FROM monthly_usage_cache AS cache WHERE cache.organization_id = account
        );
    IF coalesce(type = 'minutes_per_month', true) THEN
        SELECT found.*
        INTO
            can_record, minutes_used, minutes_limit, minutes_remaining, percentage_used,
            used_seconds, limit_seconds, remaining_seconds, unlimited, period_start, period_end,
            scope, overage_seconds
        FROM recording_limit(member, CASE WHEN type IS NULL THEN account ELSE member END) AS found;
        current_usage := minutes_used;
        limit_value := minutes_limit;
        remaining := minutes_remaining;
        allowed := can_record;
    ELSE
        SELECT
            standing.used,
            standing.limit_value,
            standing.remaining,
            standing.limit_value IS NULL,
            standing.period_start,
            standing.period_end
        INTO current_usage, limit_value, remaining, unlimited, period_start, period_end
        FROM usage_standing(member, member, type) AS standing;
    END IF;
    IF type IS NOT NULL THEN
        allowed := has_room(member, member, type, 1);
    END IF;
END
$$;

-- For operators -----------------------------------------------------------------------------------

-- Days come to the table one after the other.
CREATE INDEX daily_usage_day ON daily_usage USING brin (day) WITH (pages_per_range = 16);

-- Who uses what in a month (any day of it), by tier: users and uses of each type, and how many accounts
-- had the tier in that month. Of use without a plan the tier is `none`. By tier and type; the page after
-- some tier and type.
CREATE FUNCTION feature_adoption_by_tier(
    month date,
    most integer DEFAULT 100,
    after_tier text DEFAULT NULL,
    after_type text DEFAULT NULL
)
RETURNS TABLE (tier text, usage_type text, users bigint, amount bigint, accounts bigint)
LANGUAGE sql STABLE AS $$
    WITH asked AS (
        SELECT
            date_trunc('month', month::timestamp)::date AS first,
            (date_trunc('month', month::timestamp) + interval '1 month')::date AS next
    ), used AS (
        SELECT
            coalesce(event.plan_id, 'none') AS tier,
            event.usage_type,
            count(DISTINCT event.user_id) AS users,
            sum(event.amount)::bigint AS amount
        FROM asked
        CROSS JOIN usage_types AS type
        JOIN feature_events AS event
            ON event.usage_type = type.name
            AND event.day >= asked.first
            AND event.day < asked.next
        GROUP BY 1, 2
    ), page AS (
        SELECT used.*
        FROM used
        WHERE after_tier IS NULL OR (used.tier, used.usage_type) > (after_tier, after_type)
        ORDER BY used.tier, used.usage_type
        LIMIT least(greatest(most, 0), 1000)
    )
    SELECT
        page.tier,
        page.usage_type,
        page.users,
        page.amount,
        (
            SELECT count(DISTINCT subscription.organization_id)
            FROM asked
            JOIN subscription_terms AS terms
                ON terms.plan_id = page.tier AND terms.since < asked.next
            JOIN user_subscriptions AS subscription ON subscription.id = terms.subscription_id
            WHERE
                (
                    subscription.ended_at IS NULL
                    OR subscription.ended_at >= asked.first::timestamp AT TIME ZONE 'UTC'
                )
                -- Not left for other terms before the month.
                AND NOT EXISTS (
                    SELECT
                    FROM subscription_terms AS later
                    WHERE
                        later.subscription_id = terms.subscription_id
                        AND later.since > terms.since
                        AND later.since <= asked.first::timestamp AT TIME ZONE 'UTC'
                )
        )
    FROM page
    ORDER BY page.tier, page.usage_type
$$;

-- Who recorded most from one day to another (inclusive; without the second, until now). Those with most
-- seconds first; the page after some seconds and user.
DROP FUNCTION power_users(date, integer);
CREATE FUNCTION power_users(
    since date,
    most integer DEFAULT 100,
    until date DEFAULT NULL,
    after_seconds bigint DEFAULT NULL,
    after_user text DEFAULT NULL
)
RETURNS TABLE (user_id text, seconds bigint, days_active bigint, last_day date)
LANGUAGE sql STABLE AS $$
    SELECT found.user_id, found.seconds, found.days_active, found.last_day
    FROM (
        SELECT
            used.user_id,
            sum(used.seconds_used)::bigint AS seconds,
            count(DISTINCT used.day) AS days_active,
            max(used.day) AS last_day
        FROM daily_usage AS used
        WHERE
            used.day >= since
            AND used.day <= coalesce(until, 'infinity')
            AND used.seconds_used > 0
        GROUP BY used.user_id
    ) AS found
    WHERE
        after_seconds IS NULL
        OR found.seconds < after_seconds
        OR (found.seconds = after_seconds AND found.user_id > after_user)
    ORDER BY found.seconds DESC, found.user_id
    LIMIT least(greatest(most, 0), 1000)
$$;

-- Who recorded in the last `within_days`, but not in the last `idle_days`. Those with most seconds in
-- that time first; the page after some seconds and user.
DROP FUNCTION dropped_off_users(integer, integer);
CREATE FUNCTION dropped_off_users(
    idle_days integer,
    most integer DEFAULT 100,
    within_days integer DEFAULT 365,
    after_seconds bigint DEFAULT NULL,
    after_user text DEFAULT NULL
)
RETURNS TABLE (user_id text, last_day date, idle integer, seconds bigint)
LANGUAGE sql STABLE AS $$
    SELECT found.user_id, found.last_day, found.idle, found.seconds
    FROM (
        SELECT
            used.user_id,
            max(used.day) AS last_day,
            (now() AT TIME ZONE 'UTC')::date - max(used.day) AS idle,
            sum(used.seconds_used)::bigint AS seconds
        FROM daily_usage AS used
        WHERE
            used.day >= (now() AT TIME ZONE 'UTC')::date - within_days
            AND used.seconds_used > 0
        GROUP BY used.user_id
    ) AS found
    WHERE
        found.idle >= idle_days
        AND (
            after_seconds IS NULL
            OR found.seconds < after_seconds
            OR (found.seconds = after_seconds AND found.user_id > after_user)
        )
    ORDER BY found.seconds DESC, found.user_id
    LIMIT least(greatest(most, 0), 1000)
$$;
