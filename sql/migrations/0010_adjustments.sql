-- Manual adjustments, and how an account stands with them: what check_usage_limit() answers from.

-- Seconds that somebody added to what an account used, or took from it, with who and why. Append-only:
-- a mistake is put right by another row, so that a bill can be explained line by line.
CREATE TABLE usage_adjustments (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization_id text NOT NULL REFERENCES organizations,
    -- Null: the organization's figure alone; else this member's too.
    user_id text CONSTRAINT usage_adjustments_user CHECK (user_id <> ''),
    -- Positive: used more. (The bound keeps sums exact in the ledger.)
    seconds bigint NOT NULL CONSTRAINT usage_adjustments_seconds CHECK (
        seconds <> 0 AND seconds BETWEEN -3600000000000 AND 3600000000000
    ),
    -- It belongs to the period that holds this moment.
    effective_at timestamptz NOT NULL DEFAULT now()
        CONSTRAINT usage_adjustments_moment CHECK (isfinite(effective_at)),
    reason text NOT NULL CONSTRAINT usage_adjustments_reason CHECK (reason ~ '\S'),
    author text NOT NULL CONSTRAINT usage_adjustments_author CHECK (author ~ '\S'),
    idempotency_key text
        CONSTRAINT usage_adjustments_key CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_adjustments_once UNIQUE (organization_id, idempotency_key)
);

CREATE INDEX usage_adjustments_period ON usage_adjustments (organization_id, effective_at);

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: put a mistake right with another row', tg_table_name
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER adjustments_stay BEFORE UPDATE OR DELETE ON usage_adjustments
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
-- An empty table may be emptied: accounts without any adjustment can be truncated.
CREATE FUNCTION refuse_adjustments_truncate() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM usage_adjustments) THEN
        RAISE EXCEPTION '% is append-only: put a mistake right with another row', tg_table_name
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER adjustments_stay_all BEFORE TRUNCATE ON usage_adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_adjustments_truncate();

-- The ledger is told, as of a changed limit.
CREATE TRIGGER adjusted AFTER INSERT ON usage_adjustments
    FOR EACH ROW EXECUTE FUNCTION note_limit_change('organization_id');

-- Adjustments of an account from one moment to another (exclusive): of the organization, in which its
-- members' are included, and of one member.
CREATE FUNCTION adjustments_in(
    organization text, member text, starts timestamptz, ends timestamptz,
    OUT organization_seconds bigint, OUT member_seconds bigint
)
LANGUAGE sql STABLE AS $$
    SELECT
        coalesce(sum(seconds), 0)::bigint,
        coalesce(sum(seconds) FILTER (WHERE user_id = member), 0)::bigint
    FROM usage_adjustments
    WHERE organization_id = organization AND effective_at >= starts AND effective_at < ends
$$;

-- The plan that holds for a member of an organization; null: none. A personal account whose
-- subscription has ended, or whose user isn't known yet, has the default one.
CREATE FUNCTION account_plan(organization text, member text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (
            SELECT plan_id
            FROM user_subscriptions
            WHERE organization_id = organization AND ended_at IS NULL
        ),
        (
            SELECT id
            FROM plans
            WHERE
                is_default
                AND (
                    organization = member
                    OR EXISTS (SELECT FROM users WHERE clerk_id = organization)
                )
        )
    )
$$;

-- How an account stands in its period that holds a moment. Used seconds are what the rows say, with
-- adjustments: they may be below zero. Limits and room are in seconds, null: unlimited; the room past
-- the organization's limit is what its plan lets go on as overage. Always one row.
CREATE FUNCTION account_standing(
    organization text, member text, moment timestamptz DEFAULT now(),
    OUT period_start timestamptz,
    OUT period_end timestamptz,
    OUT time_zone text,
    OUT plan_id text,
    OUT organization_used bigint,
    OUT member_used bigint,
    OUT organization_adjusted bigint,
    OUT member_adjusted bigint,
    OUT organization_limit bigint,
    OUT member_limit bigint,
    OUT room_past_limit bigint,
    OUT bills_past_limit boolean
)
LANGUAGE sql STABLE AS $$
    SELECT
        period.period_start,
        period.period_end,
        period.time_zone,
        plan.id,
        recorded.organization_seconds + adjusted.organization_seconds,
        recorded.member_seconds + adjusted.member_seconds,
        adjusted.organization_seconds,
        adjusted.member_seconds,
        CASE
            -- The default plan of a user who is not known yet.
            WHEN terms.plan_id IS NULL AND plan.id IS NOT NULL THEN (
                SELECT CASE WHEN count(*) = 0 THEN 0 ELSE nullif(max(limit_value), -1) * 60 END
                FROM plan_limits
                WHERE plan_limits.plan_id = plan.id AND usage_type = 'minutes_per_month'
            )
            ELSE terms.organization_limit
        END,
        terms.member_limit,
        CASE
            WHEN NOT coalesce(plan.soft_cap, false) THEN 0
            ELSE nullif(plan.overage_ceiling_seconds, -1)
        END,
        coalesce(
            plan.soft_cap AND plan.overage_ceiling_seconds IS DISTINCT FROM 0
                OR plan.grace_is_overage,
            false
        )
    FROM account_period(organization, moment) AS period
    CROSS JOIN LATERAL period_seconds(
        organization, member, period.period_start, period.period_end, period.time_zone
    ) AS recorded
    CROSS JOIN LATERAL adjustments_in(
        organization, member, period.period_start, period.period_end
    ) AS adjusted
    CROSS JOIN account_terms(organization, member) AS terms
    LEFT JOIN plans AS plan ON plan.id = account_plan(organization, member)
$$;

-- May this member of an organization record on, as far as Postgres knows: what live sessions record
-- this minute isn't here yet. Figures are those of the limit that binds: the one with less room. Used
-- minutes are rounded up, the limit and what remains down; without a limit they are null.
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
            check_usage_limit.organization_id, check_usage_limit.user_id
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

-- What was used from one day to another (inclusive, in the account's time zone; by default the present
-- period), with its days, and with its sessions, those that began last first. Of a member, or with a
-- null user of the whole organization. `before` and `before_session` are the start and the id of the
-- last session of the page before.
CREATE FUNCTION get_usage_details(
    user_id text,
    organization_id text,
    first_day date DEFAULT NULL,
    last_day date DEFAULT NULL,
    most_sessions integer DEFAULT 100,
    before timestamptz DEFAULT NULL,
    before_session uuid DEFAULT NULL
) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    WITH asked AS (
        SELECT
            days.first,
            days.last,
            period.time_zone,
            start_of_day(days.first, period.time_zone) AS starts,
            start_of_day(days.last + 1, period.time_zone) AS ends
        FROM account_period(get_usage_details.organization_id) AS period
        CROSS JOIN LATERAL (
            SELECT
                coalesce(
                    get_usage_details.first_day,
                    (period.period_start AT TIME ZONE period.time_zone)::date
                ),
                coalesce(
                    get_usage_details.last_day,
                    (period.period_end AT TIME ZONE period.time_zone)::date - 1
                )
        ) AS days (first, last)
    ), used AS (
        -- Apart, so that a member's days are found by the member, however many others there are.
        SELECT daily.day, daily.seconds_used
        FROM daily_usage AS daily, asked
        WHERE
            daily.user_id = get_usage_details.user_id
            AND daily.organization_id = get_usage_details.organization_id
            AND daily.day BETWEEN asked.first AND asked.last
        UNION ALL
        SELECT daily.day, daily.seconds_used
        FROM daily_usage AS daily, asked
        WHERE
            get_usage_details.user_id IS NULL
            AND daily.organization_id = get_usage_details.organization_id
            AND daily.day BETWEEN asked.first AND asked.last
    ), days AS (
        SELECT used.day, sum(used.seconds_used)::bigint AS seconds
        FROM used
        GROUP BY used.day
        HAVING sum(used.seconds_used) > 0
    ), sessions AS (
        SELECT session.*, asked.starts, asked.ends
        FROM interview_sessions AS session, asked
        WHERE
            session.organization_id = get_usage_details.organization_id
            -- (No session is longer than a day, and it may end a little later than its last second.)
            AND session.started_at >= asked.starts - interval '2 days'
            AND session.started_at < asked.ends
            AND coalesce(session.ended_at, 'infinity') > asked.starts
            AND (get_usage_details.user_id IS NULL OR session.user_id = get_usage_details.user_id)
            AND (
                get_usage_details.before IS NULL
                OR (session.started_at, session.session_id)
                    < (get_usage_details.before, get_usage_details.before_session)
            )
        ORDER BY session.started_at DESC, session.session_id DESC
        LIMIT least(greatest(most_sessions, 0), 1000)
    ), listed AS (
        SELECT
            sessions.*,
            CASE
                WHEN started_at >= starts AND coalesce(ended_at, now()) <= ends
                    THEN seconds_recorded
                ELSE (
                    SELECT coalesce(sum(tracked.seconds_recorded), 0)
                    FROM usage_tracking AS tracked
                    WHERE
                        tracked.session_id = sessions.session_id
                        AND tracked.minute_timestamp >= sessions.starts
                        AND tracked.minute_timestamp < sessions.ends
                )
            END AS seconds
        FROM sessions
    )
    SELECT jsonb_build_object(
        'organization_id', get_usage_details.organization_id,
        'user_id', get_usage_details.user_id,
        'first_day', asked.first,
        'last_day', asked.last,
        'time_zone', asked.time_zone,
        'period_start', extract(epoch FROM asked.starts)::bigint,
        'period_end', extract(epoch FROM asked.ends)::bigint,
        'seconds', (SELECT coalesce(sum(seconds), 0) FROM days),
        'minutes', (SELECT ceil(coalesce(sum(seconds), 0) / 60)::bigint FROM days),
        'adjusted_seconds', (
            SELECT CASE
                WHEN get_usage_details.user_id IS NULL THEN adjusted.organization_seconds
                ELSE adjusted.member_seconds
            END
            FROM adjustments_in(
                get_usage_details.organization_id,
                get_usage_details.user_id,
                asked.starts,
                asked.ends
            ) AS adjusted
        ),
        'days', (
            SELECT coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'day', day, 'seconds', seconds, 'minutes', (seconds + 59) / 60
                    )
                    ORDER BY day
                ),
                '[]'
            )
            FROM days
        ),
        'sessions', (
            SELECT coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'session_id', session_id,
                        'user_id', user_id,
                        'kind', kind,
                        'started_at', extract(epoch FROM started_at)::bigint,
                        'ended_at', extract(epoch FROM ended_at)::bigint,
                        'end_reason', end_reason,
                        'seconds', seconds,
                        'minutes', ceil(seconds / 60.0)::bigint
                    )
                    ORDER BY started_at DESC, session_id DESC
                ),
                '[]'
            )
            FROM listed
        )
    )
    FROM asked
$$;
