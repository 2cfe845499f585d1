"""Load on a server of ours: stateless TCP clients on a core of their own, and what `splitplane bench` makes of them."""
