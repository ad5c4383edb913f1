-- What is true of one post.  A tombstone keeps the token of a post that was deleted, so that a
-- former owner that was paused cannot bring it back.
-- KEYS: signals:<post_id>, its tombstone.
-- ARGV: token, mode (whole | change | remove), expires_at_ms (of the tombstone: for how many ms),
--       the version of the post that a change is about (-1: any), field, value, ...; in a change
--       an empty value removes the field.
-- Returns 1 written, 0 Redis does not hold what the change is about, -1 a newer owner has the post.
--
-- HSET comes first: once a script has written something, Redis refuses nothing for lack of memory.
local key, tombstone, mode = KEYS[1], KEYS[2], ARGV[2]
local held = redis.call('HMGET', key, 'owner', 'post')
local buried = not held[1] and redis.call('GET', tombstone)
local owner = held[1] or buried
if owner and tonumber(owner) > tonumber(ARGV[1]) then
  return -1
end
if mode == 'remove' then
  redis.call('DEL', key)
  redis.call('SET', tombstone, ARGV[1], 'PX', ARGV[3])
  return 1
end
if mode == 'change' then
  local version = string.match(held[2] or '', '^%d+')
  if not held[1] or (ARGV[4] ~= '-1' and ARGV[4] ~= version) then
    return 0
  end
end
local set, kept, gone = {'owner', ARGV[1]}, {owner = true}, {}
for i = 5, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  if value == '' then
    gone[#gone + 1] = field
  else
    kept[field] = true
    set[#set + 1] = field
    set[#set + 1] = value
  end
end
if mode == 'whole' then
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if not kept[field] then
      gone[#gone + 1] = field
    end
  end
end
redis.call('HSET', key, unpack(set))
if #gone > 0 then
  redis.call('HDEL', key, unpack(gone))
end
redis.call('PEXPIREAT', key, ARGV[3])
if buried then
  redis.call('DEL', tombstone)
end
return 1
