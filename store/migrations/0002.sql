-- Which catalogue was in force on which day, as records say.

CREATE TABLE digests (
  day INTEGER NOT NULL, cluster INTEGER NOT NULL, digest INTEGER NOT NULL,
  n INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (day, cluster, digest)
) WITHOUT ROWID;

INSERT INTO digests
SELECT (at - ((at % 86400000000) + 86400000000) % 86400000000) / 86400000000, cluster, digest, count(*), min(at), max(at)
FROM records WHERE digest <> (SELECT id FROM words WHERE text = '') GROUP BY 1, 2, 3;
