"""Search an activation function and a learning rate together, in an Optuna objective of your own.

    python examples/optuna_objective.py             # 40 trials, about half a minute
    python examples/optuna_objective.py --trials 200

`suggest_activation` is one more `suggest_…` of a trial: it breeds a function from what the study has learned so far. The first
trial is what you have today, relu at a usual learning rate; its line is the last one of the table.
"""

import argparse

import optuna
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import actune

pixels, classes = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
pixels = pixels.float() / 16
TRAIN, VALIDATION = slice(1000), slice(1000, None)


def train(activation: actune.Family, learning_rate: float) -> float:
    """The validation loss of your network after your training, with this function in it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    model = actune.swap(model, activation).model  # both nn.ReLU become the function; its parameters are the model's from now on
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(pixels[TRAIN]), classes[TRAIN]).backward()
        optimizer.step()
    with torch.no_grad():
        return cross_entropy(model(pixels[VALIDATION]), classes[VALIDATION]).item()


def objective(trial: optuna.Trial) -> float:
    activation = actune.suggest_activation(trial, "hidden")
    return train(activation, trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Search an activation function and a learning rate together.")
    parser.add_argument("--trials", type=int, default=40)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))  # the same learning rates each time
    study.enqueue_trial({"learning_rate": 0.01}, user_attrs={"activation:hidden": "relu"})
    study.optimize(objective, n_trials=parser.parse_args().trials)

    print("loss    learning rate  function")
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    for trial in [*sorted(done, key=lambda t: t.value)[:5], done[0]]:
        print(f"{trial.value:.4f}  {trial.params['learning_rate']:13.4f}  {trial.user_attrs['activation:hidden']}")
    print(f"\nactune.best(study) is {actune.best(study)}: give it to actune.swap or actune.Activation.")
