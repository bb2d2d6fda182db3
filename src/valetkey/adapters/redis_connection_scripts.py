"""What Redis does with connections as one step: each change of a row with its indexes. In Lua.

A row is a hash, ``connection:<id>``. Beside it stand sorted sets, changed by the same script as the row: all ids
(``connections``), who owns what (``accounts``), which key sealed it (``sealed``), when it is due (``due``); and two
hashes that count (``keys``, ``census``).
"""

from __future__ import annotations

from valetkey.adapters.redis_client import Script
from valetkey.adapters.redis_scripts import SHARED, below, one, placed

_CONNECTIONS = (
    SHARED
    + """
local function row(id) return P .. 'connection:' .. id end

-- Where the indexes have a connection as it is now.
local function marks(id)
  local f = texts(row(id), 'workspace', 'issuer', 'subject', 'provider', 'profile', 'key_id', 'health',
                  'refreshable', 'refresh_at', 'next_try_at')
  local due = f[8] == '1' and f[7] ~= 'needs_reauth' and tonumber(f[9]) and f[9]
  if due and (tonumber(f[10]) or 0) > tonumber(due) then due = f[10] end
  return {id = id, account = table.concat(f, '\\0', 1, 5) .. '\\0' .. id, key = f[6],
          health = f[4] .. '\\0' .. f[7], due = due}
end

local function mark(m)
  redis.call('ZADD', P .. 'connections', 0, m.id)
  redis.call('ZADD', P .. 'accounts', 0, m.account)
  redis.call('ZADD', P .. 'sealed', 0, m.key .. '\\0' .. m.id)
  if m.due then redis.call('ZADD', P .. 'due', m.due, m.id) end
  count('keys', m.key, 1)
  count('census', m.health, 1)
end

local function unmark(m)
  redis.call('ZREM', P .. 'connections', m.id)
  redis.call('ZREM', P .. 'accounts', m.account)
  redis.call('ZREM', P .. 'sealed', m.key .. '\\0' .. m.id)
  redis.call('ZREM', P .. 'due', m.id)
  count('keys', m.key, -1)
  count('census', m.health, -1)
end

local function free(key, unclear)
  redis.call('HSET', key, 'lease_owner', '', 'lease_until', '0.0')
  if unclear ~= '1' then redis.call('HSET', key, 'attempt_id', '', 'attempt_started', '0.0') end
end
"""
)

CONNECTION = one("connection")
CONNECTION_OF_ACCOUNT = placed("accounts", "connection")
CONNECTIONS_OF_OWNER = below("accounts", "connection")

CONNECTION_INSERT = Script(
    _CONNECTIONS
    + """
local id, account = ARGV[1], ARGV[2]
if redis.call('EXISTS', row(id)) == 1 or there('accounts', 'connection', account) then return 0 end
begin()
write(row(id), 3)
mark(marks(id))
return 1
"""
)

CONNECTION_SAVE = Script(
    _CONNECTIONS
    + """
local id, account = ARGV[1], ARGV[2]
if redis.call('HGET', row(id), 'generation') ~= ARGV[3] then return 0 end
local other = there('accounts', 'connection', account)
if other and other ~= id then return 0 end
begin()
unmark(marks(id))
write(row(id), 4)
mark(marks(id))
return 1
"""
)

CONNECTION_LEASE = Script(
    _CONNECTIONS
    + """
local key = row(ARGV[1])
local f = redis.call('HMGET', key, 'generation', 'lease_until', 'attempt_id')
if f[1] ~= ARGV[2] or (ARGV[7] == '0' and f[3] ~= ARGV[8]) then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if (tonumber(f[2] or '') or 0) > now then return 0 end
begin()
redis.call('HSET', key, 'lease_owner', ARGV[3], 'attempt_id', ARGV[4], 'attempt_started', ARGV[5],
           'lease_until', string.format('%.6f', now + tonumber(ARGV[6])))
return 1
"""
)

CONNECTION_RELEASE = Script(
    _CONNECTIONS
    + """
local key = row(ARGV[1])
local f = redis.call('HMGET', key, 'lease_owner', 'attempt_id')
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return 0 end
begin()
free(key, ARGV[4])
return 1
"""
)

CONNECTION_NOTE = Script(
    _CONNECTIONS
    + """
local id, of_attempt = ARGV[1], ARGV[3] == '1'
local f = redis.call('HMGET', row(id), 'generation', 'attempt_id')
if f[1] ~= ARGV[2] or (of_attempt and f[2] ~= ARGV[4]) then return 0 end
begin()
unmark(marks(id))
write(row(id), 6)
if of_attempt then free(row(id), ARGV[5]) end
mark(marks(id))
return 1
"""
)

CONNECTION_DELETE = Script(
    _CONNECTIONS
    + """
local id, generation, revocation = ARGV[1], ARGV[2], ARGV[3]
local found = rows('connection', {id})
if #found == 0 then return found end
if generation ~= '' and redis.call('HGET', row(id), 'generation') ~= generation then return {} end
begin()
if revocation ~= '' and redis.call('EXISTS', P .. 'revocation:' .. revocation) == 0 then
  redis.call('ZADD', P .. 'revocations', 0, revocation)
  redis.call('ZADD', P .. 'revoke', ARGV[4], revocation)
  write(P .. 'revocation:' .. revocation, 5)
end
unmark(marks(id))
redis.call('DEL', row(id))
return found
"""
)

# Indexed by when both times will have come, so that those that wait after a failure cost nothing. Among the first
# thousand, the most urgent first.
CONNECTIONS_DUE = Script(
    SHARED
    + """
local urgent, ids = {}, {}
for at, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', ARGV[1], 'LIMIT', 0, 1000)) do
  urgent[at] = {tonumber(redis.call('HGET', P .. 'connection:' .. id, 'refresh_at') or '') or 0, at, id}
end
table.sort(urgent, function(a, b)
  if a[1] == b[1] then return a[2] < b[2] end
  return a[1] < b[1]
end)
for at = 1, math.min(#urgent, tonumber(ARGV[2])) do ids[at] = urgent[at][3] end
return rows('connection', ids)
"""
)

# For each key its own page: who asks puts them in one order, by bytes, which Lua's own comparison is not.
CONNECTIONS_SEALED_BY = Script(
    SHARED
    + """
local ids, key = {}, ARGV[1]
local first, last = '(' .. key .. '\\0' .. ARGV[2], '(' .. key .. '\\1'
for _, member in ipairs(redis.call('ZRANGEBYLEX', P .. 'sealed', first, last, 'LIMIT', 0, ARGV[3])) do
  ids[#ids + 1] = string.sub(member, #key + 2)
end
return rows('connection', ids)
"""
)

CONNECTIONS_RESEAL = Script(
    _CONNECTIONS
    + """
local done = 0
begin()
for at = 1, #ARGV, 5 do
  local id = ARGV[at]
  local f = redis.call('HMGET', row(id), 'generation', 'sealed')
  if f[1] == ARGV[at + 1] and f[2] == ARGV[at + 2] then
    unmark(marks(id))
    redis.call('HSET', row(id), 'sealed', ARGV[at + 3], 'key_id', ARGV[at + 4])
    mark(marks(id))
    done = done + 1
  end
end
return done
"""
)

COUNTS = Script(
    SHARED
    + """
return redis.call('HGETALL', P .. ARGV[1])
"""
)
