-- The schema as lines of text: a heading and a body a table, view or function, in a fixed order
-- that is the same on every supported version of Postgres, but for the text of views, in which older
-- ones name the table of more columns.
WITH relations AS (
    SELECT oid, relname, relkind, reloptions, relispartition
    FROM pg_class
    WHERE
        relnamespace = current_schema()::regnamespace
        AND relkind IN ('r', 'p', 'v', 'm')
        AND NOT relispartition
        AND relname <> 'meter_migrations'
), parts AS (
    SELECT
        attrelid AS relation,
        1 AS kind,
        lpad(attnum::text, 4, '0') AS position,
        format(
            '%s %s%s%s',
            attname,
            format_type(atttypid, atttypmod),
            CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END,
            CASE attgenerated
                WHEN '' THEN ' DEFAULT ' || pg_get_expr(adbin, adrelid)
                ELSE ' GENERATED ALWAYS AS (' || pg_get_expr(adbin, adrelid) || ') STORED'
            END
        ) AS line
    FROM pg_attribute
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    -- NOT NULL is a constraint of its own since Postgres 18, and said with the column here.
    SELECT conrelid, 2, conname, format('CONSTRAINT %s %s', conname, pg_get_constraintdef(oid))
    FROM pg_constraint
    WHERE contype <> 'n'
    UNION ALL
    SELECT indrelid, 3, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    FROM pg_index
    UNION ALL
    SELECT tgrelid, 4, tgname, pg_get_triggerdef(oid)
    FROM pg_trigger
    WHERE NOT tgisinternal
    UNION ALL
    SELECT oid, 5, '', 'WITH ' || reloptions::text
    FROM pg_class
    WHERE reloptions IS NOT NULL
    UNION ALL
    SELECT partrelid, 6, '', 'PARTITION BY ' || pg_get_partkeydef(partrelid)
    FROM pg_partitioned_table
    UNION ALL
    SELECT oid, 7, '', pg_get_viewdef(oid)
    FROM pg_class
    WHERE relkind IN ('v', 'm')
)
SELECT
    format('%s %s', CASE WHEN relkind IN ('r', 'p') THEN 'TABLE' ELSE 'VIEW' END, relname)
        AS heading,
    string_agg('    ' || line || E'\n', '' ORDER BY kind, position COLLATE "C", line COLLATE "C")
        AS body,
    1 AS kind,
    relname::text COLLATE "C" AS position
FROM relations
JOIN parts ON parts.relation = relations.oid
GROUP BY relkind, relname
UNION ALL
SELECT
    format('FUNCTION %s(%s)', named.name, pg_get_function_identity_arguments(oid)),
    replace(pg_get_functiondef(oid), current_schema() || '.', ''),
    2,
    (named.name || pg_get_function_identity_arguments(oid)) COLLATE "C"
FROM pg_proc
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN pronamespace = current_schema()::regnamespace THEN '' ELSE 'meter.' END || proname
) AS named (name)
WHERE
    pronamespace IN (current_schema()::regnamespace, to_regnamespace('meter'))
    AND prokind IN ('f', 'p')
ORDER BY kind, position
