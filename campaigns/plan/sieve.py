"""Which customers are left, and how many went for which reason; each goes for the first that holds."""

import numpy as np


class Sieve:
    def __init__(self, n: int):
        self.kept = np.ones(n, bool)
        self.left_out: dict[str, int] = {}

    def leave_out(self, reason: str, is_out: np.ndarray) -> None:
        """bool (n,); those that went before do not count once more."""
        if n := int((self.kept & is_out).sum()):
            self.left_out[reason] = self.left_out.get(reason, 0) + n
            self.kept &= ~is_out
