-- The tables of SqliteTracker.  All times are Unix seconds of this host.
-- `rank` orders requests, lanes and domains alike, lowest first: priority, then age.

-- One row: the next number of all, and how often somebody has pushed a domain back.
CREATE TABLE sequence (next INTEGER NOT NULL, deferrals INTEGER NOT NULL DEFAULT 0);
INSERT INTO sequence (next) VALUES (1);

-- The books of a crawl.  `run` numbers what it queued since it was last stopped (0: nothing
-- may be queued), `void` is the highest request of the runs before, `reported` the epoch of
-- the last finished event, `boost` is added to the priority of each request,
-- `depths` counts what is done or has failed.
CREATE TABLE crawls (
    id INTEGER PRIMARY KEY,
    spiderid TEXT NOT NULL,
    appid TEXT NOT NULL,
    crawlid TEXT NOT NULL,
    state TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    run INTEGER NOT NULL,
    void INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    options INTEGER NOT NULL,
    boost INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    delayed INTEGER NOT NULL,
    leased INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    size INTEGER NOT NULL,
    started REAL NOT NULL,
    ended REAL,
    hold REAL,
    expires REAL,
    reasons TEXT NOT NULL,
    statuses TEXT NOT NULL,
    depths TEXT NOT NULL DEFAULT '{}',
    UNIQUE (spiderid, appid, crawlid)
);
CREATE INDEX crawls_held ON crawls (hold) WHERE hold IS NOT NULL;
CREATE INDEX crawls_expiring ON crawls (expires) WHERE expires IS NOT NULL;
CREATE INDEX crawls_ended ON crawls (ended) WHERE ended IS NOT NULL AND seen > 0;

-- Apart from the books, which are rewritten at every step; never changed, only replaced.
CREATE TABLE options (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);

-- `ended` is the reason by which all that the run had queued was dropped.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ended TEXT, swept INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_unswept ON runs (id) WHERE ended IS NOT NULL AND swept = 0;

-- A spider type's queue of one domain; `leased` is what is in flight.
CREATE TABLE queues (
    id INTEGER PRIMARY KEY,
    spiderid TEXT NOT NULL,
    domain TEXT NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    UNIQUE (domain, spiderid)
);
CREATE INDEX queues_busy ON queues (spiderid) WHERE leased > 0;

-- How the workers of one spider type and address see the queues: `best` is the rank of
-- the best request, `opens` when the queue may be asked next (NULL: now, infinite: when
-- a lease ends or the domain is unblocked).
CREATE TABLE views (
    id INTEGER PRIMARY KEY, spiderid TEXT NOT NULL, ip TEXT NOT NULL, UNIQUE (spiderid, ip)
);
CREATE TABLE places (
    queue INTEGER NOT NULL,
    view INTEGER NOT NULL,
    best INTEGER,
    opens REAL,
    PRIMARY KEY (queue, view)
) WITHOUT ROWID;
CREATE INDEX places_ready ON places (view, best) WHERE best IS NOT NULL AND opens IS NULL;
CREATE INDEX places_resting ON places (view, opens) WHERE opens IS NOT NULL;

-- A queue's requests of one run and priority, first in, first out; `head` is the rank of
-- the first, with the crawl's boost.  Lanes of paused and ended runs are parked when they are met.
CREATE TABLE lanes (
    queue INTEGER NOT NULL,
    run INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    crawl INTEGER NOT NULL,
    head INTEGER NOT NULL,
    length INTEGER NOT NULL,
    parked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, run, priority)
) WITHOUT ROWID;
CREATE INDEX lanes_best ON lanes (queue, parked, head);
CREATE INDEX lanes_run ON lanes (run, parked);

-- What is outstanding: leased (has a worker), delayed (is due later) or queued.
-- `home` is the domain whose page budget was charged, if not the queue's.
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    crawl INTEGER NOT NULL,
    run INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    since REAL NOT NULL,
    url BLOB NOT NULL,
    extras BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    home TEXT,
    due REAL,
    worker TEXT,
    token TEXT
);
CREATE INDEX requests_queued ON requests (queue, run, priority, rank)
    WHERE due IS NULL AND worker IS NULL;
CREATE INDEX requests_delayed ON requests (due) WHERE due IS NOT NULL;
CREATE INDEX requests_leased ON requests (worker) WHERE worker IS NOT NULL;

-- The dupefilter.  `state` is a request's id while it is outstanding, else "done",
-- "failed REASON" or "dropped REASON"; or "redirect FINGERPRINT", where it goes on.
CREATE TABLE seen (
    crawl INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    state NOT NULL,
    PRIMARY KEY (crawl, fingerprint)
) WITHOUT ROWID;
-- Seen-sets that crawls have given up, until they are swept.
CREATE TABLE forgotten (seen INTEGER PRIMARY KEY);

-- Page budget: `used` by pages and leases, `waiting` by what the run has queued.
CREATE TABLE pages (
    crawl INTEGER NOT NULL,
    domain TEXT NOT NULL,
    run INTEGER NOT NULL,
    used INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    PRIMARY KEY (crawl, domain)
) WITHOUT ROWID;

CREATE TABLE failures (
    id INTEGER PRIMARY KEY,
    crawl INTEGER NOT NULL,
    spiderid TEXT NOT NULL,
    domain TEXT NOT NULL,
    fingerprint INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    url BLOB NOT NULL,
    extras BLOB NOT NULL,
    home TEXT,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail BLOB NOT NULL
);
CREATE INDEX failures_crawl ON failures (crawl, id);

-- What the throttle remembers, and until when it matters.
CREATE TABLE throttles (
    spiderid TEXT NOT NULL,
    ip TEXT NOT NULL,
    domain TEXT NOT NULL,
    history BLOB NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (spiderid, ip, domain)
) WITHOUT ROWID;
CREATE INDEX throttles_until ON throttles (until);

-- Only domains that are treated in a way of their own; `given` is hits, window and scale
-- as they were asked for.
CREATE TABLE domains (
    domain TEXT PRIMARY KEY,
    hits INTEGER NOT NULL DEFAULT 0,
    window REAL NOT NULL DEFAULT 0,
    blocked INTEGER NOT NULL DEFAULT 0,
    given TEXT NOT NULL DEFAULT '[0, 0.0, 1.0]',
    deferred REAL NOT NULL DEFAULT 0,
    doublings INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- `host` and `process` tell whether the worker's process still exists, `trouble` why it
-- leases nothing; pages, rate and memory (bytes) are what it told last.
CREATE TABLE workers (
    worker TEXT PRIMARY KEY,
    deadline REAL NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process TEXT NOT NULL,
    trouble TEXT NOT NULL,
    pages INTEGER NOT NULL DEFAULT 0,
    rate REAL NOT NULL DEFAULT 0,
    memory INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE sources (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    digest TEXT NOT NULL,
    UNIQUE (topic, partition, offset)
);

CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
