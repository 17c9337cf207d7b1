"""The papers, one file each, of rows only."""

from ..declaration import Paper
from .apalu import APALU
from .mining import MINING
from .mittag_leffler import UNIFICATION
from .pangaea import PANGAEA
from .sau import SAU
from .zorro import ZORRO

__all__ = ["PAPERS"]

PAPERS: dict[str, Paper] = {paper.name: paper for paper in (UNIFICATION, ZORRO, PANGAEA, SAU, APALU, MINING)}
