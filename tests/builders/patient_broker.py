"""Settings of a broker that nobody kills, and that a busy machine may hold up."""

# By the local stack's 4 s a busy machine alone ends its session.  Then it is fenced for a moment,
# and tests are late that are about something else.
PATIENT_BROKER = {"broker.session.timeout.ms": "60000"}
