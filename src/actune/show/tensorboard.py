"""The trials of a search in TensorBoard."""

from __future__ import annotations

from os import PathLike

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["TensorBoard"]


class TensorBoard:
    """A `progress` for `search` that writes each finished trial to a folder of TensorBoard, at the step of its number.

        with TensorBoard("runs/digits") as board:
            actune.search("digits", trials=100, progress=board)

    Scalars `value` and `best` (`value/0`, `value/1`, … with several objectives), `seconds`, `epochs` if they were
    reported, with `course=True` the means of the trained parameters as `parameters/LAYER.NAME`, and as text the state and the
    formulas.
    """

    def __init__(self, folder: str | PathLike[str]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(f"logging to TensorBoard needs its package ({error}); pip install 'actune[tensorboard]'") from None
        self._writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        for tag, number in _scalars(study, trial).items():
            self._writer.add_scalar(tag, number, trial.number)  # type: ignore[no-untyped-call]
        self._writer.add_text("trial", _line(trial), trial.number)  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._writer.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _scalars(study: Study, trial: FrozenTrial) -> dict[str, float]:
    found = {} if trial.duration is None else {"seconds": trial.duration.total_seconds()}
    found |= {"epochs": float(len(trial.intermediate_values))} if trial.intermediate_values else {}
    found |= {f"parameters/{name}": epochs[-1][0] for name, epochs in trial.user_attrs.get("actune:course", {}).items()}
    if trial.state != TrialState.COMPLETE:
        return found
    if len(trial.values) == 1:
        return found | {"value": trial.values[0], "best": study.best_value}
    return found | {f"value/{i}": value for i, value in enumerate(trial.values)}


def _line(trial: FrozenTrial) -> str:
    """A line with the state of a trial and its formulas, which are in its attributes `activation:NAME`."""
    parts = [(key.split(":"), text) for key, text in trial.user_attrs.items()]
    formulas = [f"{key[1]}: `{text}`" for key, text in parts if key[0] == "activation" and len(key) == 2]
    return ", ".join([trial.state.name.lower(), *formulas])
