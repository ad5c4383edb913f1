-- One feed and its info, changed together or not at all.
-- KEYS: feed:{f}, feed:{f}:info.
-- ARGV: token, mode (whole | change), expected version, expected size, now_ms, version to exceed,
--       number of removed members, members..., number of entries, score, member, ...,
--       field, value, ... of the info.
-- Returns {status, version}: 1 written, 0 Redis does not hold what the change is about, -1 a newer
-- owner has the feed.
local feed, info = KEYS[1], KEYS[2]
local held = redis.call('HMGET', info, 'owner', 'version')
local version = tonumber(held[2]) or 0
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then
  return {-1, version}
end
local whole = ARGV[2] == 'whole'
if not whole and (version ~= tonumber(ARGV[3]) or redis.call('ZCARD', feed) ~= tonumber(ARGV[4])) then
  return {0, version}
end
if whole then
  redis.call('DEL', feed)
end
local at = 7
local removed = tonumber(ARGV[at])
for i = at + 1, at + removed, 1000 do
  redis.call('ZREM', feed, unpack(ARGV, i, math.min(i + 999, at + removed)))
end
at = at + removed + 1
local entries = tonumber(ARGV[at]) * 2
for i = at + 1, at + entries, 1000 do
  redis.call('ZADD', feed, unpack(ARGV, i, math.min(i + 999, at + entries)))
end
at = at + entries + 1
local fields = {}
for i = at, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
if whole or removed > 0 or entries > 0 then
  version = math.max(version + 1, tonumber(ARGV[5]), tonumber(ARGV[6]) + 1)
  fields[#fields + 1] = 'version'
  fields[#fields + 1] = string.format('%.0f', version)
  fields[#fields + 1] = 'written_at_ms'
  fields[#fields + 1] = ARGV[5]
end
fields[#fields + 1] = 'owner'
fields[#fields + 1] = ARGV[1]
redis.call('HSET', info, unpack(fields))
redis.call('HSETNX', info, 'fresh_until_ms', ARGV[5])
return {1, string.format('%.0f', version)}
