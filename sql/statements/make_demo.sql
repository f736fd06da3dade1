-- Makes the organization that the dev server's links and `meter simulate` record for.
INSERT INTO organizations (id, name) VALUES ('demo', 'Demo') ON CONFLICT (id) DO NOTHING
