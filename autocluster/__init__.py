"""autocluster: virtual ctdb-ng clusters on one machine."""
