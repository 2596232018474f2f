"""Events leave: to webhooks and to topic exchanges. Submissions come in from queues of the sources' own."""
