-- Take feeds that were removed off the index, unless a newer owner has put them there again.
-- KEYS: feeds.
-- ARGV: token, feed, token, feed, ...
-- Returns how many were taken off.
local gone = 0
for i = 1, #ARGV, 2 do
  local owner = redis.call('ZSCORE', KEYS[1], ARGV[i + 1])
  if owner and tonumber(owner) <= tonumber(ARGV[i]) then
    gone = gone + redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
return gone
