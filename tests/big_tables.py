"""Statements that fill our tables with as many rows as one likes, of every kind that the admin shows."""

from django_events.models import DeadLetter, DeadLetterAttempt, Failure, OutgoingEvent, ProcessedEvent

BIG = [model._meta.db_table for model in (DeadLetter, DeadLetterAttempt, ProcessedEvent, OutgoingEvent)]


def filling(letters: int, processed: int) -> list[str]:
    """SQL for so many dead letters, with as many outgoing events, and so many processed events; for PostgreSQL."""
    return [
        f"""
        INSERT INTO {Failure._meta.db_table}
            (id, fingerprint, group_name, handler, topic, exception, message, first_seen, last_seen, letters_ever,
             letters_open)
        SELECT n, md5(n::text)::uuid, CASE n WHEN 4 THEN 'rare' ELSE 'group-' || n % 2 END, 'handler-' || n % 3,
            CASE n WHEN 4 THEN 'shop.rare' ELSE 'shop.topic-' || n % 3 END, 'ValueError', 'no', now(), now(), 1, 1
        FROM generate_series(0, 6) n
        """,
        # The newest tenth is of another topic than most others; "rare" is far back, and closed but for a few.
        f"""
        INSERT INTO {DeadLetter._meta.db_table}
            (state, topic, group_name, handler, key_text, event_id, failure_id, exception, message, attempts, retries,
             first_failed, last_failed, automatic, due_at, closed_by, reason, value, headers, partition, "offset",
             letter_partition, letter_offset, event_key, queue_key)
        SELECT CASE WHEN n % 3 = 0 THEN 'waiting' WHEN n % 1000 = 1 THEN 'running' WHEN n % 3 = 1 THEN 'resolved'
                    ELSE 'discarded' END,
            CASE WHEN n < 100 THEN 'shop.rare' WHEN n > {letters} * 0.9 THEN 'shop.topic-2' ELSE 'shop.topic-1' END,
            CASE WHEN n < 100 THEN 'rare' ELSE 'group-' || n % 2 END, 'handler-' || n % 3,
            CASE WHEN n % 5 = 0 THEN 'hot' ELSE 'key-' || n % 5000 END, 'e-' || n, CASE WHEN n < 100 THEN 4 ELSE 1 END,
            'ValueError', 'no', n % 30, 0, now() - ({letters} - n) * interval '1 minute' - interval '1 day',
            now() - ({letters} - n) * interval '1 minute', n % 2 = 0,
            CASE WHEN n % 6 = 0 THEN now() END, '', '',
            convert_to('{{"number": ' || n || '}}', 'UTF8'), '\\x90', 0, n, 0, n,
            md5(n::text)::uuid, md5((n % 5000)::text)::uuid
        FROM generate_series(1, {letters}) n
        """,
        f"""
        INSERT INTO {DeadLetterAttempt._meta.db_table}
            (letter_id, attempts, began, ended, exception, message, traceback, host)
        SELECT id, 1, last_failed, last_failed, 'ValueError', 'no', 'Traceback', '' FROM {DeadLetter._meta.db_table}
        """,
        f"""
        INSERT INTO {OutgoingEvent._meta.db_table} (topic, lane, event_id, key, value, headers)
        SELECT 'shop.topic-1', n % 16, 'e-' || n, '', '', '\\x90' FROM generate_series(1, {letters}) n
        """,
        f"""
        INSERT INTO {ProcessedEvent._meta.db_table} (key, topic, source, event_id, group_name, handler, processed_at)
        SELECT md5(n::text)::uuid, 'shop.topic-1', 'shop', 'e-' || n, 'group-1', 'handler-1', now() - n * interval '1 s'
        FROM generate_series(1, {processed}) n
        """,
    ]
