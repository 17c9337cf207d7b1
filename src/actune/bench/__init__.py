"""How fast a function is, beside torch's GELU: `actune bench`.

    from actune import bench

    result = bench.run(bench.Plan(("sau", "x*sigmoid(b*x); b=1"), sizes=(10_000, 1_000_000)))
    print(bench.markdown(result))

The result is plain data for `json.dumps`.
"""

from .plan import BESIDE, DTYPES, EXAMPLES, Plan, from_text
from .process import run
from .report import markdown

__all__ = ["BESIDE", "DTYPES", "EXAMPLES", "Plan", "from_text", "markdown", "run"]
