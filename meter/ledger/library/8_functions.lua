-- What is called ------------------------------------------------------------------------------

redis.register_function('mm1_revision', function() return 5 end)
redis.register_function('mm1_open', open)
redis.register_function('mm1_count', count)
redis.register_function('mm1_close', close)
redis.register_function('mm1_note_told', note_told)
redis.register_function('mm1_collect', collect)
redis.register_function('mm1_settle', settle)
redis.register_function('mm1_set_aside', set_aside)
redis.register_function('mm1_release', release)
redis.register_function('mm1_muster', muster)
redis.register_function('mm1_backlog', backlog)
redis.register_function('mm1_restore', restore)
redis.register_function('mm1_seed', seed)
redis.register_function('mm1_set_limits', set_limits)
redis.register_function('mm1_correct', correct)
redis.register_function { function_name = 'mm1_look', callback = look, flags = { 'no-writes' } }
redis.register_function { function_name = 'mm1_rank', callback = rank, flags = { 'no-writes' } }
redis.register_function { function_name = 'mm1_peek', callback = peek, flags = { 'no-writes' } }
redis.register_function { function_name = 'mm1_find', callback = find, flags = { 'no-writes' } }
redis.register_function { function_name = 'mm1_pending', callback = pending,
  flags = { 'no-writes' } }
