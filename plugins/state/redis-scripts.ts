/**
 * What runs inside Redis, so that each call of `State` is one step and one round trip there. A namespace of records is
 * three keys: a hash of the values, a sorted set of the names (for lists in their order), and a sorted set of the names
 * by their ends. Redis' own clock decides; replicas need not agree on theirs.
 */

/** The first argument is µs since 1970, or nothing for Redis' own time. */
const NOW = `
local nowUs = tonumber(ARGV[1])
if not nowUs then
  local time = redis.call('TIME')
  nowUs = time[1] * 1000000 + time[2]
end`

/** KEYS: values, names, ends. What is over goes with each call that writes, the first to end first. */
const RECORDS = `${NOW}
local values, names, ends = KEYS[1], KEYS[2], KEYS[3]
local function live(key)
  local untilUs = redis.call('ZSCORE', ends, key)
  if untilUs and tonumber(untilUs) <= nowUs then return false end
  return redis.call('HGET', values, key)
end
local function drop(key)
  redis.call('HDEL', values, key)
  redis.call('ZREM', names, key)
  redis.call('ZREM', ends, key)
end
local function sweep()
  for _, key in ipairs(redis.call('ZRANGE', ends, '-inf', nowUs, 'BYSCORE', 'LIMIT', 0, 4)) do drop(key) end
end`

/** ARGV: now, key. */
const GET = `${RECORDS}
return live(ARGV[2])`

/** ARGV: now, key. */
const TAKE = `${RECORDS}
local value = live(ARGV[2])
drop(ARGV[2])
sweep()
return value`

/**
 * ARGV: now, key, value, how (put, create or replace), the value to be replaced, ms to live or nothing, the most records
 * or nothing, channel, message or nothing. Answers 1 where it has written, 0 where not, -1 where there is no room.
 */
const WRITE = `${RECORDS}
local key, value, how, before, ttlMs, max = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local there = live(key)
if how == 'create' and there then return 0 end
if how == 'replace' and there ~= before then return 0 end
sweep()
if max and redis.call('HEXISTS', values, key) == 0 and redis.call('HLEN', values) >= max then return -1 end
redis.call('HSET', values, key, value)
redis.call('ZADD', names, 0, key)
if ttlMs then
  redis.call('ZADD', ends, string.format('%.0f', nowUs + ttlMs * 1000), key)
else
  redis.call('ZREM', ends, key)
end
if ARGV[9] ~= '' then redis.call('PUBLISH', ARGV[8], ARGV[9]) end
return 1`

/** ARGV: now, prefix, where to begin (as ZRANGE BYLEX has it), the most. Answers keys and values in turn. */
const LIST = `${RECORDS}
local prefix, from, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local to = prefix == '' and '+' or '(' .. prefix .. string.char(255)
local found, count = {}, 0
while count < limit do
  local page = redis.call('ZRANGE', names, from, to, 'BYLEX', 'LIMIT', 0, limit - count)
  if #page == 0 then break end
  for _, key in ipairs(page) do
    local value = live(key)
    if value then
      found[#found + 1] = key
      found[#found + 1] = value
      count = count + 1
    end
  end
  from = '(' .. page[#page]
end
return found`

/**
 * The generic cell rate algorithm in whole µs: KEYS[1] holds when the bucket is full again, and ends then.
 * ARGV: now, µs for a token, burst, cost. Answers allowed, remaining, retryAfterMs.
 */
const TOKEN = `${NOW}
local tokenUs, burst, cost = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local fullAt = tonumber(redis.call('GET', KEYS[1])) or nowUs
fullAt = math.min(math.max(fullAt, nowUs), nowUs + burst * tokenUs)
local after = fullAt + cost * tokenUs
local waitUs = after - nowUs - burst * tokenUs
local allowed = waitUs <= 0
if allowed then fullAt = after end
local restMs = math.max(1, math.ceil((fullAt - nowUs) / 1000))
redis.call('SET', KEYS[1], string.format('%.0f', fullAt), 'PX', string.format('%.0f', restMs))
local remaining = math.max(0, math.floor(burst - (fullAt - nowUs) / tokenUs))
return { allowed and 1 or 0, remaining, allowed and 0 or math.ceil(waitUs / 1000) }`

/** ARGV: now. Answers epoch ms. */
const TIME = `${NOW}
return math.floor(nowUs / 1000)`

/** By the names that ioredis gives them. */
export const SCRIPTS = {
  tunnelGet: { lua: GET, numberOfKeys: 3 },
  tunnelTake: { lua: TAKE, numberOfKeys: 3 },
  tunnelWrite: { lua: WRITE, numberOfKeys: 3 },
  tunnelList: { lua: LIST, numberOfKeys: 3 },
  tunnelToken: { lua: TOKEN, numberOfKeys: 1 },
  tunnelTime: { lua: TIME, numberOfKeys: 0 },
} as const

export type ScriptName = keyof typeof SCRIPTS
