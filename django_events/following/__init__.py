"""Every event from now on, in this process: one reader, no consumer group, and a heartbeat against doubtful silence."""
