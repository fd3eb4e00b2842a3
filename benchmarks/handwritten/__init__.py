"""The yard-sticks: loops that one would write by hand, with psycopg, confluent-kafka or plain Django. Nothing of ours.

They do the same work on the same tables and topics as the product; but no outage, no refused row, no failing handler
and no rebalance would they survive.
"""
