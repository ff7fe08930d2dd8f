"""Where calls go and how they are framed: addresses, destinations, hosts, failures of upstream."""
