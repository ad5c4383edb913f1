-- A feed that is no more, with the lists of its arms.  Its tombstone keeps the token, so that a former owner that was paused
-- cannot bring it back, and the version, so that a feed of this name goes on counting.
-- KEYS: feed:{f}, feed:{f}:info, tombstone:{f}.
-- ARGV: token, now_ms, how long the tombstone is kept in ms, arms that ended...
-- Returns {status, version, config_offset}: 1 removed, below 0 a newer owner has the feed: minus its
-- token.
local feed, info, tombstone = KEYS[1], KEYS[2], KEYS[3]
local held = redis.call('HMGET', info, 'owner', 'version', 'config_offset', 'experiment')
local experiment = held[4]
local buried = redis.call('GET', tombstone)
local offset = tonumber(held[3] or -1)
if buried and not held[1] then
  held = {string.match(buried, '^(%d+) (%d+)$')}
end
local version = tonumber(held[2] or 0)
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then
  return {-tonumber(held[1]), version, offset}
end
version = math.max(version + 1, tonumber(ARGV[2]))
redis.call('DEL', feed, info)
if experiment then
  local running = cjson.decode(experiment)
  for _, arm in ipairs(running.arms) do
    local key = feed .. ':arm:' .. running.name .. '.' .. arm.name
    redis.call('DEL', key, key .. ':info')
  end
end
-- By name: whoever removed the info took with it what ran in the feed.
for i = 4, #ARGV do
  local key = feed .. ':arm:' .. ARGV[i]
  redis.call('DEL', key, key .. ':info')
end
redis.call('SET', tombstone, ARGV[1] .. ' ' .. string.format('%.0f', version), 'PX', ARGV[3])
return {1, version, offset}
