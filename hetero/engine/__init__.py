"""The engine: who runs in the next step, which KV blocks they hold, and what becomes of the tokens that come back."""
