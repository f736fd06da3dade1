-- Sets the time zone of an organization; makes the organization where it is missing.
--   $1 text  organization      $2 text  IANA time zone
INSERT INTO organizations AS kept (id, time_zone)
VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET time_zone = excluded.time_zone
