"""What the backends have in common: from requests to arrays and back, the configuration, errors."""
