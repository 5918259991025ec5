"""Work that waits, in PostgreSQL: requested deliveries, messages that failed, and the slots that workers share."""
