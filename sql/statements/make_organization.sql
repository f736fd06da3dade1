-- Makes an organization where it is missing.
--   $1 text  organization
INSERT INTO organizations (id) VALUES ($1) ON CONFLICT (id) DO NOTHING
