"""One line each that breaks a promise, and which tests find it."""

from __future__ import annotations

from typing import NamedTuple

LUA = "crawler/crawling/tracker/lua/"
ON_REDIS = "tests/integration/test_redis_tracker.py"
WORKERS = "tests/integration/test_redis_tracker_workers.py"
LEASES = "tests/integration/test_tracker_leases.py"
FLAGS = "tests/integration/test_tracker_flags.py"
DEDUPE = "tests/integration/test_tracker_dedupe.py"
AUDIT = "tests/integration/test_tracker_audit.py"
SECRETS = "tests/acceptance/test_secrets.py"
SHARDS = "tests/integration/test_sharded_tracker.py"


class Bug(NamedTuple):
    """*old* stands in *file* once; with *new* in its place, a test of *tests* must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


BUGS = (
    Bug(
        "a lease is settled with any token",
        LUA + "settle.lua",
        "if token ~= o[2] then return 0 end",
        "",
        LEASES,
    ),
    Bug(
        "a settled lease stays",
        LUA + "settle.lua",
        "if #ended > 0 then call('HDEL', leases, unpack(ended)) end",
        "",
        LEASES,
    ),
    Bug(
        "leases of a worker that was declared dead are not fenced",
        LUA + "endings.lua",
        "call('RENAME', leases, fleet .. 'dead:' .. grave)",
        "call('COPY', leases, fleet .. 'dead:' .. grave)",
        LEASES,
    ),
    Bug(
        "a worker that renewed meanwhile is declared dead",
        LUA + "reclaim.lua",
        "if tonumber(call('ZSCORE', workers, worker)) == deadline then",
        "if deadline then",
        WORKERS,
    ),
    Bug(
        "deadlines are believed over a lost connection",
        "crawler/crawling/tracker/redis_watch.py",
        "        self._seen.clear()",
        "        return",
        WORKERS,
    ),
    Bug(
        "what comes back goes behind the queue",
        LUA + "endings.lua",
        "    push_head(c, q, priority, r)",
        "    push(c, q, priority, build(r))",
        LEASES,
    ),
    Bug(
        "links of a page are not taken",
        LUA + "settle.lua",
        "  take_links(c, q, o[11])\n",
        "",
        DEDUPE + " " + SHARDS,
    ),
    Bug(
        "what was dropped for a passing reason is gone for good",
        LUA + "prelude.lua",
        "    if (c['reason:' .. reason] or 0) > 0 then c.may_pass = true end\n",
        "",
        DEDUPE,
    ),
    Bug(
        "a page that is done looks as if it were not",
        LUA + "settle.lua",
        "  set_state(c, r, 'd')\n",
        "",
        "tests/integration/test_tracker_views.py",
    ),
    Bug(
        "a settlement is refused when Redis is full",
        LUA + "settle.lua",
        "begin_even_when_full()\n",
        "",
        ON_REDIS,
    ),
    Bug(
        "hits are not charged",
        LUA + "lease.lua",
        "    charge_hit(throttle, start)\n",
        "",
        "tests/integration/test_tracker_throttle.py",
    ),
    Bug(
        "the cap of a domain is not freed",
        LUA + "endings.lua",
        "    if rank then activate(q, rank) end\n",
        "",
        "tests/integration/test_tracker_order.py",
    ),
    Bug(
        "a crawl that has ended ends again",
        LUA + "endings.lua",
        "  elseif c.fin < c.epoch then\n",
        "  else\n",
        FLAGS,
    ),
    Bug(
        "requests that waited for a retry survive a stop",
        LUA + "lease.lua",
        "  if not c or r.seq <= c.void then return end\n",
        "  if not c then return end\n",
        FLAGS,
    ),
    Bug(
        "lanes of a stopped run are leased",
        LUA + "lease.lua",
        "local alive = c and c.run == tonumber(run)",
        "local alive = c",
        FLAGS,
    ),
    Bug(
        "a message that is delivered again is taken in again",
        LUA + "ingest.lua",
        "if done > source.part then return true end",
        "",
        "tests/integration/test_mailbox.py " + ON_REDIS,
    ),
    Bug(
        "the digest of a message is not looked at",
        LUA + "ingest.lua",
        "if digest == source.digest then done",
        "if digest then done",
        ON_REDIS,
    ),
    Bug(
        "offsets are committed before Redis is sure to keep the messages",
        "kafka-monitor/kafka_monitor/offsets.py",
        "limit = self._clock() - DURABLE",
        "limit = self._clock()",
        "tests/unit/test_offsets.py",
    ),
    Bug(
        "a page counts as safe although its output is down",
        "crawler/crawling/pipelines.py",
        "                if self._stopping.is_set():\n"
        "                    raise Released(str(error)) from error\n",
        "                return\n",
        "tests/integration/test_savers_outage.py tests/integration/test_kafka_pipeline.py",
    ),
    Bug(
        "an answer is forgotten before Kafka has it",
        "redis-monitor/redis_monitor/monitor.py",
        "        await asyncio.gather(*(self._outbound.tell(reply) for _, reply in answered))\n"
        "        await self._mailbox.answered([letter.id for letter in letters])\n",
        "        await self._mailbox.answered([letter.id for letter in letters])\n"
        "        await asyncio.gather(*(self._outbound.tell(reply) for _, reply in answered))\n",
        "tests/acceptance/test_answers.py",
    ),
    Bug(
        "links stay in the shard of their page",
        "crawler/crawling/tracker/sharded_tracker.py",
        "                if shard is here:\n",
        "                if link:\n",
        SHARDS,
    ),
    Bug(
        "what a failed write left in an archive stays",
        "crawler/crawling/savers/growing_file.py",
        "        os.ftruncate(self._fd, self.end)",
        "        return",
        "tests/integration/test_savers_full_disk.py tests/integration/test_savers_killed.py",
    ),
    Bug(
        "a lease that the engine dropped counts as done",
        "crawler/crawling/in_flight.py",
        'reason = "x_refused" if onsite else "offsite"',
        'return self.settle(held, Verdict("done"))',
        "tests/integration/test_scheduler_cases.py",
    ),
    Bug(
        "an audit does not count leases",
        LUA + "audit.lua",
        "settle_column(c, 'leased', lent and (lent.crawls[c.cno] or 0))",
        "",
        AUDIT,
    ),
    Bug(
        "what an audit finds missing is in no column",
        LUA + "audit.lua",
        "count_dropped(c, 'lost', booked - found)",
        "",
        AUDIT,
    ),
    Bug(
        "a script that is flushed before its call breaks a worker",
        "crawler/crawling/tracker/scripts.py",
        "    # It was sent, and flushed again before it was called.\n    NoScriptError,\n",
        "",
        ON_REDIS,
    ),
    Bug(
        "a worker's trouble that is over stays",
        LUA + "renew.lua",
        "call('HDEL', fleet .. 'troubles', worker)",
        "",
        "tests/integration/test_idleness.py",
    ),
    Bug(
        "logs show the passwords of URLs",
        "crawler/crawling/service/logs.py",
        "without_logins(super().format(_explained(record)))\n\n    def add_fields",
        "super().format(_explained(record))\n\n    def add_fields",
        SECRETS,
    ),
    Bug(
        "logs show the headers of items",
        "crawler/crawling/items.py",
        'if not name.endswith("_headers")',
        "",
        SECRETS,
    ),
    Bug(
        "a lease whose end was taken back stays with its worker",
        LUA + "renew.lua",
        "local back = take_back_ended()",
        "local back = 0",
        WORKERS,
    ),
    Bug(
        "an event is told before a replica has it",
        "crawler/crawling/tracker/mailbox.py",
        "await self._replicas.until_followed(self._keys.meta)",
        "pass",
        "tests/integration/test_mailbox.py",
    ),
    Bug(
        "an event is told when one replica has it",
        "crawler/crawling/tracker/replicas.py",
        "wanted = max(following, self._followed)",
        "wanted = min(following, 1)",
        "tests/integration/test_mailbox.py",
    ),
    Bug(
        "a master that its replicas have left tells events at once",
        "crawler/crawling/tracker/replicas.py",
        "wanted = max(following, self._followed) if number < ROUNDS else min(following, 1)",
        "wanted = following",
        "tests/integration/test_mailbox.py",
    ),
    Bug(
        "an event is told that its server has lost",
        "crawler/crawling/tracker/mailbox.py",
        'if entries and json.loads(entries[0][1][b"body"]) == letter.body',
        "",
        "tests/integration/test_mailbox.py",
    ),
    Bug(
        "a connection outlasts the role of its master",
        "crawler/crawling/tracker/redis_connect.py",
        "        self._locator.used()\n",
        "",
        "tests/integration/test_redis_places.py",
    ),
    Bug(
        "messages that Redis has lost are not read again",
        "kafka-monitor/kafka_monitor/monitor.py",
        "if (breaks := await self._intake.breaks()) != self._breaks:",
        "if (breaks := 0):",
        "tests/integration/test_kafka_monitor.py",
    ),
    Bug(
        "what a worker knows of links outlives a stop of the crawl",
        "crawler/crawling/tracker/redis_tracker.py",
        'f"{self.keys.tag}{cno}.{run}.{epoch}.{revision}.{breaks}"',
        'f"{self.keys.tag}{cno}.{revision}.{breaks}"',
        DEDUPE,
    ),
    Bug(
        "what a worker knows of links outlives the server that had taken them",
        "crawler/crawling/tracker/redis_tracker.py",
        "breaks = self._histories.breaks",
        "breaks = 0",
        "tests/acceptance/test_rolled_back.py",
    ),
    Bug(
        "a link that a limit refused counts as known",
        "crawler/crawling/tracker/tracker.py",
        "limits = (options.max_pages, options.domain_max_pages, self.page_limit)",
        "limits = (self.page_limit,)",
        "tests/unit/test_known_links.py",
    ),
)
