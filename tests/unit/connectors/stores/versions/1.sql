CREATE TABLE incidents (
    number INTEGER PRIMARY KEY,
    thread TEXT NOT NULL UNIQUE, id TEXT NOT NULL, revision INTEGER NOT NULL, merged_into TEXT,
    signature TEXT NOT NULL, layer TEXT NOT NULL, level TEXT NOT NULL, status TEXT NOT NULL,
    place TEXT NOT NULL, title TEXT NOT NULL, summary TEXT NOT NULL, cause TEXT,
    started INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER,
    real INTEGER NOT NULL
);
CREATE TABLE forms (
    incident INTEGER PRIMARY KEY REFERENCES incidents ON DELETE CASCADE, public TEXT NOT NULL
);
CREATE INDEX incidents_started ON incidents (started);
CREATE INDEX incidents_signature ON incidents (signature, started);
CREATE INDEX incidents_ended ON incidents (ended) WHERE ended IS NOT NULL;
CREATE TABLE ids (
    id TEXT PRIMARY KEY, incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX ids_incident ON ids (incident);
CREATE TABLE revisions (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    revision INTEGER NOT NULL, at INTEGER NOT NULL, public BLOB NOT NULL,
    PRIMARY KEY (incident, revision)
) WITHOUT ROWID;
CREATE TABLE evidence (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    n INTEGER NOT NULL, at INTEGER NOT NULL, source TEXT NOT NULL, rule TEXT NOT NULL, origin TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (incident, n)
) WITHOUT ROWID;
CREATE TABLE entities (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    key TEXT NOT NULL, value TEXT NOT NULL, rows INTEGER NOT NULL,
    PRIMARY KEY (incident, key, value)
) WITHOUT ROWID;
CREATE INDEX entities_value ON entities (value, key);
CREATE TABLE edges (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    cause TEXT NOT NULL, coverage REAL NOT NULL,
    PRIMARY KEY (incident, cause)
) WITHOUT ROWID;
CREATE INDEX edges_cause ON edges (cause);
CREATE TABLE feedback (
    number INTEGER PRIMARY KEY, incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    at INTEGER NOT NULL, verdict TEXT NOT NULL, author TEXT NOT NULL, cause TEXT, note TEXT NOT NULL
);
CREATE INDEX feedback_incident ON feedback (incident);
CREATE TABLE silences (
    id TEXT PRIMARY KEY, matchers TEXT NOT NULL, starts INTEGER NOT NULL, ends INTEGER NOT NULL,
    author TEXT NOT NULL, comment TEXT NOT NULL, origin TEXT NOT NULL
) WITHOUT ROWID;
CREATE VIEW documents AS SELECT
    number,
    title || char(10) || summary || char(10) || signature AS title,
    (SELECT group_concat(text, char(10)) FROM
        (SELECT text FROM evidence WHERE incident = number GROUP BY text ORDER BY min(n))) AS evidence,
    place || coalesce(char(10) || (SELECT group_concat(value, char(10)) FROM
        (SELECT DISTINCT value FROM entities WHERE incident = number ORDER BY value)), '') AS entity,
    (SELECT group_concat(said, char(10)) FROM
        (SELECT note || ' ' || coalesce(cause, '') AS said FROM feedback
            WHERE incident = incidents.number ORDER BY feedback.number)) AS note
FROM incidents;
CREATE VIRTUAL TABLE words USING fts5 (
    title, evidence, entity, note, content = documents, content_rowid = number,
    tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2'
);
