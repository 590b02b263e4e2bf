"""Who asks, as credentials prove it: certificates, tokens, keys. Knows no transport and no policy."""
