"""The asyncio side: service, mailboxes, supervision, command line."""
