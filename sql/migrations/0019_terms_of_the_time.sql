-- What accounts had at some time: plans and prices of subscriptions, limits of plans and of
-- organizations. Statistics of the past are made from these, and not from what holds today.

-- The terms of a subscription, one after the other; each goes on until the next one, or the
-- subscription's end. Kept by triggers, and without a foreign key to the subscriptions, which could not
-- be truncated then.
CREATE TABLE subscription_terms (
    subscription_id bigint NOT NULL,
    since timestamptz NOT NULL,
    plan_id text NOT NULL REFERENCES plans ON UPDATE CASCADE,
    -- A month: the plan's when it was subscribed.
    price_cents integer NOT NULL
        CONSTRAINT subscription_terms_price CHECK (price_cents >= 0),
    currency text NOT NULL,
    in_trial boolean NOT NULL,
    PRIMARY KEY (subscription_id, since)
);

CREATE INDEX subscription_terms_plan ON subscription_terms (plan_id);

CREATE FUNCTION keep_subscription_terms() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    latest subscription_terms;
    is_trial boolean := new.status = 'trialing';
BEGIN
    IF tg_op = 'UPDATE' AND new.started_at <> old.started_at THEN
        DELETE FROM subscription_terms
        WHERE
            subscription_id = new.id
            AND since < (
                SELECT max(terms.since)
                FROM subscription_terms AS terms
                WHERE terms.subscription_id = new.id AND terms.since <= new.started_at
            );
        UPDATE subscription_terms
        SET since = new.started_at
        WHERE
            subscription_id = new.id
            AND since = (
                SELECT min(terms.since)
                FROM subscription_terms AS terms
                WHERE terms.subscription_id = new.id
            );
    END IF;
    SELECT * INTO latest
    FROM subscription_terms
    WHERE subscription_id = new.id
    ORDER BY since DESC
    LIMIT 1;
    IF latest.plan_id IS NOT NULL THEN
        -- One that ends has the terms that it had.
        is_trial := CASE WHEN new.ended_at IS NULL THEN is_trial ELSE latest.in_trial END;
        IF (latest.plan_id, latest.in_trial) = (new.plan_id, is_trial) THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO subscription_terms AS kept
        (subscription_id, since, plan_id, price_cents, currency, in_trial)
    SELECT
        new.id,
        CASE
            WHEN latest.plan_id IS NULL THEN new.started_at
            ELSE greatest(now(), latest.since)
        END,
        plans.id,
        CASE WHEN plans.id = latest.plan_id THEN latest.price_cents ELSE plans.price_cents END,
        CASE WHEN plans.id = latest.plan_id THEN latest.currency ELSE plans.currency END,
        is_trial
    FROM plans
    WHERE plans.id = new.plan_id
    ON CONFLICT (subscription_id, since) DO UPDATE
    SET
        plan_id = excluded.plan_id,
        price_cents = excluded.price_cents,
        currency = excluded.currency,
        in_trial = excluded.in_trial;
    RETURN NULL;
END
$$;

CREATE TRIGGER subscription_terms_kept AFTER INSERT OR UPDATE ON user_subscriptions
    FOR EACH ROW EXECUTE FUNCTION keep_subscription_terms();

CREATE FUNCTION forget_subscription_terms() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'TRUNCATE' THEN
        DELETE FROM subscription_terms;
    ELSE
        DELETE FROM subscription_terms WHERE subscription_id = old.id;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER subscription_terms_removed AFTER DELETE ON user_subscriptions
    FOR EACH ROW EXECUTE FUNCTION forget_subscription_terms();
CREATE TRIGGER subscription_terms_cleared AFTER TRUNCATE ON user_subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION forget_subscription_terms();

INSERT INTO subscription_terms
    (subscription_id, since, plan_id, price_cents, currency, in_trial)
SELECT
    subscription.id, subscription.started_at, plans.id, plans.price_cents, plans.currency,
    subscription.status = 'trialing'
FROM user_subscriptions AS subscription
JOIN plans ON plans.id = subscription.plan_id;

-- What a plan said of minutes. Kept by triggers; one that nobody has had yet has no past.
CREATE TABLE plan_terms (
    plan_id text NOT NULL REFERENCES plans ON UPDATE CASCADE ON DELETE CASCADE,
    -- -infinity: from the beginning.
    since timestamptz NOT NULL,
    -- Null: unlimited.
    limit_seconds bigint
        CONSTRAINT plan_terms_limit CHECK (limit_seconds >= 0),
    bills_past_limit boolean NOT NULL,
    PRIMARY KEY (plan_id, since)
);

CREATE FUNCTION note_plan_terms(plan text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    latest plan_terms;
    present plan_terms;
BEGIN
    SELECT
        plans.id,
        '-infinity'::timestamptz,
        CASE
            WHEN allotment.plan_id IS NULL THEN 0
            ELSE nullif(coalesce(allotment.limit_value, -1), -1) * 60
        END,
        plans.soft_cap AND plans.overage_ceiling_seconds IS DISTINCT FROM 0
            OR plans.grace_is_overage
    INTO present
    FROM plans
    LEFT JOIN plan_limits AS allotment
        ON allotment.plan_id = plans.id AND allotment.usage_type = 'minutes_per_month'
    WHERE plans.id = plan;
    SELECT * INTO latest FROM plan_terms WHERE plan_id = plan ORDER BY since DESC LIMIT 1;
    -- (A plan's limits go with it.)
    IF present.plan_id IS NULL
        OR (latest.plan_id, latest.limit_seconds, latest.bills_past_limit)
            IS NOT DISTINCT FROM (present.plan_id, present.limit_seconds, present.bills_past_limit)
    THEN
        RETURN;
    END IF;
    IF latest.plan_id IS NOT NULL
        AND EXISTS (SELECT FROM subscription_terms WHERE plan_id = plan)
    THEN
        present.since := greatest(now(), latest.since);
    END IF;
    INSERT INTO plan_terms AS kept VALUES (present.*)
    ON CONFLICT (plan_id, since) DO UPDATE
    SET
        limit_seconds = excluded.limit_seconds,
        bills_past_limit = excluded.bills_past_limit;
END
$$;

-- The argument names the column that holds the plan.
CREATE FUNCTION keep_plan_terms() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_plan_terms(coalesce(to_jsonb(new), to_jsonb(old)) ->> tg_argv[0]);
    RETURN NULL;
END
$$;

CREATE FUNCTION keep_all_plan_terms() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_plan_terms(id) FROM plans;
    RETURN NULL;
END
$$;

CREATE TRIGGER plan_terms_kept
    AFTER INSERT OR UPDATE OF soft_cap, overage_ceiling_seconds, grace_is_overage ON plans
    FOR EACH ROW EXECUTE FUNCTION keep_plan_terms('id');
CREATE TRIGGER plan_terms_kept
    AFTER INSERT OR UPDATE OF usage_type, limit_value OR DELETE ON plan_limits
    FOR EACH ROW EXECUTE FUNCTION keep_plan_terms('plan_id');
CREATE TRIGGER plan_terms_cleared AFTER TRUNCATE ON plan_limits
    FOR EACH STATEMENT EXECUTE FUNCTION keep_all_plan_terms();

SELECT note_plan_terms(id) FROM plans;

-- Limits of organizations' own, where they have or had any. Kept by triggers; one that has recorded
-- nothing has no past.
CREATE TABLE organization_limits (
    organization_id text NOT NULL REFERENCES organizations ON UPDATE CASCADE ON DELETE CASCADE,
    -- -infinity: from the beginning.
    since timestamptz NOT NULL,
    -- As in organizations: null is the plan's.
    monthly_audio_hours_limit numeric,
    PRIMARY KEY (organization_id, since)
);

CREATE FUNCTION keep_organization_limits() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    latest timestamptz := (
        SELECT max(since) FROM organization_limits WHERE organization_id = new.id
    );
    moment timestamptz := '-infinity';
BEGIN
    IF tg_op = 'UPDATE'
        AND EXISTS (SELECT FROM interview_sessions WHERE organization_id = new.id)
    THEN
        moment := greatest(now(), latest);
        IF latest IS NULL THEN
            INSERT INTO organization_limits
            VALUES (new.id, '-infinity', old.monthly_audio_hours_limit);
        END IF;
    END IF;
    INSERT INTO organization_limits AS kept
    VALUES (new.id, moment, new.monthly_audio_hours_limit)
    ON CONFLICT (organization_id, since) DO UPDATE
    SET monthly_audio_hours_limit = excluded.monthly_audio_hours_limit;
    RETURN NULL;
END
$$;

CREATE TRIGGER organization_limits_added AFTER INSERT ON organizations
    FOR EACH ROW WHEN (new.monthly_audio_hours_limit IS NOT NULL)
    EXECUTE FUNCTION keep_organization_limits();
CREATE TRIGGER organization_limits_changed AFTER UPDATE OF monthly_audio_hours_limit
    ON organizations
    FOR EACH ROW
    WHEN (old.monthly_audio_hours_limit IS DISTINCT FROM new.monthly_audio_hours_limit)
    EXECUTE FUNCTION keep_organization_limits();

INSERT INTO organization_limits
SELECT id, '-infinity', monthly_audio_hours_limit
FROM organizations
WHERE monthly_audio_hours_limit IS NOT NULL;

-- What was asked for today, as of then -------------------------------------------------------------

CREATE OR REPLACE FUNCTION plan_at(organization text, moment timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT terms.plan_id
    FROM user_subscriptions AS subscription
    JOIN subscription_terms AS terms
        ON terms.subscription_id = subscription.id AND terms.since <= moment
    WHERE
        subscription.organization_id = organization
        AND subscription.started_at <= moment
        AND (subscription.ended_at IS NULL OR moment < subscription.ended_at)
    ORDER BY subscription.started_at DESC, subscription.id DESC, terms.since DESC
    LIMIT 1
$$;

CREATE OR REPLACE FUNCTION plan_between(
    organization text, starts timestamptz, ends timestamptz
) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT terms.plan_id
    FROM user_subscriptions AS subscription
    JOIN subscription_terms AS terms
        ON terms.subscription_id = subscription.id AND terms.since < ends
    WHERE
        subscription.organization_id = organization
        AND subscription.started_at < ends
        AND (subscription.ended_at IS NULL OR subscription.ended_at > starts)
    ORDER BY subscription.started_at DESC, subscription.id DESC, terms.since DESC
    LIMIT 1
$$;

-- Seconds past the limit in the billing period of an account that begins in a calendar month, where the
-- plan that it had then bills them: plan and limit are those that held last in that period.
CREATE OR REPLACE FUNCTION overage_in(organization text, month date) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    last_day date := (month + interval '1 month')::date - 1;
    period record;
    moment timestamptz;
    terms plan_terms;
    own organization_limits;
    most bigint;
    used bigint;
BEGIN
    SELECT * INTO period
    FROM account_period(
        organization, start_of_day(last_day, zone_at(organization, last_day::timestamptz))
    );
    moment := least(now(), period.period_end - interval '1 microsecond');
    SELECT * INTO terms
    FROM plan_terms
    WHERE
        plan_id = plan_between(organization, period.period_start, period.period_end)
        AND since <= moment
    ORDER BY since DESC
    LIMIT 1;
    IF NOT coalesce(terms.bills_past_limit, false) THEN
        RETURN 0;
    END IF;
    SELECT * INTO own
    FROM organization_limits
    WHERE organization_id = organization AND since <= moment
    ORDER BY since DESC
    LIMIT 1;
    most := CASE
        WHEN own.monthly_audio_hours_limit IS NULL THEN terms.limit_seconds
        WHEN own.monthly_audio_hours_limit >= 0
            THEN round(own.monthly_audio_hours_limit * 3600)::bigint
    END;
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

-- What a user's subscriptions come to: for each month of them that began, the price that was subscribed
-- to and held last in it, unless it was a trial.
CREATE OR REPLACE FUNCTION subscribed_of(
    member text, OUT months bigint, OUT highest_tier text, OUT revenue_cents bigint
)
LANGUAGE sql STABLE AS $$
    WITH held AS (
        SELECT
            subscription.id,
            subscription.started_at AT TIME ZONE 'UTC' AS starts,
            least(coalesce(subscription.ended_at, now()), now()) AT TIME ZONE 'UTC' AS ends
        FROM user_subscriptions AS subscription
        WHERE subscription.organization_id = member AND subscription.started_at <= now()
    ), billed AS (
        SELECT
            held.id,
            least(
                held.starts + (number + 1) * interval '1 month' - interval '1 microsecond',
                held.ends
            ) AT TIME ZONE 'UTC' AS last
        FROM held
        CROSS JOIN generate_series(
            0,
            (
                extract(year FROM age(held.ends, held.starts)) * 12
                + extract(month FROM age(held.ends, held.starts))
            )::integer
        ) AS number
    )
    SELECT
        (
            SELECT count(DISTINCT month)
            FROM held
            CROSS JOIN generate_series(
                date_trunc('month', held.starts), held.ends, interval '1 month'
            ) AS month
        ),
        (
            SELECT terms.plan_id
            FROM held
            JOIN subscription_terms AS terms ON terms.subscription_id = held.id
            ORDER BY terms.price_cents DESC, terms.plan_id
            LIMIT 1
        ),
        (
            SELECT coalesce(sum(terms.price_cents) FILTER (WHERE NOT terms.in_trial), 0)::bigint
            FROM billed
            CROSS JOIN LATERAL (
                SELECT each.price_cents, each.in_trial
                FROM subscription_terms AS each
                WHERE each.subscription_id = billed.id AND each.since <= billed.last
                ORDER BY each.since DESC
                LIMIT 1
            ) AS terms
        )
$$;

-- As before, but for the last activity: the end of the last second that was counted in the month, or the
-- last use of a feature.
CREATE OR REPLACE VIEW user_monthly_stats AS
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
            max(last_second_at) AS last_activity
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
            NULL
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

-- A user's lifetime. Sessions are those with at least one second; the average is a calendar month from
-- the first one to the last. Its first and last activity are seconds that were counted, or uses of
-- features. Always one row.
CREATE OR REPLACE FUNCTION lifetime_of(
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
            min(started_at) AS first_start,
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
    ), recorded AS (
        SELECT min(first_second_at) AS first, max(last_second_at) AS last
        FROM daily_usage
        WHERE user_id = member AND seconds_used > 0
    ), events AS (
        -- Of the first and the last day alone: those of different zones are a day apart at most.
        SELECT
            (
                SELECT min(event.used_at)
                FROM feature_events AS event
                WHERE
                    event.user_id = member
                    AND event.day <= (
                        SELECT min(day) + 1 FROM feature_events WHERE user_id = member
                    )
            ) AS first,
            (
                SELECT max(event.used_at)
                FROM feature_events AS event
                WHERE
                    event.user_id = member
                    AND event.day >= (
                        SELECT max(day) - 1 FROM feature_events WHERE user_id = member
                    )
            ) AS last
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
        least(recorded.first, events.first),
        greatest(recorded.last, events.last),
        subscribed.months,
        subscribed.highest_tier,
        subscribed.revenue_cents
    FROM sessions
    CROSS JOIN recorded
    CROSS JOIN events
    CROSS JOIN streaks
    CROSS JOIN features
    CROSS JOIN subscribed_of(member) AS subscribed
    CROSS JOIN LATERAL (
        SELECT age(
            date_trunc('month', sessions.last_start, 'UTC') AT TIME ZONE 'UTC',
            date_trunc('month', sessions.first_start, 'UTC') AT TIME ZONE 'UTC'
        )
    ) AS spans (length)
$$;

-- The present subscription of a user's personal account, or of an organization; no row without one.
-- Its price is the one that was subscribed to.
CREATE OR REPLACE FUNCTION get_user_subscription_info(clerk_id text, organization_id text DEFAULT NULL)
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
        terms.price_cents,
        terms.currency,
        subscription.status,
        subscription.billing_cycle,
        period.time_zone,
        subscription.started_at,
        period.period_start,
        period.period_end
    FROM user_subscriptions AS subscription
    JOIN plans ON plans.id = subscription.plan_id
    CROSS JOIN LATERAL (
        SELECT each.price_cents, each.currency
        FROM subscription_terms AS each
        WHERE each.subscription_id = subscription.id
        ORDER BY each.since DESC
        LIMIT 1
    ) AS terms
    CROSS JOIN LATERAL account_period(subscription.organization_id) AS period
    WHERE
        subscription.organization_id = coalesce($2, $1)
        AND subscription.ended_at IS NULL
$$;
