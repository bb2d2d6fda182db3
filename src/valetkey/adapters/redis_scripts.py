"""What Redis does as one step, in Lua: interactions, revocations, who leads, counts, and what all scripts share.

A row is a hash, ``interaction:<id>``. Beside it stand sorted sets, changed by the same script as the row: all ids
(``interactions``), what is open (``questions``), when it ends (``ends``, or ``unsettled`` once it was answered). A
script is not undone when it fails in the middle, so each that needs memory begins with a write that a full, read-only
or broken server refuses.
"""

from __future__ import annotations

from valetkey.adapters.redis_client import Script

SHARED = """
local P = KEYS[1]

local function begin()
  redis.call('SET', P .. 'format', '1')
end

local function write(key, at)
  local gone = tonumber(ARGV[at])
  if gone > 0 then redis.call('HDEL', key, unpack(ARGV, at + 1, at + gone)) end
  if #ARGV > at + gone then redis.call('HSET', key, unpack(ARGV, at + gone + 1)) end
end

local function count(name, field, by)
  if redis.call('HINCRBY', P .. name, field, by) <= 0 then redis.call('HDEL', P .. name, field) end
end

-- The id of the row that an index has under this beginning. An entry whose row is gone says nothing.
local function there(index, kind, start)
  local last = '(' .. string.sub(start, 1, -2) .. '\\1'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', P .. index, '[' .. start, last)) do
    local id = string.sub(member, #start + 1)
    if redis.call('EXISTS', P .. kind .. ':' .. id) == 1 then return id end
  end
  return nil
end

local function rows(kind, ids)
  local found = {}
  for _, id in ipairs(ids) do
    local row = redis.call('HGETALL', P .. kind .. ':' .. id)
    if #row > 0 then found[#found + 1] = {id, row} end
  end
  return found
end

local function texts(key, ...)
  local found = redis.call('HMGET', key, ...)
  for at = 1, #found do found[at] = found[at] or '' end
  return found
end
"""

PAGE = Script(
    SHARED
    + """
return rows(ARGV[2], redis.call('ZRANGEBYLEX', P .. ARGV[1], '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4]))
"""
)

_INTERACTIONS = (
    SHARED
    + """
local function row(id) return P .. 'interaction:' .. id end

local function marks(id)
  local f = texts(row(id), 'kind', 'workspace', 'issuer', 'subject', 'topic', 'phase', 'expires_at')
  local settles = f[6] == 'answered' or f[6] == 'settling'
  local open = settles or f[6] == 'open' or f[6] == 'claimed'
  return {id = id, open = open and table.concat(f, '\\0', 1, 5) .. '\\0' .. id,
          until_name = settles and 'unsettled' or 'ends', until_time = tonumber(f[7]) and f[7] or '0'}
end

local function mark(m)
  redis.call('ZADD', P .. 'interactions', 0, m.id)
  redis.call('ZADD', P .. m.until_name, m.until_time, m.id)
  if m.open then redis.call('ZADD', P .. 'questions', 0, m.open) end
end

local function unmark(m)
  redis.call('ZREM', P .. 'interactions', m.id)
  redis.call('ZREM', P .. m.until_name, m.id)
  if m.open then redis.call('ZREM', P .. 'questions', m.open) end
end
"""
)


def one(kind: str) -> Script:
    """The row of that id."""
    return Script(f"{SHARED}\nreturn rows('{kind}', {{ARGV[1]}})\n")


def placed(index: str, kind: str) -> Script:
    """The row at one place of an index."""
    return Script(
        SHARED
        + f"""
local id = there('{index}', '{kind}', ARGV[1])
return id and rows('{kind}', {{id}}) or {{}}
"""
    )


def below(index: str, kind: str) -> Script:
    """The rows at all places of an index that begin alike."""
    return Script(
        SHARED
        + f"""
local start, ids = ARGV[1], {{}}
local last = '(' .. string.sub(start, 1, -2) .. '\\1'
for _, member in ipairs(redis.call('ZRANGEBYLEX', P .. '{index}', '[' .. start, last)) do
  ids[#ids + 1] = string.match(member, '[^%z]*$')
end
return rows('{kind}', ids)
"""
    )


INTERACTION = one("interaction")
INTERACTION_OPEN = placed("questions", "interaction")
INTERACTIONS_OPEN = below("questions", "interaction")

# The one that is open already; else 1 where the id was used before; else 0, and it is saved.
INTERACTION_INSERT = Script(
    _INTERACTIONS
    + """
local id, place = ARGV[1], ARGV[2]
local other = place ~= '' and there('questions', 'interaction', place)
if other then return rows('interaction', {other}) end
if redis.call('EXISTS', row(id)) == 1 then return 1 end
begin()
write(row(id), 3)
mark(marks(id))
return 0
"""
)

INTERACTION_SAVE = Script(
    _INTERACTIONS
    + """
local id, place = ARGV[1], ARGV[2]
if redis.call('HGET', row(id), 'version') ~= ARGV[3] then return 0 end
local other = place ~= '' and there('questions', 'interaction', place)
if other and other ~= id then return 0 end
begin()
unmark(marks(id))
write(row(id), 4)
mark(marks(id))
return 1
"""
)

INTERACTIONS_SWEEP = Script(
    _INTERACTIONS
    + """
local ids = redis.call('ZRANGEBYSCORE', P .. ARGV[1], '-inf', '(' .. ARGV[2], 'LIMIT', 0, 1000)
for _, id in ipairs(ids) do
  unmark(marks(id))
  redis.call('ZREM', P .. ARGV[1], id)
  redis.call('DEL', row(id))
end
return #ids
"""
)

INTERACTION_RESEAL = Script(
    _INTERACTIONS
    + """
local f = redis.call('HMGET', row(ARGV[1]), 'version', 'payload')
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return 0 end
begin()
write(row(ARGV[1]), 4)
return 1
"""
)

_REVOCATIONS = (
    SHARED
    + """
local function row(id) return P .. 'revocation:' .. id end
"""
)

REVOCATION_INSERT = Script(
    _REVOCATIONS
    + """
local id = ARGV[1]
if redis.call('EXISTS', row(id)) == 1 then return 0 end
begin()
redis.call('ZADD', P .. 'revocations', 0, id)
redis.call('ZADD', P .. 'revoke', ARGV[2], id)
write(row(id), 3)
return 1
"""
)

REVOCATIONS_DUE = Script(
    SHARED
    + """
return rows('revocation', redis.call('ZRANGEBYSCORE', P .. 'revoke', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2]))
"""
)

REVOCATION_CLAIM = Script(
    _REVOCATIONS
    + """
local id = ARGV[1]
if redis.call('HGET', row(id), 'tries') ~= ARGV[2] then return 0 end
begin()
redis.call('HSET', row(id), 'tries', ARGV[3], 'next_try_at', ARGV[4])
redis.call('ZADD', P .. 'revoke', ARGV[4], id)
return 1
"""
)

REVOCATION_CHANGE = Script(
    _REVOCATIONS
    + """
local column, new, before = ARGV[2], ARGV[3], ARGV[4]
local now = redis.call('HGET', row(ARGV[1]), column)
if not now or (before and now ~= before) then return 0 end
begin()
redis.call('HSET', row(ARGV[1]), column, new)
return 1
"""
)

REVOCATION_DELETE = Script(
    _REVOCATIONS
    + """
redis.call('ZREM', P .. 'revocations', ARGV[1])
redis.call('ZREM', P .. 'revoke', ARGV[1])
return redis.call('DEL', row(ARGV[1]))
"""
)

LEAD = Script(
    """
local key = KEYS[1] .. 'leader:' .. ARGV[1]
local leader = redis.call('GET', key)
if leader and leader ~= ARGV[2] then return 0 end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
"""
)

RESIGN = Script(
    """
local key = KEYS[1] .. 'leader:' .. ARGV[1]
if redis.call('GET', key) == ARGV[2] then return redis.call('DEL', key) end
return 0
"""
)

# The sum, and how many milliseconds of its period are left.
COUNT = Script(
    """
local key = KEYS[1] .. 'count:' .. ARGV[1]
if ARGV[2] == '0' then
  return {tonumber(redis.call('GET', key) or '0') or 0, math.max(redis.call('PTTL', key), 0)}
end
local sum = redis.call('INCRBY', key, ARGV[2])
local left = redis.call('PTTL', key)
if left < 0 then
  left = tonumber(ARGV[3])
  redis.call('PEXPIRE', key, left)
end
return {sum, left}
"""
)
