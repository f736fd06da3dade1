-- The calls by which applications ask for features, and use them.

-- The answers of calls that came with a key, so that one that is made again takes nothing.
CREATE TABLE usage_calls (
    organization_id text NOT NULL,
    idempotency_key text NOT NULL
        CONSTRAINT usage_calls_key CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    request jsonb NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, idempotency_key)
);

CREATE INDEX usage_calls_created ON usage_calls (created_at);

-- Records a session of whole seconds that has just ended: for minutes that come as a number. Its id.
CREATE FUNCTION record_ended_session(
    organization text, member text, seconds integer, kind text
) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    id uuid := gen_random_uuid();
    ends timestamptz := date_trunc('second', clock_timestamp());
    starts timestamptz := ends - make_interval(secs => seconds);
BEGIN
    IF seconds NOT BETWEEN 1 AND 86400 THEN
        RAISE EXCEPTION 'a session has from 1 to 86400 seconds, not %', seconds
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_amount';
    END IF;
    IF to_regclass('usage_tracking_' || to_char(starts AT TIME ZONE 'UTC', 'YYYY_MM')) IS NULL
        OR to_regclass('usage_tracking_' || to_char(ends AT TIME ZONE 'UTC', 'YYYY_MM')) IS NULL
    THEN
        PERFORM ensure_usage_partitions(starts, 2);
    END IF;
    INSERT INTO interview_sessions (
        session_id, organization_id, user_id, kind, started_at, ended_at, end_reason, revision
    )
    VALUES (id, organization, member, record_ended_session.kind, starts, ends, 'stopped', 1);
    INSERT INTO usage_tracking
        (session_id, organization_id, user_id, minute_timestamp, seconds_mask)
    SELECT
        id,
        organization,
        member,
        minute,
        ((1::bigint << (cut.last - cut.first)) - 1) << cut.first
    FROM generate_series(
        date_trunc('minute', starts), ends - interval '1 second', interval '1 minute'
    ) AS minute
    CROSS JOIN LATERAL (
        SELECT
            greatest(extract(epoch FROM starts - minute)::integer, 0),
            least(extract(epoch FROM ends - minute)::integer, 60)
    ) AS cut (first, last);
    -- It didn't come by way of the ledger, which has to be told.
    INSERT INTO limit_changes AS kept (organization_id) VALUES (organization)
    ON CONFLICT (organization_id) DO UPDATE SET version = kept.version + 1;
    RETURN id;
END
$$;

-- Uses several types at once: all of them, or none where one has no room. `usages` is an object of
-- amounts by type, or an array of {usage_type, amount}. The answer says whether it was `allowed`, and
-- how each type stands then. With a key, the same call made again takes nothing, and has the same
-- answer; another call with that key is an error. Without an organization it is the user's personal
-- account, which is made where it is missing. Minutes become a session of so many that has just ended,
-- of the kind that is given.
CREATE FUNCTION track_usages(
    clerk_id text,
    usages jsonb,
    idempotency_key text DEFAULT NULL,
    organization_id text DEFAULT NULL,
    session_kind text DEFAULT 'tracked'
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    member text := clerk_id;
    account text := coalesce(organization_id, clerk_id);
    call_key text := idempotency_key;
    -- What is asked, in one form.
    asked jsonb := usages_asked(usages);
    request jsonb := jsonb_build_object('user', clerk_id, 'usages', asked);
    earlier record;
    answer jsonb;
    allowed boolean;
BEGIN
    IF account = member THEN
        PERFORM ensure_user_exists(member);
    END IF;
    -- Calls of an account come one after the other: none counts on what another is just using up.
    PERFORM pg_advisory_xact_lock(hashtext('track_usage'), hashtext(account));
    IF call_key IS NOT NULL THEN
        SELECT c.request, c.answer INTO earlier
        FROM usage_calls AS c
        WHERE c.organization_id = account AND c.idempotency_key = call_key;
        IF FOUND THEN
            IF earlier.request <> request THEN
                RAISE EXCEPTION 'this key was used for another call'
                    USING ERRCODE = 'unique_violation', CONSTRAINT = 'usage_calls_request';
            END IF;
            RETURN earlier.answer;
        END IF;
    END IF;
    SELECT coalesce(bool_and(has_room(account, member, each.key, each.value::text::numeric)), true)
    INTO allowed
    FROM jsonb_each(asked) AS each;
    IF allowed THEN
        INSERT INTO feature_events (organization_id, user_id, usage_type, amount)
        SELECT account, member, each.key, each.value::text::bigint
        FROM jsonb_each(asked) AS each
        WHERE each.key <> 'minutes_per_month'
        ORDER BY each.key;
        IF asked ? 'minutes_per_month' THEN
            PERFORM record_ended_session(
                account,
                member,
                ceil((asked ->> 'minutes_per_month')::numeric * 60)::integer,
                session_kind
            );
        END IF;
    END IF;
    SELECT jsonb_build_object(
        'allowed', allowed,
        'usages', coalesce(jsonb_agg(standing.line ORDER BY each.key), '[]')
    )
    INTO answer
    FROM jsonb_each(asked) AS each
    CROSS JOIN LATERAL (
        SELECT jsonb_build_object(
            'usage_type', s.usage_type,
            'amount', each.value,
            'limit', s.limit_value,
            'used', s.used,
            'remaining', s.remaining,
            'unlimited', s.limit_value IS NULL,
            'period', s.period,
            -- A lifetime has no ends.
            'period_start', CASE WHEN isfinite(s.period_start)
                THEN extract(epoch FROM s.period_start)::bigint END,
            'period_end', CASE WHEN isfinite(s.period_end)
                THEN extract(epoch FROM s.period_end)::bigint END
        )
        FROM usage_standing(account, member, each.key) AS s
    ) AS standing (line);
    IF call_key IS NOT NULL THEN
        INSERT INTO usage_calls (organization_id, idempotency_key, request, answer)
        VALUES (account, call_key, request, answer);
    END IF;
    RETURN answer;
END
$$;

-- Usages as an object of amounts by type; those of one type are added up. An unknown type or an amount
-- that can't be used is an error.
CREATE FUNCTION usages_asked(usages jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    given record;
    asked jsonb := '{}';
BEGIN
    FOR given IN
        SELECT each.key AS type, each.value AS amount
        FROM jsonb_each(CASE jsonb_typeof(usages) WHEN 'object' THEN usages ELSE '{}' END) AS each
        UNION ALL
        SELECT item ->> 'usage_type', coalesce(item -> 'amount', '1')
        FROM jsonb_array_elements(
            CASE jsonb_typeof(usages) WHEN 'array' THEN usages ELSE '[]' END
        ) AS item
    LOOP
        IF NOT EXISTS (SELECT FROM usage_types WHERE name = given.type) THEN
            RAISE EXCEPTION 'there is no usage type %', coalesce(given.type, 'null')
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'usage_type_known';
        END IF;
        IF jsonb_typeof(given.amount) IS DISTINCT FROM 'number'
            OR given.amount::numeric NOT BETWEEN 0.001 AND 1000000000
            OR given.type <> 'minutes_per_month'
                AND given.amount::numeric <> trunc(given.amount::numeric)
        THEN
            RAISE EXCEPTION '% of % cannot be used', given.amount, given.type
                USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_amount';
        END IF;
        asked := asked || jsonb_build_object(
            given.type,
            trim_scale(coalesce((asked -> given.type)::numeric, 0) + given.amount::numeric)
        );
    END LOOP;
    IF asked = '{}' THEN
        RAISE EXCEPTION 'no usage is named' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'usage_amount';
    END IF;
    RETURN asked;
END
$$;

-- Uses so much of a type, and says whether there was room; if not, nothing is used.
CREATE FUNCTION track_usage(
    clerk_id text,
    usage_type text,
    amount numeric DEFAULT 1,
    idempotency_key text DEFAULT NULL,
    organization_id text DEFAULT NULL
) RETURNS boolean
LANGUAGE sql AS $$
    SELECT (
        track_usages(
            track_usage.clerk_id,
            jsonb_build_object(track_usage.usage_type, track_usage.amount),
            track_usage.idempotency_key,
            track_usage.organization_id
        ) -> 'allowed'
    )::boolean
$$;

-- An interview of so many minutes that has just ended: one of the day's, and its minutes; both or none.
CREATE FUNCTION track_interview_session(
    clerk_id text,
    duration_minutes numeric,
    idempotency_key text DEFAULT NULL,
    organization_id text DEFAULT NULL
) RETURNS boolean
LANGUAGE sql AS $$
    SELECT (
        track_usages(
            track_interview_session.clerk_id,
            jsonb_build_object(
                'interviews_per_day', 1,
                'minutes_per_month', track_interview_session.duration_minutes
            ),
            track_interview_session.idempotency_key,
            track_interview_session.organization_id,
            'interview'
        ) -> 'allowed'
    )::boolean
$$;

-- Whether so much of a type may be used now.
CREATE FUNCTION can_use_feature(
    clerk_id text,
    usage_type text,
    amount numeric DEFAULT 1,
    organization_id text DEFAULT NULL
) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT has_room(
        coalesce(can_use_feature.organization_id, can_use_feature.clerk_id),
        can_use_feature.clerk_id,
        can_use_feature.usage_type,
        can_use_feature.amount
    )
$$;

-- The same with the figures. (The form with two arguments, of a user and an organization, asks whether
-- they may record on.) No row for an unknown type.
CREATE FUNCTION check_usage_limit(clerk_id text, usage_type text, amount numeric)
RETURNS TABLE (
    allowed boolean,
    current_usage bigint,
    limit_value bigint,
    remaining bigint,
    unlimited boolean,
    period_start timestamptz,
    period_end timestamptz
)
LANGUAGE sql STABLE AS $$
    SELECT
        has_room(
            check_usage_limit.clerk_id,
            check_usage_limit.clerk_id,
            check_usage_limit.usage_type,
            check_usage_limit.amount
        ),
        standing.used,
        standing.limit_value,
        standing.remaining,
        standing.limit_value IS NULL,
        standing.period_start,
        standing.period_end
    FROM usage_standing(
        check_usage_limit.clerk_id, check_usage_limit.clerk_id, check_usage_limit.usage_type
    ) AS standing
$$;

-- How a user stands with every type: on their personal account, or as a member of an organization.
CREATE FUNCTION get_user_usage_summary(clerk_id text, organization_id text DEFAULT NULL)
RETURNS TABLE (
    usage_type text,
    unit text,
    period text,
    period_start timestamptz,
    period_end timestamptz,
    limit_value bigint,
    current_usage bigint,
    remaining bigint,
    unlimited boolean,
    percentage_used numeric
)
LANGUAGE sql STABLE AS $$
    SELECT
        standing.usage_type,
        standing.unit,
        standing.period,
        standing.period_start,
        standing.period_end,
        standing.limit_value,
        standing.used,
        standing.remaining,
        standing.limit_value IS NULL,
        CASE
            WHEN standing.is_access THEN NULL
            WHEN standing.limit_value = 0 THEN 100
            ELSE trunc(standing.used * 100.0 / standing.limit_value, 1)
        END
    FROM usage_types AS type
    CROSS JOIN LATERAL usage_standing(
        coalesce(get_user_usage_summary.organization_id, get_user_usage_summary.clerk_id),
        get_user_usage_summary.clerk_id,
        type.name
    ) AS standing
    ORDER BY standing.usage_type
$$;

-- The present subscription of a user's personal account, or of an organization; no row without one.
CREATE FUNCTION get_user_subscription_info(clerk_id text, organization_id text DEFAULT NULL)
RETURNS TABLE (
    organization_id text,
    plan_id text,
    plan_name text,
    price_cents integer,
    currency text,
    status text,
    billing_cycle text,
    time_zone text,
    started_at timestamptz,
    current_period_start timestamptz,
    current_period_end timestamptz
)
LANGUAGE sql STABLE AS $$
    SELECT
        subscription.organization_id,
        plans.id,
        plans.name,
        plans.price_cents,
        plans.currency,
        subscription.status,
        subscription.billing_cycle,
        period.time_zone,
        subscription.started_at,
        period.period_start,
        period.period_end
    FROM user_subscriptions AS subscription
    JOIN plans ON plans.id = subscription.plan_id
    CROSS JOIN LATERAL account_period(subscription.organization_id) AS period
    WHERE
        subscription.organization_id = coalesce($2, $1)
        AND subscription.ended_at IS NULL
$$;

-- Limits and usage of every user's personal account, as of now.
CREATE VIEW user_current_limits AS
SELECT
    users.id AS user_uuid,
    users.clerk_id,
    account_plan(users.clerk_id, users.clerk_id) AS plan_id,
    standing.usage_type,
    standing.limit_value,
    standing.used AS current_usage,
    standing.remaining,
    standing.limit_value IS NULL AS unlimited,
    standing.period,
    standing.period_start,
    standing.period_end
FROM users
CROSS JOIN usage_types AS type
CROSS JOIN LATERAL usage_standing(users.clerk_id, users.clerk_id, type.name) AS standing;

-- Usage by user, type and period. Minutes are those that were counted, with the user's own adjustments;
-- periods that are no UTC months are there from when they were made.
CREATE VIEW user_usage AS
SELECT
    users.id AS user_uuid,
    used.user_id AS clerk_id,
    used.organization_id,
    used.usage_type,
    used.period_start,
    used.period_end,
    used.usage_value,
    used.seconds_used
FROM (
    SELECT
        user_id, organization_id, usage_type, period_start, period_end,
        amount AS usage_value, NULL::bigint AS seconds_used
    FROM feature_usage
    UNION ALL
    SELECT
        counted.user_id,
        counted.organization_id,
        'minutes_per_month',
        counted.period_start,
        counted.period_end,
        (greatest(counted.seconds_used + adjusted.member_seconds, 0) + 59) / 60,
        greatest(counted.seconds_used + adjusted.member_seconds, 0)
    FROM (
        SELECT
            user_id,
            organization_id,
            month::timestamp AT TIME ZONE 'UTC' AS period_start,
            (month + interval '1 month') AT TIME ZONE 'UTC' AS period_end,
            seconds_used
        FROM monthly_usage_cache AS cache
        WHERE
            NOT EXISTS (
                SELECT FROM cycles_in_force AS force
                WHERE force.organization_id = cache.organization_id
            )
        UNION ALL
        SELECT user_id, organization_id, period_start, period_end, seconds_used
        FROM period_usage
        JOIN billing_periods USING (organization_id, period_start)
    ) AS counted
    CROSS JOIN LATERAL adjustments_in(
        counted.organization_id, counted.user_id, counted.period_start, counted.period_end
    ) AS adjusted
) AS used
LEFT JOIN users ON users.clerk_id = used.user_id;
