"""Ids and columns of millions of posts, in memory that grows without a pause.

    IdTable         id -> number, number -> id, without a Python object for each
      IdArena         the text of the ids, back to back
      ExtendibleHash  hash -> number, grows bucket by bucket
      Sweep           which numbers may be given again
    MappedColumn    a numpy array over reserved memory: it grows in place, nothing is copied

Dicts and lists would do for what they hold, with an object for each id and a copy at each growth.
"""
