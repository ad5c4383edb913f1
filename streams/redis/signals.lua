-- What is true of one post, in `signals:<post_id>`.
-- KEYS: signals:<post_id>.
-- ARGV: token, mode (whole | change | remove), expires_at_ms, field, value, ...; an empty value
--       removes the field.
-- Returns 1 written, 0 Redis has not the rest of it, -1 a newer owner has the post.
local key = KEYS[1]
local owner = redis.call('HGET', key, 'owner')
if owner and tonumber(owner) > tonumber(ARGV[1]) then
  return -1
end
if ARGV[2] == 'remove' then
  redis.call('DEL', key)
  return 1
end
if ARGV[2] == 'whole' then
  redis.call('DEL', key)
elseif not owner then
  return 0
end
local set = {'owner', ARGV[1]}
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', key, ARGV[i])
  else
    set[#set + 1] = ARGV[i]
    set[#set + 1] = ARGV[i + 1]
  end
end
redis.call('HSET', key, unpack(set))
redis.call('PEXPIREAT', key, ARGV[3])
return 1
