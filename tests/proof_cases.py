"""All pairs of the suite of the proof: importing a file of pairs enters them in these two tables."""

from __future__ import annotations

import proof_attacks  # noqa: F401 it enters its pairs in both tables
import proof_conditioned  # noqa: F401 it enters its pairs in both tables
import proof_constants  # noqa: F401 it enters its pairs in both tables
import proof_conventions  # noqa: F401 it enters its pairs in both tables
import proof_honest_tables  # noqa: F401 it enters its pairs in both tables
import proof_honest_training  # noqa: F401 it enters its pairs in the table of honest ones
import proof_integers  # noqa: F401 it enters its pairs in both tables
import proof_rounds  # noqa: F401 it enters its pairs in both tables
import proof_unread  # noqa: F401 it enters its pairs in both tables
import proof_wrong_slopes  # noqa: F401 it enters its pairs in the table of wrong ones
from proof_honest import HONEST
from proof_memory import HONEST as REMEMBERED_HONEST
from proof_memory import WRONG as REMEMBERED_WRONG
from proof_wrong import WRONG

__all__ = ["HONEST", "WRONG"]

WRONG += REMEMBERED_WRONG
HONEST += REMEMBERED_HONEST
