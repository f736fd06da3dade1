-- Stripe: prices of plans, customers of accounts, subscriptions that its webhooks keep in step, and
-- overage that is reported to its meters.

ALTER TABLE plans
    -- Who subscribes to this price at Stripe has the plan.
    ADD COLUMN stripe_price_id text
        CONSTRAINT plans_stripe_price_id UNIQUE
        CONSTRAINT plans_stripe_price_id_given CHECK (stripe_price_id <> ''),
    -- Overage minutes are reported as events of this name; null: they aren't.
    ADD COLUMN stripe_meter_event_name text
        CONSTRAINT plans_stripe_meter_event_name
            CHECK (length(stripe_meter_event_name) BETWEEN 1 AND 100);

ALTER TABLE organizations
    ADD COLUMN stripe_customer_id text
        CONSTRAINT organizations_stripe_customer_id UNIQUE
        CONSTRAINT organizations_stripe_customer_id_given CHECK (stripe_customer_id <> '');

ALTER TABLE user_subscriptions
    ADD COLUMN stripe_subscription_id text
        CONSTRAINT user_subscriptions_stripe_id_given CHECK (stripe_subscription_id <> ''),
    -- From whose day an anniversary's months are, where that isn't the day on which it started.
    ADD COLUMN cycle_anchor timestamptz
        CONSTRAINT user_subscriptions_cycle_anchor CHECK (isfinite(cycle_anchor));

CREATE UNIQUE INDEX user_subscriptions_stripe ON user_subscriptions (stripe_subscription_id)
    WHERE ended_at IS NULL;

CREATE OR REPLACE FUNCTION account_cycle(
    organization text, OUT time_zone text, OUT anchor_day smallint
)
LANGUAGE sql STABLE AS $$
    SELECT
        given.zone,
        coalesce(
            (
                SELECT extract(
                    day FROM coalesce(subscription.cycle_anchor, subscription.started_at)
                    AT TIME ZONE given.zone
                )
                FROM user_subscriptions AS subscription
                WHERE
                    subscription.organization_id = organization
                    AND subscription.ended_at IS NULL
                    AND subscription.billing_cycle = 'anniversary'
            ),
            1
        )::smallint
    FROM (
        SELECT coalesce(
            (SELECT own.time_zone FROM organizations AS own WHERE own.id = organization), 'UTC'
        )
    ) AS given (zone)
$$;

CREATE TRIGGER turns_changed_by_anchor AFTER UPDATE OF cycle_anchor ON user_subscriptions
    FOR EACH ROW WHEN (old.cycle_anchor IS DISTINCT FROM new.cycle_anchor)
    EXECUTE FUNCTION note_cycle_change('organization_id');

-- Customers ---------------------------------------------------------------------------------------

-- The customer of a user's personal account is in their profile, too: what is set in one of the two is
-- in both.
CREATE FUNCTION share_stripe_customer() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF tg_table_name = 'organizations' THEN
        UPDATE profile_records AS record
        SET stripe_customer_id = new.stripe_customer_id
        FROM users
        WHERE
            users.clerk_id = new.id
            AND record.id = users.id
            AND record.stripe_customer_id IS DISTINCT FROM new.stripe_customer_id;
    ELSE
        UPDATE organizations AS account
        SET stripe_customer_id = new.stripe_customer_id
        FROM users
        WHERE
            users.id = new.id
            AND account.id = users.clerk_id
            AND account.stripe_customer_id IS DISTINCT FROM new.stripe_customer_id;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION know_stripe_customer() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT account.stripe_customer_id INTO new.stripe_customer_id
    FROM users
    JOIN organizations AS account ON account.id = users.clerk_id
    WHERE users.id = new.id;
    RETURN new;
END
$$;

UPDATE organizations AS account
SET stripe_customer_id = record.stripe_customer_id
FROM profile_records AS record
JOIN users ON users.id = record.id
WHERE account.id = users.clerk_id AND record.stripe_customer_id IS NOT NULL;

CREATE TRIGGER stripe_customer_shared AFTER UPDATE OF stripe_customer_id ON organizations
    FOR EACH ROW WHEN (old.stripe_customer_id IS DISTINCT FROM new.stripe_customer_id)
    EXECUTE FUNCTION share_stripe_customer();
CREATE TRIGGER stripe_customer_shared AFTER UPDATE OF stripe_customer_id ON profile_records
    FOR EACH ROW WHEN (old.stripe_customer_id IS DISTINCT FROM new.stripe_customer_id)
    EXECUTE FUNCTION share_stripe_customer();
CREATE TRIGGER stripe_customer_shared_first AFTER INSERT ON profile_records
    FOR EACH ROW WHEN (new.stripe_customer_id IS NOT NULL)
    EXECUTE FUNCTION share_stripe_customer();
CREATE TRIGGER stripe_customer_known BEFORE INSERT ON profile_records
    FOR EACH ROW WHEN (new.stripe_customer_id IS NULL)
    EXECUTE FUNCTION know_stripe_customer();

-- The present subscription of a personal account is in its user's profile.
CREATE FUNCTION show_stripe_subscription() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE profile_records AS record
    SET stripe_subscription_id =
        CASE WHEN new.ended_at IS NULL THEN new.stripe_subscription_id END
    FROM users
    WHERE
        users.clerk_id = new.organization_id
        AND record.id = users.id
        AND (new.ended_at IS NULL OR record.stripe_subscription_id = new.stripe_subscription_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER stripe_subscription_shown
    AFTER INSERT OR UPDATE OF stripe_subscription_id, ended_at ON user_subscriptions
    FOR EACH ROW WHEN (new.stripe_subscription_id IS NOT NULL)
    EXECUTE FUNCTION show_stripe_subscription();

-- Subscriptions, as webhooks tell of them ---------------------------------------------------------

-- What Stripe sent, once each. They can be deleted when they are old: a subscription's state doesn't
-- go back, whatever comes again.
CREATE TABLE stripe_events (
    id text PRIMARY KEY,
    type text NOT NULL,
    -- When it happened at Stripe.
    created_at timestamptz NOT NULL,
    -- The subscription or checkout session that it tells of.
    object_id text,
    received_at timestamptz NOT NULL DEFAULT now(),
    outcome text CONSTRAINT stripe_events_outcome
        CHECK (outcome IN ('applied', 'unmatched', 'stale', 'ignored')),
    -- Why it is unmatched.
    reason text CONSTRAINT stripe_events_reason
        CHECK (reason IN ('unknown_customer', 'unknown_price', 'other_customer'))
);

CREATE INDEX stripe_events_received ON stripe_events (received_at);
CREATE INDEX stripe_events_unmatched ON stripe_events (received_at) WHERE outcome = 'unmatched';

-- The newest state of each subscription at Stripe, whether it is an account's or not.
CREATE TABLE stripe_subscriptions (
    id text PRIMARY KEY CHECK (id <> ''),
    customer_id text NOT NULL CHECK (customer_id <> ''),
    status text NOT NULL,
    -- Of all its items: a plan's, and those of metered prices.
    price_ids text[] NOT NULL,
    -- Whether it is billed by months or years.
    is_monthly boolean NOT NULL,
    cycle_anchor timestamptz,
    created_at timestamptz NOT NULL,
    -- The event that told it.
    told_at timestamptz NOT NULL,
    told_by text NOT NULL,
    object jsonb NOT NULL,
    -- What had been otherwise before that.
    previous jsonb NOT NULL
);

CREATE INDEX stripe_subscriptions_customer ON stripe_subscriptions (customer_id);
CREATE INDEX stripe_subscriptions_price ON stripe_subscriptions USING gin (price_ids);

-- Whether a subscription at Stripe in this status gives its account a plan. One that is past due does,
-- while Stripe tries to collect.
CREATE FUNCTION stripe_status_holds(status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT status IN ('trialing', 'active', 'past_due')
$$;

-- Whether a status takes the plan away. (`incomplete` does neither: it was never paid.)
CREATE FUNCTION stripe_status_ends(status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT status IN ('canceled', 'unpaid', 'paused', 'incomplete_expired')
$$;

-- Whether it is the last one that a subscription ever has.
CREATE FUNCTION stripe_status_final(status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT status IN ('canceled', 'incomplete_expired')
$$;

-- Subscriptions that should give an account a plan, and don't.
CREATE VIEW stripe_unmatched AS
SELECT
    subscription.id,
    subscription.customer_id,
    subscription.status,
    subscription.price_ids,
    CASE WHEN account.id IS NULL THEN 'unknown_customer' ELSE 'unknown_price' END AS reason,
    account.id AS organization_id,
    subscription.told_at
FROM stripe_subscriptions AS subscription
LEFT JOIN organizations AS account ON account.stripe_customer_id = subscription.customer_id
WHERE
    stripe_status_holds(subscription.status)
    AND (
        account.id IS NULL
        OR NOT EXISTS (
            SELECT FROM plans WHERE plans.stripe_price_id = ANY (subscription.price_ids)
        )
    );

-- Gives an account the plan that its customer has subscribed to, or takes away that of a subscription
-- that has ended. Again and again it changes nothing.
CREATE FUNCTION follow_stripe(organization text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    customer text;
    present user_subscriptions;
    held record;
    cycle text;
    ended text;
BEGIN
    SELECT stripe_customer_id INTO customer FROM organizations WHERE id = organization;
    IF customer IS NULL THEN
        RETURN;
    END IF;
    SELECT * INTO present
    FROM user_subscriptions
    WHERE organization_id = organization AND ended_at IS NULL
    FOR UPDATE;
    -- Of several the one that was made last.
    SELECT subscription.*, plan.id AS plan_id INTO held
    FROM stripe_subscriptions AS subscription
    CROSS JOIN LATERAL (
        SELECT plans.id
        FROM plans
        WHERE plans.stripe_price_id = ANY (subscription.price_ids)
        ORDER BY plans.price_cents DESC, plans.id
        LIMIT 1
    ) AS plan
    WHERE subscription.customer_id = customer AND stripe_status_holds(subscription.status)
    ORDER BY subscription.created_at DESC, subscription.id DESC
    LIMIT 1;
    IF held.id IS NOT NULL THEN
        cycle := CASE
            WHEN held.is_monthly AND held.cycle_anchor IS NOT NULL THEN 'anniversary'
            ELSE 'calendar'
        END;
        IF present.stripe_subscription_id = held.id THEN
            UPDATE user_subscriptions AS kept
            SET
                plan_id = held.plan_id,
                status = held.status,
                billing_cycle = cycle,
                cycle_anchor = held.cycle_anchor
            WHERE
                kept.id = present.id
                AND (kept.plan_id, kept.status, kept.billing_cycle, kept.cycle_anchor)
                    IS DISTINCT FROM (held.plan_id, held.status, cycle, held.cycle_anchor);
            RETURN;
        END IF;
        UPDATE user_subscriptions
        SET status = 'canceled', ended_at = greatest(clock_timestamp(), started_at)
        WHERE id = present.id;
        INSERT INTO user_subscriptions (
            organization_id, user_uuid, plan_id, status, billing_cycle, started_at,
            stripe_subscription_id, cycle_anchor
        )
        VALUES (
            organization,
            (SELECT users.id FROM users WHERE users.clerk_id = organization),
            held.plan_id,
            held.status,
            cycle,
            clock_timestamp(),
            held.id,
            held.cycle_anchor
        );
        RETURN;
    END IF;
    SELECT subscription.status INTO ended
    FROM stripe_subscriptions AS subscription
    WHERE
        subscription.id = present.stripe_subscription_id
        AND stripe_status_ends(subscription.status);
    IF ended IS NULL THEN
        RETURN;
    END IF;
    UPDATE user_subscriptions
    SET
        status = CASE WHEN ended = 'canceled' THEN 'canceled' ELSE 'expired' END,
        ended_at = greatest(clock_timestamp(), started_at)
    WHERE id = present.id;
    -- A personal account falls back to the default plan by itself; an organization would be unlimited.
    INSERT INTO user_subscriptions (organization_id, plan_id, started_at)
    SELECT organization, plans.id, clock_timestamp()
    FROM plans
    WHERE
        plans.is_default
        AND NOT EXISTS (SELECT FROM users WHERE users.clerk_id = organization);
END
$$;

-- Events come one after the other, and so do customers and prices that become known: each sees what the
-- one before has told. Taken before any row is locked.
CREATE FUNCTION hold_stripe() RETURNS void
LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('stripe', 0))
$$;

CREATE FUNCTION hold_stripe_first() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold_stripe();
    RETURN new;
END
$$;

CREATE TRIGGER stripe_held BEFORE UPDATE OF stripe_customer_id ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION hold_stripe_first();
CREATE TRIGGER stripe_held_to_add BEFORE INSERT ON organizations
    FOR EACH ROW WHEN (new.stripe_customer_id IS NOT NULL) EXECUTE FUNCTION hold_stripe_first();
CREATE TRIGGER stripe_held BEFORE UPDATE OF stripe_customer_id ON profile_records
    FOR EACH STATEMENT EXECUTE FUNCTION hold_stripe_first();
CREATE TRIGGER stripe_held BEFORE UPDATE OF stripe_price_id ON plans
    FOR EACH STATEMENT EXECUTE FUNCTION hold_stripe_first();
CREATE TRIGGER stripe_held_to_add BEFORE INSERT ON plans
    FOR EACH ROW WHEN (new.stripe_price_id IS NOT NULL) EXECUTE FUNCTION hold_stripe_first();

-- What was unmatched is looked at again when the customer or the price becomes known.
CREATE FUNCTION follow_stripe_customer() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM follow_stripe(new.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION follow_stripe_price() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM follow_stripe(account.id)
    FROM (
        SELECT DISTINCT organizations.id
        FROM stripe_subscriptions AS subscription
        JOIN organizations ON organizations.stripe_customer_id = subscription.customer_id
        WHERE subscription.price_ids @> ARRAY[new.stripe_price_id]
        ORDER BY organizations.id
    ) AS account;
    RETURN NULL;
END
$$;

CREATE TRIGGER stripe_customer_added AFTER INSERT ON organizations
    FOR EACH ROW WHEN (new.stripe_customer_id IS NOT NULL)
    EXECUTE FUNCTION follow_stripe_customer();
CREATE TRIGGER stripe_customer_changed AFTER UPDATE OF stripe_customer_id ON organizations
    FOR EACH ROW
    WHEN (
        new.stripe_customer_id IS NOT NULL
        AND old.stripe_customer_id IS DISTINCT FROM new.stripe_customer_id
    )
    EXECUTE FUNCTION follow_stripe_customer();
CREATE TRIGGER stripe_price_added AFTER INSERT ON plans
    FOR EACH ROW WHEN (new.stripe_price_id IS NOT NULL)
    EXECUTE FUNCTION follow_stripe_price();
CREATE TRIGGER stripe_price_changed AFTER UPDATE OF stripe_price_id ON plans
    FOR EACH ROW
    WHEN (
        new.stripe_price_id IS NOT NULL
        AND old.stripe_price_id IS DISTINCT FROM new.stripe_price_id
    )
    EXECUTE FUNCTION follow_stripe_price();

-- Makes a customer an account's, which is made where it is missing. Null when it is (or was); else why
-- not. What is linked already stays: an operator may change it.
CREATE FUNCTION link_stripe_customer(organization text, customer text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM organizations WHERE stripe_customer_id = customer) THEN
        RETURN NULL;
    END IF;
    IF coalesce(length(organization), 0) NOT BETWEEN 1 AND 255 THEN
        RETURN 'unknown_customer';
    END IF;
    INSERT INTO organizations AS kept (id, stripe_customer_id) VALUES (organization, customer)
    ON CONFLICT (id) DO UPDATE SET stripe_customer_id = excluded.stripe_customer_id
    WHERE kept.stripe_customer_id IS NULL;
    RETURN CASE WHEN NOT found THEN 'other_customer' END;
END
$$;

CREATE FUNCTION stripe_event_place(event_type text) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE event_type
        WHEN 'customer.subscription.created' THEN 1
        WHEN 'customer.subscription.deleted' THEN 3
        ELSE 2
    END
$$;

-- Whether what is kept of a subscription is newer than what an event tells. A second may have several:
-- then an end is the last and a creation the first, and of changes that one is older whose state the
-- other one names as its previous one.
CREATE FUNCTION stripe_event_is_older(
    kept stripe_subscriptions,
    event_type text,
    event_at timestamptz,
    given jsonb,
    before jsonb
) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN kept.id IS NULL THEN false
        WHEN stripe_status_final(kept.status) <> stripe_status_final(given ->> 'status')
            THEN stripe_status_final(kept.status)
        WHEN event_at <> kept.told_at THEN event_at < kept.told_at
        WHEN place.told <> place.kept THEN place.told < place.kept
        ELSE
            kept.previous <> '{}'
            AND given @> kept.previous
            AND NOT (before <> '{}' AND kept.object @> before)
    END
    FROM (
        SELECT
            stripe_event_place(event_type) AS told,
            stripe_event_place(kept.told_by) AS kept
    ) AS place
$$;

-- Takes what an event tells of a subscription; null for the reason when an account has it now.
CREATE FUNCTION take_stripe_subscription(
    event_type text, event_at timestamptz, given jsonb, before jsonb,
    OUT outcome text, OUT reason text
)
LANGUAGE plpgsql AS $$
DECLARE
    kept stripe_subscriptions;
    told stripe_subscriptions;
BEGIN
    SELECT * INTO kept FROM stripe_subscriptions WHERE id = given ->> 'id';
    IF stripe_event_is_older(kept, event_type, event_at, given, before) THEN
        outcome := 'stale';
        RETURN;
    END IF;
    told.id := given ->> 'id';
    told.customer_id := given ->> 'customer';
    told.status := given ->> 'status';
    told.price_ids := ARRAY(
        SELECT item -> 'price' ->> 'id'
        FROM jsonb_array_elements(given -> 'items' -> 'data') AS item
    );
    told.is_monthly := EXISTS (
        SELECT FROM jsonb_array_elements(given -> 'items' -> 'data') AS item
        WHERE item -> 'price' -> 'recurring' ->> 'interval' IN ('month', 'year')
    );
    told.cycle_anchor := to_timestamp((given ->> 'billing_cycle_anchor')::bigint);
    told.created_at := to_timestamp((given ->> 'created')::bigint);
    told.told_at := event_at;
    told.told_by := event_type;
    told.object := given;
    told.previous := before;
    DELETE FROM stripe_subscriptions WHERE id = told.id;
    INSERT INTO stripe_subscriptions VALUES (told.*);
    reason := link_stripe_customer(given -> 'metadata' ->> 'organization_id', told.customer_id);
    PERFORM follow_stripe(id) FROM organizations WHERE stripe_customer_id = told.customer_id;
    reason := coalesce(
        reason, (SELECT unmatched.reason FROM stripe_unmatched AS unmatched WHERE id = told.id)
    );
    outcome := CASE WHEN reason IS NULL THEN 'applied' ELSE 'unmatched' END;
END
$$;

-- Takes an event, once, and says what became of it: beside the outcomes in stripe_events `duplicate`,
-- of one that was taken before. Also deletes a few of those that came 90 days ago.
CREATE FUNCTION take_stripe_event(
    event_id text, event_type text, event_at timestamptz, given jsonb, before jsonb,
    OUT outcome text, OUT reason text
)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold_stripe();
    INSERT INTO stripe_events (id, type, created_at, object_id)
    VALUES (event_id, event_type, event_at, given ->> 'id')
    ON CONFLICT (id) DO NOTHING;
    IF NOT found THEN
        outcome := 'duplicate';
        RETURN;
    END IF;
    outcome := 'ignored';
    IF event_type LIKE 'customer.subscription.%' THEN
        SELECT taken.outcome, taken.reason INTO outcome, reason
        FROM take_stripe_subscription(event_type, event_at, given, before) AS taken;
    ELSIF event_type = 'checkout.session.completed' AND given ->> 'customer' IS NOT NULL THEN
        reason := link_stripe_customer(
            coalesce(given -> 'metadata' ->> 'organization_id', given ->> 'client_reference_id'),
            given ->> 'customer'
        );
        outcome := CASE WHEN reason IS NULL THEN 'applied' ELSE 'unmatched' END;
    END IF;
    UPDATE stripe_events AS kept
    SET outcome = take_stripe_event.outcome, reason = take_stripe_event.reason
    WHERE kept.id = event_id;
    DELETE FROM stripe_events
    WHERE id IN (
        SELECT old.id
        FROM stripe_events AS old
        WHERE old.received_at < now() - interval '90 days'
        ORDER BY old.received_at
        LIMIT 10
        FOR UPDATE SKIP LOCKED
    );
END
$$;

-- Overage -----------------------------------------------------------------------------------------

-- How an account ended a billing period, or stands in it: plan and limit are those that held last in
-- it (as in overage_in), so that a later change doesn't reach back. Null for the limit: unlimited, or
-- no plan that bills overage.
CREATE FUNCTION overage_between(
    organization text, starts timestamptz, ends timestamptz, zone text,
    OUT limit_seconds bigint, OUT used_seconds bigint, OUT overage_seconds bigint
)
LANGUAGE sql STABLE AS $$
    SELECT
        most.seconds,
        recorded.organization_seconds + adjusted.organization_seconds,
        coalesce(
            greatest(
                recorded.organization_seconds + adjusted.organization_seconds - most.seconds, 0
            ),
            0
        )
    FROM period_seconds(organization, '', starts, ends, zone) AS recorded
    CROSS JOIN adjustments_in(organization, '', starts, ends) AS adjusted
    CROSS JOIN LATERAL (SELECT least(now(), ends - interval '1 microsecond')) AS last (moment)
    LEFT JOIN LATERAL (
        SELECT each.*
        FROM plan_terms AS each
        WHERE each.plan_id = plan_between(organization, starts, ends) AND each.since <= last.moment
        ORDER BY each.since DESC
        LIMIT 1
    ) AS terms ON true
    LEFT JOIN LATERAL (
        SELECT each.monthly_audio_hours_limit AS hours
        FROM organization_limits AS each
        WHERE each.organization_id = organization AND each.since <= last.moment
        ORDER BY each.since DESC
        LIMIT 1
    ) AS own ON true
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN NOT coalesce(terms.bills_past_limit, false) THEN NULL
            WHEN own.hours IS NULL THEN terms.limit_seconds
            WHEN own.hours >= 0 THEN round(own.hours * 3600)::bigint
        END
    ) AS most (seconds)
$$;

-- Periods of accounts whose overage is reported. They are noted while they last: what was used in
-- earlier ones isn't reported when somebody sets the reporting up.
CREATE TABLE stripe_overage_periods (
    organization_id text NOT NULL REFERENCES organizations ON UPDATE CASCADE,
    period_start timestamptz NOT NULL,
    -- Exclusive.
    period_end timestamptz NOT NULL,
    time_zone text NOT NULL,
    stripe_customer_id text NOT NULL,
    event_name text NOT NULL,
    PRIMARY KEY (organization_id, period_start),
    CONSTRAINT stripe_overage_periods_length CHECK (period_start < period_end)
);

CREATE INDEX stripe_overage_periods_end ON stripe_overage_periods (period_end);

-- What is or was to be reported: ranges of the overage minutes of a period. Each range begins where
-- another one ends, no two begin or end at the same minute, and the first one begins at 0: so there is
-- no gap, and no minute is in two of them.
CREATE TABLE stripe_meter_events (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization_id text NOT NULL,
    period_start timestamptz NOT NULL,
    from_minute bigint NOT NULL CONSTRAINT stripe_meter_events_from CHECK (from_minute >= 0),
    -- Exclusive.
    to_minute bigint NOT NULL,
    minutes bigint NOT NULL GENERATED ALWAYS AS (to_minute - from_minute) STORED,
    begun_by bigint GENERATED ALWAYS AS (nullif(from_minute, 0)) STORED,
    -- By which Stripe knows it again.
    identifier text NOT NULL CONSTRAINT stripe_meter_events_identifier UNIQUE,
    stripe_customer_id text NOT NULL,
    event_name text NOT NULL,
    -- When it is said to have happened.
    occurred_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'waiting' CONSTRAINT stripe_meter_events_status
        CHECK (status IN ('waiting', 'sent', 'uncertain', 'refused')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- When it was sent first without an answer that says that Stripe did not take it.
    doubt_since timestamptz,
    sent_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stripe_meter_events_span CHECK (from_minute < to_minute),
    CONSTRAINT stripe_meter_events_sent CHECK ((sent_at IS NOT NULL) = (status = 'sent')),
    CONSTRAINT stripe_meter_events_begin UNIQUE (organization_id, period_start, from_minute),
    CONSTRAINT stripe_meter_events_end UNIQUE (organization_id, period_start, to_minute),
    CONSTRAINT stripe_meter_events_period FOREIGN KEY (organization_id, period_start)
        REFERENCES stripe_overage_periods ON UPDATE CASCADE,
    CONSTRAINT stripe_meter_events_goes_on FOREIGN KEY (organization_id, period_start, begun_by)
        REFERENCES stripe_meter_events (organization_id, period_start, to_minute)
        DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX stripe_meter_events_open ON stripe_meter_events (stripe_customer_id, event_name, id)
    WHERE status = 'waiting';
CREATE INDEX stripe_meter_events_unsent ON stripe_meter_events (status) WHERE status <> 'sent';

-- Ranges are never taken back, nor moved: who did that would report minutes again.
CREATE FUNCTION refuse_other_range() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stripe_meter_events may have been reported: ranges stay'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER ranges_stay BEFORE DELETE ON stripe_meter_events
    FOR EACH ROW EXECUTE FUNCTION refuse_other_range();
CREATE TRIGGER ranges_unmoved
    BEFORE UPDATE OF period_start, from_minute, to_minute, identifier ON stripe_meter_events
    FOR EACH ROW
    WHEN (
        (old.period_start, old.from_minute, old.to_minute, old.identifier)
        IS DISTINCT FROM (new.period_start, new.from_minute, new.to_minute, new.identifier)
    )
    EXECUTE FUNCTION refuse_other_range();

-- Makes the next range of each of an account's periods whose overage isn't all in ranges yet: where
-- none is waiting, or in any case. One that is late is of now, as the invoice of its own period is
-- closed.
CREATE FUNCTION add_overage_ranges(organization text, in_any_case boolean) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO stripe_meter_events (
        organization_id, period_start, from_minute, to_minute, identifier, stripe_customer_id,
        event_name, occurred_at
    )
    SELECT
        period.organization_id,
        period.period_start,
        ranges.through,
        owed.minutes,
        'mm_' || left(encode(sha256(convert_to(period.organization_id, 'UTF8')), 'hex'), 32)
        || '_' || extract(epoch FROM period.period_start)::bigint
        || '_' || ranges.through || '_' || owed.minutes,
        period.stripe_customer_id,
        period.event_name,
        CASE
            WHEN now() >= period.period_end AND now() < period.period_end + interval '1 hour'
                THEN period.period_end - interval '1 second'
            ELSE now()
        END
    FROM stripe_overage_periods AS period
    CROSS JOIN LATERAL overage_between(
        period.organization_id, period.period_start, period.period_end, period.time_zone
    ) AS past
    CROSS JOIN LATERAL (SELECT (past.overage_seconds + 59) / 60) AS owed (minutes)
    CROSS JOIN LATERAL (
        SELECT
            coalesce(max(event.to_minute), 0) AS through,
            coalesce(bool_or(event.status = 'waiting'), false) AS is_waiting
        FROM stripe_meter_events AS event
        WHERE
            event.organization_id = period.organization_id
            AND event.period_start = period.period_start
    ) AS ranges
    WHERE
        period.organization_id = organization
        AND period.period_end > now() - interval '34 days'
        AND (in_any_case OR NOT ranges.is_waiting)
        AND owed.minutes > ranges.through
$$;

-- A plan that ends is owed what it billed so far, whatever the next one says.
CREATE FUNCTION add_last_overage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_overage_ranges(old.organization_id, true);
    RETURN new;
END
$$;

CREATE TRIGGER overage_before_another_plan BEFORE UPDATE OF plan_id, ended_at ON user_subscriptions
    FOR EACH ROW
    WHEN (
        old.ended_at IS NULL
        AND (old.plan_id, old.ended_at) IS DISTINCT FROM (new.plan_id, new.ended_at)
    )
    EXECUTE FUNCTION add_last_overage();

-- What periods owe in whole minutes, rounded up once, and what of it was reported. Where the plan that
-- held last bills no overage, what was billed before it is owed. A difference below zero was reported
-- and is owed no more, as somebody adjusted what was used or raised the limit.
CREATE VIEW stripe_overage AS
SELECT
    period.organization_id,
    period.period_start,
    period.period_end,
    period.stripe_customer_id,
    past.used_seconds,
    past.limit_seconds,
    past.overage_seconds,
    owed.minutes AS owed_minutes,
    reported.sent AS reported_minutes,
    reported.waiting AS waiting_minutes,
    reported.unsettled AS unsettled_minutes,
    owed.minutes - reported.sent AS difference
FROM stripe_overage_periods AS period
CROSS JOIN LATERAL overage_between(
    period.organization_id, period.period_start, period.period_end, period.time_zone
) AS past
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(event.minutes) FILTER (WHERE event.status = 'sent'), 0)::bigint AS sent,
        coalesce(sum(event.minutes) FILTER (WHERE event.status = 'waiting'), 0)::bigint AS waiting,
        coalesce(
            sum(event.minutes) FILTER (WHERE event.status IN ('uncertain', 'refused')), 0
        )::bigint AS unsettled
    FROM stripe_meter_events AS event
    WHERE
        event.organization_id = period.organization_id
        AND event.period_start = period.period_start
) AS reported
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN past.limit_seconds IS NULL
            THEN reported.sent + reported.waiting + reported.unsettled
        ELSE (past.overage_seconds + 59) / 60
    END
) AS owed (minutes);

-- For an operator who has looked whether Stripe has an uncertain or refused event: it is sent, or is
-- sent again, as having happened now. Whether there was one.
CREATE FUNCTION settle_stripe_meter_event(event_identifier text, stripe_has_it boolean)
RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stripe_meter_events
    SET
        status = CASE WHEN stripe_has_it THEN 'sent' ELSE 'waiting' END,
        sent_at = CASE WHEN stripe_has_it THEN now() END,
        occurred_at = CASE WHEN stripe_has_it THEN occurred_at ELSE now() END,
        doubt_since = NULL,
        next_attempt_at = now()
    WHERE identifier = event_identifier AND status IN ('uncertain', 'refused');
    RETURN found;
END
$$;
