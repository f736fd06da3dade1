-- Sessions linked to their users, profiles, and recorded sessions under the name `interviews`.

-- Null: the user has no record of their own (a member of an organization need not have one). Nothing
-- is counted by it; figures go by the external id, which every row has.
ALTER TABLE interview_sessions ADD COLUMN user_uuid uuid
    -- Not deletable: what was recorded is what a bill is explained by.
    CONSTRAINT interview_sessions_user_uuid REFERENCES users;

CREATE INDEX interview_sessions_user_uuid ON interview_sessions (user_uuid, started_at)
    WHERE user_uuid IS NOT NULL;

-- Links new sessions. Per statement, and for sessions that are new only: writing minutes of known ones
-- doesn't come here. Users that somebody is deleting are skipped, so that a flusher never waits for
-- them, and never fails.
CREATE FUNCTION link_new_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM fresh WHERE user_uuid IS NULL) THEN
        RETURN NULL;
    END IF;
    -- Planned each time, as a plan is only good for about as many rows as it was made for.
    EXECUTE $query$
        UPDATE interview_sessions AS session
        SET user_uuid = known.id
        FROM fresh
        JOIN (
            SELECT given.user_id, found.id
            FROM (SELECT DISTINCT user_id FROM fresh WHERE user_uuid IS NULL) AS given
            CROSS JOIN LATERAL (
                SELECT users.id
                FROM users
                WHERE users.clerk_id = given.user_id
                FOR KEY SHARE SKIP LOCKED
            ) AS found
        ) AS known ON known.user_id = fresh.user_id
        WHERE fresh.user_uuid IS NULL AND session.session_id = fresh.session_id
    $query$;
    RETURN NULL;
END
$$;

CREATE TRIGGER session_user_linked AFTER INSERT ON interview_sessions
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION link_new_sessions();

-- A user who was made in the very moment of a session's start is found when the session's row changes
-- the next time, at its end at the latest.
CREATE FUNCTION link_session() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT users.id INTO new.user_uuid
    FROM users
    WHERE users.clerk_id = new.user_id
    FOR KEY SHARE SKIP LOCKED;
    RETURN new;
END
$$;

CREATE TRIGGER session_user_late BEFORE UPDATE ON interview_sessions
    FOR EACH ROW WHEN (new.user_uuid IS NULL AND new.revision > old.revision)
    EXECUTE FUNCTION link_session();

-- A new user may have recorded as a member of an organization. Rows that a flusher is at are left for
-- the trigger above, instead of waiting for it with others under our hands.
CREATE FUNCTION link_sessions_of_new_user() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE interview_sessions AS session
    SET user_uuid = new.id
    FROM (
        SELECT session_id
        FROM interview_sessions
        WHERE user_id = new.clerk_id AND user_uuid IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS free
    WHERE session.session_id = free.session_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER new_user_sessions AFTER INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION link_sessions_of_new_user();

UPDATE interview_sessions AS session
SET user_uuid = users.id
FROM users
WHERE users.clerk_id = session.user_id;

-- Profiles ----------------------------------------------------------------------------------------

-- One a user, with the same id: what is known of the person besides the account. Membership, minutes
-- and credits are computed (account_overview, profile_credits).
CREATE TABLE profiles (
    id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    -- The organization whose plan and limits hold for them; null: their personal account.
    organization_id text REFERENCES organizations ON UPDATE CASCADE ON DELETE SET NULL,
    full_name text,
    organisation_name text,
    stripe_customer_id text UNIQUE CHECK (stripe_customer_id <> ''),
    stripe_subscription_id text UNIQUE CHECK (stripe_subscription_id <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX profiles_organization ON profiles (organization_id);

CREATE FUNCTION make_profile() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO profiles (id) VALUES (new.id) ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER new_user_profile AFTER INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION make_profile();

INSERT INTO profiles (id) SELECT id FROM users;

-- The account that a profile uses: its organization's, or its personal one.
CREATE VIEW profile_accounts AS
SELECT
    profiles.id AS profile_id,
    users.clerk_id AS user_id,
    coalesce(profiles.organization_id, users.clerk_id) AS organization_id
FROM profiles
JOIN users ON users.id = profiles.id;

-- A view, not a table: an interview is a recorded session, and its minutes are those that were counted.
CREATE VIEW interviews AS
SELECT
    session_id AS id,
    user_uuid AS profile_id,
    user_id,
    organization_id,
    kind,
    started_at AS start_time,
    ended_at AS end_time,
    duration_minutes AS total_minutes,
    seconds_recorded AS total_seconds,
    CASE
        WHEN ended_at IS NULL THEN 'in_progress'
        WHEN end_reason = 'lost' THEN 'lost'
        ELSE 'completed'
    END AS status,
    metadata
FROM interview_sessions;
