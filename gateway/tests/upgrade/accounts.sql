BEGIN TRANSACTION;
CREATE TABLE checks (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
INSERT INTO "checks" VALUES(1,1795782335074);
CREATE TABLE places (
        place TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "places" VALUES('04YO-kVEVaEZb7Ef7AqiQMenhjubgSjXeVlklibCI1A','JiMZpF9NSw2YIheaZTkUsA',1795782251414);
CREATE TABLE sessions (
        key TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        epoch INTEGER NOT NULL,
        since INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    , address TEXT NOT NULL DEFAULT '', agent TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
INSERT INTO "sessions" VALUES('G-VbzB13afUFvIVbIv1KsRec_F4ycqhOORyJg_6Ov7M','JiMZpF9NSw2YIheaZTkUsA',1,1795782251437,1796387051437,'127.0.0.1','curl/7.88.1');
CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        used_at INTEGER
    , expires_at INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO "tokens" VALUES('ZaSvgCZftMsZ','JiMZpF9NSw2YIheaZTkUsA','bot','tkXEevrkP0IoCSuq5aR0aRL_Htgd2gwQawpc7kRqWtk',1795782251568,1795782269197,1827318251568);
CREATE TABLE users (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        name_key TEXT NOT NULL UNIQUE,
        password TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        disabled INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        regions TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "users" VALUES('JiMZpF9NSw2YIheaZTkUsA','vera','vera','$argon2id$v=19$m=19456,t=2,p=1$cBzfU9U7h+DX1vNKeEJHwg$pOp/oNh1+FasPqQlMq6uPDLeax717JHAnBRmzrvzl7c',1795782251412,0,1,2,'uk,eu');
INSERT INTO "users" VALUES('rZPPBMitCV_TSN6FCwNDyw','demo','demo','$argon2id$v=19$m=19456,t=2,p=1$uyFVVBZkf3ovVXrei2C9pg$whVWqEYsY6Dg2DbgyAdv8yAu0IOaeodcXZbnK5PLRmw',1795782239783,0,3,3,'us,uk,eu,au');
CREATE INDEX sessions_of ON sessions (user);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX tokens_of ON tokens (user);
CREATE INDEX places_of ON places (user);
COMMIT;
PRAGMA user_version = 3;
