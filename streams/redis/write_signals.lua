-- What is true of one post.  A tombstone keeps the token of a post that was deleted, so that a
-- former owner that was paused cannot bring it back.
-- KEYS: signals:<post_id>, its tombstone.
-- ARGV: token, mode (whole | change | remove), expires_at_ms (of the tombstone: for how many ms),
--       the version of the post that a change is about (-1: any), field, value, ... as MessagePack;
--       in a change an empty value removes the field, in a whole one there is none.
-- Returns 1 written, 0 Redis does not hold what the change is about, below 0 a newer owner has the
-- post: minus its token.
--
-- HSET comes first: once a script has written something, Redis refuses nothing for lack of memory.
-- Most posts are written once, so a call that only an earlier one needs costs all of them time.
local key, tombstone, mode = KEYS[1], KEYS[2], ARGV[2]
local exists, held, buried = redis.call('EXISTS', key, tombstone) > 0, {}, false
if exists then
  held = redis.call('HMGET', key, 'owner', 'post')
  buried = not held[1] and redis.call('GET', tombstone)
  local owner = held[1] or buried
  if owner and tonumber(owner) > tonumber(ARGV[1]) then
    return -tonumber(owner)
  end
end
if mode == 'remove' then
  redis.call('DEL', key)
  redis.call('SET', tombstone, ARGV[1], 'PX', ARGV[3])
  return 1
end
if mode == 'whole' then
  redis.call('HSET', key, 'owner', ARGV[1], cmsgpack.unpack(ARGV[5]))
  local fields = exists and {cmsgpack.unpack(ARGV[5])}
  if fields and redis.call('HLEN', key) > #fields / 2 + 1 then
    local kept, gone = {owner = true}, {}
    for i = 1, #fields, 2 do
      kept[fields[i]] = true
    end
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if not kept[field] then
        gone[#gone + 1] = field
      end
    end
    redis.call('HDEL', key, unpack(gone))
  end
else
  local version = string.match(held[2] or '', '^%d+')
  if not held[1] or (ARGV[4] ~= '-1' and ARGV[4] ~= version) then
    return 0
  end
  local fields, set, gone = {cmsgpack.unpack(ARGV[5])}, {'owner', ARGV[1]}, {}
  for i = 1, #fields, 2 do
    if fields[i + 1] == '' then
      gone[#gone + 1] = fields[i]
    else
      set[#set + 1] = fields[i]
      set[#set + 1] = fields[i + 1]
    end
  end
  redis.call('HSET', key, unpack(set))
  if #gone > 0 then
    redis.call('HDEL', key, unpack(gone))
  end
end
redis.call('PEXPIREAT', key, ARGV[3])
if buried then
  redis.call('DEL', tombstone)
end
return 1
