"""Nothing lost, nothing twice: real processes under faults, and an oracle that knows each second.

`python -m tests.faults` (`make chaos`) runs gateways, flushers, a Valkey and a Postgres behind
proxies that can stall, cut, delay and drop; simulated recorders that write down what they recorded;
and a nemesis that breaks things. At the end the recorders' books are compared with what was billed.
"""
