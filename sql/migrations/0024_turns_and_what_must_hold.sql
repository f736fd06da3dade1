-- What the calls that use something promise, also of callers who see the past, of nobody, and of events
-- that are changed.

-- Calls of an account come one after the other -------------------------------------------------------

-- An account's calls wait for each other by an advisory lock. In a transaction that is REPEATABLE READ
-- that isn't enough: what the calls before have used isn't in the snapshot that it has had since before
-- it waited, and members' counts are rows of their own, so that nothing is in the way. This row is: who
-- comes with an older snapshot than the last call's gets a serialization failure (40001), and does it
-- again. Who is READ COMMITTED never notices.
CREATE TABLE usage_turns (
    organization_id text PRIMARY KEY,
    -- The transaction that had its turn last.
    taken_by xid8 NOT NULL
)
WITH (fillfactor = 50);

-- Waits until it is this transaction's turn to use something of an account; it stays until its end. The
-- row is written once a transaction, however many chats are moved in by it.
CREATE FUNCTION take_usage_turn(organization text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('track_usage'), hashtext(organization));
    INSERT INTO usage_turns AS turn (organization_id, taken_by)
    VALUES (organization, pg_current_xact_id())
    ON CONFLICT (organization_id) DO UPDATE SET taken_by = excluded.taken_by
    WHERE turn.taken_by <> excluded.taken_by;
END
$$;

-- As before, and of nobody it is an error.
CREATE OR REPLACE FUNCTION track_usages(
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
    IF coalesce(member, '') = '' OR account = '' THEN
        RAISE EXCEPTION 'nobody is named whose usage it is'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_account';
    END IF;
    IF account = member THEN
        PERFORM ensure_user_exists(member);
    END IF;
    PERFORM take_usage_turn(account);
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

CREATE OR REPLACE FUNCTION use_up() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := to_jsonb(new) ->> tg_argv[1];
    account record;
BEGIN
    SELECT * INTO account FROM profile_accounts WHERE profile_id = new.profile_id;
    PERFORM take_usage_turn(account.organization_id);
    IF moment > now() - interval '1 day'
        AND NOT has_room(account.organization_id, account.user_id, tg_argv[0], 1)
    THEN
        RAISE EXCEPTION 'the limit of % is reached', tg_argv[0]
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_limit';
    END IF;
    INSERT INTO feature_events (organization_id, user_id, usage_type, amount, used_at)
    VALUES (account.organization_id, account.user_id, tg_argv[0], 1, moment);
    RETURN NULL;
END
$$;

-- Without a user or an account nothing is unlimited ---------------------------------------------------

-- As before; of nobody there is none.
CREATE OR REPLACE FUNCTION has_room(organization text, member text, type text, amount numeric) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF (organization <> '' AND member <> '' AND amount >= 0) IS NOT TRUE THEN
        RETURN false;
    END IF;
    IF type = 'minutes_per_month' THEN
        RETURN (
            SELECT
                coalesce(
                    organization_used + ceil(amount * 60) <= organization_limit + room_past_limit,
                    true
                )
                AND coalesce(member_used + ceil(amount * 60) <= member_limit, true)
            FROM account_standing(organization, member)
        );
    END IF;
    RETURN coalesce(
        (
            SELECT
                CASE
                    WHEN s.is_access THEN s.limit_value IS NULL OR s.limit_value >= 1
                    ELSE s.limit_value IS NULL OR s.used + amount <= s.limit_value
                END
            FROM usage_standing(organization, member, type) AS s
        ),
        false
    );
END
$$;

-- As before; no row of nobody.
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
    WHERE t.name = type AND organization <> '' AND coalesce(member, organization) <> '';
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

-- As before; nobody may record. `used_seconds` are below zero where more was given back than was used
-- (and what remains is more than the limit); minutes and percentages are not.
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
            used - CASE WHEN binds THEN 0 ELSE coalesce(past_limit, 0) END AS shown,
            CASE WHEN most IS NOT NULL THEN greatest(most - used, 0) END AS left_over
        FROM binding
    )
    SELECT
        coalesce(
            recording_limit.user_id <> '' AND recording_limit.organization_id <> '', false
        )
            AND coalesce(member_room > 0, true)
            AND coalesce(
                organization_limit + room_past_limit - organization_used > 0, true
            ),
        (greatest(shown, 0) + 59) / 60,
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

-- As before; of nobody the answer is no, without figures.
CREATE OR REPLACE FUNCTION check_usage_limit(
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
    IF coalesce(member, '') = '' OR coalesce(account, '') = '' THEN
        can_record := false;
        allowed := false;
        unlimited := false;
        RETURN;
    END IF;
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

-- As before, with the days as seconds_by_day() finds them.
CREATE OR REPLACE FUNCTION get_usage_details(
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
    ), days AS (
        SELECT daily.day, daily.seconds
        FROM asked
        CROSS JOIN LATERAL seconds_by_day(
            get_usage_details.organization_id, get_usage_details.user_id, asked.first, asked.last
        ) AS daily
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

-- Events that are changed -----------------------------------------------------------------------------

-- As before; and none is of a time to come.
CREATE OR REPLACE FUNCTION stamp_feature_event() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- (A day, as clocks that tell when may be wrong, and zones are forgotten.)
    IF new.used_at > now() + interval '1 day' THEN
        RAISE EXCEPTION 'a use at % is yet to come', new.used_at
            USING ERRCODE = 'check_violation', CONSTRAINT = 'feature_events_moment';
    END IF;
    SELECT held.period_start, held.period_end INTO new.period_start, new.period_end
    FROM usage_types AS type
    CROSS JOIN LATERAL usage_period(new.organization_id, type.period, new.used_at) AS held
    WHERE type.name = new.usage_type;
    new.day := (new.used_at AT TIME ZONE zone_at(new.organization_id, new.used_at))::date;
    new.plan_id := plan_at(new.organization_id, new.used_at);
    RETURN new;
END
$$;

-- (Both tables at once, and before anything else of them: who uses something writes to both in this order.)
LOCK TABLE feature_events, interview_sessions IN ACCESS EXCLUSIVE MODE;

-- One that is moved is of the period, the day and the plan that it is moved to; its counts follow.
CREATE TRIGGER event_stamped_again BEFORE UPDATE OF used_at, usage_type, organization_id
    ON feature_events
    FOR EACH ROW
    WHEN (
        old.used_at <> new.used_at
        OR old.usage_type <> new.usage_type
        OR old.organization_id <> new.organization_id
    )
    EXECUTE FUNCTION stamp_feature_event();

-- Counts of uses that differ from what the events say, in periods of which some part is from `first` to
-- `last` (exclusive): as the other audits, but in uses.
CREATE FUNCTION audit_features(first timestamptz, last timestamptz)
RETURNS TABLE (
    organization_id text, user_id text, place text, kept bigint, counted bigint,
    usage_type text, period_start timestamptz, period_end timestamptz
)
LANGUAGE sql STABLE AS $$
    WITH rows AS (
        SELECT
            event.organization_id,
            event.user_id,
            event.usage_type,
            event.period_start,
            event.period_end,
            sum(event.amount)::bigint AS amount
        FROM feature_events AS event
        WHERE event.period_start < last AND event.period_end > first
        GROUP BY 1, 2, 3, 4, 5
    ), figures AS (
        SELECT usage.*
        FROM feature_usage AS usage
        WHERE usage.period_start < last AND usage.period_end > first
    )
    SELECT
        organization_id,
        user_id,
        usage_type || CASE
            WHEN isfinite(period_start)
                THEN to_char(period_start AT TIME ZONE 'UTC', ' YYYY-MM-DD HH24:MI')
            ELSE ''
        END,
        coalesce(figures.amount, 0),
        coalesce(rows.amount, 0),
        usage_type,
        period_start,
        period_end
    FROM rows
    FULL JOIN figures
        USING (organization_id, user_id, usage_type, period_start, period_end)
    WHERE coalesce(figures.amount, 0) <> coalesce(rows.amount, 0)
$$;

-- Puts right what audit_features() found, and gives how many counts. Who uses something waits meanwhile.
CREATE FUNCTION repair_features(first timestamptz, last timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
BEGIN
    LOCK TABLE feature_events IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO feature_usage AS kept
        (organization_id, usage_type, period_start, period_end, user_id, amount)
    SELECT
        found.organization_id, found.usage_type, found.period_start, found.period_end,
        found.user_id, found.counted
    FROM audit_features(first, last) AS found
    ON CONFLICT (organization_id, usage_type, period_end, period_start, user_id) DO UPDATE
    SET amount = excluded.amount;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;

-- The call by the name that it has in other programs --------------------------------------------------

-- In a schema of its own, as it is no call of a whole schema's. Not where this role may not make one, and
-- not where there is a role of that name: to such a one the schema would be the first to look for tables
-- and to make them in, instead of this.
DO $make$
BEGIN
    IF to_regnamespace('meter') IS NULL
        AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'meter')
        AND has_database_privilege(current_database(), 'CREATE')
    THEN
        CREATE SCHEMA meter;
        GRANT USAGE ON SCHEMA meter TO PUBLIC;
    END IF;
    IF has_schema_privilege(to_regnamespace('meter'), 'CREATE') IS NOT TRUE THEN
        RETURN;
    END IF;
    -- As track_usages().
    CREATE FUNCTION meter.track(
        clerk_id text,
        usages jsonb,
        idempotency_key text DEFAULT NULL,
        organization_id text DEFAULT NULL,
        session_kind text DEFAULT 'tracked'
    ) RETURNS jsonb
    LANGUAGE sql AS $$
        SELECT track_usages(
            track.clerk_id,
            track.usages,
            track.idempotency_key,
            track.organization_id,
            track.session_kind
        )
    $$;
END
$make$;

-- What must hold --------------------------------------------------------------------------------------
--
-- Of rows that are written from now on, so that nobody waits while those that are there are read: that is
-- in the next migration. A session's end may lie before its start, where the clock was set back: its
-- seconds are those that were counted all the same.

ALTER TABLE feature_events
    ADD CONSTRAINT feature_events_account CHECK (organization_id <> '' AND user_id <> '') NOT VALID;

ALTER TABLE interview_sessions
    ADD CONSTRAINT interview_sessions_account
        CHECK (organization_id <> '' AND user_id <> '') NOT VALID,
    ADD CONSTRAINT interview_sessions_moments
        CHECK (isfinite(started_at) AND isfinite(ended_at)) NOT VALID,
    ADD CONSTRAINT interview_sessions_reason CHECK (
        end_reason IN ('stopped', 'lost', 'limit_reached', 'max_duration', 'admin')
    ) NOT VALID;

-- A session comes without seconds: those are of its rows. What differs later on is found by the audit.
CREATE FUNCTION refuse_unrecorded_seconds() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF new.seconds_recorded <> (
        SELECT coalesce(sum(bit_count(tracked.seconds_mask::bit(60))), 0)
        FROM usage_tracking AS tracked
        WHERE tracked.session_id = new.session_id
    ) THEN
        RAISE EXCEPTION 'a session''s seconds are those of its rows in usage_tracking'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'interview_sessions_recorded';
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER session_recorded BEFORE INSERT ON interview_sessions
    FOR EACH ROW WHEN (new.seconds_recorded <> 0 AND pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse_unrecorded_seconds();

-- Uses are counted by the name that the type had, as by its period.
CREATE TRIGGER type_stays_named BEFORE UPDATE OF name ON usage_types
    FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION refuse_new_period();

-- Functions and triggers go by these names.
CREATE FUNCTION refuse_other_type() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the usage type % stays as it is', old.name
        USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_types_known';
END
$$;

CREATE TRIGGER known_type_renamed BEFORE UPDATE OF name ON usage_types
    FOR EACH ROW
    WHEN (
        old.name <> new.name
        AND old.name IN (
            'minutes_per_month', 'interviews_per_day', 'chat_responses_per_month', 'chat_instances'
        )
    )
    EXECUTE FUNCTION refuse_other_type();
CREATE TRIGGER known_type_deleted BEFORE DELETE ON usage_types
    FOR EACH ROW
    WHEN (
        old.name IN (
            'minutes_per_month', 'interviews_per_day', 'chat_responses_per_month', 'chat_instances'
        )
    )
    EXECUTE FUNCTION refuse_other_type();
