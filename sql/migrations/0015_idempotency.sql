-- Writes that came over HTTP with a key, and what they were answered: the answer is committed with the
-- change it is of. A key is a caller's, for one route; it may be used anew after 24 hours.
CREATE TABLE idempotency_keys (
    organization_id text NOT NULL,
    user_id text NOT NULL,
    route text NOT NULL,
    idempotency_key text NOT NULL
        CONSTRAINT idempotency_keys_key CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL,
    status smallint NOT NULL CONSTRAINT idempotency_keys_status CHECK (status BETWEEN 200 AND 299),
    answer bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id, route, idempotency_key)
);

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
